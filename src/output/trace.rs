//! What an interrupted run, or one of several shards, must know of a document that is done: one line of JSON for each.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record_line::{ErrorLine, RecordLine, Status};
use super::summary::Summary;
use crate::copies::Fingerprint;
use crate::record::Record;

/// One document that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its place among all documents of the run.
    pub number: u64,
    /// Of what was read.
    pub read: Fingerprint,
    /// Of its text with white space made equal, if it had one to compare.
    pub text: Option<Fingerprint>,
    /// Of its line of JSON.
    pub line: Fingerprint,
    /// Its source.
    pub source: String,
    /// Its id, if that is not the source.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// What became of it.
    pub status: Status,
    /// Why it was skipped or failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<ErrorLine>,
    /// Its companies by stance.
    pub companies: [usize; 4],
    /// Its companies with a confidence below the threshold.
    pub uncertain: usize,
    /// Encoder tokens spent on it.
    pub tokens: usize,
}

/// What a trace says beyond the record.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The document's place among all documents of the run.
    pub number: u64,
    /// Of what was read.
    pub read: Fingerprint,
    /// Of its text with white space made equal.
    pub text: Option<Fingerprint>,
    /// Encoder tokens spent on it.
    pub tokens: usize,
}

impl From<&Record> for Origin {
    fn from(record: &Record) -> Self {
        Origin { number: record.number, read: record.read, text: record.text, tokens: record.tokens }
    }
}

impl From<&Trace> for Origin {
    fn from(trace: &Trace) -> Self {
        Origin { number: trace.number, read: trace.read, text: trace.text, tokens: trace.tokens }
    }
}

impl Trace {
    /// Of the document whose wire form is `line`, which is `json` as a line.
    #[must_use]
    pub fn new(origin: Origin, line: &RecordLine, json: &[u8]) -> Self {
        Trace {
            number: origin.number,
            read: origin.read,
            text: origin.text,
            line: Fingerprint::of(&[json]),
            source: line.source.clone(),
            id: (line.id != line.source).then(|| line.id.clone()),
            status: line.status,
            error: line.error.clone(),
            companies: line.stances(),
            uncertain: line.uncertain(),
            tokens: origin.tokens,
        }
    }

    /// The record's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.source)
    }

    /// Counts the document.
    pub fn count(&self, summary: &mut Summary) {
        let error = self.error.as_ref().map(|error| error.kind.as_str());
        summary.add(self.status, error, self.companies, self.uncertain, self.tokens);
    }
}

/// A document that was skipped or failed, as a line of the file of errors.
#[derive(Debug, Serialize)]
pub struct Loss<'t> {
    /// The record's id.
    pub id: &'t str,
    /// Its source.
    pub source: &'t str,
    /// `skipped` or `failed`.
    pub status: Status,
    /// A word for programs.
    pub kind: &'t str,
    /// The reason for people.
    pub message: &'t str,
}

impl<'t> Loss<'t> {
    /// Of a document that was skipped or failed; `None` of any other.
    #[must_use]
    pub fn of(trace: &'t Trace) -> Option<Self> {
        let ErrorLine { kind, message } = trace.error.as_ref()?;
        Some(Loss { id: trace.id(), source: &trace.source, status: trace.status, kind, message })
    }
}

/// The traces in `files`, one file after the other, read as they are asked for.
pub fn traces(files: impl IntoIterator<Item = PathBuf>) -> impl Iterator<Item = io::Result<Trace>> {
    files.into_iter().flat_map(|file| match read_traces(&file) {
        Ok(traces) => Box::new(traces) as Box<dyn Iterator<Item = io::Result<Trace>> + Send>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    })
}

fn read_traces(file: &Path) -> io::Result<impl Iterator<Item = io::Result<Trace>> + Send + use<>> {
    let lines = BufReader::new(File::open(file)?).lines();
    Ok(lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from)))
}
