use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const STORY: &str =
    "Acme quits Freedonia\n\nAcme Devices Inc. said on Monday that it has ended all sales in Freedonia.\n";

fn extract(folder: &Path, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
    let output = command.current_dir(folder).args(["extract", "-q"]).args(arguments).output().expect("runs");
    let stdout = String::from_utf8(output.stdout).expect("records are UTF-8");
    let records = stdout.lines().map(|line| serde_json::from_str(line).expect("a line is a record")).collect();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("no signal"), records, messages)
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, content).expect("writes");
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("compresses");
    encoder.finish().expect("compresses")
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("begins");
        archive.write_all(content).expect("writes");
    }
    archive.finish().expect("finishes").into_inner()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, *content).expect("appends");
    }
    archive.into_inner().expect("finishes")
}

fn page(title: &str, body: &str) -> String {
    let paragraphs: String = body.split("\n\n").map(|p| format!("<p>{p}</p>")).collect();
    format!(
        "<!DOCTYPE html><html lang=en><head><title>{title}</title><meta property=\"og:title\" content=\"{title}\">\
         <meta property=\"article:published_time\" content=\"2022-05-09T10:00:00Z\"></head><body><nav><a href=/>Home</a></nav>\
         <article><h1>{title}</h1>{paragraphs}</article><footer>About us</footer></body></html>"
    )
}

