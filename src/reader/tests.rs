//! What a whole source yields.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::document::Document;
use crate::error::InputError;

fn options(max_bytes: u64) -> ReadOptions {
    ReadOptions { max_bytes, ..ReadOptions::default() }
}

pub(super) fn found(arguments: &[PathBuf]) -> Result<Vec<Source>, InputError> {
    discover(&Discovery { arguments: arguments.to_vec(), ..Discovery::default() })
}

fn read_all(sources: &[Source], options: &ReadOptions) -> Vec<Input> {
    let mut inputs = Vec::new();
    read_documents(sources, options, &BytesRead::default(), &mut |input| {
        inputs.push(input);
        ControlFlow::Continue(())
    });
    inputs
}

fn read_file(name: &str, content: &[u8], max_bytes: u64) -> Vec<Input> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("writes");
    read_all(&found(&[path]).expect("a file"), &options(max_bytes))
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).expect("compresses");
    encoder.finish().expect("compresses")
}

pub(super) fn zstd(content: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(content, 1).expect("compresses")
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
fn a_line_without_text_or_title_fails_but_keeps_its_id() {
    let lines = "{\"id\":\"a\",\"text\":null}\n{\"id\":\"b\",\"title\":\"T\",\"text\":null}\n{\"id\":\"\",\"url\":\"u\",\"text\":7}\n{}\n";
    let inputs = read_file("a.jsonl", lines.as_bytes(), 0);
    let want =
        [("a.jsonl:1", "missing_text"), ("a.jsonl:2", "ok"), ("a.jsonl:3", "bad_field"), ("a.jsonl:4", "missing_text")];
    assert_eq!(outcomes(&inputs), want);
    assert_eq!(inputs[0].document.id.as_deref(), Some("a"));
    assert_eq!(inputs[1].document.text, "T");
    assert_eq!((inputs[2].document.id.as_deref(), inputs[2].document.url.as_deref()), (None, Some("u")));
    let message = inputs[2].error.as_ref().map(|e| e.message.as_str());
    assert_eq!(message, Some("`text` must be a string, not a number"));
}

#[test]
fn fields_have_the_names_asked_for_and_may_share_one() {
    let fields = FieldNames { id: "url".to_owned(), text: "body".to_owned(), ..FieldNames::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    fs::write(&path, "{\"url\":\"u\",\"body\":\"B\",\"text\":7,\"id\":[]}").expect("writes");
    let options = ReadOptions { max_bytes: 0, fields, ..ReadOptions::default() };
    let inputs = read_all(&found(&[path]).expect("a file"), &options);
    let want = Document {
        id: Some("u".to_owned()),
        url: Some("u".to_owned()),
        text: "B".to_owned(),
        source: "a.jsonl:1".to_owned(),
        ..Document::default()
    };
    assert_eq!(inputs, [Input::text(want)]);
}

#[test]
fn other_fields_cost_no_document_and_the_last_of_a_repeated_one_counts() {
    let lines = r#"{"text":"x","a":"\ud83d","b":1e999,"c":{"text":"y"},"text":"z\u0000"}"#;
    let inputs = read_file("a.jsonl", lines.as_bytes(), 0);
    assert_eq!(outcomes(&inputs), [("a.jsonl:1", "ok")]);
    assert_eq!(inputs[0].document.text, "z\0");
    assert!(inputs[0].document.warnings.is_empty() && inputs[0].document.meta.is_empty());
}

#[test]
fn lines_may_be_in_any_encoding() {
    let lines = "{\"text\":\"é1\"}\r\n\r\n{\"text\":\"😀2\"}\n";
    let utf16: Vec<u8> = "\u{feff}".encode_utf16().chain(lines.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for (name, content) in [("a.jsonl", utf16.clone()), ("a", utf16), ("a", format!("\u{feff}{lines}").into_bytes())] {
        let is_utf8 = content.starts_with(b"\xef");
        let inputs = read_file(name, &content, 0);
        let found: Vec<_> = inputs.iter().map(|i| (i.document.source.clone(), i.document.text.as_str())).collect();
        assert_eq!(found, [(format!("{name}:1"), "é1"), (format!("{name}:3"), "😀2")]);
        assert!(inputs.iter().all(|i| i.document.warnings.is_empty() == is_utf8), "{inputs:?}");
    }
    let mixed = b"{\"text\":\"Soci\xe9t\xe9 G\xe9n\xe9rale\"}\n\xef\xbb\xbf{\"text\":\"Soci\xc3\xa9t\xc3\xa9\"}";
    let inputs = read_file("a.jsonl", mixed, 0);
    let found: Vec<_> = inputs.iter().map(|i| (i.document.text.as_str(), i.document.warnings.len())).collect();
    assert_eq!(found, [("Société Générale", 1), ("Société", 0)]);
    assert!(inputs[0].document.warnings[0].contains("windows-1252"), "{:?}", inputs[0].document.warnings);
}

#[test]
fn text_files_are_whole_and_may_be_empty() {
    for content in ["", " \r\n", "Title\r\n\r\nBody\r\n", "a\0b"] {
        let inputs = read_file("a.txt", content.as_bytes(), 0);
        assert_eq!((outcomes(&inputs), inputs[0].document.text.as_str()), (vec![("a.txt", "ok")], content));
    }
    assert_eq!(read_file("a.jsonl", b"", 0), []);
    assert_eq!(read_file("a.jsonl", b"\n\r\n \n", 0), []);
    let utf16 = read_file("a.txt", b"\xff\xfeA\0", 0);
    assert_eq!((utf16[0].document.text.as_str(), utf16[0].document.warnings.len()), ("A", 1));
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
    assert!(bomb.len() < 100_000);
    assert_eq!(outcomes(&read_file("a.txt.gz", &bomb, 100_000)), [("a.txt.gz", "too_large")]);
    assert_eq!(outcomes(&read_file("a.txt", b"\xef\xbb\xbf12345", 5)), [("a.txt", "ok")]);
    // Five bytes that are ten in UTF-8.
    assert_eq!(outcomes(&read_file("a.txt", b"\xe9\xe9\xe9\xe9\xe9", 5)), [("a.txt", "too_large")]);
    assert_eq!(outcomes(&read_file("a.txt", b"123456", 5)), [("a.txt", "too_large")]);
}

#[test]
fn a_line_over_the_limit_costs_only_itself() {
    let lines = format!("{{\"text\":\"1\"}}\n{{\"text\":\"{}\"}}\n{{\"text\":\"3\"}}", "x".repeat(1 << 20));
    for content in [lines.clone().into_bytes(), gzip(lines.as_bytes()), zstd(lines.as_bytes())] {
        let inputs = read_file("a.jsonl", &content, 100);
        assert_eq!(outcomes(&inputs), [("a.jsonl:1", "ok"), ("a.jsonl:2", "too_large"), ("a.jsonl:3", "ok")]);
        let error = inputs[1].error.as_ref().expect("too large");
        assert!(error.skipped && error.message.contains("100 bytes") && error.message.contains("--max-bytes"));
    }
}

#[test]
fn damaged_or_misnamed_compression_is_one_failed_document() {
    let content = gzip(&[b'x'; 5000]);
    for content in [&content[..content.len() - 4], b"", b"plain", b"\x1f\x8b\x08"] {
        assert_eq!(outcomes(&read_file("a.txt.gz", content, 0)), [("a.txt.gz", "read")], "{content:?}");
    }
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
    for name in ["b.txt", "a/z.md", "a/y.jsonl.gz", "a.txt", ".hidden/x.txt", "a/.x.txt", "a/image.jpg", "c.TXT"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, b"").expect("writes");
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/loop")).expect("a link");
    let sources = found(&[folder.path().to_owned()]).expect("documents");
    let names: Vec<_> = sources.iter().map(Source::name).collect();
    // By the bytes of the path: `.` comes before `/`.
    assert_eq!(names, ["a.txt", "a/y.jsonl.gz", "a/z.md", "b.txt", "c.TXT"]);
}

#[test]
fn arguments_that_cannot_be_read_are_refused_before_any_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = folder.path().join("a.txt");
    fs::write(&good, "x").expect("writes");
    let missing = found(&[good.clone(), folder.path().join("b.txt")]);
    assert!(matches!(missing, Err(InputError::Open { path, .. }) if path.ends_with("b.txt")));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    fs::write(empty.join("image.jpg"), "x").expect("writes");
    assert!(matches!(found(&[good, empty.clone()]), Err(InputError::NoDocuments { path }) if path == empty));
    let input = found(&["-".into()]).expect("standard input");
    assert_eq!((input[0].name().as_str(), input[0].path(), input[0].size_bytes()), ("-", None, None));
}

#[cfg(unix)]
#[test]
fn links_to_nowhere_are_failed_documents_and_pipes_are_let_be() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.txt", "b.jpg", ".c.txt"] {
        std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join(name)).expect("a link");
    }
    let pipe = folder.path().join("d.txt");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|s| s.success());
    let sources = found(&[folder.path().to_owned()]).expect("documents");
    let inputs = read_all(&sources, &options(0));
    assert_eq!(outcomes(&inputs), [("a.txt", "read")]);
    // Named outright, a pipe is read, once.
    if made {
        let sources = found(std::slice::from_ref(&pipe)).expect("a pipe");
        let writer = std::thread::spawn(move || fs::write(pipe, "x"));
        let inputs = read_all(&sources, &options(0));
        assert_eq!(inputs[0].document.text, "x");
        writer.join().expect("a thread").expect("writes");
    }
}

#[test]
fn a_file_that_vanishes_is_one_failed_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let paths: Vec<PathBuf> = ["a.txt", "b.txt"].map(|n| folder.path().join(n)).into();
    paths.iter().for_each(|p| fs::write(p, "x").expect("writes"));
    let sources = found(&paths).expect("files");
    fs::remove_file(&paths[0]).expect("removes");
    let inputs = read_all(&sources, &options(0));
    assert_eq!(outcomes(&inputs), [("a.txt", "read"), ("b.txt", "ok")]);
}

#[test]
fn bytes_are_counted_as_they_lie_on_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.txt.gz");
    let content = gzip(&[b'x'; 10_000]);
    fs::write(&path, &content).expect("writes");
    let (sources, read) = (found(&[path]).expect("a file"), BytesRead::default());
    assert_eq!(sources[0].size_bytes(), Some(content.len() as u64));
    read_documents(&sources, &options(0), &read, &mut |_| ControlFlow::Continue(()));
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
