//! Tables are written in parts, assembled and read back.

use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::output::made_up::{company, record};
use crate::output::record_line::{ErrorLine, EvidenceLine, MentionLine, Probabilities, Status};
use crate::record::Stance;

const MODEL: &str = "toy@1-00000000";

/// Files of `parts`, the documents' and the companies'.
fn files(folder: &TempDir, parts: &[Vec<RecordLine>]) -> [Vec<PathBuf>; 2] {
    let mut number = 0;
    let mut files = [Vec::new(), Vec::new()];
    for (n, lines) in parts.iter().enumerate() {
        let mut part = ParquetPart::new(MODEL).expect("starts");
        for line in lines {
            part.push(number, line).expect("encodes");
            number += 1;
        }
        let mut tables = [Vec::new(), Vec::new()];
        let [documents, companies] = &mut tables;
        part.finish(documents, companies).expect("writes to memory");
        for ((files, name), bytes) in files.iter_mut().zip(["documents", "companies"]).zip(tables) {
            let path = folder.path().join(format!("{n}.{name}.parquet"));
            std::fs::write(&path, bytes).expect("writes");
            files.push(path);
        }
    }
    files
}

/// The assembled tables of `parts`.
fn tables(parts: &[Vec<RecordLine>]) -> [Vec<u8>; 2] {
    let folder = TempDir::new().expect("a folder");
    files(&folder, parts).map(|parts| {
        let mut whole = Vec::new();
        assemble(&parts, &mut whole).expect("assembles");
        whole
    })
}

fn footer(file: &[u8]) -> ParquetMetaData {
    let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.with_metadata_options(Some(options)).parse_and_finish(&bytes(file)).expect("Parquet")
}

fn bytes(file: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(file)
}

fn batches(file: &[u8]) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes(file)).expect("Parquet");
    reader.build().expect("reads").collect::<Result<_, _>>().expect("reads")
}

/// A cell, with dates as days since 1970.
fn cell(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    let items = |items: &dyn Array| (0..items.len()).map(|n| cell(items, n)).collect();
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::List(_) => items(&column.as_list::<i32>().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct().columns();
            fields.iter().zip(columns).map(|(field, c)| (field.name().clone(), cell(c, row))).collect()
        }
        other => panic!("a column of type {other}"),
    }
}

/// Rows as objects.
fn rows(file: &[u8]) -> Vec<Value> {
    let mut rows = Vec::new();
    for batch in batches(file) {
        let batch = StructArray::from(batch);
        rows.extend((0..batch.len()).map(|n| cell(&batch, n)));
    }
    rows
}

/// The rows that `parts` should give.
fn expected(parts: &[Vec<RecordLine>]) -> [Vec<Value>; 2] {
    let epoch = Date::constant(1970, 1, 1);
    let (mut documents, mut companies) = (Vec::new(), Vec::new());
    for (number, line) in parts.iter().flatten().enumerate() {
        let days = line.date.as_deref().and_then(day).map(|d| d.duration_since(epoch).as_hours() / 24);
        documents.push(json!({
            "document": number, "id": line.id, "source": line.source, "status": line.status,
            "error_kind": line.error.as_ref().map(|e| &e.kind), "error_message": line.error.as_ref().map(|e| &e.message),
            "warnings": line.warnings, "title": line.title, "date": days, "published": line.date, "url": line.url,
            "language": line.language, "chars": line.chars, "text": line.text, "duplicate_of": line.duplicate_of,
            "meta": serde_json::to_string(&line.meta).expect("JSON"), "companies": line.companies.len(),
            "model": line.model,
        }));
        for company in &line.companies {
            let Probabilities { halted, suspended, continuing, silent } = company.probabilities;
            companies.push(json!({
                "document": number, "id": line.id, "source": line.source, "date": days,
                "duplicate_of": line.duplicate_of, "key": company.key, "name": company.name,
                "aliases": company.aliases, "stance": company.stance, "confidence": company.confidence,
                "uncertain": company.uncertain, "halted": halted, "suspended": suspended, "continuing": continuing,
                "silent": silent, "markets": company.markets, "mentions": company.mentions,
                "evidence": company.evidence,
            }));
        }
    }
    [documents, companies]
}

fn assert_round_trip(parts: &[Vec<RecordLine>]) {
    let files = tables(parts);
    let expected = expected(parts);
    for (file, expected) in files.iter().zip(&expected) {
        assert_eq!(&rows(file), expected);
    }
}

fn failed(id: &str) -> RecordLine {
    RecordLine {
        status: Status::Failed,
        error: Some(ErrorLine { kind: "bad_json".to_owned(), message: "at column 3".to_owned() }),
        warnings: Vec::new(),
        date: None,
        language: None,
        companies: Vec::new(),
        ..record(id)
    }
}

