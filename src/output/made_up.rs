//! Made-up records for tests of the writers.

use serde_json::{Map, json};

use super::record_line::{CompanyLine, EvidenceLine, MentionLine, Probabilities, RecordLine, Status};
use crate::record::Stance;

/// A company that has halted, with two mentions and two sentences.
pub(super) fn company(name: &str) -> CompanyLine {
    let sentence = |start, end, text: &str, confidence| EvidenceLine {
        start,
        end,
        text: text.to_owned(),
        stance: Stance::Halted,
        confidence,
    };
    CompanyLine {
        key: name.to_lowercase(),
        name: name.to_owned(),
        aliases: vec![format!("{name} Inc"), "ACM".to_owned()],
        stance: Stance::Halted,
        confidence: 0.9333,
        uncertain: true,
        probabilities: Probabilities { halted: 0.9333, suspended: 0.0333, continuing: 0.0, silent: 0.0334 },
        markets: vec!["Freedonia".to_owned(), "Sylvania".to_owned()],
        mentions: vec![
            MentionLine { start: 0, end: 4, text: name.to_owned() },
            MentionLine { start: 11, end: 13, text: "It".to_owned() },
        ],
        evidence: vec![sentence(0, 10, "Acme left.", 0.9877), sentence(11, 22, "It said so.", 0.75)],
    }
}

/// An analysed document that names one company.
pub(super) fn record(id: &str) -> RecordLine {
    RecordLine {
        schema: super::SCHEMA,
        id: id.to_owned(),
        source: id.to_owned(),
        status: Status::Ok,
        error: None,
        warnings: vec!["guessed encoding windows-1252".to_owned()],
        title: None,
        date: Some("2022-05-09".to_owned()),
        url: None,
        language: Some("en".to_owned()),
        chars: 22,
        text: None,
        duplicate_of: None,
        meta: Map::from_iter([("pages".to_owned(), json!([1, 2]))]),
        companies: vec![company("Acme")],
        model: "toy@1-00000000".to_owned(),
    }
}