fn warc_record(kind: &str, url: &str, block: &[u8]) -> Vec<u8> {
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{:032x}>\r\nWARC-Date: 2022-05-10T00:00:00Z\r\n\
         WARC-Target-URI: {url}\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n",
        url.len(),
        block.len()
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

const LONG: &str = "Acme Devices Inc. said on Monday that it has ended all sales in Freedonia, after months of talks with its partners \
    there, and that it would not return.\n\nThe company employed about three hundred people in the country, according to its \
    annual report, and ran two warehouses near the capital, which have been sold to a local firm.\n\nRivals such as Zorvex Corp. \
    have not said what they will do, although analysts expect that most of them will follow before the end of the year.";

/// The same story in every format that is read.
#[test]
fn every_format_yields_the_same_document() {
    let folder = tempfile::tempdir().expect("a folder");
    let row = json!({"id": "a", "title": "Acme quits Freedonia", "text": LONG, "date": "2022-05-09", "url": "https://x.example/a", "section": "tech"});
    let line = row.to_string();
    let pretty = serde_json::to_string_pretty(&json!([row])).expect("JSON");
    let wrapped = serde_json::to_string_pretty(&json!({"status": "ok", "articles": [row]})).expect("JSON");
    let cells = |separator: &str| {
        let names = ["id", "title", "text", "date", "url", "section"];
        let quoted = |name: &&str| format!("\"{}\"", row[*name].as_str().expect("text").replace('"', "\"\""));
        format!("{}\n{}\n", names.join(separator), names.iter().map(quoted).collect::<Vec<_>>().join(separator))
    };
    write(&folder, "a.jsonl", &line);
    write(&folder, "a.json", &pretty);
    write(&folder, "lines.json", format!("{line}\n"));
    write(&folder, "wrapped.json", &wrapped);
    write(&folder, "wrapped-in-a-line.json", json!({"title": "News", "articles": [row, row]}).to_string());
    write(&folder, "a.csv", cells(","));
    write(&folder, "semicolons.csv", cells(";"));
    write(&folder, "a.tsv", cells("\t"));
    write(&folder, "a.zip", zip(&[("in/a.jsonl", line.as_bytes()), ("b.png", b"no document"), (".hidden.txt", b"no")]));
    write(&folder, "a.tar.gz", gzip(&tar(&[("in/a.csv", cells(",").as_bytes()), ("b.png", b"no document")])));
    write(
        &folder,
        "a.tar.zst",
        zstd::encode_all(&tar(&[("in/deep.zip", &zip(&[("a.json", pretty.as_bytes())]))])[..], 3).expect("compresses"),
    );
    write(&folder, "no-name", &pretty);
    write(&folder, "no-name-either", cells(";"));
    parquet(&folder.path().join("a.parquet"), &row);
    let (status, records, messages) =
        extract(folder.path(), &[".", "no-name", "no-name-either", "--with-text", "--keep", "section"]);
    assert_eq!(status, 0, "{messages}");
    let sources: Vec<_> = records.iter().map(|r| r["source"].as_str().expect("a source")).collect();
    assert_eq!(
        sources,
        [
            "a.csv:2",
            "a.json#1",
            "a.jsonl:1",
            "a.parquet#1",
            "a.tar.gz!in/a.csv:2",
            "a.tar.zst!in/deep.zip!a.json#1",
            "a.tsv:2",
            "a.zip!in/a.jsonl:1",
            "lines.json#1",
            "semicolons.csv:2",
            "wrapped-in-a-line.json#1",
            "wrapped-in-a-line.json#2",
            "wrapped.json#1",
            "no-name#1",
            "no-name-either:2",
        ]
    );
    let bare = |record: &Value| {
        let mut record = record.clone();
        for name in ["source", "duplicate_of"] {
            record.as_object_mut().expect("a record").remove(name);
        }
        record
    };
    assert_eq!(bare(&records[0])["meta"], json!({"section": "tech"}));
    assert_eq!(records[0]["text"], format!("Acme quits Freedonia\n\n{LONG}"));
    for record in &records[1..] {
        assert_eq!(bare(record), bare(&records[0]), "{}", record["source"]);
        assert_eq!(record["duplicate_of"], "a");
    }
}

fn parquet(path: &Path, row: &Value) {
    use std::sync::Arc;
    let columns = row.as_object().expect("an object").iter().map(|(name, value)| {
        let values: arrow_array::ArrayRef = Arc::new(arrow_array::StringArray::from(vec![value.as_str()]));
        (name.as_str(), values)
    });
    let batch = arrow_array::RecordBatch::try_from_iter(columns).expect("a batch");
    let file = fs::File::create(path).expect("creates");
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("writes");
    writer.close().expect("closes");
}

#[test]
fn pages_and_crawls_yield_their_main_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = page("Acme quits Freedonia", LONG);
    let crawl: Vec<u8> = [
        warc_record("warcinfo", "", b"software: test"),
        warc_record("request", "https://x.example/a", b"GET /a HTTP/1.1\r\n\r\n"),
        warc_record("response", "https://x.example/a", &response("200 OK", "text/html; charset=utf-8", &html)),
        warc_record("response", "https://x.example/b", &response("404 Not Found", "text/html", "gone")),
        warc_record("response", "https://x.example/c", &response("200 OK", "image/png", "\u{89}PNG")),
    ]
    .iter()
    .flat_map(|record| gzip(record))
    .collect();
    write(&folder, "a.html", &html);
    write(&folder, "crawl.warc.gz", &crawl);
    let (status, records, messages) = extract(folder.path(), &[".", "--with-text"]);
    assert_eq!(status, 0, "{messages}");
    let of = |name: &str| records.iter().map(|r| r[name].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(of("source"), ["a.html", "crawl.warc.gz#3", "crawl.warc.gz#4", "crawl.warc.gz#5"]);
    assert_eq!(of("status"), ["ok", "ok", "skipped", "skipped"]);
    assert_eq!(records[2]["error"]["kind"], "http_status");
    assert_eq!(records[3]["error"]["kind"], "not_text");
    assert_eq!(of("url")[1], "https://x.example/a");
    for record in &records[..2] {
        assert_eq!(record["title"], "Acme quits Freedonia");
        assert_eq!(record["date"], "2022-05-09T10:00:00Z");
        assert_eq!(record["text"], format!("Acme quits Freedonia\n\n{LONG}"));
        assert_eq!(record["companies"][0]["stance"], "halted", "{record}");
    }
}

/// One line for each damaged file with what became of it; every file has at least one record, whatever is wrong with it.
#[test]
fn damaged_inputs_are_told_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = json!({"text": LONG}).to_string() + "\n";
    let lines = line.repeat(200);
    let crawl = warc_record("response", "https://x.example/a", &response("200 OK", "text/html", &page("T", LONG)));
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let packed = gzip(lines.as_bytes());
    let zipped = zip(&[("a.txt", STORY.as_bytes()), ("b.txt", LONG.as_bytes())]);
    let tarred = tar(&[("a.txt", STORY.as_bytes()), ("b.txt", LONG.as_bytes())]);
    let zeros = vec![b' '; 80 << 20];
    let bomb_head = format!("WARC/1.0\r\nWARC-Type: response\r\nContent-Length: {}\r\n\r\n", zeros.len());
    parquet(&folder.path().join("missing-column.parquet"), &json!({"id": "a", "body": LONG}));
    parquet(&folder.path().join("whole.parquet"), &json!({"text": LONG}));
    let whole = fs::read(folder.path().join("whole.parquet")).expect("reads");
    fs::remove_file(folder.path().join("whole.parquet")).expect("removes");
    // Name, content, and the outcomes that must be among its records.
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("truncated.jsonl.gz", packed[..packed.len() / 2].to_vec(), &["failed read"]),
        ("not-gzip.jsonl.gz", b"plain".to_vec(), &["failed read"]),
        ("empty.jsonl.gz", Vec::new(), &["failed read"]),
        ("cut.warc", [&crawl[..], &crawl[..crawl.len() / 2]].concat(), &["ok", "failed read"]),
        ("no-warc.warc", b"<html>".to_vec(), &["failed read"]),
        ("cut.parquet", whole[..whole.len() / 2].to_vec(), &["failed read"]),
        ("no.parquet", b"PAR1".to_vec(), &["failed read"]),
        (
            "quotes.csv",
            format!("id,text\n1,\"{STORY}\"\n2,\"never closed\n3,x\n").into_bytes(),
            &["ok", "failed bad_row"],
        ),
        ("columns.csv", b"id,body\n1,x\n".to_vec(), &["failed missing_column"]),
        ("short.csv", b"id,text\n1\n2,Second row.\n".to_vec(), &["failed bad_row", "ok"]),
        ("utf16.txt", utf16("Acme has left Freedonia."), &["ok"]),
        ("utf16.jsonl", utf16(&line), &["ok"]),
        ("latin-1.txt", b"Soci\xe9t\xe9 G\xe9n\xe9rale said it has left Freedonia.".to_vec(), &["ok"]),
        ("surrogates.jsonl", b"{\"text\":\"A lone \\ud83d one.\"}\n".to_vec(), &["ok"]),
        ("marks.jsonl", format!("\u{feff}{line}\u{feff}{line}").into_bytes(), &["ok"]),
        ("nul.txt", b"Before\0after.".to_vec(), &["ok"]),
        ("nul.jsonl", b"\0\0\0\0\n".to_vec(), &["failed bad_json"]),
        (
            "bad.jsonl",
            b"{\"text\": oops}\n[]\n{}\n{\"text\":7}\n".to_vec(),
            &["failed bad_json", "failed missing_text", "failed bad_field"],
        ),
        ("cut.json", b"[{\"text\":\"First.\"},{\"text\":\"Sec".to_vec(), &["ok", "failed bad_json"]),
        (
            "long-line.jsonl",
            format!("{{\"text\":\"{}\"}}\n{line}", "x".repeat(50 << 20)).into_bytes(),
            &["skipped too_large", "ok"],
        ),
        ("bomb.txt.gz", gzip(&zeros), &["skipped too_large"]),
        ("bomb.jsonl.gz", gzip(&zeros), &["skipped compression_ratio"]),
        ("bomb.zip", zip(&[("a.jsonl", &zeros), ("b.jsonl", &zeros)]), &["skipped compression_ratio"]),
        ("cut.zip", zipped[..zipped.len() / 2].to_vec(), &["failed read"]),
        ("two.tar", [&tarred[..], &tarred[..]].concat(), &["ok", "failed read"]),
        ("bomb.warc.gz", gzip(&[bomb_head.as_bytes(), &zeros].concat()), &["skipped compression_ratio"]),
        ("utf16.html", utf16(&page("Title", LONG)), &["ok"]),
        ("titles.csv", b"id,title\n1,Acme quits\n".to_vec(), &["failed missing_column"]),
        (
            "deep.jsonl",
            format!("{{\"text\":\"x\",\"date\":{}{}}}", "[".repeat(100), "]".repeat(100)).into_bytes(),
            &["failed bad_field"],
        ),
        ("cut.tar", tarred[..1024].to_vec(), &["ok", "failed read"]),
        ("cut-inside.tar", tarred[..1300].to_vec(), &["ok", "failed read"]),
        (
            "nested.zip",
            zip(&[("a.zip", &zip(&[("b.zip", &zip(&[("c.zip", &zip(&[("d.txt", b"x")]))]))]))]),
            &["skipped nested_archive"],
        ),
        ("deep.html", "<div>".repeat(200_000).into_bytes(), &[]),
        ("empty.html", Vec::new(), &["empty"]),
        ("empty.txt", Vec::new(), &["empty"]),
        (
            "german.txt",
            "Die Fabrik in Lübeck hat nach Angaben des Unternehmens den Betrieb am Montag eingestellt.".into(),
            &["skipped not_english"],
        ),
        ("noise.bin.txt", (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect(), &[]),
    ];
    for (name, content, _) in &rows {
        write(&folder, name, content);
    }
    let mut wanted: Vec<(&str, &[&str])> = rows.iter().map(|(name, _, outcomes)| (*name, *outcomes)).collect();
    wanted.push(("missing-column.parquet", &["failed missing_column"]));
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        symlink(folder.path(), folder.path().join("loop")).expect("a link");
        symlink("/nowhere/at/all", folder.path().join("nowhere.txt")).expect("a link");
        wanted.push(("nowhere.txt", &["failed read"]));
        write(&folder, "unreadable.txt", "x");
        fs::set_permissions(folder.path().join("unreadable.txt"), fs::Permissions::from_mode(0o000)).expect("changes");
        // Whoever may read everything reads this too.
        let readable = fs::File::open(folder.path().join("unreadable.txt")).is_ok();
        wanted.push(("unreadable.txt", if readable { &["ok"] } else { &["failed read"] }));
    }
    let (status, records, messages) = extract(folder.path(), &[".", "--with-text"]);
    assert_eq!(status, 1, "{messages}");
    let mut report = String::new();
    let mut wrong = Vec::new();
    for (name, outcomes) in &wanted {
        let of_file = |record: &&Value| {
            let source = record["source"].as_str().expect("a source");
            source.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '#', '!']))
        };
        let mut found: Vec<String> = Vec::new();
        for record in records.iter().filter(of_file) {
            let kind = record["error"]["kind"].as_str().map(|kind| format!(" {kind}")).unwrap_or_default();
            found.push(format!("{}{kind}", record["status"].as_str().expect("a status")));
        }
        let count = found.len();
        found.sort();
        found.dedup();
        report += &format!("{name:24} {count:4} {}\n", found.join(", "));
        if count == 0 || !outcomes.iter().all(|outcome| found.iter().any(|f| f == outcome)) {
            wrong.push(format!("{name}: {found:?}, wanted {outcomes:?}"));
        }
    }
    #[expect(clippy::print_stdout, reason = "the outcomes are the result")]
    {
        println!("{report}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{messages}");
}

