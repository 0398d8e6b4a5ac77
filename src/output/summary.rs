//! Counts over a run, for the line at its end and for the exit status.

use std::collections::BTreeMap;
use std::fmt;

use super::record_line::{RecordLine, Status};
use crate::record::Stance;

/// Reasons to skip a document that are limits, not wishes.
const LIMITS: [&str; 3] = ["too_large", "compression_ratio", "nested_archive"];

/// Whether a document is lost against the will of whoever asked for it.
#[must_use]
pub fn is_loss(status: Status, kind: Option<&str>) -> bool {
    status == Status::Failed || status == Status::Skipped && kind.is_some_and(|kind| LIMITS.contains(&kind))
}

/// What became of the documents of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All documents.
    pub documents: usize,
    /// Documents without text.
    pub empty: usize,
    /// Documents passed over, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Documents that failed, by reason.
    pub failed: BTreeMap<String, usize>,
    /// Companies by stance, as [`Stance::ALL`].
    pub companies: [usize; 4],
    /// Companies with a confidence below the threshold.
    pub uncertain: usize,
    /// Encoder tokens.
    pub tokens: usize,
}

impl Summary {
    /// Counts one document: what became of it, the word for why, its companies by stance and the uncertain among them.
    pub fn add(&mut self, status: Status, kind: Option<&str>, companies: [usize; 4], uncertain: usize, tokens: usize) {
        self.documents += 1;
        self.tokens += tokens;
        self.uncertain += uncertain;
        for (sum, count) in self.companies.iter_mut().zip(companies) {
            *sum += count;
        }
        let kind = kind.unwrap_or_default();
        match status {
            Status::Ok => {}
            Status::Empty => self.empty += 1,
            Status::Skipped => *self.skipped.entry(kind.to_owned()).or_default() += 1,
            Status::Failed => *self.failed.entry(kind.to_owned()).or_default() += 1,
        }
    }

    /// Counts the document of a record.
    pub fn add_line(&mut self, line: &RecordLine, tokens: usize) {
        self.add(line.status, line.error_kind(), line.stances(), line.uncertain(), tokens);
    }

    /// True if a document failed or exceeded a limit.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        !self.failed.is_empty() || LIMITS.iter().any(|kind| self.skipped.contains_key(*kind))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        write!(f, "{}", plural(self.documents, "document", "documents"))?;
        let reasons = |word: &str, counts: &BTreeMap<String, usize>| {
            let parts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            format!("{} {word}: {}", counts.values().sum::<usize>(), parts.join(", "))
        };
        let mut losses = Vec::new();
        if self.empty > 0 {
            losses.push(format!("{} empty", self.empty));
        }
        if !self.skipped.is_empty() {
            losses.push(reasons("skipped", &self.skipped));
        }
        if !self.failed.is_empty() {
            losses.push(reasons("failed", &self.failed));
        }
        if !losses.is_empty() {
            write!(f, " ({})", losses.join("; "))?;
        }
        write!(f, ", {}", plural(self.companies.iter().sum(), "company", "companies"))?;
        let stances: Vec<_> = Stance::ALL
            .iter()
            .zip(self.companies)
            .filter(|(_, count)| *count > 0)
            .map(|(stance, count)| format!("{count} {}", stance.name()))
            .collect();
        if !stances.is_empty() {
            write!(f, ": {}", stances.join(", "))?;
        }
        if self.uncertain > 0 {
            write!(f, " ({} uncertain)", self.uncertain)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_outcome_by_reason() {
        let mut summary = Summary::default();
        let mut add = |status, kind| summary.add(status, kind, [0; 4], 0, 5);
        add(Status::Ok, None);
        add(Status::Empty, None);
        add(Status::Failed, Some("bad_json"));
        add(Status::Failed, Some("bad_json"));
        add(Status::Skipped, Some("too_large"));
        assert!(summary.has_losses());
        assert_eq!(
            summary.to_string(),
            "5 documents (1 empty; 1 skipped: too_large 1; 2 failed: bad_json 2), 0 companies"
        );
        let quiet = Summary { documents: 1, companies: [1, 0, 0, 2], uncertain: 1, ..Summary::default() };
        assert_eq!(quiet.to_string(), "1 document, 3 companies: 1 halted, 2 silent (1 uncertain)");
        assert!(!quiet.has_losses());
    }
}
