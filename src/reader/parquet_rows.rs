//! A Parquet file → rows of named values.
//!
//! Only the wanted columns are read. Of these, text is handed out as it lies in the decompressed pages, so that a batch
//! holds the pages it touches and no more, and a value that is no UTF-8 costs no other.

use std::any::Any;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use serde_json::{Map, Value};

use super::rows::{Columns, Decode, Row};

/// Rows of a file, numbered from 1.
///
/// A panic in a decoder is an error like any other, if panics unwind.
pub(super) struct ParquetRows {
    file: File,
    metadata: ArrowReaderMetadata,
    /// Indices of the wanted columns.
    wanted: Vec<usize>,
    /// `None` after the end or an error.
    batches: Option<ParquetRecordBatchReader>,
    batch: RecordBatch,
    /// Rows of `batch` that have been yielded, and those of the file.
    yielded: usize,
    count: u64,
    /// After a batch that cannot be read, rows are read one by one up to the one to blame.
    is_one_by_one: bool,
    refusal: Option<Row>,
    limit: u64,
    decode: Decode,
}

impl ParquetRows {
    /// Most bytes of the values of a row are `limit`; bytes of a text that are no UTF-8 go through `decode`.
    ///
    /// # Errors
    /// If the footer cannot be read.
    pub(super) fn open(file: File, limit: u64, columns: &Columns, decode: Decode) -> io::Result<Self> {
        let length = file.len();
        if length >= 4 && file.get_bytes(length - 4, 4).is_ok_and(|mark| mark.as_ref() == b"PARE") {
            return Err(invalid("the Parquet file is encrypted; decrypt it first"));
        }
        let metadata = guard(|| footer(&file)).map_err(|why| invalid(format!("no readable Parquet footer: {why}")))?;
        let names: Vec<&str> = metadata.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let refusal = (!columns.suffice(names.iter().copied())).then(|| columns.missing(names.iter().copied()));
        let wanted = (0..names.len()).filter(|&at| (columns.is_wanted)(names[at])).collect();
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let mut rows = ParquetRows {
            file,
            wanted,
            metadata,
            batches: None,
            batch,
            yielded: 0,
            count: 0,
            is_one_by_one: false,
            refusal,
            limit,
            decode,
        };
        if rows.refusal.is_none() {
            let batch_rows = batch_rows(rows.metadata.metadata(), &rows.wanted);
            rows.read_on(batch_rows).map_err(invalid)?;
        }
        Ok(rows)
    }