#[test]
fn parts_are_read_back_as_one_table() {
    let timed = RecordLine {
        date: Some("2022-05-09T23:30:00-08:00".to_owned()),
        title: Some("Acme leaves".to_owned()),
        url: Some("https://example.com/1".to_owned()),
        text: Some("Acme left. It said so.".to_owned()),
        duplicate_of: Some("a".to_owned()),
        companies: vec![company("Acme"), company("Globex"), company("Initech")],
        ..record("b")
    };
    assert_round_trip(&[vec![record("a"), timed], vec![failed("c")], Vec::new(), vec![record("d")]]);
    let documents = &tables(&[vec![record("a"), failed("b")]])[0];
    let whole = rows(documents);
    assert_eq!((&whole[0]["date"], &whole[1]["date"]), (&json!(19_121), &Value::Null));
}

#[test]
fn odd_strings_and_dates_are_read_back() {
    let mut line = record("\"quoted\",\n\r\ttabbed; a|b\\");
    line.title = Some("NUL \0, emoji 👩‍💻, U+FEFF \u{feff}, U+10FFFF \u{10ffff}".to_owned());
    line.warnings = vec![String::new(), "\0".to_owned()];
    line.meta.insert("\"\0\n".to_owned(), json!({"deep": [null, 1.5, "é"]}));
    line.companies[0].evidence[0].text = "Acme left. é漢".repeat(75_000);
    line.companies[0].aliases.clear();
    line.companies[0].markets.clear();
    line.companies[0].mentions = vec![MentionLine { start: 0, end: i64::MAX.unsigned_abs(), text: "\u{1}".repeat(9) }];
    let dated = |date: &str| RecordLine { date: Some(date.to_owned()), ..record(date) };
    let dates = ["1582-12-31", "1583-01-01", "9999-12-31T00:00:00Z", "-000001-01-01", "2023-02-30", "", "1969-12-31"];
    let dates: Vec<RecordLine> = dates.map(dated).into();
    assert_round_trip(&[vec![line.clone(), line], dates]);
}

#[test]
fn a_table_without_rows_is_a_table() {
    for parts in [vec![Vec::new()], vec![Vec::new(), Vec::new()], vec![vec![failed("a")]]] {
        let [documents, companies] = tables(&parts);
        assert_eq!(rows(&companies), [Value::Null; 0]);
        assert_eq!(footer(&companies).num_row_groups(), 0);
        assert_eq!(rows(&documents).len(), parts.iter().flatten().count());
        let schema = footer(&tables(&[vec![record("a")]])[1]).file_metadata().schema().clone();
        assert_eq!(footer(&companies).file_metadata().schema(), &schema);
    }
}

#[test]
fn equal_records_give_equal_bytes() {
    let parts = [vec![record("a"), failed("b")], vec![record("c")]];
    assert_eq!(tables(&parts), tables(&parts));
}

#[test]
fn a_copy_says_of_its_columns_what_the_part_says() {
    let folder = TempDir::new().expect("a folder");
    let long = RecordLine { text: Some("Acme left. ".repeat(1 << 18)), ..record("long") };
    for parts in files(&folder, &[vec![record("a"), long.clone(), failed("b"), long]]) {
        let part = std::fs::read(&parts[0]).expect("is there");
        let mut copy = Vec::new();
        assemble(&parts, &mut copy).expect("assembles");
        let [a, b] = [&part, &copy].map(|file| footer(file));
        let data = usize::try_from(a.row_group(0).compressed_size()).expect("fits");
        assert!(part[..data] == copy[..data]);
        let indexes = [&a, &b].map(|footer| footer.page_index().expect("is there"));
        for (n, (a, b)) in a.row_group(0).columns().iter().zip(b.row_group(0).columns()).enumerate() {
            let [of_a, of_b] = indexes.map(|i| (i.column_index(0, n), i.offset_index(0, n)));
            assert_eq!(of_a, of_b);
            assert_eq!(a.statistics(), b.statistics());
            assert_eq!(a.page_encoding_stats(), b.page_encoding_stats());
            assert!(a.page_encoding_stats().is_some());
            assert_eq!(a.unencoded_byte_array_data_bytes(), b.unencoded_byte_array_data_bytes());
            assert_eq!(a.repetition_level_histogram(), b.repetition_level_histogram());
            assert_eq!(a.definition_level_histogram(), b.definition_level_histogram());
        }
        std::fs::write(&parts[0], &copy).expect("writes");
        let mut again = Vec::new();
        assemble(&parts, &mut again).expect("assembles");
        assert!(copy == again);
    }
}

