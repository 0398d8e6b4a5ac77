use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Kills of the test that is always run; `STANCEWIRE_KILLS` asks for more.
const KILLS: u64 = 12;
/// Documents of a part here, so that a run of a few seconds has many.
const PART_DOCUMENTS: &str = "8";

/// A folder with `archive/`, some 90 short documents in JSON Lines and text files; every seventh is a copy, some are damaged.
fn archive() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let dev = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dev.jsonl");
    let dev = fs::read_to_string(dev).expect("dev");
    let documents: Vec<Value> = dev.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |at: usize| {
        let document = &documents[at % documents.len()];
        serde_json::json!({"id": format!("{at}"), "date": document["date"], "text": document["text"]}).to_string()
    };
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).expect("a folder");
    let lines = |range: std::ops::Range<usize>| -> String {
        let line = |at: usize| match at {
            at if at % 31 == 30 => "{\"text\": oops}".to_owned(),
            at if at % 7 == 6 => of(at - 6),
            at => of(at),
        };
        range.map(|at| line(at) + "\n").collect()
    };
    fs::write(archive.join("a.jsonl"), lines(0..50)).expect("writes");
    for (at, document) in documents.iter().enumerate().take(60).skip(50) {
        let text = document["text"].as_str().expect("a text");
        fs::write(archive.join(format!("b{at}.txt")), text).expect("writes");
    }
    fs::write(archive.join("c.jsonl"), lines(60..100)).expect("writes");
    folder
}

