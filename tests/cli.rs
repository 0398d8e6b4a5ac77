use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

fn stancewire() -> Command {
    let mut command = Command::cargo_bin("stancewire").expect("the program");
    command.env_remove("NO_COLOR").timeout(std::time::Duration::from_secs(120));
    command
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("a folder");
        fs::write(path, content).expect("writes");
    }
    folder
}

/// Runs `extract` with `arguments` in `folder`; exit status, records, messages.
fn extract(folder: &TempDir, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let output = stancewire().current_dir(folder.path()).arg("extract").args(arguments).output().expect("runs");
    let stdout = String::from_utf8(output.stdout).expect("records are UTF-8");
    let records = stdout.lines().map(|line| serde_json::from_str(line).expect("a line is a record")).collect();
    (output.status.code().expect("no signal"), records, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn field<'r>(records: &'r [Value], pointer: &str) -> Vec<&'r str> {
    records.iter().map(|r| r.pointer(pointer).and_then(Value::as_str).unwrap_or("-")).collect()
}

const STORY: &[u8] = b"Acme quits Freedonia\n\nAcme Devices Inc. said it has ended all sales in Freedonia.\n";

#[test]
fn one_record_per_input_in_input_order() {
    let folder = folder(&[
        ("b.txt", STORY),
        ("a.md", b"Nothing here.\n"),
        ("sub/c.jsonl", b"{\"id\":\"x\",\"title\":\"T\",\"text\":\"Body.\"}\n\n{\"text\":\"Second.\"}\n"),
        ("ignored.pdf", b"%PDF"),
    ]);
    let (status, records, _) = extract(&folder, &[".", "b.txt"]);
    assert_eq!(status, 0);
    assert_eq!(field(&records, "/source"), ["a.md", "b.txt", "sub/c.jsonl:1", "sub/c.jsonl:3", "b.txt"]);
    assert_eq!(field(&records, "/id"), ["a.md", "b.txt", "x", "sub/c.jsonl:3", "b.txt"]);
    assert!(records.iter().all(|r| r["schema"] == 1 && r["status"] == "ok"));
    assert_eq!(records[2]["title"], "T");
    assert_eq!(records[2]["chars"], "T\n\nBody.".chars().count());
}

#[test]
fn standard_input_is_a_dash_or_nothing_at_all() {
    for arguments in [vec!["extract", "-"], vec!["extract"]] {
        let output = stancewire().args(&arguments).write_stdin(STORY).output().expect("runs");
        assert!(output.status.success());
        let record: Value = serde_json::from_slice(&output.stdout).expect("one record");
        assert_eq!((&record["source"], &record["status"]), (&Value::from("-"), &Value::from("ok")));
    }
}

#[test]
fn a_missing_file_is_told_before_anything_is_written() {
    let folder = folder(&[("a.txt", STORY)]);
    let (status, records, messages) = extract(&folder, &["a.txt", "gone.txt"]);
    assert_eq!((status, records.len()), (2, 0));
    assert!(messages.contains("cannot open `gone.txt`"), "{messages}");
}

#[test]
fn a_folder_without_documents_says_what_would_be_read() {
    let folder = folder(&[("picture.png", b"x")]);
    let (status, _, messages) = extract(&folder, &["."]);
    assert_eq!(status, 2);
    assert!(messages.contains("no documents in `.`") && messages.contains(".jsonl"), "{messages}");
}

#[test]
fn one_bad_line_fails_alone_and_sets_the_exit_status() {
    let lines = "{\"text\":\"One.\"}\n{\"text\": oops}\n{\"title\":null}\n{\"text\":7}\n{\"text\":\"Five.\"}\n";
    let folder = folder(&[("d.jsonl", lines.as_bytes())]);
    let (status, records, messages) = extract(&folder, &["d.jsonl"]);
    assert_eq!(status, 1);
    assert_eq!(field(&records, "/status"), ["ok", "failed", "failed", "failed", "ok"]);
    assert_eq!(field(&records, "/error/kind"), ["-", "bad_json", "missing_text", "bad_field", "-"]);
    assert!(messages.contains("d.jsonl:2"), "{messages}");
    assert_eq!(records[1]["companies"], Value::Array(Vec::new()));
}

