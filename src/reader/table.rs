//! JSON values, delimited text and Parquet files → one document a row.

use std::io;
use std::ops::ControlFlow;

use super::decode::decode;
use super::delimited::Delimited;
use super::json_values::JsonValues;
use super::parquet_rows::ParquetRows;
use super::rows::{Columns, Row};
use super::{Bytes, Kind, Reading, Stored, json_lines, too_large, unreadable};
use crate::document::{DocumentError, Input};

/// Emits the documents of an array of objects, of objects one after another, or of those that one object wraps.
pub(super) fn read_json(
    reading: &mut Reading<'_>,
    name: &str,
    bytes: Bytes<'_>,
    warning: Option<&str>,
) -> ControlFlow<()> {
    let own_fields = vec![reading.options.fields.text.clone()];
    let rows = JsonValues::new(bytes, reading.options.limit(), own_fields);
    emit_rows(reading, rows, |number| format!("{name}#{number}"), warning)
}

/// Emits the documents of delimited text.
pub(super) fn read_delimited(
    reading: &mut Reading<'_>,
    name: &str,
    bytes: Bytes<'_>,
    kind: Kind,
    warning: Option<&str>,
) -> ControlFlow<()> {
    let delimiter = (kind == Kind::Tsv).then_some(b'\t');
    let rows = Delimited::new(bytes, delimiter, reading.options.limit(), columns(reading), decode);
    emit_rows(reading, rows, |line| format!("{name}:{line}"), warning)
}

/// Emits the documents of a Parquet file.
pub(super) fn read_parquet(reading: &mut Reading<'_>, name: &str, stored: Stored<'_>) -> ControlFlow<()> {
    let opened = reading
        .file_of(stored)
        .and_then(|file| ParquetRows::open(file, reading.options.limit(), &columns(reading), decode));
    match opened {
        Ok(rows) => emit_rows(reading, rows, |number| format!("{name}#{number}"), None),
        Err(error) => reading.lost(name, &error),
    }
}

fn columns(reading: &Reading<'_>) -> Columns {
    let fields = reading.options.fields.clone();
    Columns { text: fields.text.clone(), is_wanted: Box::new(move |name| fields.wants(name)) }
}

/// Emits a document for each row; `place` names it by its number. What ends the rows early is a document too.
fn emit_rows(
    reading: &mut Reading<'_>,
    rows: impl Iterator<Item = io::Result<(u64, Row)>>,
    place: impl Fn(u64) -> String,
    warning: Option<&str>,
) -> ControlFlow<()> {
    let mut last = 0;
    for row in rows {
        let (number, row) = match row {
            Ok(row) => row,
            Err(error) => return reading.emit(unreadable(place(last + 1), &error)),
        };
        last = number;
        let source = place(number);
        let input = match row {
            Row::Json(json) => json_lines::document(reading, source, json, warning),
            Row::Values { values, warnings } => {
                let warnings = warning.map(str::to_owned).into_iter().chain(warnings).collect();
                reading.options.fields.document(source, values, warnings)
            }
            Row::TooLong => too_large(source, reading.options.limit()),
            Row::Bad { kind, message } => Input::lost(source, DocumentError::failed(kind, message)),
        };
        reading.emit(input)?;
    }
    ControlFlow::Continue(())
}