fn extract(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
    command
        .current_dir(folder)
        .args(["extract", "archive", "--quiet", "--part-documents", PART_DOCUMENTS])
        .args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = extract(folder, arguments).output().expect("runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until the child ends or some time is over; whether it has ended.
fn ends_within(child: &mut Child, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time {
        if child.try_wait().expect("a child").is_some() {
            return true;
        }
        thread::sleep(Duration::from_millis(2));
    }
    false
}

fn files_of(output: &str) -> Vec<String> {
    match output.strip_suffix(".parquet") {
        Some(name) => vec![format!("{name}.documents.parquet"), format!("{name}.companies.parquet")],
        None => vec![output.to_owned()],
    }
}

fn contents(folder: &Path, output: &str) -> Vec<Vec<u8>> {
    files_of(output).iter().map(|file| fs::read(folder.join(file)).expect("an output")).collect()
}

/// What is in `folder` beside the archive.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("lists").map(|e| e.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "archive").collect()
}

#[test]
fn killed_runs_go_on_to_the_same_bytes() {
    let kills = std::env::var("STANCEWIRE_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let folder = archive();
    let folder = folder.path();
    let outputs = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.csv", "out.parquet"];
    // As fast as the scheduler gives, so that kills fall anywhere in a run.
    let mut random = fastrand::Rng::with_seed(7);
    let mut done = 0;
    for output in outputs {
        let whole = format!("whole-{output}");
        let start = Instant::now();
        assert_eq!(run(folder, &["-o", &whole, "--errors", "whole-errors.jsonl", "--overwrite"]).0, Some(1));
        let time = start.elapsed();
        let share = kills / outputs.len() as u64 + u64::from(output == "out.jsonl") * (kills % outputs.len() as u64);
        let mut killed = 0;
        while killed < share {
            let mut child =
                extract(folder, &["-o", output, "--errors", "errors.jsonl", "--resume"]).spawn().expect("starts");
            if ends_within(&mut child, time.mul_f64(random.f64() * 0.9)) {
                // It came to its end first; the next begins anew.
                for file in files_of(output) {
                    fs::remove_file(folder.join(file)).expect("an output");
                }
                fs::remove_file(folder.join("errors.jsonl")).expect("errors");
            } else {
                child.kill().expect("kills");
                child.wait().expect("ends");
                killed += 1;
                // What has its name is whole, and goes only with the parts that it is made of or as the last step.
                let is_there = |file: &String| folder.join(file).exists();
                if !folder.join(format!("{output}.parts")).exists() && files_of(output).iter().any(is_there) {
                    assert!(contents(folder, output) == contents(folder, &whole), "{output} is not whole");
                }
            }
        }
        let (status, messages) = run(folder, &["-o", output, "--errors", "errors.jsonl", "--resume"]);
        // The last kill may have come after the last step.
        let was_complete = status == Some(0) && messages.contains("nothing to go on with");
        assert!(status == Some(1) || was_complete, "{messages}");
        assert!(contents(folder, output) == contents(folder, &whole), "{output} differs after {killed} kills");
        assert_eq!(contents(folder, "errors.jsonl"), contents(folder, "whole-errors.jsonl"));
        assert!(!folder.join(format!("{output}.parts")).exists());
        fs::remove_file(folder.join("errors.jsonl")).expect("errors");
        done += killed;
    }
    assert_eq!(done, kills);
    #[expect(clippy::print_stdout, reason = "the number of kills is the result")]
    {
        println!("{done} kills, outputs equal byte by byte");
    }
}

/// Every state that a kill between two steps can leave, made by hand.
#[test]
fn every_half_done_step_is_made_good() {
    let folder = archive();
    let folder = folder.path();
    assert_eq!(run(folder, &["-o", "whole.csv"]).0, Some(1));
    let interrupted = |output: &str| {
        let (status, messages) = run(folder, &["-o", output, "--strict"]);
        assert_eq!(status, Some(1));
        assert!(messages.contains("--resume goes on"), "{messages}");
        folder.join(format!("{output}.parts"))
    };
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 6] = [
        ("a part without its trace", |parts| {
            fs::rename(parts.join("000002.trace"), parts.join("pending.trace")).expect("renames")
        }),
        ("a trace without its part", |parts| fs::remove_file(parts.join("000001.csv")).expect("removes")),
        ("half a line", |parts| {
            let lines = fs::read(parts.join("pending.jsonl")).expect("reads");
            fs::write(parts.join("pending.jsonl"), &lines[..lines.len() - 9]).expect("writes");
        }),
        ("blocks of zeros", |parts| {
            let mut lines = fs::read(parts.join("pending.jsonl")).expect("reads");
            let half = lines.len() / 2;
            lines[half..].fill(0);
            fs::write(parts.join("pending.jsonl"), lines).expect("writes");
        }),
        ("no pending traces", |parts| fs::remove_file(parts.join("pending.trace")).expect("removes")),
        ("an unfinished part", |parts| fs::write(parts.join("000003.csv.tmp"), "half").expect("writes")),
    ];
    for (what, damage) in damages {
        damage(&interrupted("out.csv"));
        assert_eq!(run(folder, &["-o", "out.csv", "--resume"]).0, Some(1), "{what}");
        assert!(contents(folder, "out.csv") == contents(folder, "whole.csv"), "{what}");
        fs::remove_file(folder.join("out.csv")).expect("removes");
    }
    // Killed between the last two steps: the output is there and its parts are too.
    let parts = interrupted("out.csv");
    fs::write(parts.join("replaces"), "").expect("writes");
    fs::write(folder.join("out.csv"), "as good as complete").expect("writes");
    assert_eq!(run(folder, &["-o", "out.csv", "--resume"]).0, Some(1));
    assert!(contents(folder, "out.csv") == contents(folder, "whole.csv"));
    // The only step between the two names of a plain part.
    assert_eq!(run(folder, &["-o", "whole.jsonl"]).0, Some(1));
    let parts = interrupted("out.jsonl");
    fs::rename(parts.join("000002.trace"), parts.join("pending.trace")).expect("renames");
    fs::remove_file(parts.join("pending.jsonl")).expect("removes");
    let (status, messages) = run(folder, &["-o", "out.jsonl", "--resume"]);
    assert_eq!(status, Some(1));
    assert!(messages.contains("going on after 24 documents"), "{messages}");
    assert!(contents(folder, "out.jsonl") == contents(folder, "whole.jsonl"));
}

#[test]
fn a_run_that_replaces_goes_on_and_its_own_files_are_no_input() {
    let folder = archive();
    let folder = folder.path();
    let here = folder.join("archive");
    let run_here = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
        command.current_dir(&here).args(["extract", ".", "-q", "--part-documents", PART_DOCUMENTS]).args(arguments);
        let output = command.output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(folder, &["-o", "whole.jsonl"]).0, Some(1));
    for file in ["out.jsonl", "errors.jsonl"] {
        fs::write(here.join(file), "{\"text\":\"of an earlier run\"}\n").expect("writes");
    }
    let outputs = ["-o", "out.jsonl", "--errors", "errors.jsonl"];
    assert_eq!(run_here(&outputs).0, Some(2), "it exists");
    assert_eq!(run_here(&[&outputs[..], &["--overwrite", "--strict"]].concat()).0, Some(1));
    assert_eq!(run_here(&outputs).0, Some(2), "it was interrupted");
    let (status, messages) = run_here(&[&outputs[..], &["--resume"]].concat());
    assert_eq!(status, Some(1), "{messages}");
    assert!(messages.contains("going on after 30 documents"), "{messages}");
    let written = fs::read(here.join("out.jsonl")).expect("reads");
    assert!(written == contents(folder, "whole.jsonl")[0]);
    let (status, messages) = run_here(&[&outputs[..], &["--resume"]].concat());
    assert_eq!(status, Some(0), "{messages}");
    assert_eq!(run_here(&["-o", "same.jsonl", "--errors", "same.jsonl"]).0, Some(2));
}

