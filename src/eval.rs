//! Records against gold annotation: how right they are, how sure of it they may be, and where they err.
//!
//! A gold company and a predicted one are the same if their mentions overlap; pairs are taken greedily, most overlapping
//! mentions first. Everything is counted per document, so that figures of a slice, and of resampled documents, are sums.

mod bootstrap;
mod compare;
mod figures;
mod gold;
mod report;
mod slices;
mod worst;

use std::collections::BTreeMap;

use serde::Serialize;

pub use figures::{Figures, Ratio, ReliabilityBin};
pub use gold::{EvalError, GoldDocument, Prediction, predictions_from_lines, read_gold, read_predictions};
pub use report::render;
pub use slices::{KnownNames, Slice};
pub use worst::{Error, ErrorKind};

use bootstrap::Interval;
use compare::Comparison;

/// What is reported beside the figures.
#[derive(Clone, Debug, Default)]
pub struct EvalOptions {
    /// Names in a training file: gold companies that it does not name are reported apart.
    pub known: Option<KnownNames>,
    /// Most errors listed of each kind.
    pub worst: usize,
}

/// Everything that is known about a set of predictions.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Figures over all documents.
    #[serde(flatten)]
    pub figures: Figures,
    /// Predictions whose id no gold document has.
    pub unknown_predictions: usize,
    /// Bootstrap 95 % intervals of the main figures, over documents.
    pub intervals: BTreeMap<&'static str, Interval>,
    /// Figures of parts of the documents.
    pub slices: Vec<Slice>,
    /// The most confident errors of each kind.
    pub worst: Vec<Error>,
}

/// Scores `predictions` against `gold`. A gold document without a prediction counts as one without companies.
#[must_use]
pub fn evaluate(gold: &[GoldDocument], predictions: &[Prediction], options: &EvalOptions) -> Evaluation {
    let by_id: BTreeMap<&str, &Prediction> = predictions.iter().map(|p| (p.id.as_str(), p)).collect();
    let comparisons: Vec<Comparison> =
        gold.iter().map(|g| Comparison::new(g, by_id.get(g.id.as_str()).copied())).collect();
    let known_ids: std::collections::BTreeSet<&str> = gold.iter().map(|g| g.id.as_str()).collect();
    Evaluation {
        figures: Figures::of(comparisons.iter()),
        unknown_predictions: by_id.keys().filter(|id| !known_ids.contains(*id)).count(),
        intervals: bootstrap::intervals(&comparisons),
        slices: slices::slices(gold, &comparisons, options.known.as_ref()),
        worst: worst::worst(gold, &by_id, &comparisons, options.worst),
    }
}

#[cfg(test)]
mod tests;
