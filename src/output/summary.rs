//! Counts over a run, for the line at its end and for the exit status.

use std::collections::BTreeMap;
use std::fmt;

use crate::output::is_uncertain;
use crate::record::{Outcome, Record, Stance};

/// What became of the documents of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All documents.
    pub documents: usize,
    /// Documents without text.
    pub empty: usize,
    /// Documents passed over, by reason.
    pub skipped: BTreeMap<&'static str, usize>,
    /// Documents that failed, by reason.
    pub failed: BTreeMap<&'static str, usize>,
    /// Companies by stance, as [`Stance::ALL`].
    pub companies: [usize; 4],
    /// Companies with a confidence below the threshold.
    pub uncertain: usize,
    /// Encoder tokens.
    pub tokens: usize,
}

impl Summary {
    /// Counts one record; a company below `min_confidence` is uncertain.
    pub fn add(&mut self, record: &Record, min_confidence: f64) {
        self.documents += 1;
        self.tokens += record.tokens;
        match &record.outcome {
            Outcome::Ok(companies) => {
                for company in companies {
                    self.companies[company.stance as usize] += 1;
                    self.uncertain += usize::from(is_uncertain(company, min_confidence));
                }
            }
            Outcome::Empty => self.empty += 1,
            Outcome::Error(error) if error.skipped => *self.skipped.entry(error.kind).or_default() += 1,
            Outcome::Error(error) => *self.failed.entry(error.kind).or_default() += 1,
        }
    }

    /// True if a document failed or exceeded a limit.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        !self.failed.is_empty() || self.skipped.contains_key("too_large")
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        write!(f, "{}", plural(self.documents, "document", "documents"))?;
        let reasons = |word: &str, counts: &BTreeMap<&str, usize>| {
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
    use crate::document::{Document, DocumentError};

    #[test]
    fn counts_every_outcome_by_reason() {
        let mut summary = Summary::default();
        let mut add = |outcome| summary.add(&Record { document: Document::default(), outcome, tokens: 5 }, 0.5);
        let error = |kind, skipped| Outcome::Error(DocumentError { kind, message: String::new(), skipped });
        add(Outcome::Ok(Vec::new()));
        add(Outcome::Empty);
        add(error("bad_json", false));
        add(error("bad_json", false));
        add(error("too_large", true));
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