#[test]
fn another_run_does_not_go_on_with_what_is_left() {
    let folder = archive();
    let folder = folder.path();
    assert_eq!(run(folder, &["-o", "out.jsonl", "--strict"]).0, Some(1));
    let refused = |arguments: &[&str], message: &str| {
        let (status, messages) = run(folder, &[&["-o", "out.jsonl"], arguments].concat());
        assert_eq!(status, Some(2), "{messages}");
        assert!(messages.contains(message), "{messages}");
    };
    refused(&[], "--resume goes on with it, --overwrite starts again");
    refused(&["--resume", "--with-text"], "--with-text: `false` then, `true` now");
    refused(&["--resume", "--duplicates", "drop"], "--duplicates: `annotate` then, `drop` now");
    refused(&["--resume", "--precision", "f32"], "model: ");
    refused(&["--resume", "archive/a.jsonl"], "input `a.jsonl` is new");
    let lines = fs::read(folder.join("archive/c.jsonl")).expect("reads");
    fs::write(folder.join("archive/c.jsonl"), [&lines[..], b"{\"text\":\"More.\"}\n"].concat()).expect("writes");
    refused(&["--resume"], "input `c.jsonl` has changed");
    let (status, messages) = run(folder, &["-o", "out.jsonl", "--overwrite"]);
    assert_eq!(status, Some(1), "{messages}");
    let (status, messages) = run(folder, &["-o", "out.jsonl", "--resume"]);
    assert_eq!(status, Some(0));
    assert!(messages.contains("nothing to go on with"), "{messages}");
    assert_eq!(names(folder), BTreeSet::from(["out.jsonl".to_owned()]));
}