#[test]
fn lone_surrogates_and_nul_bytes_lose_no_document() {
    let lines = "{\"text\":\"A lone \\ud83d one.\"}\n{\"text\":\"A NUL \\u0000 byte.\"}\n";
    let folder = folder(&[("d.jsonl", lines.as_bytes()), ("nul.txt", b"Before\0after the NUL.\n")]);
    let (status, records, _) = extract(&folder, &["--with-text", "d.jsonl", "nul.txt"]);
    assert_eq!(status, 0);
    assert_eq!(records[0]["text"], "A lone \u{fffd} one.");
    assert!(records[0]["warnings"][0].as_str().is_some_and(|w| w.contains("surrogate")), "{}", records[0]);
    assert_eq!(records[1]["text"], "A NUL \0 byte.");
    assert_eq!(records[2]["text"], "Before\0after the NUL.\n");
}

#[test]
fn other_encodings_are_decoded_with_a_warning() {
    let utf16: Vec<u8> = "\u{feff}Acme left.\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let folder = folder(&[
        ("latin.txt", b"Soci\xe9t\xe9 G\xe9n\xe9rale a quitt\xe9 la Russie, dit la soci\xe9t\xe9.\n"),
        ("utf16.txt", &utf16),
        ("utf8.txt", "\u{feff}Acme left.\n".as_bytes()),
    ]);
    let (status, records, _) = extract(&folder, &["--with-text", "."]);
    assert_eq!(status, 0);
    assert!(records[0]["text"].as_str().is_some_and(|t| t.starts_with("Société Générale")), "{}", records[0]);
    assert!(!records[0]["warnings"].as_array().expect("warnings").is_empty());
    assert_eq!(
        (&records[1]["text"], &records[2]["text"]),
        (&Value::from("Acme left.\n"), &Value::from("Acme left.\n"))
    );
    assert_eq!(records[2]["chars"], 11);
}

#[test]
fn an_empty_text_is_no_failure() {
    let folder = folder(&[("empty.txt", b""), ("blank.txt", b" \n\t\n")]);
    let (status, records, _) = extract(&folder, &["."]);
    assert_eq!(status, 0);
    assert_eq!(field(&records, "/status"), ["empty", "empty"]);
}

#[test]
fn a_document_over_the_limit_is_skipped_and_the_rest_goes_on() {
    let long = "word ".repeat(1000);
    let lines = format!("{{\"text\":\"{long}\"}}\n{{\"text\":\"Short.\"}}\n");
    let folder = folder(&[("d.jsonl", lines.as_bytes()), ("long.txt", long.as_bytes())]);
    let (status, records, _) = extract(&folder, &["--max-bytes", "1K", "d.jsonl", "long.txt"]);
    assert_eq!(status, 1, "a limit was exceeded");
    assert_eq!(field(&records, "/status"), ["skipped", "ok", "skipped"]);
    assert_eq!(field(&records, "/error/kind"), ["too_large", "-", "too_large"]);
    let (status, records, _) = extract(&folder, &["--max-bytes", "0", "d.jsonl", "long.txt"]);
    assert_eq!((status, field(&records, "/status")), (0, vec!["ok"; 3]));
}

#[test]
#[cfg_attr(feature = "torch", ignore = "libtorch alone maps more than the limit")]
fn a_huge_line_is_skipped_in_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge.jsonl");
    let mut file = std::io::BufWriter::new(fs::File::create(&path).expect("a file"));
    file.write_all(b"{\"text\":\"").expect("writes");
    for _ in 0..200 {
        file.write_all(&[b'x'; 1 << 20]).expect("writes");
    }
    file.write_all(b"\"}\n{\"text\":\"After it.\"}\n").expect("writes");
    drop(file);
    let limited = format!("ulimit -v 450000; exec {} extract --threads 1 huge.jsonl", env!("CARGO_BIN_EXE_stancewire"));
    let output = Command::new("sh").arg("-c").arg(limited).current_dir(folder.path()).output().expect("runs");
    let records: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(field(&records, "/status"), ["skipped", "ok"]);
    assert_eq!(field(&records, "/source"), ["huge.jsonl:1", "huge.jsonl:2"]);
}

