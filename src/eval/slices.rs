//! Figures of parts of the documents: by id prefix, by length, by companies that training never saw.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::compare::{Comparison, Pairing};
use super::figures::Figures;
use super::gold::{EvalError, GoldDocument, read_gold};
use crate::company;

/// Words from which a document is long.
const LONG_WORDS: usize = 400;

/// Figures of a part of the documents.
#[derive(Clone, Debug, Serialize)]
pub struct Slice {
    /// What the part is: `a4`, `words >= 400`, `unseen companies` …
    pub name: String,
    /// Gold companies in it.
    pub companies: usize,
    /// Its figures. For a part of the *companies*, spurious ones, mentions and evidence belong to neither part and are
    /// left out: recall is what to read.
    pub figures: Figures,
}

/// The company names of a file of annotated documents.
#[derive(Clone, Debug, Default)]
pub struct KnownNames {
    keys: HashSet<String>,
}

impl KnownNames {
    /// Reads the names in `path`.
    ///
    /// # Errors
    ///
    /// [`EvalError`] if it does not hold annotated documents.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let mut keys = HashSet::new();
        for document in read_gold(path)? {
            keys.extend(document.companies.iter().map(|c| company::key(&c.name)));
            keys.extend(document.mentions.iter().filter(|m| m.named).map(|m| company::key(&m.surface)));
        }
        Ok(KnownNames { keys })
    }

    fn knows(&self, document: &GoldDocument, at: usize) -> bool {
        let company = &document.companies[at];
        let surfaces = document.mentions.iter().filter(|m| m.named && m.company == company.key).map(|m| &m.surface);
        surfaces.chain([&company.name]).any(|name| self.keys.contains(&company::key(name)))
    }
}

pub(super) fn slices(gold: &[GoldDocument], comparisons: &[Comparison], known: Option<&KnownNames>) -> Vec<Slice> {
    let mut parts: BTreeMap<(u8, String, usize, String), Vec<Comparison>> = BTreeMap::new();
    for (document, comparison) in gold.iter().zip(comparisons) {
        let (stem, number) = prefix(&document.id);
        let name = format!("{stem}{}", number.map(|n| n.to_string()).unwrap_or_default());
        parts.entry((0, stem.to_owned(), number.unwrap_or(0), name)).or_default().push(comparison.clone());
        let long = document.text.split_whitespace().count() >= LONG_WORDS;
        let name = if long { format!("words >= {LONG_WORDS}") } else { format!("words < {LONG_WORDS}") };
        parts.entry((1, String::new(), usize::from(long), name)).or_default().push(comparison.clone());
        for seen in [true, false].into_iter().filter(|_| known.is_some()) {
            let knows = |at: usize| known.is_some_and(|k| k.knows(document, at));
            let pairings: Vec<Pairing> = (0..comparison.pairings.len())
                .filter(|&at| knows(at) == seen)
                .map(|at| comparison.pairings[at].clone())
                .collect();
            if !pairings.is_empty() {
                let name = if seen { "seen companies" } else { "unseen companies" };
                let part = Comparison {
                    pairings,
                    invented: Vec::new(),
                    mentions: super::compare::Tally::default(),
                    evidence: super::compare::Tally::default(),
                    ..comparison.clone()
                };
                parts.entry((2, String::new(), usize::from(!seen), name.to_owned())).or_default().push(part);
            }
        }
    }
    let slice = |((_, _, _, name), comparisons): (_, Vec<Comparison>)| Slice {
        name,
        companies: comparisons.iter().map(|c| c.pairings.len()).sum(),
        figures: Figures::of(comparisons.iter()),
    };
    parts.into_iter().map(slice).collect()
}

/// What stands before the first hyphen of an id, its last digits apart, so that `a2` comes before `a10`.
fn prefix(id: &str) -> (&str, Option<usize>) {
    let head = id.split('-').next().unwrap_or(id);
    let stem = head.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, head[stem.len()..].parse().ok().filter(|_| id.contains('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_sort_by_their_number() {
        assert_eq!(prefix("a10-003b"), ("a", Some(10)));
        assert_eq!(prefix("rss2023-335"), ("rss", Some(2023)));
        assert_eq!(prefix("story"), ("story", None));
        assert_eq!(prefix("17"), ("", None));
    }
}
