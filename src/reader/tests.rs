//! What a whole source yields.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn options(max_bytes: u64) -> ReadOptions {
    ReadOptions { max_bytes, fields: FieldNames::default() }
}

fn read_file(name: &str, content: &[u8], max_bytes: u64) -> Vec<Input> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("writes");
    documents(discover(&[path]).expect("a file"), options(max_bytes), BytesRead::default()).collect()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("compresses");
    encoder.finish().expect("compresses")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn outcomes(inputs: &[Input]) -> Vec<(&str, &str)> {
    let kind = |input: &'_ Input| input.error.as_ref().map_or("ok", |e| e.kind);
    inputs.iter().map(|input| (input.document.source.as_str(), kind(input))).collect()
}

#[test]
fn a_title_is_put_before_a_text_that_lacks_it() {
    let lines = "{\"title\":\"T\",\"text\":\"T\\n\\nB\"}\n{\"title\":\"T\",\"text\":\"B\"}\n{\"title\":\"T\"}\n{\"title\":\" \",\"text\":\"B\"}";
    let texts: Vec<_> = read_file("a.jsonl", lines.as_bytes(), 0).into_iter().map(|i| i.document.text).collect();
    assert_eq!(texts, ["T\n\nB", "T\n\nB", "T", "B"]);
}

#[test]
fn a_date_that_is_not_iso_stays_in_meta() {
    let lines = "{\"text\":\"x\",\"date\":\"May 9, 2022\"}\n{\"text\":\"x\",\"date\":\"soon\"}\n{\"text\":\"x\",\"date\":\"2022-05-09\"}\n";
    let inputs = read_file("a.jsonl", lines.as_bytes(), 0);
    let dates: Vec<_> =
        inputs.iter().map(|i| (i.document.date.as_deref(), i.document.meta.get("date").cloned())).collect();
    let want =
        [(Some("2022-05-09"), Some(json!("May 9, 2022"))), (None, Some(json!("soon"))), (Some("2022-05-09"), None)];
    assert_eq!(dates, want);
}

#[test]
fn bad_lines_fail_alone_and_say_where() {
    let lines = "\n[1]\n{\"text\":\"x\"} y\n{\"text\":[]}\n{\"id\":{},\"text\":\"x\"}\r\n\r\n{\"id\":7,\"text\":\"x\"}";
    let inputs = read_file("a.ndjson", lines.as_bytes(), 0);
    let want = [
        ("a.ndjson:2", "bad_json"),
        ("a.ndjson:3", "bad_json"),
        ("a.ndjson:4", "bad_field"),
        ("a.ndjson:5", "bad_field"),
        ("a.ndjson:7", "ok"),
    ];
    assert_eq!(outcomes(&inputs), want);
    assert_eq!(
        inputs[1].error.as_ref().map(|e| e.message.as_str()),
        Some("bad JSON at column 14: trailing characters")
    );
    assert_eq!(inputs[4].document.id.as_deref(), Some("7"));
}

#[test]
fn surrogate_escapes_are_repaired_only_when_lone() {
    let lines = r#"{"text":"\ud83d\ude00 \ud83d x \ude00 \\ud83d é\ud83d"}"#;
    let inputs = read_file("a.jsonl", lines.as_bytes(), 0);
    assert_eq!(inputs[0].document.text, "😀 \u{fffd} x \u{fffd} \\ud83d é\u{fffd}");
    assert_eq!(inputs[0].document.warnings.len(), 1);
}

#[test]
fn limits_count_decompressed_bytes() {
    let bomb = gzip(&vec![b'x'; 1 << 20]);
    assert!(bomb.len() < 10_000);
    assert_eq!(outcomes(&read_file("a.txt.gz", &bomb, 10_000)), [("a.txt.gz", "too_large")]);
    assert_eq!(outcomes(&read_file("a.txt", b"12345", 5)), [("a.txt", "ok")]);
    assert_eq!(outcomes(&read_file("a.txt", b"123456", 5)), [("a.txt", "too_large")]);
}