#[test]
fn a_file_that_grows_while_it_is_read_is_read_as_far_as_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = json!({"text": "Acme has left Freedonia."}).to_string() + "\n";
    write(&folder, "a.jsonl", line.repeat(400));
    let path = folder.path().join("a.jsonl");
    let writer = std::thread::spawn(move || {
        for _ in 0..50 {
            let mut file = fs::OpenOptions::new().append(true).open(&path).expect("opens");
            file.write_all(line.as_bytes()).expect("appends");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    let (status, records, messages) = extract(folder.path(), &["a.jsonl", "--duplicates", "ignore"]);
    writer.join().expect("a thread");
    assert_eq!(status, 0, "{messages}");
    assert!((400..=450).contains(&records.len()), "{}", records.len());
    assert!(records.iter().all(|record| record["status"] == "ok"));
}

#[test]
fn lists_and_patterns_name_inputs() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["in/a.txt", "in/b.txt", "in/deep/c.txt", "in/d.odd"] {
        write(&folder, name, STORY);
    }
    let sources = |arguments: &[&str]| {
        let (status, records, messages) = extract(folder.path(), arguments);
        (
            status,
            records.iter().map(|r| r["source"].as_str().expect("a source").to_owned()).collect::<Vec<_>>(),
            messages,
        )
    };
    assert_eq!(sources(&["in/*.txt"]).1, ["a.txt", "b.txt"]);
    assert_eq!(sources(&["in/**/*.txt"]).1, ["a.txt", "b.txt", "deep/c.txt"]);
    assert_eq!(sources(&["in", "--from", "text"]).1, ["a.txt", "b.txt", "d.odd", "deep/c.txt"]);
    assert_eq!(sources(&["i*", "--from", "text"]).1, ["in/a.txt", "in/b.txt", "in/d.odd", "in/deep/c.txt"]);
    assert_eq!(sources(&["-", "-"]).0, 2);
    let (status, _, messages) = sources(&["in/*.nothing"]);
    assert_eq!(status, 2);
    assert!(messages.contains("no file matches"), "{messages}");
    write(&folder, "list", "in/b.txt\r\n\nin/gone.txt\nin/a.txt\n");
    let (status, found, messages) = sources(&["--files-from", "list"]);
    assert_eq!(
        (status, found),
        (1, vec!["in/b.txt".to_owned(), "in/gone.txt".to_owned(), "in/a.txt".to_owned()]),
        "{messages}"
    );
    write(&folder, "list0", b"in/a.txt\0in/b.txt\0");
    assert_eq!(sources(&["in/d.odd", "--files-from", "list0"]).1, ["d.odd", "in/a.txt", "in/b.txt"]);
    write(&folder, "none", "\n");
    assert_eq!(sources(&["--files-from", "none"]).0, 2);
}

#[test]
fn copies_are_marked_dropped_or_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = [("a", STORY), ("b", "Zorvex stays."), ("c", STORY), ("d", &STORY.replace('\n', " \n"))]
        .map(|(id, text)| json!({"id": id, "text": text}).to_string())
        .into();
    write(&folder, "a.jsonl", lines.join("\n"));
    let of = |policy: &str| {
        let (status, records, _) = extract(folder.path(), &["a.jsonl", "--duplicates", policy]);
        assert_eq!(status, 0);
        let column =
            |name: &str| records.iter().map(|r| r[name].as_str().unwrap_or("-").to_owned()).collect::<Vec<_>>();
        (column("duplicate_of"), column("status"), records)
    };
    let (copies, statuses, records) = of("annotate");
    assert_eq!((copies.join(" "), statuses.join(" ")), ("- - a a".to_owned(), "ok ok ok ok".to_owned()));
    assert_eq!(records[2]["companies"], records[0]["companies"]);
    assert_ne!(records[3]["companies"], records[0]["companies"], "other white space, other places");
    assert_eq!(records[3]["companies"][0]["stance"], records[0]["companies"][0]["stance"]);
    // A title that the input names is looked at for places; the same text without it is another document.
    let titled = json!({"id": "e", "title": "Acme quits Freedonia", "text": STORY}).to_string();
    write(&folder, "b.jsonl", [&lines[0], &titled, &lines[0]].map(String::as_str).join("\n"));
    let (_, together, _) = extract(folder.path(), &["b.jsonl"]);
    for (at, line) in [(0, &lines[0]), (1, &titled), (2, &lines[0])] {
        write(&folder, "c.jsonl", line);
        let (_, alone, _) = extract(folder.path(), &["c.jsonl"]);
        assert_eq!(together[at]["companies"], alone[0]["companies"]);
    }
    let (copies, statuses, records) = of("drop");
    assert_eq!((copies.join(" "), statuses.join(" ")), ("- - a a".to_owned(), "ok ok skipped skipped".to_owned()));
    assert_eq!(records[2]["error"]["kind"], "duplicate");
    assert_eq!(of("ignore").0.join(" "), "- - - -");
}