#[test]
fn compressed_files_are_read_and_truncated_ones_told() {
    let line = b"{\"id\":\"z\",\"text\":\"Acme left.\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(line).expect("compresses");
    let whole = gzip.finish().expect("compresses");
    let zstd = zstd::encode_all(&line[..], 1).expect("compresses");
    let folder =
        folder(&[("a.jsonl.gz", &whole), ("b.jsonl.zst", &zstd), ("noname", &whole), ("c.txt.gz", &whole[..20])]);
    let (status, records, messages) = extract(&folder, &["a.jsonl.gz", "b.jsonl.zst", "noname"]);
    assert_eq!((status, field(&records, "/id")), (0, vec!["z"; 3]), "{messages}");
    let (status, records, _) = extract(&folder, &["c.txt.gz"]);
    assert_eq!((status, field(&records, "/status")), (1, vec!["failed"]));
}

#[test]
fn an_output_file_is_never_overwritten_unasked() {
    let folder = folder(&[("a.txt", STORY), ("out.jsonl", b"precious\n")]);
    let (status, _, messages) = extract(&folder, &["a.txt", "-o", "out.jsonl"]);
    assert_eq!(status, 2);
    assert!(messages.contains("out.jsonl") && messages.contains("--overwrite"), "{messages}");
    assert_eq!(fs::read(folder.path().join("out.jsonl")).expect("reads"), b"precious\n");
    let (status, records, _) = extract(&folder, &["a.txt", "-o", "out.jsonl", "--overwrite"]);
    assert_eq!((status, records.len()), (0, 0));
    let written = fs::read_to_string(folder.path().join("out.jsonl")).expect("reads");
    assert_eq!(written.lines().count(), 1);
    let names: Vec<_> = fs::read_dir(folder.path()).expect("lists").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left beside the output: {names:?}");
}