#[test]
fn compression_is_told_by_content() {
    let line = b"{\"id\":\"a\",\"text\":\"x\"}\n";
    let members = [gzip(line), gzip(line)].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9][..], &zstd(line), &zstd(line)].concat();
    for (name, content) in [("plain", members), ("odd.name", skippable)] {
        let inputs = read_file(name, &content, 0);
        assert_eq!(inputs.iter().map(|i| i.document.id.as_deref()).collect::<Vec<_>>(), [Some("a"); 2], "{name}");
    }
    let text = read_file("letter", b"{ is no JSON\n", 0);
    assert_eq!((text.len(), text[0].document.text.as_str()), (1, "{ is no JSON\n"));
}

#[test]
fn lines_before_a_damaged_end_are_kept() {
    let lines: Vec<u8> = (0..20_000_u64)
        .flat_map(|n| format!("{{\"text\":\"line number {n}, {}\"}}\n", n * n * 7919).into_bytes())
        .collect();
    for compressed in [gzip(&lines), zstd(&lines)] {
        let inputs = read_file("a.jsonl", &compressed[..compressed.len() / 2], 0);
        assert!(inputs.len() > 100, "{}", inputs.len());
        let (last, before) = inputs.split_last().expect("some");
        assert!(before.iter().all(|i| i.error.is_none()));
        assert_eq!(last.error.as_ref().map(|e| e.kind), Some("read"));
    }
}

#[test]
fn a_folder_is_walked_in_a_fixed_order_without_hidden_files() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b.txt", "a/z.md", "a/y.jsonl.gz", ".hidden/x.txt", "a/.x.txt", "a/image.jpg", "c.TXT"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, b"").expect("writes");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).expect("a link");
    let sources = discover(&[folder.path().to_owned()]).expect("documents");
    let names: Vec<_> = sources.iter().map(Source::name).collect();
    assert_eq!(names, ["a/y.jsonl.gz", "a/z.md", "b.txt", "c.TXT"]);
}

#[test]
fn a_file_that_vanishes_is_one_failed_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = ["a.txt", "b.txt"].map(|n| folder.path().join(n)).into();
    paths.iter().for_each(|p| fs::write(p, "x").expect("writes"));
    let sources = discover(&paths).expect("files");
    fs::remove_file(&paths[0]).expect("removes");
    let inputs: Vec<_> = documents(sources, options(0), BytesRead::default()).collect();
    assert_eq!(outcomes(&inputs), [("a.txt", "read"), ("b.txt", "ok")]);
}

#[test]
fn bytes_are_counted_as_they_lie_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.txt.gz");
    let content = gzip(&[b'x'; 10_000]);
    fs::write(&path, &content).expect("writes");
    let (sources, read) = (discover(&[path]).expect("a file"), BytesRead::default());
    assert_eq!(sources[0].size_bytes(), Some(content.len() as u64));
    assert_eq!(documents(sources, options(0), read.clone()).count(), 1);
    assert_eq!(read.get(), content.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_reader_panic(content in prop::collection::vec(any::<u8>(), 0..300), magic in 0_usize..4) {
        let heads: [&[u8]; 4] = [b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\xff\xfe"];
        let content = [heads[magic], &content].concat();
        for name in ["a.txt", "a.jsonl", "a"] {
            let inputs = read_file(name, &content, 200);
            prop_assert!(name != "a.txt" || inputs.len() == 1);
        }
    }

    #[test]
    fn documents_survive_json_lines_and_compression(texts in prop::collection::vec("\\PC{0,30}", 1..8), blanks in 0_usize..3) {
        let gap = "\n".repeat(blanks + 1);
        let lines: Vec<String> = texts.iter().map(|t| json!({ "text": t }).to_string()).collect();
        let content = lines.join(&gap).into_bytes();
        for content in [content.clone(), gzip(&content), zstd(&content)] {
            let inputs = read_file("a.jsonl", &content, 0);
            let found: Vec<_> = inputs.iter().map(|i| i.document.text.clone()).collect();
            prop_assert_eq!(&found, &texts);
            let last = format!("a.jsonl:{}", 1 + (texts.len() - 1) * (blanks + 1));
            prop_assert_eq!(&inputs[texts.len() - 1].document.source, &last);
        }
    }
}
