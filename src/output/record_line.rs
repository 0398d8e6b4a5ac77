//! The wire form of a record, owned: what every writer gets and what is read back.
//!
//! The comments on the fields are the descriptions of the JSON Schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::SCHEMA;
use crate::record::Stance;

/// What stancewire says of one document; a line of its JSON Lines output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Record")]
pub struct RecordLine {
    /// Version of this form; rises when a key goes or changes its meaning.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// The document's own id, else the same as `source`.
    pub id: String,
    /// Path relative to the input argument, with `:line`, `#record` or `!member` inside it; `-` for standard input.
    pub source: String,
    /// Whether the document was analysed.
    pub status: Status,
    /// Why the document was skipped or failed; null otherwise.
    pub error: Option<ErrorLine>,
    /// What a careful reader should know, such as a guessed encoding.
    pub warnings: Vec<String>,
    /// The title as the input says; null if it has none.
    pub title: Option<String>,
    /// The day of publication in ISO form, with a time if the input has one; null if the input has no such date.
    pub date: Option<String>,
    /// The address as the input says; null if it has none.
    pub url: Option<String>,
    /// ISO 639 code of the language that the text is taken for; null if there is no text.
    pub language: Option<String>,
    /// Length of the analysed text in code points.
    pub chars: u64,
    /// The analysed text; the key is there only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub text: Option<String>,
    /// Id of an earlier copy of the document in the run; null for a first copy.
    pub duplicate_of: Option<String>,
    /// Other values of the input that were kept, such as a `date` that is not ISO.
    pub meta: Map<String, Value>,
    /// The companies that the text names, by first mention; `[]` unless `status` is `ok`.
    pub companies: Vec<CompanyLine>,
    /// The model's name, version and weights' hash; `+f32` and the like for other than the default numbers.
    pub model: String,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Analysed.
    Ok,
    /// It has no text.
    Empty,
    /// Left out by a policy, such as the size limit.
    Skipped,
    /// It could not be read or analysed.
    Failed,
}

/// Why a document was skipped or failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorLine {
    /// A word for programs, such as `bad_json`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

/// What a document says of one company.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Company")]
pub struct CompanyLine {
    /// Case-folded name without legal suffix; the same for every document.
    pub key: String,
    /// The fullest form of the name in the document.
    pub name: String,
    /// Other forms of the name in the document.
    pub aliases: Vec<String>,
    /// The most probable stance.
    pub stance: Stance,
    /// Probability of `stance`, with 4 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// True if `confidence` is below the threshold.
    pub uncertain: bool,
    /// Probability of every stance.
    pub probabilities: Probabilities,
    /// Places that the evidence names, else those that the title names.
    pub markets: Vec<String>,
    /// Where the text names the company, in order.
    pub mentions: Vec<MentionLine>,
    /// The sentences that the stance rests on; for `silent` those that report the lack of a position, such as "declined to comment", mostly `[]`.
    pub evidence: Vec<EvidenceLine>,
}

/// Probabilities by stance, with 4 decimals; they sum to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probabilities {
    /// Probability of `halted`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub halted: f64,
    /// Probability of `suspended`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub suspended: f64,
    /// Probability of `continuing`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub continuing: f64,
    /// Probability of `silent`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub silent: f64,
}

/// A place where the text names a company.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Mention")]
pub struct MentionLine {
    /// First code point in the analysed text, from 0.
    pub start: u64,
    /// The code point after the last.
    pub end: u64,
    /// The name as it stands there.
    pub text: String,
}

/// A sentence that a stance rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Evidence")]
pub struct EvidenceLine {
    /// First code point in the analysed text, from 0.
    pub start: u64,
    /// The code point after the last.
    pub end: u64,
    /// The sentence as it stands there.
    pub text: String,
    /// The stance that the sentence expresses; the company's own.
    pub stance: Stance,
    /// Probability of that stance given the sentence, with 4 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
}

impl RecordLine {
    /// The word for why the document was skipped or failed.
    #[must_use]
    pub fn error_kind(&self) -> Option<&str> {
        Some(&self.error.as_ref()?.kind)
    }

    /// Companies by stance, as [`Stance::ALL`].
    #[must_use]
    pub fn stances(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        self.companies.iter().for_each(|company| counts[company.stance as usize] += 1);
        counts
    }

    /// Companies with a confidence below the threshold.
    #[must_use]
    pub fn uncertain(&self) -> usize {
        self.companies.iter().filter(|company| company.uncertain).count()
    }
}

impl Status {
    /// As records spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Empty => "empty",
            Status::Skipped => "skipped",
            Status::Failed => "failed",
        }
    }
}
