use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde::Deserialize;
use serde_json::Value;

/// Confidences of another machine's f32 sums may differ in their last decimals.
const TOLERANCE: f64 = 2e-3;

/// A record of schema 1 as a reader would declare it; unknown keys are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reading every key is the test")]
struct Record {
    schema: u32,
    id: String,
    source: String,
    status: String,
    error: Option<Failure>,
    warnings: Vec<String>,
    title: Option<String>,
    date: Option<String>,
    url: Option<String>,
    language: Option<String>,
    chars: usize,
    duplicate_of: Option<String>,
    meta: BTreeMap<String, Value>,
    companies: Vec<Company>,
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reading every key is the test")]
struct Failure {
    kind: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reading every key is the test")]
struct Company {
    key: String,
    name: String,
    aliases: Vec<String>,
    stance: String,
    confidence: f64,
    uncertain: bool,
    probabilities: BTreeMap<String, f64>,
    markets: Vec<String>,
    mentions: Vec<Mention>,
    evidence: Vec<Evidence>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mention {
    start: usize,
    end: usize,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    start: usize,
    end: usize,
    text: String,
    stance: String,
    confidence: f64,
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sample_records() -> String {
    let samples = root("corpus/samples");
    let mut command = Command::cargo_bin("stancewire").expect("the program");
    let output = command.args(["extract", "--format", "jsonl"]).arg(samples).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_record_keeps_the_contract() {
    let lines = sample_records();
    let mut spans = 0;
    for line in lines.lines() {
        let record: Record = serde_json::from_str(line).expect("schema 1, no more and no less");
        let text = fs::read_to_string(root("corpus/samples").join(&record.source)).expect("a sample");
        let chars: Vec<char> = text.chars().collect();
        assert_eq!((record.schema, record.status.as_str(), record.chars), (1, "ok", chars.len()));
        let mut first = 0;
        for company in &record.companies {
            assert_eq!(company.probabilities.len(), 4);
            let sum: f64 = company.probabilities.values().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            assert_eq!(company.confidence, company.probabilities[&company.stance]);
            assert!(company.probabilities.values().all(|p| *p <= company.confidence));
            assert!(company.stance == "silent" || !company.evidence.is_empty(), "{}", company.name);
            assert!(company.mentions[0].start >= first, "companies come by first mention");
            first = company.mentions[0].start;
            let quotes = company.mentions.iter().map(|m| (m.start, m.end, &m.text));
            for (start, end, quote) in quotes.chain(company.evidence.iter().map(|e| (e.start, e.end, &e.text))) {
                assert_eq!(chars[start..end].iter().collect::<String>(), *quote);
                spans += 1;
            }
            assert!(company.evidence.iter().all(|e| e.stance == company.stance && (0.0..=1.0).contains(&e.confidence)));
            assert!(company.evidence.windows(2).all(|w| w[0].end <= w[1].start));
        }
    }
    assert_eq!(lines.lines().count(), 6);
    assert!(spans > 50);
}

#[test]
fn the_first_example_comes_out_right() {
    let lines = sample_records();
    let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let record = records.into_iter().find(|r| r["id"] == "chinese-tech-leaves-russia.txt").expect("the story");
    let stances: Vec<_> = record["companies"]
        .as_array()
        .expect("companies")
        .iter()
        .map(|c| (c["name"].as_str().unwrap_or(""), c["stance"].as_str().unwrap_or("")))
        .collect();
    let want = [
        ("Lenovo Group", "halted"),
        ("Xiaomi", "halted"),
        ("SZ DJI Technology", "suspended"),
        ("HP", "silent"),
        ("Samsung Electronics", "silent"),
    ];
    assert_eq!(stances, want);
}

/// `STANCEWIRE_UPDATE=1 cargo test records` rewrites the stored records after a wanted change.
#[test]
fn sample_records_are_the_stored_ones() {
    let stored = root("tests/fixtures/records/samples.jsonl");
    let lines = sample_records();
    if std::env::var_os("STANCEWIRE_UPDATE").is_some() {
        fs::write(&stored, &lines).expect("writes");
    }
    let expected = fs::read_to_string(&stored).expect("stored records");
    assert_eq!(lines.lines().count(), expected.lines().count());
    for (actual, expected) in lines.lines().zip(expected.lines()) {
        let parse = |line| serde_json::from_str::<Value>(line).expect("JSON");
        same(&parse(actual), &parse(expected), "record");
    }
}

fn same(actual: &Value, expected: &Value, path: &str) {
    match (actual, expected) {
        (Value::Object(a), Value::Object(e)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), e.keys().collect::<Vec<_>>(), "{path}");
            a.iter().for_each(|(key, value)| same(value, &e[key], &format!("{path}.{key}")));
        }
        (Value::Array(a), Value::Array(e)) => {
            assert_eq!(a.len(), e.len(), "{path}");
            a.iter().zip(e).enumerate().for_each(|(at, (a, e))| same(a, e, &format!("{path}[{at}]")));
        }
        (Value::Number(a), Value::Number(e)) if a.is_f64() || e.is_f64() => {
            let difference = a.as_f64().unwrap_or(f64::NAN) - e.as_f64().unwrap_or(f64::NAN);
            assert!(difference.abs() <= TOLERANCE, "{path}: {a}, not {e}");
        }
        _ => assert_eq!(actual, expected, "{path}"),
    }
}