#[test]
fn an_output_that_cannot_be_written_is_told() {
    let folder = folder(&[("a.txt", STORY)]);
    let (status, _, messages) = extract(&folder, &["a.txt", "-o", "no/such/folder/out.jsonl"]);
    assert_eq!(status, 2);
    assert!(messages.contains("no/such/folder"), "{messages}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_run_with_a_message() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the full device");
    let folder = folder(&[("a.txt", STORY)]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_stancewire"))
        .current_dir(folder.path())
        .args(["extract", "a.txt"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(messages.contains("cannot write"), "{messages}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = folder(&[("d.jsonl", "{\"text\":\"Acme left Freedonia.\"}\n".repeat(300).as_bytes())]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_stancewire"))
        .current_dir(folder.path())
        .args(["extract", "d.jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn records_do_not_depend_on_threads_or_batches() {
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dev.jsonl");
    let lines: Vec<String> = fs::read_to_string(dev).expect("dev").lines().take(40).map(str::to_owned).collect();
    let mut shuffled = lines.clone();
    shuffled.sort_by_key(|line| line.bytes().rev().take(40).collect::<Vec<_>>());
    assert_ne!(lines, shuffled);
    let folder = folder(&[("a/d.jsonl", lines.join("\n").as_bytes()), ("b/d.jsonl", shuffled.join("\n").as_bytes())]);
    let run = |input: &str, arguments: &[&str]| {
        let (status, mut records, _) = extract(&folder, &[&[input], arguments].concat());
        assert_eq!((status, records.len()), (0, 40));
        let by_line = |r: &mut Value| r.as_object_mut().expect("a record").remove("source");
        records.iter_mut().for_each(|r| drop(by_line(r)));
        records.iter().map(Value::to_string).collect::<Vec<_>>()
    };
    let one = run("a/d.jsonl", &["--threads", "1"]);
    assert_eq!(run("a/d.jsonl", &["--threads", "3"]), one);
    assert_eq!(run("a/d.jsonl", &["--batch-tokens", "1"]), one);
    let (mut sorted, mut other) = (one, run("b/d.jsonl", &["--threads", "2", "--batch-tokens", "700"]));
    sorted.sort();
    other.sort();
    assert_eq!(other, sorted);
}

#[test]
fn a_document_of_many_windows_is_seen_to_its_end() {
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dev.jsonl");
    let documents = fs::read_to_string(dev).expect("dev");
    let texts = documents.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["text"].clone());
    let middle: Vec<String> = texts.take(110).map(|t| t.as_str().expect("text").to_owned()).collect();
    let text = format!("{}\n{}\n{}", "Zorvex Corp. left Freedonia.", middle.join("\n\n"), "Zorvex stopped all sales.");
    let folder = folder(&[("long.txt", text.as_bytes())]);
    let (status, records, _) = extract(&folder, &["long.txt"]);
    assert_eq!((status, records.len()), (0, 1));
    let companies = records[0]["companies"].as_array().expect("companies");
    let zorvex: Vec<_> = companies.iter().filter(|c| c["key"] == "zorvex").collect();
    assert_eq!(zorvex.len(), 1, "both ends name one company");
    let mentions = zorvex[0]["mentions"].as_array().expect("mentions");
    assert_eq!((mentions.len(), &mentions[0]["start"]), (2, &Value::from(0)));
    assert!(mentions[1]["start"].as_u64().is_some_and(|at| at as usize + 25 == text.chars().count()));
}

#[test]
fn field_names_can_be_chosen() {
    let line = "{\"headline\":\"H\",\"body\":\"B.\",\"nr\":7,\"when\":\"2022-05-09\",\"link\":\"https://x.example\"}\n";
    let folder = folder(&[("d.jsonl", line.as_bytes())]);
    let names = ["--title-field", "headline", "--text-field", "body", "--id-field", "nr", "--date-field", "when"];
    let (status, records, _) = extract(&folder, &[&names[..], &["--url-field", "link", "d.jsonl"]].concat());
    assert_eq!(status, 0);
    let of = |name: &str| records[0][name].as_str().expect("text");
    assert_eq!([of("title"), of("id"), of("date"), of("url")], ["H", "7", "2022-05-09", "https://x.example"]);
}

#[test]
fn an_uncertain_company_keeps_its_stance() {
    let folder = folder(&[("a.txt", STORY)]);
    let stances = |arguments: &[&str]| {
        let (_, records, _) = extract(&folder, arguments);
        let of = |c: &Value| (c["stance"].clone(), c["uncertain"].clone());
        records[0]["companies"].as_array().expect("companies").iter().map(of).collect::<Vec<_>>()
    };
    let (never, always) = (stances(&["a.txt", "--min-confidence", "0"]), stances(&["a.txt", "--min-confidence", "1"]));
    assert!(!never.is_empty());
    assert!(never.iter().all(|c| c.1 == false) && always.iter().all(|c| c.1 == true), "{never:?} {always:?}");
    assert!(never.iter().zip(&always).all(|(a, b)| a.0 == b.0));
}

#[test]
fn the_readable_view_names_companies_and_stances() {
    let folder = folder(&[("a.txt", STORY)]);
    stancewire()
        .current_dir(folder.path())
        .args(["extract", "--format", "table", "a.txt"])
        .assert()
        .success()
        .stdout(predicate::str::contains("Acme Devices Inc").and(predicate::str::contains("halted")))
        .stdout(predicate::str::contains("\u{1b}").not());
    stancewire()
        .current_dir(folder.path())
        .args(["extract", "--format", "table", "--color", "always", "a.txt"])
        .assert()
        .success()
        .stdout(predicate::str::contains("\u{1b}["));
}

#[test]
fn wrong_usage_is_told_with_status_2() {
    for arguments in [vec!["extract", "--threads", "0"], vec!["extract", "--overwrite"], vec!["nothing"], vec![]] {
        stancewire().args(&arguments).assert().code(2).stdout("");
    }
    let missing = ["extract", "--model", "no-such-model", "-"];
    stancewire().args(missing).write_stdin("x").assert().code(2).stderr(predicate::str::contains("no-such-model"));
}

#[test]
fn completions_and_help_go_to_standard_output() {
    stancewire().args(["completions", "bash"]).assert().success().stdout(predicate::str::contains("complete"));
    stancewire().arg("--version").assert().success().stdout(predicate::str::starts_with("stancewire "));
    let help = stancewire().args(["extract", "--help"]).output().expect("runs");
    assert!(String::from_utf8_lossy(&help.stdout).contains("--max-bytes"));
}

#[test]
fn eval_scores_the_model_or_a_file_of_records() {
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dev.jsonl");
    let lines: Vec<String> = fs::read_to_string(dev).expect("dev").lines().take(12).map(str::to_owned).collect();
    let folder = folder(&[("gold.jsonl", lines.join("\n").as_bytes())]);
    let (_, _, _) = extract(&folder, &["gold.jsonl", "-o", "records.jsonl"]);
    let figures = |arguments: &[&str]| {
        let output = stancewire().current_dir(folder.path()).arg("eval").args(arguments).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let by_model = figures(&["gold.jsonl", "--json"]);
    assert_eq!(by_model, figures(&["gold.jsonl", "records.jsonl", "--json"]));
    let scores: Value = serde_json::from_str(&by_model).expect("JSON");
    assert_eq!((&scores["documents"], &scores["bad_offsets"]), (&Value::from(12), &Value::from(0)));
    assert!(figures(&["gold.jsonl", "records.jsonl"]).contains("halted"));
}

#[test]
fn eval_tells_where_a_gold_file_is_bad() {
    let folder = folder(&[("gold.jsonl", b"{\"id\":\"a\"\n"), ("empty.jsonl", b"")]);
    let run = |file: &str| stancewire().current_dir(folder.path()).args(["eval", file]).assert().code(2);
    run("gold.jsonl").stderr(predicate::str::contains("gold.jsonl:1"));
    run("empty.jsonl").stderr(predicate::str::contains("empty.jsonl"));
    run("missing.jsonl").stderr(predicate::str::contains("missing.jsonl"));
}

#[test]
fn options_of_the_torch_engine_say_what_they_need() {
    let folder = folder(&[("a.txt", STORY)]);
    let (status, _, messages) = extract(&folder, &["a.txt", "--device", "cuda"]);
    assert_eq!(status, 2);
    assert!(messages.contains("--engine torch"), "{messages}");
    if cfg!(not(feature = "torch")) {
        let (status, _, messages) = extract(&folder, &["a.txt", "--engine", "torch"]);
        assert_eq!(status, 2);
        assert!(messages.contains("scripts/setup-libtorch"), "{messages}");
    }
}

#[test]
fn records_are_the_same_with_every_kernel_and_only_other_numbers_are_named() {
    let folder = folder(&[("a.txt", STORY)]);
    let (status, best, _) = extract(&folder, &["a.txt"]);
    assert_eq!(status, 0);
    assert!(best[0]["model"].as_str().is_some_and(|m| !m.contains('+')), "{}", best[0]["model"]);
    assert!(!best[0]["companies"].as_array().expect("a list").is_empty());
    let (status, scalar, _) = extract(&folder, &["a.txt", "--precision", "int8", "--kernel", "scalar"]);
    assert_eq!((status, scalar), (0, best));
    let (status, f32, _) = extract(&folder, &["a.txt", "--precision", "f32"]);
    assert_eq!(status, 0);
    assert!(f32[0]["model"].as_str().is_some_and(|m| m.ends_with("+f32")), "{}", f32[0]["model"]);
    let (status, _, messages) = extract(&folder, &["a.txt", "--kernel", "scalar", "--precision", "f32"]);
    assert_eq!(status, 2);
    assert!(messages.contains("leave `--precision f32` out"), "{messages}");
}

#[test]
fn bench_measures_the_built_in_mix_and_given_texts() {
    let folder = folder(&[("a.txt", STORY), ("empty.txt", b" ")]);
    let bench = |arguments: &[&str]| {
        let mut command = stancewire();
        command.current_dir(folder.path()).args(["bench", "--seconds", "1", "--rounds", "1", "--threads", "2"]);
        command.args(arguments).output().expect("runs")
    };
    let output = bench(&["--json", "a.txt", "empty.txt"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["documents"], 1);
    let threads: Vec<_> = report["speeds"].as_array().expect("a list").iter().map(|s| s["threads"].clone()).collect();
    assert_eq!(threads, [1, 2]);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).expect("a number");
    let shares: f64 =
        ["read", "tokenize", "encode", "heads", "write"].iter().map(|s| number(&format!("/stages/{s}"))).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{report}");
    assert!(number("/speeds/0/tokens_per_second") > 0.0 && number("/peak/operations_per_second") > 1e8, "{report}");
    let output = bench(&["--precision", "f32"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("the built-in mix: 14 documents") && !text.contains("peak"), "{text}");
    let output = bench(&["empty.txt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no text to measure with in empty.txt"));
}
