//! The most confident errors, with the sentences that a person needs to judge them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Comparison;
use super::gold::{GoldDocument, PredictedCompany, Prediction};
use crate::record::Stance;

/// Longest sentence shown, in characters.
const MAX_CHARS: usize = 300;

/// How a company went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Found, with another stance.
    WrongStance,
    /// Predicted where there is none.
    Spurious,
    /// Not found.
    Missed,
}

/// One error.
#[derive(Clone, Debug, Serialize)]
pub struct Error {
    /// What kind.
    pub kind: ErrorKind,
    /// Document.
    pub id: String,
    /// Name of the company, as gold has it, else as predicted.
    pub company: String,
    /// Stance by annotation.
    pub gold: Option<Stance>,
    /// Stance by prediction.
    pub predicted: Option<Stance>,
    /// Confidence of the prediction; 0 for a missed company.
    pub confidence: f64,
    /// A sentence by annotation: one that expresses the stance, else one that names the company.
    pub gold_sentence: Option<String>,
    /// A sentence by prediction: its first evidence, else its first mention's.
    pub predicted_sentence: Option<String>,
}

pub(super) fn worst(
    gold: &[GoldDocument],
    by_id: &BTreeMap<&str, &Prediction>,
    comparisons: &[Comparison],
    most: usize,
) -> Vec<Error> {
    let mut errors = Vec::new();
    for (document, comparison) in gold.iter().zip(comparisons) {
        let companies: &[PredictedCompany] = by_id.get(document.id.as_str()).map_or(&[], |p| &p.companies);
        for (company, pairing) in document.companies.iter().zip(&comparison.pairings) {
            let predicted = pairing.predicted.map(|(stance, ..)| stance);
            if predicted == Some(pairing.gold) {
                continue;
            }
            let expressed =
                document.mentions.iter().find(|m| m.company == company.key && m.stance == Some(company.stance));
            let named = || document.mentions.iter().find(|m| m.company == company.key);
            errors.push(Error {
                kind: if predicted.is_some() { ErrorKind::WrongStance } else { ErrorKind::Missed },
                id: document.id.clone(),
                company: company.name.clone(),
                gold: Some(pairing.gold),
                predicted,
                confidence: pairing.predicted.map_or(0.0, |(_, confidence, _)| confidence),
                gold_sentence: expressed.or_else(named).map(|m| line_around(&document.text, m.start)),
                predicted_sentence: pairing.predicted.and_then(|(.., at)| shown(document, &companies[at])),
            });
        }
        for &(stance, confidence, at) in &comparison.invented {
            errors.push(Error {
                kind: ErrorKind::Spurious,
                id: document.id.clone(),
                company: companies[at].name.clone(),
                gold: None,
                predicted: Some(stance),
                confidence,
                gold_sentence: None,
                predicted_sentence: shown(document, &companies[at]),
            });
        }
    }
    errors.sort_by(|a, b| a.kind.cmp(&b.kind).then(b.confidence.total_cmp(&a.confidence)).then(a.id.cmp(&b.id)));
    let mut taken: BTreeMap<ErrorKind, usize> = BTreeMap::new();
    errors.retain(|error| {
        let count = taken.entry(error.kind).or_default();
        *count += 1;
        *count <= most
    });
    errors
}

fn shown(document: &GoldDocument, company: &PredictedCompany) -> Option<String> {
    match company.evidence.first() {
        Some(evidence) => Some(shorten(&evidence.text)),
        None => company.mentions.first().map(|m| line_around(&document.text, m.start)),
    }
}

/// The sentence of `text` that holds code point `at`.
fn line_around(text: &str, at: usize) -> String {
    let byte = text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let spans = crate::text::sentence::sentence_spans(text);
    let span = spans.iter().find(|s| s.start() <= byte && byte < s.end());
    shorten(span.map_or("", |s| s.of(text)))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}
