//! Comparisons → figures, with four decimals.

use std::collections::BTreeMap;

use serde::Serialize;

use super::compare::{Comparison, Tally};
use crate::record::Stance;

/// Precision, recall and F1 with the counts behind them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Precision.
    pub p: f64,
    /// Recall.
    pub r: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// True positives.
    pub tp: usize,
    /// False positives.
    pub fp: usize,
    /// False negatives.
    #[serde(rename = "fn")]
    pub misses: usize,
}

/// Companies whose confidence fell into one tenth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// Lower end of the tenth.
    pub from: f64,
    /// Matched companies.
    pub count: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// Share of them with the right stance.
    pub accuracy: f64,
    /// Spurious companies in the same tenth.
    pub spurious: usize,
}

/// The figures of a set of documents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Gold documents.
    pub documents: usize,
    /// Gold documents without an `ok` record.
    pub missing: usize,
    /// Predicted mentions that do not quote the text at their offsets.
    pub bad_offsets: usize,
    /// Companies found, whatever their stance.
    pub company_detection: Ratio,
    /// Named mentions with both ends right.
    pub mention_exact: Ratio,
    /// Companies found with the right stance, by stance.
    pub end_to_end_by_stance: BTreeMap<&'static str, Ratio>,
    /// Mean F1 over the four stances.
    pub end_to_end_macro_f1: f64,
    /// F1 over all stances together.
    pub end_to_end_micro_f1: f64,
    /// The same without `silent`.
    pub end_to_end_active_f1: f64,
    /// Share of found companies with the right stance.
    pub stance_given_match_accuracy: f64,
    /// Mean F1 over the four stances among found companies.
    pub stance_given_match_macro_f1: f64,
    /// Evidence sentences.
    pub evidence: Ratio,
    /// Expected calibration error over found companies, ten bins.
    pub ece: f64,
    /// The same with spurious companies as errors.
    pub ece_all: f64,
    /// Share of documents with exactly the right companies and stances.
    pub documents_fully_right: f64,
    /// Right non-silent companies of documents with a market.
    pub markets_compared: usize,
    /// Share of them whose `markets` hold a place of the gold market.
    pub markets_right: f64,
    /// `gold>predicted` counts; `missed` and `spurious` stand for none.
    pub confusion: BTreeMap<String, usize>,
    /// By tenths of confidence.
    pub reliability: Vec<ReliabilityBin>,
    /// Calibration error of found companies by predicted stance.
    pub ece_by_stance: BTreeMap<&'static str, f64>,
}

