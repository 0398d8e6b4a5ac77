//! Records → two Parquet tables, `documents` and `companies`, joined by the column `document`.
//!
//! Both are written in parts, each a file with one row group (none without rows), which [`assemble`] puts into one
//! file. Signed integers, UTF-8 strings, lists of three levels with the item named `element`; zstd; statistics and
//! indexes of pages. The metadata has `stancewire.schema` (the records' schema) and `stancewire.model`. Equal records
//! give equal bytes.

mod assemble;
mod companies;
mod documents;

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{Date32Builder, GenericListBuilder, LargeStringBuilder};
use arrow_array::{Array, ArrayRef, LargeListArray, RecordBatch, StructArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use jiff::civil::Date;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

pub(super) use assemble::assemble;

use super::SCHEMA;
use super::day::day;
use super::record_line::RecordLine;
use companies::Companies;
use documents::Documents;

/// Bytes of strings that wait in columns before they are encoded.
const MAX_WAITING: usize = 8 << 20;
/// Level of zstd; 1 is fastest, 22 smallest.
const ZSTD_LEVEL: i32 = 3;
/// Columns of long strings that hardly repeat: a dictionary would only cost time.
const WITHOUT_DICTIONARY: [&[&str]; 3] = [&["text"], &["meta"], &["evidence", "list", "element", "text"]];

/// Collects the rows of one part of the output.
pub(super) struct ParquetPart {
    documents: Table<Documents>,
    companies: Table<Companies>,
}

impl ParquetPart {
    /// A part without rows; `model` is the tag for the metadata.
    ///
    /// # Errors
    ///
    /// Those of the encoder.
    pub(super) fn new(model: &str) -> io::Result<Self> {
        Ok(ParquetPart { documents: Table::new(model)?, companies: Table::new(model)? })
    }

    /// Adds the document with this place in the run, and its companies. After an error the part is of no more use.
    ///
    /// # Errors
    ///
    /// `InvalidData` for a number beyond `i64`; those of the encoder, such as for a row of more than 2 GiB.
    pub(super) fn push(&mut self, number: u64, line: &RecordLine) -> io::Result<()> {
        let number = signed(number)?;
        self.documents.push(number, line)?;
        self.companies.push(number, line)
    }

    /// Writes each table as a Parquet file.
    ///
    /// # Errors
    ///
    /// Those of the encoder and of the writers.
    pub(super) fn finish(self, documents: impl Write, companies: impl Write) -> io::Result<()> {
        self.documents.finish(documents)?;
        self.companies.finish(companies)
    }
}

/// The columns of a table, to which rows are added.
trait Columns: Default {
    /// Adds the rows of a document.
    fn push(&mut self, number: i64, line: &RecordLine) -> io::Result<()>;
    /// Bytes of the long strings that wait.
    fn waiting(&self) -> usize;
    /// Name, values and whether a value may be null; leaves the columns empty.
    fn take(&mut self) -> io::Result<Vec<(&'static str, ArrayRef, bool)>>;

    /// The rows that wait.
    fn take_batch(&mut self) -> io::Result<RecordBatch> {
        RecordBatch::try_from_iter_with_nullable(self.take()?).map_err(io::Error::other)
    }
}

/// A table of a part: rows that wait, and a file in memory of the rows before them.
struct Table<C> {
    rows: C,
    file: ArrowWriter<Vec<u8>>,
}

impl<C: Columns> Table<C> {
    fn new(model: &str) -> io::Result<Self> {
        let mut rows = C::default();
        let schema = rows.take_batch()?.schema();
        let options = ArrowWriterOptions::new()
            .with_skip_arrow_metadata(true)
            .with_schema_root("schema".to_owned())
            .with_properties(part_properties(model)?);
        let file = ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(io_error)?;
        Ok(Table { rows, file })
    }

    fn push(&mut self, number: i64, line: &RecordLine) -> io::Result<()> {
        self.rows.push(number, line)?;
        if self.rows.waiting() >= MAX_WAITING { self.encode() } else { Ok(()) }
    }

    fn encode(&mut self) -> io::Result<()> {
        self.file.write(&self.rows.take_batch()?).map_err(io_error)
    }

    fn finish(mut self, mut out: impl Write) -> io::Result<()> {
        self.encode()?;
        out.write_all(&self.file.into_inner().map_err(io_error)?)?;
        out.flush()
    }
}

fn part_properties(model: &str) -> io::Result<WriterProperties> {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let metadata = vec![pair("stancewire.schema", SCHEMA.to_string()), pair("stancewire.model", model.to_owned())];
    let zstd = ZstdLevel::try_new(ZSTD_LEVEL).map_err(io_error)?;
    let mut properties = properties()
        .set_key_value_metadata(Some(metadata))
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(None);
    for column in WITHOUT_DICTIONARY {
        let path = column.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(path), false);
    }
    Ok(properties.build())
}

/// What the properties of parts and whole files have in common.
fn properties() -> WriterPropertiesBuilder {
    let program = concat!(env!("CARGO_PKG_NAME"), " version ", env!("CARGO_PKG_VERSION"));
    WriterProperties::builder().set_created_by(program.to_owned())
}

/// The kind of an error below the encoder is kept.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

/// `number` as tables hold it.
fn signed(number: u64) -> io::Result<i64> {
    let beyond = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{number} is too large for a table's column"));
    i64::try_from(number).map_err(beyond)
}

/// Adds the day of `date`, as days since 1970, or null.
fn push_day(days: &mut Date32Builder, date: Option<&str>) {
    let since = |day: Date| day.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24;
    days.append_option(date.and_then(day).and_then(|d| i32::try_from(since(d)).ok()));
}

/// Lists of strings. Strings and lists have 64-bit offsets in memory, so no number of bytes is too many; in the file
/// nothing shows of that.
struct StringLists(GenericListBuilder<i64, LargeStringBuilder>);

impl Default for StringLists {
    fn default() -> Self {
        let element = Field::new("element", DataType::LargeUtf8, false);
        StringLists(GenericListBuilder::new(LargeStringBuilder::new()).with_field(element))
    }
}

impl StringLists {
    fn push(&mut self, list: &[String]) {
        list.iter().for_each(|item| self.0.values().append_value(item));
        self.0.append(true);
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// Lists of structures whose fields are never null, from the lists' lengths and the columns of all their items.
fn struct_lists(lengths: &mut Vec<usize>, columns: Vec<(&str, ArrayRef)>) -> io::Result<ArrayRef> {
    let offsets = OffsetBuffer::from_lengths(std::mem::take(lengths));
    let fields = columns.iter().map(|(name, values)| Field::new(*name, values.data_type().clone(), false)).collect();
    let columns = columns.into_iter().map(|(_, values)| values).collect();
    let items = StructArray::try_new(fields, columns, None).map_err(io::Error::other)?;
    let element = Field::new("element", items.data_type().clone(), false);
    let lists = LargeListArray::try_new(Arc::new(element), offsets, Arc::new(items), None);
    Ok(Arc::new(lists.map_err(io::Error::other)?))
}

#[cfg(test)]
mod tests;
