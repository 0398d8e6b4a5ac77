//! The same numbers as the reference implementation, and each rule by hand.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::record::Stance::{self, Continuing, Halted, Silent};

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/eval", name].iter().collect()
}

#[test]
fn figures_are_those_of_the_reference() {
    let gold = read_gold(&fixture("gold.jsonl")).expect("gold");
    let predictions = read_predictions(&fixture("predictions.jsonl")).expect("records");
    let evaluation = serde_json::to_value(evaluate(&gold, &predictions, &EvalOptions::default())).expect("JSON");
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("expected.json")).expect("reads")).expect("JSON");
    let expected = expected.as_object().expect("an object");
    assert!(expected.len() > 14 && gold.len() == 40);
    let mut differences = Vec::new();
    for (name, value) in expected {
        compare(name, value, &evaluation[name], &mut differences);
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Numbers within 1e-4 (the last decimal of both), everything else equal.
fn compare(name: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, value) in expected {
                compare(&format!("{name}.{key}"), value, actual.get(key).unwrap_or(&Value::Null), differences);
            }
            if expected.len() != actual.len() {
                differences.push(format!("{name}: {} keys, not {}", actual.len(), expected.len()));
            }
        }
        (Value::Number(e), Value::Number(a)) => {
            let (e, a) = (e.as_f64().unwrap_or(f64::NAN), a.as_f64().unwrap_or(f64::NAN));
            if (e - a).abs() > 1.01e-4 || e.is_nan() || a.is_nan() {
                differences.push(format!("{name}: {a}, not {e}"));
            }
        }
        _ => differences.push(format!("{name}: {actual}, not {expected}")),
    }
}

fn gold(text: &str, market: &str, companies: &[(&str, Stance, Option<Stance>)]) -> GoldDocument {
    let mention = |(name, _, expressed): &(&str, Stance, Option<Stance>)| {
        let start = text.find(name).expect("named");
        json!({"start": start, "end": start + name.len(), "surface": name, "company": name, "named": true, "stance": expressed})
    };
    let company =
        |(name, stance, _): &(&str, Stance, Option<Stance>)| json!({"key": name, "name": name, "stance": stance});
    serde_json::from_value(json!({
        "id": "x-1", "market": market, "text": text,
        "companies": companies.iter().map(company).collect::<Vec<_>>(),
        "mentions": companies.iter().map(mention).collect::<Vec<_>>(),
    }))
    .expect("a gold document")
}

fn record(companies: Value) -> Prediction {
    serde_json::from_value(json!({"id": "x-1", "status": "ok", "companies": companies})).expect("a record")
}

#[test]
fn a_record_of_a_failed_document_counts_as_missing() {
    let gold = [gold("Acme left.", "", &[("Acme", Halted, Some(Halted))])];
    let mut failed = record(json!([]));
    failed.status = "failed".to_owned();
    let evaluation = evaluate(&gold, &[failed], &EvalOptions { worst: 5, known: None });
    assert_eq!((evaluation.figures.missing, evaluation.figures.company_detection.misses), (1, 1));
    assert_eq!(evaluation.worst.len(), 1);
    assert_eq!(evaluation.worst[0].kind, ErrorKind::Missed);
    assert_eq!(evaluation.worst[0].gold_sentence.as_deref(), Some("Acme left."));
}

#[test]
fn markets_are_compared_by_whole_words() {
    let text = "Acme left.";
    let right = |markets: &[&str], market: &str| {
        let span = json!({"start": 0, "end": 4, "text": "Acme"});
        let record = record(json!([{"name": "Acme", "stance": "halted", "markets": markets, "mentions": [span]}]));
        let figures =
            evaluate(&[gold(text, market, &[("Acme", Halted, Some(Halted))])], &[record], &EvalOptions::default())
                .figures;
        (figures.markets_compared, figures.markets_right > 0.5)
    };
    assert_eq!(right(&["Ukraine"], "Russia and Ukraine"), (1, true));
    assert_eq!(right(&["southern Russia"], "Russia"), (1, true));
    assert_eq!(right(&["Oman"], "Romania"), (1, false));
    assert_eq!(right(&[], "Russia"), (1, false));
    assert_eq!(right(&["Russia"], ""), (0, false));
}

#[test]
fn errors_are_listed_most_confident_first() {
    let text = "Acme left. Globex stays. Initech waits.";
    let gold = [gold(
        text,
        "",
        &[("Acme", Halted, Some(Halted)), ("Globex", Continuing, Some(Continuing)), ("Initech", Silent, None)],
    )];
    let company = |name: &str, stance: &str, confidence: f64| {
        let start = text.find(name).expect("named");
        json!({"name": name, "stance": stance, "confidence": confidence, "mentions": [{"start": start, "end": start + name.len(), "text": name}]})
    };
    let record = record(json!([
        company("Acme", "silent", 0.6),
        company("Globex", "halted", 0.9),
        company("Initech", "silent", 0.9),
        company("waits", "silent", 0.4)
    ]));
    let evaluation = evaluate(&gold, &[record], &EvalOptions { worst: 10, known: None });
    let worst: Vec<_> = evaluation.worst.iter().map(|e| (e.kind, e.company.as_str())).collect();
    let want = [(ErrorKind::WrongStance, "Globex"), (ErrorKind::WrongStance, "Acme"), (ErrorKind::Spurious, "waits")];
    assert_eq!(worst, want);
    let report = render(&evaluation);
    assert!(
        report.contains("Globex: continuing → halted 0.90") && report.contains("record: Globex stays."),
        "{report}"
    );
    assert_eq!(evaluate(&gold, &[], &EvalOptions { worst: 1, known: None }).worst.len(), 1);
}

#[test]
fn companies_unseen_in_training_are_counted_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("train.jsonl");
    let line = json!({"id": "t", "text": "Acme Inc. sells.", "companies": [{"key": "a", "name": "Acme Inc.", "stance": "silent"}],
        "mentions": [{"start": 0, "end": 9, "surface": "Acme Inc.", "company": "a", "named": true, "stance": null}]});
    std::fs::write(&path, line.to_string()).expect("writes");
    let gold = [gold("ACME left. Globex stays.", "", &[("ACME", Halted, Some(Halted)), ("Globex", Continuing, None)])];
    let known = Some(KnownNames::read(&path).expect("names"));
    let evaluation = evaluate(&gold, &[], &EvalOptions { known, worst: 0 });
    let of = |name: &str| evaluation.slices.iter().find(|s| s.name == name).map(|s| s.companies);
    assert_eq!(
        (of("seen companies"), of("unseen companies"), of("x"), of("words < 400")),
        (Some(1), Some(1), Some(2), Some(2))
    );
}

#[test]
fn intervals_hold_the_figure_and_are_repeatable() {
    let gold = read_gold(&fixture("gold.jsonl")).expect("gold");
    let predictions = read_predictions(&fixture("predictions.jsonl")).expect("records");
    let first = evaluate(&gold, &predictions, &EvalOptions::default());
    let again = evaluate(&gold, &predictions, &EvalOptions::default());
    assert_eq!(first.intervals, again.intervals);
    let interval = first.intervals["end_to_end_micro_f1"];
    let figure = first.figures.end_to_end_micro_f1;
    assert!(interval.low < figure && figure < interval.high, "{figure} in {interval:?}");
}