    /// Makes `batches` of what has not been yielded.
    fn read_on(&mut self, batch_rows: usize) -> Result<(), String> {
        self.batches = None;
        let batches = guard(|| -> Result<_, ParquetError> {
            let file = self.file.try_clone()?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let projection = ProjectionMask::roots(self.metadata.parquet_schema(), self.wanted.iter().copied());
            let start = usize::try_from(self.count)?;
            builder.with_projection(projection).with_batch_size(batch_rows).with_offset(start).build()
        });
        self.batches = Some(batches.map_err(|why| format!("the Parquet rows cannot be read: {why}"))?);
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<(u64, Row)>> {
        if let Some(refusal) = self.refusal.take() {
            return Ok(Some((1, refusal)));
        }
        while self.yielded == self.batch.num_rows() {
            let Some(batches) = &mut self.batches else { return Ok(None) };
            match guard(|| batches.next().transpose()) {
                Ok(Some(batch)) => (self.batch, self.yielded) = (batch, 0),
                Ok(None) => {
                    self.batches = None;
                    let groups = self.metadata.metadata().row_groups();
                    let rows = groups.iter().fold(0_i64, |rows, group| rows.saturating_add(group.num_rows()));
                    if rows > 0 && self.count < rows.unsigned_abs() {
                        return Err(invalid(format!("the Parquet file has {} of {rows} rows", self.count)));
                    }
                }
                Err(why) if self.is_one_by_one => {
                    return Err(invalid(format!("Parquet row {} cannot be read: {why}", self.count + 1)));
                }
                Err(_) => {
                    self.is_one_by_one = true;
                    self.read_on(1).map_err(invalid)?;
                }
            }
        }
        let row = guard(|| row(&self.batch, self.yielded, self.limit, self.decode));
        self.yielded += 1;
        self.count += 1;
        Ok(Some((self.count, row.unwrap_or_else(|message| Row::Bad { kind: "bad_row", message }))))
    }
}

impl Iterator for ParquetRows {
    type Item = io::Result<(u64, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read();
        if row.is_err() {
            self.batches = None;
        }
        row.transpose()
    }
}

/// The footer, by which top-level texts are read as bytes.
fn footer(file: &File) -> Result<ArrowReaderMetadata, ParquetError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
    let of_file = metadata.file_metadata();
    let root = of_file.schema_descr().root_schema();
    let fields = root.get_fields().iter().map(as_bytes).collect::<Result<_, _>>()?;
    let root = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let of_file =
        FileMetaData::new(of_file.version(), of_file.num_rows(), None, None, schema, of_file.column_orders().cloned());
    let row_groups = metadata.into_builder().take_row_groups();
    let metadata = Arc::new(ParquetMetaData::new(of_file, row_groups));
    let schema = ArrowReaderMetadata::try_new(Arc::clone(&metadata), ArrowReaderOptions::new())?.schema().clone();
    let fields: Vec<Field> = schema.fields().iter().map(|field| as_read(field)).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

/// A column without the note that its bytes are UTF-8, if that is all it says of them.
fn as_bytes(column: &TypePtr) -> Result<TypePtr, ParquetError> {
    let info = column.get_basic_info();
    let is_text = column.is_primitive()
        && column.get_physical_type() == PhysicalType::BYTE_ARRAY
        && info.repetition() != Repetition::REPEATED
        && !matches!(info.logical_type_ref(), Some(LogicalType::Decimal(_) | LogicalType::Unknown))
        && info.converted_type() != ConvertedType::DECIMAL;
    if !is_text {
        return Ok(Arc::clone(column));
    }
    let bytes = Type::primitive_type_builder(column.name(), PhysicalType::BYTE_ARRAY)
        .with_repetition(info.repetition())
        .with_id(info.has_id().then(|| info.id()));
    bytes.build().map(Arc::new)
}

/// Bytes that stay where they are when they are read, and UTC by its offset, which needs no table of time zones.
fn as_read(field: &Field) -> Field {
    let inside = |field: &Arc<Field>| Arc::new(as_read(field));
    let read_type = match field.data_type() {
        DataType::Binary => DataType::BinaryView,
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::List(item) => DataType::List(inside(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(inside(entries), *is_sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(read_type)
}

/// How many rows to read at a time: few where they are large.
fn batch_rows(metadata: &ParquetMetaData, wanted: &[usize]) -> usize {
    const MAX_ROWS: u64 = 64;
    const BATCH_BYTES: u64 = 4 << 20;
    let schema = metadata.file_metadata().schema_descr();
    let row_bytes = metadata.row_groups().iter().map(|group| {
        let columns = group.columns().iter().enumerate();
        let read = columns.filter(|(leaf, _)| wanted.contains(&schema.get_column_root_idx(*leaf)));
        let bytes: u64 = read.map(|(_, chunk)| u64::try_from(chunk.uncompressed_size()).unwrap_or(0)).sum();
        bytes / u64::try_from(group.num_rows()).unwrap_or(0).max(1)
    });
    let rows = (BATCH_BYTES / row_bytes.max().unwrap_or(0).max(1)).clamp(1, MAX_ROWS);
    usize::try_from(rows).unwrap_or(1)
}

fn row(batch: &RecordBatch, at: usize, limit: u64, decode: Decode) -> Result<Row, String> {
    let schema = batch.schema();
    let of_texts = |column: &usize| *schema.field(*column).data_type() == DataType::BinaryView;
    let (texts, others): (Vec<usize>, Vec<usize>) = (0..batch.num_columns()).partition(of_texts);
    let texts = texts.into_iter().filter_map(|column| {
        let values = batch.column(column).as_binary_view();
        values.is_valid(at).then(|| (schema.field(column).name(), values.value(at)))
    });
    let texts: Vec<(&String, &[u8])> = texts.collect();
    let mut bytes: u64 = texts.iter().map(|(_, text)| text.len() as u64).sum();
    let mut values = Map::new();
    let mut warnings: Vec<String> = Vec::new();
    if bytes <= limit && !others.is_empty() {
        let one = batch.project(&others).map_err(|error| error.to_string())?.slice(at, 1);
        let mut json = arrow_json::LineDelimitedWriter::new(Vec::new());
        json.write(&one).map_err(|error| error.to_string())?;
        let json = json.into_inner();
        bytes += json.len() as u64;
        values = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        values.retain(|_, value| !value.is_null());
    }
    if bytes > limit {
        return Ok(Row::TooLong);
    }
    for (name, text) in texts {
        let (decoded, warning) = decode(text.to_vec());
        bytes = bytes - text.len() as u64 + decoded.len() as u64;
        warnings.extend(warning.map(|warning| format!("`{name}`: {warning}")));
        values.insert(name.clone(), Value::String(decoded));
    }
    Ok(if bytes > limit { Row::TooLong } else { Row::Values { values, warnings } })
}

/// Does `work`; an error or panic in it becomes its message.
fn guard<T, E: Into<Reason>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error.into().0),
        Err(panic) => Err(format!("damaged ({})", panic_message(&*panic))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    message.unwrap_or("no message")
}

/// An error's message without the names of the layers it has come through.
struct Reason(String);

impl From<String> for Reason {
    fn from(message: String) -> Self {
        Reason(message)
    }
}

impl From<ParquetError> for Reason {
    fn from(error: ParquetError) -> Self {
        Reason(match error {
            ParquetError::General(message) | ParquetError::EOF(message) | ParquetError::NYI(message) => message,
            other => other.to_string(),
        })
    }
}

impl From<ArrowError> for Reason {
    fn from(error: ArrowError) -> Self {
        Reason(match error {
            ArrowError::ParquetError(message) => message,
            other => other.to_string(),
        })
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
        LargeStringArray, ListArray, StringArray, StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        UInt8Array,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).and_then(|()| file.rewind()).expect("written");
        file
    }

    fn written(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)));
        let batch = batch.expect("columns of one length");
        let mut content = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut content, batch.schema(), Some(properties)).expect("a schema");
        writer.write(&batch).expect("in memory");
        writer.close().expect("in memory");
        content
    }

    fn decode(bytes: Vec<u8>) -> (String, Option<String>) {
        String::from_utf8(bytes).map_or_else(
            |error| (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some("lossy".to_owned())),
            |text| (text, None),
        )
    }

    fn open(content: &[u8], limit: u64) -> io::Result<ParquetRows> {
        let is_wanted = |name: &str| !name.starts_with("un");
        let columns = Columns { text: "text".into(), is_wanted: Box::new(is_wanted) };
        ParquetRows::open(file(content), limit, &columns, decode)
    }

    /// The rows and the error at their end.
    fn read(content: &[u8], limit: u64) -> (Vec<Row>, Option<String>) {
        let mut rows = match open(content, limit) {
            Ok(rows) => rows,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let mut all = Vec::new();
        let error = loop {
            match rows.next() {
                None => break None,
                Some(Err(error)) => break Some(error.to_string()),
                Some(Ok((number, row))) => {
                    all.push(row);
                    assert_eq!(number, all.len() as u64);
                }
            }
        };
        assert!(rows.next().is_none());
        (all, error)
    }

    fn values(value: Value, warnings: &[&str]) -> Row {
        let Value::Object(values) = value else { panic!("{value} must be an object") };
        Row::Values { values, warnings: warnings.iter().map(|&warning| warning.to_owned()).collect() }
    }

    fn plain() -> WriterProperties {
        WriterProperties::builder().set_dictionary_enabled(false).build()
    }

    #[test]
    fn texts_of_every_type_come_out_as_strings() {
        let texts = [Some("a \"é\""), None, Some("")];
        let bytes = BinaryArray::from_iter(texts);
        let columns: [ArrayRef; 5] = [
            Arc::new(StringArray::from_iter(texts)),
            Arc::new(LargeStringArray::from_iter(texts)),
            Arc::new(StringViewArray::from_iter(texts)),
            Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>()),
            Arc::new(bytes),
        ];
        for column in columns {
            let name = format!("{}", column.data_type());
            for properties in [plain(), WriterProperties::default()] {
                let (rows, error) = read(&written(vec![("text", Arc::clone(&column))], properties), 100);
                let expected = [json!({"text": "a \"é\""}), json!({}), json!({"text": ""})].map(|v| values(v, &[]));
                assert_eq!((rows, error), (expected.into(), None), "{name}");
            }
        }
    }

    #[test]
    fn other_types_come_out_as_json() {
        let of_ints = |lists: [Option<Vec<Option<i32>>>; 2]| ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
        let content = written(
            vec![
                ("text", Arc::new(StringArray::from(vec!["a", "b"]))),
                ("id", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
                ("day", Arc::new(Date32Array::from(vec![Some(19_121), None]))),
                ("local", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_652_090_400_000_000), None]))),
                (
                    "utc",
                    Arc::new(
                        TimestampNanosecondArray::from(vec![1_652_090_400_500_000_000, 0]).with_timezone("Asia/Tokyo"),
                    ),
                ),
                ("yes", Arc::new(BooleanArray::from(vec![true, false]))),
                ("score", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
                ("sum", Arc::new(Decimal128Array::from(vec![12_345, 0]).with_precision_and_scale(9, 2).expect("fits"))),
                ("tags", Arc::new(of_ints([Some(vec![Some(1), None]), None]))),
                ("unwanted", Arc::new(UInt8Array::from(vec![1, 2]))),
            ],
            WriterProperties::default(),
        );
        let first = json!({
            "id": i64::MAX, "day": "2022-05-09", "local": "2022-05-09T10:00:00", "utc": "2022-05-09T10:00:00.500Z",
            "yes": true, "score": 0.5, "sum": 123.45, "tags": [1, null], "text": "a",
        });
        let second = json!({"utc": "1970-01-01T00:00:00Z", "yes": false, "sum": 0.0, "text": "b"});
        assert_eq!(read(&content, 1000), (vec![values(first, &[]), values(second, &[])], None));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_decoded_with_a_warning() {
        let bytes = BinaryArray::from_iter_values([&b"a"[..], b"\xff", b"b"]);
        let content = written(vec![("text", Arc::new(bytes))], plain());
        // So they are, too, where the file says that they are UTF-8.
        let texts = written(vec![("text", Arc::new(StringArray::from(vec!["a", "\u{7f}", "b"])))], plain());
        let broken: Vec<u8> = texts.iter().map(|&b| if b == 0x7f { 0xff } else { b }).collect();
        assert_ne!(texts, broken);
        for content in [content, broken] {
            let (rows, error) = read(&content, 100);
            let expected = [
                values(json!({"text": "a"}), &[]),
                values(json!({"text": "\u{fffd}"}), &["`text`: lossy"]),
                values(json!({"text": "b"}), &[]),
            ];
            assert_eq!((rows, error), (expected.into(), None));
        }
    }

    #[test]
    fn columns_with_field_ids_and_without_nulls_are_read() {
        let id = std::collections::HashMap::from([("PARQUET:field_id".to_owned(), "7".to_owned())]);
        let text = Field::new("text", DataType::Utf8, false).with_metadata(id);
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["a"]))];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![text])), columns).expect("a batch");
        let mut content = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut content, batch.schema(), None).expect("a schema");
        writer.write(&batch).expect("in memory");
        writer.close().expect("in memory");
        assert_eq!(read(&content, 10), (vec![values(json!({"text": "a"}), &[])], None));
    }

    #[test]
    fn rows_can_be_read_on_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<ParquetRows>();
    }

    #[test]
    fn a_row_over_the_limit_is_passed_over() {
        let texts = StringArray::from(vec!["a".repeat(10), "b".repeat(11), "c".to_owned()]);
        let (rows, error) = read(&written(vec![("text", Arc::new(texts))], plain()), 10);
        assert_eq!(error, None);
        assert!(matches!(rows[..], [Row::Values { .. }, Row::TooLong, Row::Values { .. }]), "{rows:?}");
        // Bytes that grow when they are decoded, and values that are no text.
        let bytes = BinaryArray::from_iter_values([[0xff; 4]]);
        assert_eq!(read(&written(vec![("text", Arc::new(bytes))], plain()), 10).0, [Row::TooLong]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["abcdef"]));
        let content = written(vec![("text", texts), ("id", Arc::new(Int64Array::from(vec![1])))], plain());
        assert_eq!(read(&content, 10).0, [Row::TooLong]);
    }

    #[test]
    fn a_file_without_texts_is_refused_once() {
        let content = written(vec![("body", Arc::new(StringArray::from(vec!["a", "b"])))], plain());
        let (rows, error) = read(&content, 10);
        assert_eq!(error, None);
        let message = "no column `text`; the columns are: body; --text-field names another".to_owned();
        assert_eq!(rows, [Row::Bad { kind: "missing_column", message }]);
    }

    /// 300 texts in pages of 10, in two row groups.
    fn paged(compression: Compression) -> (Vec<u8>, Vec<Row>) {
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_compression(compression)
            .set_data_page_row_count_limit(10)
            .set_write_batch_size(10)
            .set_max_row_group_row_count(Some(150))
            .build();
        let texts: Vec<String> = (0..300).map(|at| format!("text {at} {}", "x".repeat(at))).collect();
        let rows = texts.iter().map(|text| values(json!({"text": text}), &[])).collect();
        (written(vec![("text", Arc::new(StringArray::from(texts)))], properties), rows)
    }

    #[test]
    fn every_codec_is_read() {
        let codecs = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4_RAW,
            Compression::ZSTD(ZstdLevel::default()),
        ];
        for codec in codecs {
            let (content, expected) = paged(codec);
            assert_eq!(read(&content, 10_000), (expected, None), "{codec}");
        }
    }

    #[test]
    fn rows_before_a_damaged_page_are_read() {
        let (content, expected) = paged(Compression::SNAPPY);
        let at = content.windows(8).position(|w| w == b"text 70 ").expect("in the head of its page");
        let mut damaged = content.clone();
        // Over the page's length and the head of the first value.
        damaged[at - 8..at].fill(0xff);
        let (rows, error) = read(&damaged, 10_000);
        assert_eq!(rows, expected[..70]);
        let error = error.expect("an error");
        assert!(error.starts_with("Parquet row 71 cannot be read: "), "{error}");
    }

    #[test]
    fn a_damaged_file_is_told_from_the_start() {
        let (content, _) = paged(Compression::UNCOMPRESSED);
        let length = content.len();
        let mut encrypted = content.clone();
        encrypted[length - 1] = b'E';
        let mut hollow = content.clone();
        let footer = u32::from_le_bytes(content[length - 8..length - 4].try_into().expect("4 bytes")) as usize;
        hollow[length - 8 - footer..length - 8].fill(0);
        let cases: [(&[u8], &str); 6] = [
            (b"", "no readable Parquet footer: "),
            (b"PAR1", "no readable Parquet footer: "),
            (b"id,text\n1,a\n", "no readable Parquet footer: Invalid Parquet file. Corrupt footer"),
            (&content[..length - 1], "no readable Parquet footer: Invalid Parquet file. Corrupt footer"),
            (&hollow, "no readable Parquet footer: "),
            (&encrypted, "the Parquet file is encrypted; decrypt it first"),
        ];
        for (content, expected) in cases {
            let (rows, error) = read(content, 100);
            assert!(
                rows.is_empty() && error.as_ref().is_some_and(|e| e.starts_with(expected)),
                "{expected}: {error:?}"
            );
        }
    }

    #[test]
    fn batches_of_large_rows_are_small() {
        let rows_at_a_time = |text: &str| {
            let texts = StringArray::from_iter_values(std::iter::repeat_n(text, 100));
            let content =
                written(vec![("text", Arc::new(texts)), ("un", Arc::new(UInt8Array::from(vec![0; 100])))], plain());
            let metadata = footer(&file(&content)).expect("a footer");
            (batch_rows(metadata.metadata(), &[0]), batch_rows(metadata.metadata(), &[1]))
        };
        assert_eq!(rows_at_a_time("a"), (64, 64));
        assert_eq!(rows_at_a_time(&"a".repeat(1 << 20)), (3, 64));
    }

    fn column(kind: u8, values: &[Option<String>]) -> ArrayRef {
        match kind {
            0 => Arc::new(StringArray::from_iter(values)),
            1 => Arc::new(StringViewArray::from_iter(values)),
            _ => Arc::new(BinaryArray::from_iter(values.iter().map(|v| v.as_ref().map(|v| v.as_bytes())))),
        }
    }

    fn properties() -> impl Strategy<Value = WriterProperties> {
        let codecs = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
        (any::<bool>(), any::<bool>(), prop::sample::select(codecs.to_vec())).prop_map(
            |(is_v2, has_dictionary, codec)| {
                WriterProperties::builder()
                    .set_writer_version(if is_v2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 })
                    .set_dictionary_enabled(has_dictionary)
                    .set_compression(codec)
                    .set_data_page_row_count_limit(7)
                    .set_write_batch_size(7)
                    .set_max_row_group_row_count(Some(20))
                    .build()
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn texts_come_back(
            texts in prop::collection::vec(prop::option::of("[a\"\\\\\u{e9}\n]{0,20}"), 0..100),
            kind in 0..3_u8,
            properties in properties(),
        ) {
            let content = written(vec![("text", column(kind, &texts))], properties);
            let expected: Vec<Row> = texts.iter().map(|text| match text {
                Some(text) => values(json!({"text": text}), &[]),
                None => values(json!({}), &[]),
            }).collect();
            prop_assert_eq!(read(&content, 1000), (expected, None));
        }

        #[test]
        fn no_damage_is_a_panic_or_goes_over_the_limit(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
            cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
            properties in properties(),
        ) {
            let texts: Vec<Option<String>> = (0..50).map(|at| (at % 7 > 0).then(|| "ab c".repeat(at))).collect();
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..50));
            let mut content = written(vec![("text", column(0, &texts)), ("id", ids)], properties);
            for (at, byte) in damage {
                let at = at.index(content.len());
                content[at] = byte;
            }
            if let Some(cut) = cut {
                content.truncate(cut.index(content.len()));
            }
            let (rows, _) = read(&content, 100);
            for row in rows {
                if let Row::Values { values, .. } = row {
                    let held = values.get("text").and_then(Value::as_str).map_or(0, str::len);
                    prop_assert!(held <= 100);
                }
            }
        }
    }
}