#[test]
fn a_row_group_per_part_with_statistics_and_indexes() {
    let long = RecordLine { text: Some("Acme left. ".repeat(1 << 18)), ..record("long") };
    let parts = [vec![record("a"), record("b"), failed("c")], vec![long; 8], vec![record("z")]];
    for (file, counts) in tables(&parts).iter().zip([[3, 8, 1], [2, 8, 1]]) {
        let footer = footer(file);
        let meta = footer.file_metadata();
        assert_eq!(meta.created_by(), Some(concat!("stancewire version ", env!("CARGO_PKG_VERSION"))));
        let pairs = meta.key_value_metadata().expect("is there").iter();
        let pairs: Vec<_> = pairs.map(|p| (p.key.as_str(), p.value.as_deref())).collect();
        assert_eq!(pairs, [("stancewire.schema", Some("1")), ("stancewire.model", Some(MODEL))]);
        let groups = footer.row_groups();
        assert_eq!(groups.iter().map(|g| g.num_rows()).collect::<Vec<_>>(), counts);
        let indexes = footer.page_index().expect("is there");
        for (at, group) in groups.iter().enumerate() {
            for (column, chunk) in group.columns().iter().enumerate() {
                let path = chunk.column_path().string();
                assert!(matches!(chunk.compression(), Compression::ZSTD(_)), "{path}");
                assert!(chunk.statistics().is_some(), "{path}");
                assert!(indexes.column_index(at, column).is_some(), "{path}");
                let pages = &indexes.offset_index(at, column).expect("is there").page_locations;
                assert_eq!(pages.first().map(|p| p.offset), Some(chunk.data_page_offset()), "{path}");
            }
        }
    }
}

#[test]
fn columns_are_null_only_where_records_are() {
    let [documents, companies] = tables(&[vec![record("a")]]);
    let nullable = |file: &[u8]| {
        let schema = batches(file)[0].schema();
        schema.fields().iter().filter(|f| f.is_nullable()).map(|f| f.name().clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(nullable(&documents), "error_kind error_message title date published url language text duplicate_of");
    assert_eq!(nullable(&companies), "date duplicate_of");
}

#[test]
fn long_texts_are_encoded_while_the_part_grows() {
    let mut part = ParquetPart::new(MODEL).expect("starts");
    let line = RecordLine { text: Some("Acme left. ".repeat(1 << 17)), ..record("long") };
    for number in 0..40 {
        part.push(number, &line).expect("encodes");
        assert!(part.documents.rows.waiting() < MAX_WAITING);
    }
    let mut documents = Vec::new();
    part.finish(&mut documents, io::sink()).expect("writes to memory");
    assert_eq!(footer(&documents).num_row_groups(), 1);
    assert_eq!(rows(&documents).len(), 40);
}

#[test]
fn numbers_beyond_a_column_are_refused() {
    let mut late = record("a");
    late.companies[0].evidence[1].end = u64::MAX;
    let long = RecordLine { chars: u64::MAX, ..record("a") };
    for (number, line) in [(u64::MAX, record("a")), (0, long), (0, late)] {
        let mut part = ParquetPart::new(MODEL).expect("starts");
        let error = part.push(number, &line).expect_err("is too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "18446744073709551615 is too large for a table's column");
        // Without a panic, whatever was added before.
        drop(part.finish(io::sink(), io::sink()));
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let [documents, companies] = files(&folder, &[vec![record("a")]]);
    let other = folder.path().join("other.parquet");
    let part = ParquetPart::new("other").expect("starts");
    part.finish(std::fs::File::create(&other).expect("creates"), io::sink()).expect("writes");
    let damaged = folder.path().join("damaged.parquet");
    let whole = std::fs::read(&documents[0]).expect("is there");
    std::fs::write(&damaged, &whole[..whole.len() - 9]).expect("writes");
    let first = documents[0].clone();
    let cases = [
        (vec![], io::ErrorKind::InvalidInput, "no parts"),
        (vec![first.clone(), companies[0].clone()], io::ErrorKind::InvalidData, "another table"),
        (vec![first.clone(), other], io::ErrorKind::InvalidData, "another table or model"),
        (vec![first.clone(), damaged], io::ErrorKind::Other, "damaged.parquet"),
        (vec![first, folder.path().join("none")], io::ErrorKind::NotFound, "none: "),
    ];
    for (parts, kind, message) in cases {
        let error = assemble(&parts, io::sink()).expect_err("does not fit");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn an_error_of_the_writer_below_is_handed_on() {
    let folder = TempDir::new().expect("a folder");
    let [documents, _] = files(&folder, &[vec![record("a")]]);
    let mut full = [0; 100];
    let error = assemble(&documents, full.as_mut_slice()).expect_err("100 bytes are too few");
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    let part = ParquetPart::new(MODEL).expect("starts");
    let error = part.finish(full.as_mut_slice(), io::sink()).expect_err("100 bytes are too few");
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_records_are_read_back(
        sizes in prop::collection::vec(prop::collection::vec(0..4_usize, 0..5), 1..4),
        text in "(?s).{0,60}",
        confidence in 0.0..=1.0_f64,
    ) {
        let sentence =
            EvidenceLine { start: 1, end: 2, text: text.clone(), stance: Stance::Suspended, confidence };
        let line = |companies: &usize| {
            let mut line = RecordLine { title: Some(text.clone()), ..record(&text) };
            line.companies = (0..*companies).map(|n| company(&format!("{text}{n}"))).collect();
            line.companies.iter_mut().enumerate().for_each(|(n, c)| c.evidence = vec![sentence.clone(); n]);
            line
        };
        let parts: Vec<Vec<RecordLine>> = sizes.iter().map(|part| part.iter().map(line).collect()).collect();
        assert_round_trip(&parts);
    }
}
