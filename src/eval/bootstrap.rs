//! How far figures would move with other documents: percentile bootstrap (Efron 1979).

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::Comparison;
use super::figures::Figures;

/// Bounds of a 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// 2.5th percentile.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

const RESAMPLES: usize = 1000;
/// The same documents always give the same intervals.
const SEED: u64 = 0x5741_4e43;

type Figure = (&'static str, fn(&Figures) -> f64);

const FIGURES: &[Figure] = &[
    ("company_precision", |f| f.company_detection.p),
    ("company_recall", |f| f.company_detection.r),
    ("company_f1", |f| f.company_detection.f1),
    ("mention_f1", |f| f.mention_exact.f1),
    ("end_to_end_macro_f1", |f| f.end_to_end_macro_f1),
    ("end_to_end_micro_f1", |f| f.end_to_end_micro_f1),
    ("end_to_end_active_f1", |f| f.end_to_end_active_f1),
    ("stance_given_match_macro_f1", |f| f.stance_given_match_macro_f1),
    ("evidence_f1", |f| f.evidence.f1),
    ("ece", |f| f.ece),
    ("documents_fully_right", |f| f.documents_fully_right),
];

/// Intervals of the main figures, resampling whole documents.
pub(super) fn intervals(comparisons: &[Comparison]) -> BTreeMap<&'static str, Interval> {
    if comparisons.is_empty() {
        return BTreeMap::new();
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut drawn: Vec<Vec<f64>> = vec![Vec::with_capacity(RESAMPLES); FIGURES.len()];
    for _ in 0..RESAMPLES {
        let sample: Vec<&Comparison> =
            comparisons.iter().map(|_| &comparisons[random.usize(..comparisons.len())]).collect();
        let figures = Figures::of(sample.into_iter());
        for ((_, figure), values) in FIGURES.iter().zip(&mut drawn) {
            values.push(figure(&figures));
        }
    }
    let bounds = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        Interval { low: values[RESAMPLES / 40], high: values[RESAMPLES - 1 - RESAMPLES / 40] }
    };
    FIGURES.iter().zip(&mut drawn).map(|((name, _), values)| (*name, bounds(values))).collect()
}