#[test]
fn from_says_what_members_of_archives_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let html = page("Acme quits Freedonia", LONG);
    write(&folder, "a.zip", zip(&[("one", html.as_bytes()), ("two.dat", html.as_bytes()), (".hidden", b"no")]));
    write(&folder, "b.tar", tar(&[("one", html.as_bytes())]));
    write(&folder, "c.odd", zip(&[("three", html.as_bytes())]));
    let (status, records, messages) = extract(folder.path(), &[".", "--from", "html", "--with-text"]);
    assert_eq!(status, 0, "{messages}");
    let sources: Vec<_> = records.iter().map(|r| r["source"].as_str().expect("a source")).collect();
    assert_eq!(sources, ["a.zip!one", "a.zip!two.dat", "b.tar!one", "c.odd!three"]);
    assert!(records.iter().all(|r| r["text"] == format!("Acme quits Freedonia\n\n{LONG}")));
    // Without it names tell, and an archive of which nothing is taken says so.
    let (status, records, _) = extract(folder.path(), &["a.zip", "b.tar"]);
    let kinds: Vec<_> = records.iter().map(|r| r["error"]["kind"].as_str().expect("a kind")).collect();
    assert_eq!((status, kinds), (0, vec!["no_documents"; 2]));
}

#[test]
fn archives_come_through_pipes() {
    let story = [("a.txt", STORY.as_bytes()), ("b.txt", LONG.as_bytes())];
    for content in [tar(&story), gzip(&tar(&story)), zip(&story)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stancewire"))
            .args(["extract", "-q"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        child.stdin.take().expect("piped").write_all(&content).expect("writes");
        let output = child.wait_with_output().expect("ends");
        let records: Vec<Value> =
            output.stdout.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let sources: Vec<_> = records.iter().map(|r| r["source"].as_str().expect("a source")).collect();
        assert_eq!(sources, ["-!a.txt", "-!b.txt"]);
    }
}

#[test]
fn records_answer_at_once_while_input_keeps_coming() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stancewire"))
        .args(["extract", "-", "-q", "--from", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("piped");
    let mut answers = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    for number in 0..3 {
        writeln!(input, "{}", json!({"id": number, "text": "Acme has left Freedonia."})).expect("writes");
        let answer = answers.next().expect("an answer before the end of the input").expect("a line");
        assert_eq!(serde_json::from_str::<Value>(&answer).expect("JSON")["id"], number.to_string());
    }
    drop(input);
    assert!(answers.next().is_none() && child.wait().expect("ends").success());
}

#[test]
fn every_record_obeys_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_stancewire")).arg("schema").output().expect("runs");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/samples");
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "bad.jsonl", "{oops\n{\"text\":\"\"}\n{\"text\":\"x\",\"date\":\"soon\"}\n");
    let bad = folder.path().join("bad.jsonl");
    let (_, records, _) = extract(&samples, &[".", "--with-text", bad.to_str().expect("UTF-8")]);
    assert!(records.len() > 6);
    for record in &records {
        let errors: Vec<String> = validator.iter_errors(record).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", record["source"]);
    }
    let mut wrong = records[0].clone();
    wrong["companies"][0]["stance"] = json!("gone");
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn every_form_goes_where_it_can() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder, "a.txt", STORY);
    write(&folder, "bad.jsonl", "{oops\n");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
        let output = command.current_dir(folder.path()).args(["extract", "-q"]).args(arguments).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (status, rows, _) = run(&["a.txt", "--to", "csv"]);
    let companies = extract(folder.path(), &["a.txt"]).1[0]["companies"].as_array().map_or(0, Vec::len);
    assert!(companies > 0);
    assert_eq!((status, csv::Reader::from_reader(rows.as_bytes()).records().count()), (Some(0), companies));
    assert!(rows.starts_with("document,id,source,"), "{rows}");
    // A stream has its errors in a file too, and no Parquet.
    let (status, _, _) = run(&["a.txt", "bad.jsonl", "--to", "jsonl", "--errors", "errors.jsonl.gz"]);
    assert_eq!(status, Some(1));
    let packed = fs::read(folder.path().join("errors.jsonl.gz")).expect("errors");
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut errors).expect("decompresses");
    let loss: Value = serde_json::from_str(&errors).expect("one line");
    assert_eq!(
        (&loss["source"], &loss["status"], &loss["kind"]),
        (&json!("bad.jsonl:1"), &json!("failed"), &json!("bad_json"))
    );
    let refused = |arguments: &[&str], message: &str| {
        let (status, _, messages) = run(arguments);
        assert_eq!(status, Some(2), "{messages}");
        assert!(messages.contains(message), "{messages}");
    };
    refused(&["a.txt", "--to", "parquet"], "-o NAME.parquet");
    refused(&["a.txt", "-o", "out.parquet.gz"], "leave .gz or .zst out");
    refused(&["a.txt", "-o", "out.csv", "--shard", "1/2"], "needs an output in JSON Lines");
    refused(&["a.txt", "--shard", "3/2", "-o", "out.jsonl"], "1/16");
    refused(&["a.txt", "--resume"], "--output");
    let (status, _, messages) = run(&["a.txt", "-o", "view.txt", "--to", "table"]);
    assert_eq!(status, Some(0), "{messages}");
    assert!(fs::read_to_string(folder.path().join("view.txt")).expect("a view").contains("halted"));
}
