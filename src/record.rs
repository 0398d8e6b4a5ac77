//! What one document turned out to say: the result of the analysis, in the crate's own types.

use crate::copies::Fingerprint;
use crate::document::{ByteSpan, Document, DocumentError};

/// What a text reports about a company's business in the market concerned. The order is the order of columns everywhere.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// Ended, or decided to end, with no word of return.
    Halted,
    /// Stopped for now.
    Suspended,
    /// Carries on, resumes, or refuses to leave.
    Continuing,
    /// Named, but nothing of its own is reported.
    Silent,
}

impl Stance {
    /// All stances, in column order.
    pub const ALL: [Stance; 4] = [Stance::Halted, Stance::Suspended, Stance::Continuing, Stance::Silent];

    /// Lower-case name as in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Stance::Halted => "halted",
            Stance::Suspended => "suspended",
            Stance::Continuing => "continuing",
            Stance::Silent => "silent",
        }
    }
}

/// A sentence that speaks about a company: why a record says what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The whole sentence.
    pub sentence: ByteSpan,
    /// The stance that the sentence expresses; the company's own.
    pub stance: Stance,
    /// Probability of that stance given the sentence, 0 to 1.
    pub confidence: f32,
}

/// A company as one document shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct CompanyStance {
    /// Case-folded name without legal suffix, for grouping across documents.
    pub key: String,
    /// Fullest form in the text.
    pub name: String,
    /// Other forms in the text, in order of first appearance.
    pub aliases: Vec<String>,
    /// The likeliest stance.
    pub stance: Stance,
    /// Calibrated probability of each stance, columns as [`Stance::ALL`]; sums to 1.
    pub probabilities: [f32; 4],
    /// Places that the evidence names, else those of the title, in order, without repetition.
    pub markets: Vec<String>,
    /// Every place where the text names the company, in order.
    pub mentions: Vec<ByteSpan>,
    /// By position; for [`Stance::Silent`] sentences that report the lack of a position ("declined to comment"), mostly none.
    pub evidence: Vec<Evidence>,
}

impl CompanyStance {
    /// Calibrated probability of the reported stance.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.probabilities[self.stance as usize]
    }
}

/// What became of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Outcome {
    /// Analysed; companies by first mention.
    Ok(Vec<CompanyStance>),
    /// There was no text to analyse.
    #[default]
    Empty,
    /// Passed over by a policy, or failed.
    Error(DocumentError),
}

/// One document with its outcome: the unit that is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Its place among all documents of the run, from 0.
    pub number: u64,
    /// The document, text included.
    pub document: Document,
    /// What the analysis found.
    pub outcome: Outcome,
    /// Of what was read.
    pub read: Fingerprint,
    /// Of the text with white space made equal, if it was compared with others.
    pub text: Option<Fingerprint>,
    /// Id of the first document of the run with this text, if it is not this one.
    pub duplicate_of: Option<String>,
    /// Encoder tokens spent on it, special tokens included; for reports only.
    pub tokens: usize,
}