/// Rounds to four decimals.
pub(super) fn round4(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl From<Tally> for Ratio {
    fn from(tally: Tally) -> Self {
        let Tally { hits, spurious, missed } = tally;
        let (p, r) = (share(hits, hits + spurious), share(hits, hits + missed));
        let f1 = if p + r > 0.0 { 2.0 * p * r / (p + r) } else { 0.0 };
        Ratio { p: round4(p), r: round4(r), f1: round4(f1), tp: hits, fp: spurious, misses: missed }
    }
}

fn mean_f1(tallies: &[Tally; 4]) -> f64 {
    round4(tallies.iter().map(|&t| Ratio::from(t).f1).sum::<f64>() / 4.0)
}

fn tenth(confidence: f64) -> usize {
    (0..10).rev().find(|&b| f64::from(b) / 10.0 <= confidence).unwrap_or(0) as usize
}

/// Expected calibration error (Guo et al. 2017) over ten bins of equal width.
pub(super) fn calibration_error(bins: &[(f64, bool)]) -> f64 {
    let mut sums = [(0.0, 0.0); 10];
    for &(confidence, right) in bins {
        let bin = &mut sums[tenth(confidence)];
        bin.0 += confidence;
        bin.1 += f64::from(u8::from(right));
    }
    let gap: f64 = sums.iter().map(|(confidence, right)| (confidence - right).abs()).sum();
    round4(gap / bins.len().max(1) as f64)
}

impl Figures {
    pub(super) fn of<'c>(comparisons: impl Iterator<Item = &'c Comparison> + Clone) -> Figures {
        let (mut detection, mut mentions, mut evidence) = (Tally::default(), Tally::default(), Tally::default());
        let (mut by_stance, mut given_match) = ([Tally::default(); 4], [Tally::default(); 4]);
        let mut confusion: BTreeMap<String, usize> = BTreeMap::new();
        let (mut bins, mut spurious_bins) = (Vec::new(), Vec::new());
        let mut bins_by_stance: [Vec<(f64, bool)>; 4] = Default::default();
        let (mut documents, mut missing, mut bad_offsets, mut right) = (0, 0, 0, 0);
        let mut markets = Vec::new();
        for c in comparisons {
            documents += 1;
            missing += usize::from(c.missing);
            bad_offsets += c.bad_offsets;
            right += usize::from(c.wholly_right);
            mentions += c.mentions;
            evidence += c.evidence;
            for pairing in &c.pairings {
                markets.extend(pairing.market);
                let gold = pairing.gold as usize;
                let Some((stance, confidence, _)) = pairing.predicted else {
                    detection.missed += 1;
                    by_stance[gold].missed += 1;
                    *confusion.entry(format!("{}>missed", pairing.gold.name())).or_default() += 1;
                    continue;
                };
                detection.hits += 1;
                let agrees = stance == pairing.gold;
                for tallies in [&mut by_stance, &mut given_match] {
                    tallies[gold].hits += usize::from(agrees);
                    tallies[gold].missed += usize::from(!agrees);
                    tallies[stance as usize].spurious += usize::from(!agrees);
                }
                bins.push((confidence, agrees));
                bins_by_stance[stance as usize].push((confidence, agrees));
                *confusion.entry(format!("{}>{}", pairing.gold.name(), stance.name())).or_default() += 1;
            }
            for &(stance, confidence, _) in &c.invented {
                detection.spurious += 1;
                by_stance[stance as usize].spurious += 1;
                spurious_bins.push((confidence, false));
                *confusion.entry(format!("spurious>{}", stance.name())).or_default() += 1;
            }
        }
        let sum = |tallies: &[Tally]| {
            let mut total = Tally::default();
            tallies.iter().for_each(|t| total += *t);
            Ratio::from(total).f1
        };
        let agreed = bins.iter().filter(|b| b.1).count();
        let all_bins: Vec<_> = bins.iter().chain(&spurious_bins).copied().collect();
        Figures {
            documents,
            missing,
            bad_offsets,
            company_detection: detection.into(),
            mention_exact: mentions.into(),
            end_to_end_by_stance: Stance::ALL.map(|s| (s.name(), by_stance[s as usize].into())).into(),
            end_to_end_macro_f1: mean_f1(&by_stance),
            end_to_end_micro_f1: sum(&by_stance),
            end_to_end_active_f1: sum(&by_stance[..3]),
            stance_given_match_accuracy: round4(share(agreed, bins.len())),
            stance_given_match_macro_f1: mean_f1(&given_match),
            evidence: evidence.into(),
            ece: calibration_error(&bins),
            ece_all: calibration_error(&all_bins),
            documents_fully_right: round4(share(right, documents)),
            markets_compared: markets.len(),
            markets_right: round4(share(markets.iter().filter(|m| **m).count(), markets.len())),
            confusion,
            reliability: reliability(&bins, &spurious_bins),
            ece_by_stance: Stance::ALL.map(|s| (s.name(), calibration_error(&bins_by_stance[s as usize]))).into(),
        }
    }
}

fn reliability(bins: &[(f64, bool)], spurious: &[(f64, bool)]) -> Vec<ReliabilityBin> {
    let row = |at: usize| {
        let inside: Vec<_> = bins.iter().filter(|b| tenth(b.0) == at).collect();
        let sum = inside.iter().fold(0.0, |sum, b| sum + b.0);
        let confidence = sum / inside.len().max(1) as f64;
        ReliabilityBin {
            from: at as f64 / 10.0,
            count: inside.len(),
            confidence: round4(confidence),
            accuracy: round4(share(inside.iter().filter(|b| b.1).count(), inside.len())),
            spurious: spurious.iter().filter(|b| tenth(b.0) == at).count(),
        }
    };
    (0..10).map(row).collect()
}
