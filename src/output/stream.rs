//! Records written as they come: to standard output, a device, a pipe, or a view in a file.

use std::io::{self, Write};

use super::csv::CsvWriter;
use super::record_line::RecordLine;
use super::table::{TableOptions, render};
use super::target::Form;
use super::write_line;
use crate::record::Record;

/// A stream of records in one of the forms that can be streamed.
pub enum Stream<W: Write> {
    /// A readable view.
    Table(W, TableOptions),
    /// JSON Lines.
    Lines(W),
    /// A row for each company.
    Rows(Box<CsvWriter<W>>),
}

impl<W: Write> Stream<W> {
    /// Begins; `None` for a form that needs files.
    pub fn new(out: W, form: Form, table: TableOptions) -> Option<Self> {
        match form {
            Form::Table => Some(Stream::Table(out, table)),
            Form::Jsonl => Some(Stream::Lines(out)),
            Form::Csv => Some(Stream::Rows(Box::new(CsvWriter::new(out, true)))),
            Form::Parquet => None,
        }
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// Whatever the writer says.
    pub fn push(&mut self, record: &Record, line: &RecordLine) -> io::Result<()> {
        match self {
            Stream::Table(out, options) => out.write_all(render(record, *options).as_bytes()),
            Stream::Lines(out) => write_line(out, line),
            Stream::Rows(rows) => rows.push(record.number, line),
        }
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    ///
    /// Whatever the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Table(out, _) | Stream::Lines(out) => out.flush(),
            Stream::Rows(rows) => rows.flush(),
        }
    }

    /// Writes out what is held back and gives the writer back.
    ///
    /// # Errors
    ///
    /// Whatever the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        match self {
            Stream::Table(out, _) | Stream::Lines(out) => Ok(out),
            Stream::Rows(rows) => rows.finish(),
        }
    }
}
