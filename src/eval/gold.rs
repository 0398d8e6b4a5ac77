//! Files of annotated documents and of records, as far as scoring needs them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::record::Stance;

/// Why gold documents or records cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is not of the expected form.
    #[error("{}:{line}: not {expected}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What the line should be.
        expected: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Two lines have one id.
    #[error("{}:{line}: the id `{id}` was used before", .path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// Line number from 1 of the second.
        line: usize,
        /// The id.
        id: String,
    },
    /// A span that the text does not have.
    #[error("{}:{line}: a mention ends at {end}, beyond the text of {chars} characters", .path.display())]
    Span {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// End of the span.
        end: usize,
        /// Length of the text.
        chars: usize,
    },
    /// No line at all.
    #[error("`{}` holds no document", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// An annotated document.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldDocument {
    /// Id, the same as its record's.
    pub id: String,
    /// Headline; the text begins with it.
    #[serde(default)]
    pub title: Option<String>,
    /// The market that the text is about, in words.
    #[serde(default)]
    pub market: Option<String>,
    /// The text that offsets count in.
    pub text: String,
    /// Its companies.
    pub companies: Vec<GoldCompany>,
    /// Names of companies, and references to them that carry a stance.
    pub mentions: Vec<GoldMention>,
}

/// An annotated company.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldCompany {
    /// Key within the document.
    pub key: String,
    /// Fullest name.
    pub name: String,
    /// What the text reports.
    pub stance: Stance,
}

/// An annotated mention.
#[derive(Clone, Debug, Deserialize)]
pub struct GoldMention {
    /// First code point.
    pub start: usize,
    /// One past the last code point.
    pub end: usize,
    /// The text there.
    pub surface: String,
    /// Key of the company.
    pub company: String,
    /// False for "the company" and the like.
    pub named: bool,
    /// The stance that its sentence expresses.
    pub stance: Option<Stance>,
}

/// A record, as far as it is scored.
#[derive(Clone, Debug, Deserialize)]
pub struct Prediction {
    /// Id of the document.
    pub id: String,
    /// `ok`, or the document counts as missing.
    pub status: String,
    /// Its companies.
    pub companies: Vec<PredictedCompany>,
}

/// A company of a record.
#[derive(Clone, Debug, Deserialize)]
pub struct PredictedCompany {
    /// Fullest name.
    pub name: String,
    /// Reported stance.
    pub stance: Stance,
    /// Probability of it.
    #[serde(default)]
    pub confidence: f64,
    /// Places of the evidence or the title.
    #[serde(default)]
    pub markets: Vec<String>,
    /// Where it is named.
    pub mentions: Vec<PredictedSpan>,
    /// Sentences that say so.
    #[serde(default)]
    pub evidence: Vec<PredictedSpan>,
}

/// A span of a record.
#[derive(Clone, Debug, Deserialize)]
pub struct PredictedSpan {
    /// First code point.
    pub start: usize,
    /// One past the last code point.
    pub end: usize,
    /// The text there.
    pub text: String,
}

/// Reads annotated documents in JSON Lines.
///
/// # Errors
///
/// [`EvalError`] with file and line if one is not a document, if an id comes twice, or if there is none.
pub fn read_gold(path: &Path) -> Result<Vec<GoldDocument>, EvalError> {
    let documents: Vec<(usize, GoldDocument)> = read_lines(path, "an annotated document")?;
    let mut seen = HashSet::new();
    for (line, document) in &documents {
        if !seen.insert(document.id.as_str()) {
            return Err(EvalError::Duplicate { path: path.to_owned(), line: *line, id: document.id.clone() });
        }
        let chars = document.text.chars().count();
        if let Some(mention) = document.mentions.iter().find(|m| m.end > chars || m.start > m.end) {
            return Err(EvalError::Span { path: path.to_owned(), line: *line, end: mention.end, chars });
        }
    }
    if documents.is_empty() {
        return Err(EvalError::Empty { path: path.to_owned() });
    }
    Ok(documents.into_iter().map(|(_, document)| document).collect())
}

/// Reads records in JSON Lines; of two with one id the later counts.
///
/// # Errors
///
/// [`EvalError`] with file and line if one is not a record.
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>, EvalError> {
    Ok(read_lines(path, "a record")?.into_iter().map(|(_, record)| record).collect())
}

/// Reads records from lines that this program has written.
///
/// # Errors
///
/// The parser's, if a line is not a record.
pub fn predictions_from_lines(lines: &[u8]) -> Result<Vec<Prediction>, serde_json::Error> {
    serde_json::Deserializer::from_slice(lines).into_iter().collect()
}

fn read_lines<T: DeserializeOwned>(path: &Path, expected: &'static str) -> Result<Vec<(usize, T)>, EvalError> {
    let read = |source| EvalError::Read { path: path.to_owned(), source };
    let mut parsed = Vec::new();
    for (at, line) in BufReader::new(File::open(path).map_err(read)?).lines().enumerate() {
        let line = line.map_err(read)?;
        if !line.trim().is_empty() {
            let value = serde_json::from_str(&line);
            let error = |source| EvalError::Line { path: path.to_owned(), line: at + 1, expected, source };
            parsed.push((at + 1, value.map_err(error)?));
        }
    }
    Ok(parsed)
}
