//! One gold document against its record: what was found, missed, invented, and with which stance.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::AddAssign;

use super::gold::{GoldDocument, PredictedCompany, PredictedSpan, Prediction};
use crate::record::Stance;

/// Longest evidence span that counts as one sentence, in code points.
const MAX_SENTENCE_CHARS: usize = 800;

/// True positives, false positives, false negatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) hits: usize,
    pub(super) spurious: usize,
    pub(super) missed: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.hits += other.hits;
        self.spurious += other.spurious;
        self.missed += other.missed;
    }
}

/// A gold company with the predicted one that it was matched to.
#[derive(Clone, Debug)]
pub(super) struct Pairing {
    pub(super) gold: Stance,
    /// Stance, confidence, and position among the record's companies.
    pub(super) predicted: Option<(Stance, f64, usize)>,
    /// Whether its markets hold a place of the gold market; `None` where there is nothing to compare.
    pub(super) market: Option<bool>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    /// Gold companies, in order.
    pub(super) pairings: Vec<Pairing>,
    /// Predicted companies without a gold one: stance, confidence, position in the record.
    pub(super) invented: Vec<(Stance, f64, usize)>,
    pub(super) mentions: Tally,
    pub(super) evidence: Tally,
    pub(super) missing: bool,
    pub(super) bad_offsets: usize,
    pub(super) wholly_right: bool,
}

impl Comparison {
    pub(super) fn new(gold: &GoldDocument, prediction: Option<&Prediction>) -> Self {
        let usable = prediction.filter(|p| p.status == "ok");
        let companies: &[PredictedCompany] = usable.map_or(&[], |p| &p.companies);
        let chars: Vec<char> = gold.text.chars().collect();
        let named = named_spans(gold);
        let (of_gold, of_predicted) = match_companies(&named, companies);

        let gold_spans: BTreeSet<(usize, usize)> = named.iter().flatten().copied().collect();
        let all_mentions = || companies.iter().flat_map(|c| &c.mentions);
        let spans: BTreeSet<(usize, usize)> = all_mentions().map(|m| (m.start, m.end)).collect();
        let exact = gold_spans.intersection(&spans).count();
        let mentions = Tally { hits: exact, spurious: spans.len() - exact, missed: gold_spans.len() - exact };

        let pairing = |(at, company): (usize, &super::gold::GoldCompany)| {
            let found = of_gold.get(&at).map(|&p| (companies[p].stance, companies[p].confidence, p));
            let right = found.filter(|(stance, ..)| *stance == company.stance && *stance != Stance::Silent);
            let market = right.and_then(|(.., p)| holds_market(&companies[p].markets, gold.market.as_deref()?));
            Pairing { gold: company.stance, predicted: found, market }
        };
        let pairings: Vec<Pairing> = gold.companies.iter().enumerate().map(pairing).collect();
        let invented: Vec<_> = (0..companies.len())
            .filter(|at| !of_predicted.contains_key(at))
            .map(|at| (companies[at].stance, companies[at].confidence, at))
            .collect();
        let complete = of_gold.len() == gold.companies.len() && invented.is_empty();
        let agrees = |p: &Pairing| p.predicted.is_some_and(|(stance, ..)| stance == p.gold);
        Comparison {
            wholly_right: complete && pairings.iter().all(agrees),
            evidence: compare_evidence(gold, companies, &of_gold, &of_predicted, &chars),
            pairings,
            invented,
            mentions,
            missing: usable.is_none(),
            bad_offsets: all_mentions().filter(|m| !is_quote(&chars, m)).count(),
        }
    }
}

/// Spans of the named mentions of each gold company.
fn named_spans(gold: &GoldDocument) -> Vec<Vec<(usize, usize)>> {
    let mut spans = vec![Vec::new(); gold.companies.len()];
    for mention in gold.mentions.iter().filter(|m| m.named) {
        if let Some(at) = gold.companies.iter().position(|c| c.key == mention.company) {
            spans[at].push((mention.start, mention.end));
        }
    }
    spans
}

