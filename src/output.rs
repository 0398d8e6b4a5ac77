//! Records → lines of JSON: the wire form, schema 1.
//!
//! One object per document, every key always there. In order:
//!
//! | key | type | meaning |
//! |---|---|---|
//! | `schema` | integer | 1; rises when a key goes or changes its meaning |
//! | `id` | string | the document's own id, else `source` |
//! | `source` | string | path relative to the input argument, `:line` for JSON Lines; `-` for standard input |
//! | `status` | string | `ok`; `empty` (no text); `skipped` (by a policy); `failed` |
//! | `error` | object or null | `{"kind","message"}` when skipped or failed |
//! | `warnings` | strings | what a careful reader should know, such as a guessed encoding |
//! | `title`, `date`, `url` | string or null | as the input says; `date` only in ISO form |
//! | `language` | string or null | `en` for an analysed text |
//! | `chars` | integer | length of the analysed text in code points |
//! | `text` | string | the analysed text; only when asked for |
//! | `duplicate_of` | string or null | id of an earlier copy in the run; null so far |
//! | `meta` | object | other values of the input that were kept, such as a `date` that is not ISO |
//! | `companies` | objects | by first mention; `[]` unless `ok` |
//! | `model` | string | name, version and weights' hash; `+f32` and the like for other than the default numbers |
//!
//! A company: `key` (case-folded name without legal suffix), `name` (fullest form), `aliases`, `stance` (`halted`,
//! `suspended`, `continuing`, `silent`), `confidence` (probability of the stance, 0 to 1), `uncertain` (confidence below
//! the threshold), `probabilities` (by stance; they sum to 1), `markets` (places that the evidence names, else the
//! title), `mentions` (`start`, `end`, `text`), `evidence` (`start`, `end`, `text`, `stance`, `confidence`; `[]` for
//! `silent`). Offsets count code points of the analysed text, end exclusive. Numbers carry 4 decimals.

pub mod file;
pub mod progress;
pub mod summary;
pub mod table;

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::document::ByteSpan;
use crate::record::{CompanyStance, Outcome, Record, Stance};

/// The schema that this version writes.
pub const SCHEMA: u32 = 1;

/// What a record carries beyond the analysis.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// The model's tag.
    pub model: String,
    /// Companies with a confidence below it are `uncertain`.
    pub min_confidence: f64,
    /// Adds the analysed text.
    pub with_text: bool,
}

/// A record as it is written; see the module for every field.
#[derive(Debug, Serialize)]
pub struct RecordLine<'r> {
    schema: u32,
    id: &'r str,
    source: &'r str,
    status: &'static str,
    error: Option<ErrorLine<'r>>,
    warnings: &'r [String],
    title: Option<&'r str>,
    date: Option<&'r str>,
    url: Option<&'r str>,
    language: Option<&'static str>,
    chars: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'r str>,
    duplicate_of: Option<&'r str>,
    meta: &'r Map<String, Value>,
    companies: Vec<CompanyLine<'r>>,
    model: &'r str,
}

#[derive(Debug, Serialize)]
struct ErrorLine<'r> {
    kind: &'r str,
    message: &'r str,
}

#[derive(Debug, Serialize)]
struct CompanyLine<'r> {
    key: &'r str,
    name: &'r str,
    aliases: &'r [String],
    stance: Stance,
    confidence: f64,
    uncertain: bool,
    probabilities: Probabilities,
    markets: &'r [String],
    mentions: Vec<MentionLine<'r>>,
    evidence: Vec<EvidenceLine<'r>>,
}

#[derive(Debug, Serialize)]
struct Probabilities {
    halted: f64,
    suspended: f64,
    continuing: f64,
    silent: f64,
}

#[derive(Debug, Serialize)]
struct MentionLine<'r> {
    start: usize,
    end: usize,
    text: &'r str,
}

#[derive(Debug, Serialize)]
struct EvidenceLine<'r> {
    start: usize,
    end: usize,
    text: &'r str,
    stance: Stance,
    confidence: f64,
}

