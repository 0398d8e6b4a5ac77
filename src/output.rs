//! Records → lines of JSON: the wire form, schema 1.
//!
//! One object per document, every key always there; [`record_line`](mod@record_line) says what each means. Offsets count code
//! points of the analysed text, end exclusive. Numbers carry 4 decimals.

pub mod csv;
mod day;
pub mod file;
#[cfg(test)]
mod made_up;
pub mod manifest;
mod parquet;
pub mod progress;
pub mod record_line;
mod schema;
pub mod store;
pub mod stream;
pub mod summary;
pub mod table;
pub mod target;
pub mod trace;

use std::io::{self, Write};

use serde::Serialize;

pub use schema::record_schema;

use crate::document::ByteSpan;
use crate::record::{CompanyStance, Outcome, Record};
use record_line::{CompanyLine, ErrorLine, EvidenceLine, MentionLine, Probabilities, RecordLine, Status};

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

/// The wire form of `record`.
#[must_use]
pub fn record_line(record: &Record, options: &OutputOptions) -> RecordLine {
    let document = &record.document;
    let (companies, error): (&[CompanyStance], _) = match &record.outcome {
        Outcome::Ok(companies) => (companies, None),
        Outcome::Empty => (&[], None),
        Outcome::Error(e) => (&[], Some(ErrorLine { kind: e.kind.to_owned(), message: e.message.clone() })),
    };
    let points = CodePoints::new(&document.text);
    RecordLine {
        schema: SCHEMA,
        id: document.id.as_ref().unwrap_or(&document.source).clone(),
        source: document.source.clone(),
        status: status(&record.outcome),
        error,
        warnings: document.warnings.clone(),
        title: document.title.clone(),
        date: document.date.clone(),
        url: document.url.clone(),
        language: document.language.clone(),
        chars: points.at(document.text.len()),
        text: options.with_text.then(|| document.text.clone()),
        duplicate_of: record.duplicate_of.clone(),
        meta: document.meta.clone(),
        companies: companies.iter().map(|c| company_line(c, &document.text, &points, options)).collect(),
        model: options.model.clone(),
    }
}

/// What became of a document, in one word.
#[must_use]
pub fn status(outcome: &Outcome) -> Status {
    match outcome {
        Outcome::Ok(_) => Status::Ok,
        Outcome::Empty => Status::Empty,
        Outcome::Error(error) if error.skipped => Status::Skipped,
        Outcome::Error(_) => Status::Failed,
    }
}

/// Writes a record, or what goes with records, as one line of JSON.
///
/// # Errors
///
/// Whatever the writer says.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn company_line(company: &CompanyStance, text: &str, points: &CodePoints<'_>, options: &OutputOptions) -> CompanyLine {
    let [halted, suspended, continuing, silent] = round_to_one(company.probabilities);
    let bounds = |span: ByteSpan| (points.at(span.start()), points.at(span.end()), span.of(text).to_owned());
    let mentions = company.mentions.iter().map(|&span| {
        let (start, end, text) = bounds(span);
        MentionLine { start, end, text }
    });
    let evidence = company.evidence.iter().map(|evidence| {
        let (start, end, text) = bounds(evidence.sentence);
        let confidence = round(f64::from(evidence.confidence));
        EvidenceLine { start, end, text, stance: evidence.stance, confidence }
    });
    CompanyLine {
        key: company.key.clone(),
        name: company.name.clone(),
        aliases: company.aliases.clone(),
        stance: company.stance,
        confidence: [halted, suspended, continuing, silent][company.stance as usize],
        uncertain: is_uncertain(company, options.min_confidence),
        probabilities: Probabilities { halted, suspended, continuing, silent },
        markets: company.markets.clone(),
        mentions: mentions.collect(),
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

    fn at(&self, byte: usize) -> u64 {
        let Some(&start) = self.before.get(byte / STRIDE) else { return byte as u64 };
        (start + code_points(&self.text.as_bytes()[byte / STRIDE * STRIDE..byte])).into()
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
    use crate::record::{Evidence, Stance};
    use proptest::prelude::*;

    fn options(with_text: bool) -> OutputOptions {
        OutputOptions { model: "toy@1-00000000".to_owned(), min_confidence: 0.95, with_text }
    }

    fn line(record: &Record, with_text: bool) -> String {
        let mut out = Vec::new();
        write_line(&mut out, &record_line(record, &options(with_text))).expect("writes");
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
            language: Some("en".to_owned()),
            text: text.to_owned(),
            ..Document::default()
        };
        let record = Record { document, outcome: Outcome::Ok(vec![company]), ..Record::default() };
        insta::assert_snapshot!(line(&record, true), @r#"{"schema":1,"id":"a.jsonl:3","source":"a.jsonl:3","status":"ok","error":null,"warnings":[],"title":null,"date":"2022-05-09","url":null,"language":"en","chars":29,"text":"Café Acme left 👩‍💻 Freedonia.","duplicate_of":null,"meta":{},"companies":[{"key":"acme","name":"Acme","aliases":[],"stance":"halted","confidence":0.9333,"uncertain":true,"probabilities":{"halted":0.9333,"suspended":0.0333,"continuing":0.0,"silent":0.0334},"markets":["Freedonia"],"mentions":[{"start":5,"end":9,"text":"Acme"}],"evidence":[{"start":0,"end":29,"text":"Café Acme left 👩‍💻 Freedonia.","stance":"halted","confidence":0.9877}]}],"model":"toy@1-00000000"}"#);
        assert!(!line(&record, false).contains("\"text\":\"Café Acme left 👩‍💻 Freedonia.\",\"duplicate_of\""));
    }

    #[test]
    fn a_document_without_companies_says_why() {
        let error = DocumentError { kind: "bad_json", message: "at column 3".to_owned(), skipped: false };
        let of = |outcome| {
            let record = Record { outcome, ..Record::default() };
            let value: serde_json::Value = serde_json::from_str(&line(&record, false)).expect("JSON");
            (value["status"].clone(), value["error"].clone(), value["companies"].clone())
        };
        let none = || serde_json::Value::Array(Vec::new());
        let null = serde_json::Value::Null;
        let failure = serde_json::json!({"kind": "bad_json", "message": "at column 3"});
        assert_eq!(of(Outcome::Error(error.clone())), ("failed".into(), failure.clone(), none()));
        let skipped = DocumentError { skipped: true, ..error };
        assert_eq!(of(Outcome::Error(skipped)), ("skipped".into(), failure, none()));
        assert_eq!(of(Outcome::Empty), ("empty".into(), null.clone(), none()));
        assert_eq!(of(Outcome::Ok(Vec::new())), ("ok".into(), null, none()));
    }

    proptest! {
        #[test]
        fn code_points_are_counted(text in "(?s)(\\PC|.|é|漢|👩|a){0,700}") {
            let points = CodePoints::new(&text);
            for (count, (at, _)) in text.char_indices().enumerate() {
                prop_assert_eq!(points.at(at), count as u64);
            }
            prop_assert_eq!(points.at(text.len()), text.chars().count() as u64);
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