/// Greedy matching by the number of predicted mentions that overlap one of the gold company's; of equals the last ones
/// first. Returns the partners both ways.
fn match_companies(
    named: &[Vec<(usize, usize)>],
    companies: &[PredictedCompany],
) -> (BTreeMap<usize, usize>, BTreeMap<usize, usize>) {
    let overlaps = |m: &PredictedSpan, spans: &[(usize, usize)]| spans.iter().any(|s| m.start < s.1 && s.0 < m.end);
    let mut pairs = Vec::new();
    for (g, spans) in named.iter().enumerate() {
        for (p, company) in companies.iter().enumerate() {
            let count = company.mentions.iter().filter(|m| overlaps(m, spans)).count();
            if count > 0 {
                pairs.push((count, g, p));
            }
        }
    }
    pairs.sort_unstable_by(|a, b| b.cmp(a));
    let (mut of_gold, mut of_predicted) = (BTreeMap::new(), BTreeMap::new());
    for (_, g, p) in pairs {
        if !of_gold.contains_key(&g) && !of_predicted.contains_key(&p) {
            of_gold.insert(g, p);
            of_predicted.insert(p, g);
        }
    }
    (of_gold, of_predicted)
}

fn is_quote(chars: &[char], span: &PredictedSpan) -> bool {
    chars.get(span.start..span.end).is_some_and(|quote| quote.iter().copied().eq(span.text.chars()))
}

/// Evidence counts only where the stance is right. A span is a sentence: without line break, of at most
/// [`MAX_SENTENCE_CHARS`]. It is a hit if it contains a gold evidence mention for which no shorter span of the company
/// does.
fn compare_evidence(
    gold: &GoldDocument,
    companies: &[PredictedCompany],
    of_gold: &BTreeMap<usize, usize>,
    of_predicted: &BTreeMap<usize, usize>,
    chars: &[char],
) -> Tally {
    let mut tally = Tally::default();
    for (at, company) in gold.companies.iter().enumerate().filter(|(_, c)| c.stance != Stance::Silent) {
        let found = of_gold.get(&at).map(|&p| &companies[p]).filter(|p| p.stance == company.stance);
        let spans: &[PredictedSpan] = found.map_or(&[], |p| &p.evidence);
        let is_sentence = |e: &&PredictedSpan| {
            let inside = chars.get(e.start..e.end.min(chars.len())).unwrap_or(&[]);
            !inside.contains(&'\n') && e.end.saturating_sub(e.start) <= MAX_SENTENCE_CHARS
        };
        let sentences: Vec<&PredictedSpan> = spans.iter().filter(is_sentence).collect();
        let mut used = HashSet::new();
        let expressed = |m: &&super::gold::GoldMention| m.company == company.key && m.stance == Some(company.stance);
        for mention in gold.mentions.iter().filter(expressed) {
            let holding =
                sentences.iter().enumerate().filter(|(_, e)| e.start <= mention.start && mention.end <= e.end);
            match holding.min_by_key(|(_, e)| e.end - e.start) {
                Some((sentence, _)) => drop(used.insert(sentence)),
                None => tally.missed += 1,
            }
        }
        tally.hits += used.len();
        tally.spurious += spans.len() - used.len();
    }
    for (at, company) in companies.iter().enumerate().filter(|(_, c)| c.stance != Stance::Silent) {
        let right = of_predicted.get(&at).is_some_and(|&g| gold.companies[g].stance == company.stance);
        if !right {
            tally.spurious += company.evidence.len();
        }
    }
    tally
}

/// True if one of `markets` is a place of `market` ("Russia and Ukraine"), or one contains the other in whole words;
/// `None` if `market` names no place.
fn holds_market(markets: &[String], market: &str) -> Option<bool> {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
    };
    let places = market.replace(" and ", ",");
    let places: Vec<_> = places.split([',', ';', '/', '&']).map(words).filter(|w| !w.is_empty()).collect();
    let contains = |long: &[String], short: &[String]| long.windows(short.len().max(1)).any(|part| part == short);
    let same = |a: &[String], b: &[String]| contains(a, b) || contains(b, a);
    (!places.is_empty()).then(|| markets.iter().any(|m| places.iter().any(|place| same(&words(m), place))))
}