impl<'r> RecordLine<'r> {
    /// The wire form of `record`.
    #[must_use]
    pub fn new(record: &'r Record, options: &'r OutputOptions) -> Self {
        let document = &record.document;
        let (companies, error): (&[CompanyStance], _) = match &record.outcome {
            Outcome::Ok(companies) => (companies, None),
            Outcome::Empty => (&[], None),
            Outcome::Error(e) => (&[], Some(ErrorLine { kind: e.kind, message: &e.message })),
        };
        let points = CodePoints::new(&document.text);
        RecordLine {
            schema: SCHEMA,
            id: document.id.as_deref().unwrap_or(&document.source),
            source: &document.source,
            status: status(&record.outcome),
            error,
            warnings: &document.warnings,
            title: document.title.as_deref(),
            date: document.date.as_deref(),
            url: document.url.as_deref(),
            language: matches!(record.outcome, Outcome::Ok(_)).then_some("en"),
            chars: points.at(document.text.len()),
            text: options.with_text.then_some(document.text.as_str()),
            duplicate_of: None,
            meta: &document.meta,
            companies: companies.iter().map(|c| company_line(c, &document.text, &points, options)).collect(),
            model: &options.model,
        }
    }
}

/// `ok`, `empty`, `skipped` or `failed`.
#[must_use]
pub fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok(_) => "ok",
        Outcome::Empty => "empty",
        Outcome::Error(error) if error.skipped => "skipped",
        Outcome::Error(_) => "failed",
    }
}

/// Writes `record` as one line of JSON.
///
/// # Errors
///
/// Whatever the writer says.
pub fn write_record(out: &mut impl Write, record: &Record, options: &OutputOptions) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &RecordLine::new(record, options))?;
    out.write_all(b"\n")
}

fn company_line<'r>(
    company: &'r CompanyStance,
    text: &'r str,
    points: &CodePoints<'r>,
    options: &OutputOptions,
) -> CompanyLine<'r> {
    let [halted, suspended, continuing, silent] = round_to_one(company.probabilities);
    let bounds = |span: ByteSpan| (points.at(span.start()), points.at(span.end()), span.of(text));
    let mentions = company.mentions.iter().map(|&span| {
        let (start, end, text) = bounds(span);
        MentionLine { start, end, text }
    });
    let mentions = mentions.collect();
    let evidence = company.evidence.iter().map(|evidence| {
        let (start, end, text) = bounds(evidence.sentence);
        let confidence = round(f64::from(evidence.confidence));
        EvidenceLine { start, end, text, stance: evidence.stance, confidence }
    });
    CompanyLine {
        key: &company.key,
        name: &company.name,
        aliases: &company.aliases,
        stance: company.stance,
        confidence: [halted, suspended, continuing, silent][company.stance as usize],
        uncertain: is_uncertain(company, options.min_confidence),
        probabilities: Probabilities { halted, suspended, continuing, silent },
        markets: &company.markets,
        mentions,
        evidence: evidence.collect(),
    }
}

/// True if the confidence, as a record shows it, is below `min_confidence`.
#[must_use]
pub fn is_uncertain(company: &CompanyStance, min_confidence: f64) -> bool {
    round_to_one(company.probabilities)[company.stance as usize] < min_confidence
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Probabilities with 4 decimals whose sum is still 1: the largest remainders are rounded up.
fn round_to_one(probabilities: [f32; 4]) -> [f64; 4] {
    let scaled = probabilities.map(|p| f64::from(p) * 10_000.0);
    let mut units = scaled.map(f64::floor);
    let mut order = [0, 1, 2, 3];
    order.sort_by(|&a, &b| (scaled[b] - units[b]).total_cmp(&(scaled[a] - units[a])));
    let missing = 10_000.0 - units.iter().sum::<f64>();
    for &at in order.iter().take(missing.clamp(0.0, 4.0) as usize) {
        units[at] += 1.0;
    }
    units.map(|u| u / 10_000.0)
}

/// Turns byte positions of one text into code points: a count at every [`STRIDE`]th byte, the rest by counting.
struct CodePoints<'t> {
    text: &'t str,
    /// Code points before byte `n · STRIDE`; empty for a text of ASCII only.
    before: Vec<u32>,
}

const STRIDE: usize = 256;

impl<'t> CodePoints<'t> {
    fn new(text: &'t str) -> Self {
        let mut before = Vec::new();
        if !text.is_ascii() {
            let mut count = 0;
            for block in text.as_bytes().chunks(STRIDE) {
                before.push(count);
                count += code_points(block);
            }
            before.push(count);
        }
        CodePoints { text, before }
    }

    fn at(&self, byte: usize) -> usize {
        let Some(&start) = self.before.get(byte / STRIDE) else { return byte };
        (start + code_points(&self.text.as_bytes()[byte / STRIDE * STRIDE..byte])) as usize
    }
}