#[test]
fn standard_input_goes_on_if_it_is_the_same_again() {
    let folder = archive();
    let folder = folder.path();
    let piped = |output: &str, file: &str, arguments: &[&str]| {
        let input = fs::File::open(folder.join("archive").join(file)).expect("opens");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
        command.current_dir(folder).args(["extract", "-", "-q", "--part-documents", PART_DOCUMENTS, "-o", output]);
        let output = command.args(arguments).stdin(input).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(piped("whole.jsonl", "a.jsonl", &[]).0, Some(1));
    assert_eq!(piped("out.jsonl", "a.jsonl", &["--strict"]).0, Some(1));
    let (status, messages) = piped("out.jsonl", "c.jsonl", &["--resume"]);
    assert_eq!(status, Some(2));
    assert!(messages.contains("`-:1` is not what the interrupted run has read there"), "{messages}");
    assert_eq!(piped("out.jsonl", "a.jsonl", &["--resume"]).0, Some(1));
    assert!(contents(folder, "out.jsonl") == contents(folder, "whole.jsonl"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_what_is_in_flight() {
    let folder = archive();
    let folder = folder.path();
    assert_eq!(run(folder, &["-o", "whole.jsonl.gz"]).0, Some(1));
    let child = extract(folder, &["-o", "out.jsonl.gz", "--threads", "1"]).spawn().expect("starts");
    let pending = folder.join("out.jsonl.gz.parts/pending.jsonl");
    let start = Instant::now();
    while !fs::metadata(&pending).is_ok_and(|m| m.len() > 0) && start.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(2));
    }
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("runs");
    assert!(asked.success());
    let output = child.wait_with_output().expect("ends");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{messages}");
    assert!(messages.contains("interrupted after") && messages.contains("--resume goes on from here"), "{messages}");
    let (status, messages) = run(folder, &["-o", "out.jsonl.gz", "--resume"]);
    assert_eq!(status, Some(1), "{messages}");
    assert!(messages.contains("going on after"), "{messages}");
    assert!(contents(folder, "out.jsonl.gz") == contents(folder, "whole.jsonl.gz"));
}

/// A limit of the shell on file sizes stands for a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_a_run_that_goes_on() {
    let folder = archive();
    let folder = folder.path();
    for output in ["out.jsonl", "out.jsonl.zst", "out.parquet"] {
        let whole = format!("whole-{output}");
        assert_eq!(run(folder, &["-o", &whole]).0, Some(1));
        let program = env!("CARGO_BIN_EXE_stancewire");
        let command = format!(
            "trap '' XFSZ; ulimit -f 12; exec {program} extract archive -q --part-documents {PART_DOCUMENTS} -o {output}"
        );
        let limited = Command::new("bash").current_dir(folder).args(["-c", &command]).output().expect("runs");
        let messages = String::from_utf8_lossy(&limited.stderr);
        assert_eq!(limited.status.code(), Some(2), "{messages}");
        assert!(messages.contains("cannot write") && messages.contains("--resume"), "{messages}");
        assert_eq!(run(folder, &["-o", output, "--resume"]).0, Some(1));
        assert!(contents(folder, output) == contents(folder, &whole), "{output}");
    }
}

#[test]
fn shards_join_to_the_bytes_of_one_run() {
    let folder = archive();
    let folder = folder.path();
    for (policy, form) in [("annotate", "jsonl"), ("drop", "jsonl.gz"), ("annotate", "parquet"), ("ignore", "csv")] {
        let whole = format!("whole-{policy}.{form}");
        let shared = ["--duplicates", policy, "--errors"];
        assert_eq!(run(folder, &[&shared[..], &["whole-errors.jsonl", "-o", &whole]].concat()).0, Some(1));
        let shards: Vec<String> = (1..=3).map(|shard| format!("{policy}-{form}-{shard}.jsonl.gz")).collect();
        for (at, shard) in shards.iter().enumerate() {
            let number = format!("{}/3", at + 1);
            let (status, messages) = run(folder, &["--duplicates", policy, "--shard", &number, "-o", shard]);
            assert!(matches!(status, Some(0 | 1)), "{messages}");
        }
        let merge = |shards: &[String], output: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_stancewire"));
            command.current_dir(folder).arg("merge").args(shards).args([
                "-q",
                "-o",
                output,
                "--errors",
                "errors.jsonl",
            ]);
            let output = command.output().expect("runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let merged = format!("merged-{policy}.{form}");
        let (status, messages) = merge(&shards[..2], &merged);
        assert_eq!(status, Some(2));
        assert!(messages.contains("shards are missing: 3/3"), "{messages}");
        // What a merge that failed has left is in nobody's way.
        fs::create_dir(folder.join(format!("{merged}.parts"))).expect("a folder");
        let left = "{\"program\":\"x\",\"schema\":1,\"model\":\"x\",\"options\":{},\"shard\":null,\"merges\":true}";
        fs::write(folder.join(format!("{merged}.parts/manifest.json")), left).expect("writes");
        let twice = [&shards[..], &shards[..1]].concat();
        assert!(merge(&twice, &merged).1.contains("named twice"));
        let (status, messages) = merge(&[shards[2].clone(), shards[0].clone(), shards[1].clone()], &merged);
        assert_eq!(status, Some(1), "{messages}");
        assert!(contents(folder, &merged) == contents(folder, &whole), "{policy} {form}");
        assert_eq!(contents(folder, "errors.jsonl"), contents(folder, "whole-errors.jsonl"));
        for file in ["errors.jsonl", "whole-errors.jsonl"] {
            fs::remove_file(folder.join(file)).expect("removes");
        }
    }
}