/// Bytes that begin a code point.
fn code_points(bytes: &[u8]) -> u32 {
    bytes.iter().map(|&b| u32::from(b & 0xc0 != 0x80)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, DocumentError};
    use crate::record::Evidence;
    use proptest::prelude::*;

    fn options(with_text: bool) -> OutputOptions {
        OutputOptions { model: "toy@1-00000000".to_owned(), min_confidence: 0.95, with_text }
    }

    fn line(record: &Record, with_text: bool) -> String {
        let mut out = Vec::new();
        write_record(&mut out, record, &options(with_text)).expect("writes");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_record_has_every_key_in_order() {
        let text = "Café Acme left 👩‍💻 Freedonia.";
        let at = text.find("Acme").expect("named");
        let company = CompanyStance {
            key: "acme".to_owned(),
            name: "Acme".to_owned(),
            aliases: Vec::new(),
            stance: Stance::Halted,
            probabilities: [0.933_33, 0.033_33, 0.0, 0.033_34],
            markets: vec!["Freedonia".to_owned()],
            mentions: vec![ByteSpan::new(at, at + 4)],
            evidence: vec![Evidence {
                sentence: ByteSpan::new(0, text.len()),
                stance: Stance::Halted,
                confidence: 0.987_654,
            }],
        };
        let document = Document {
            source: "a.jsonl:3".to_owned(),
            date: Some("2022-05-09".to_owned()),
            text: text.to_owned(),
            ..Document::default()
        };
        let record = Record { document, outcome: Outcome::Ok(vec![company]), tokens: 9 };
        insta::assert_snapshot!(line(&record, true), @r#"{"schema":1,"id":"a.jsonl:3","source":"a.jsonl:3","status":"ok","error":null,"warnings":[],"title":null,"date":"2022-05-09","url":null,"language":"en","chars":29,"text":"Café Acme left 👩‍💻 Freedonia.","duplicate_of":null,"meta":{},"companies":[{"key":"acme","name":"Acme","aliases":[],"stance":"halted","confidence":0.9333,"uncertain":true,"probabilities":{"halted":0.9333,"suspended":0.0333,"continuing":0.0,"silent":0.0334},"markets":["Freedonia"],"mentions":[{"start":5,"end":9,"text":"Acme"}],"evidence":[{"start":0,"end":29,"text":"Café Acme left 👩‍💻 Freedonia.","stance":"halted","confidence":0.9877}]}],"model":"toy@1-00000000"}"#);
        assert!(!line(&record, false).contains("\"text\":\"Café Acme left 👩‍💻 Freedonia.\",\"duplicate_of\""));
    }

    #[test]
    fn a_document_without_companies_says_why() {
        let error = DocumentError { kind: "bad_json", message: "at column 3".to_owned(), skipped: false };
        let of = |outcome| {
            let record = Record { document: Document::default(), outcome, tokens: 0 };
            let value: Value = serde_json::from_str(&line(&record, false)).expect("JSON");
            (value["status"].clone(), value["error"].clone(), value["language"].clone(), value["companies"].clone())
        };
        let none = || Value::Array(Vec::new());
        let failure = serde_json::json!({"kind": "bad_json", "message": "at column 3"});
        assert_eq!(of(Outcome::Error(error.clone())), ("failed".into(), failure.clone(), Value::Null, none()));
        let skipped = DocumentError { skipped: true, ..error };
        assert_eq!(of(Outcome::Error(skipped)), ("skipped".into(), failure, Value::Null, none()));
        assert_eq!(of(Outcome::Empty), ("empty".into(), Value::Null, Value::Null, none()));
        assert_eq!(of(Outcome::Ok(Vec::new())), ("ok".into(), Value::Null, "en".into(), none()));
    }

    proptest! {
        #[test]
        fn code_points_are_counted(text in "(?s)(\\PC|.|é|漢|👩|a){0,700}") {
            let points = CodePoints::new(&text);
            for (count, (at, _)) in text.char_indices().enumerate() {
                prop_assert_eq!(points.at(at), count);
            }
            prop_assert_eq!(points.at(text.len()), text.chars().count());
        }

        #[test]
        fn rounded_probabilities_still_sum_to_one(raw in prop::array::uniform4(0.0_f32..1.0)) {
            let total: f32 = raw.iter().sum::<f32>().max(1e-3);
            let rounded = round_to_one(raw.map(|p| p / total));
            prop_assert!((rounded.iter().sum::<f64>() - 1.0).abs() < 1e-9 || raw.iter().sum::<f32>() < 1e-3);
            prop_assert!(rounded.iter().zip(raw).all(|(r, p)| (r - f64::from(p / total)).abs() < 2e-4));
        }
    }
}
