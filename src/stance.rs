//! Hidden states and mentions → what each sentence says about each company, and what the document says in all.
//!
//! The stance head scores pairs of a company and a sentence. For company *c* and sentence *s* of a window, with hidden
//! states *h* of width *H*:
//!
//! ```text
//! m = mean hidden state of c's mentions in s; in the window when s does not name it; carried there when no sentence does
//! a = softmax over the tokens of s of (query(c) · key(h) / √H), times value(h)
//! logits = W₃ gelu(W₀ [m; a; m·a; mean of s; standing of s])     none, halted, suspended, continuing, no_comment
//! ```
//!
//! The standing of a sentence to a company is five numbers that say how near it is to the company's mentions: what "the
//! group" or "it" means hangs on them (`standings`).
//!
//! Keys and values are linear in *h*, so query(c) · key(h) is (Kᵀ query(c)) · h up to what all tokens share, and the
//! weighted mean of values is the value of the weighted mean of *h*: both are computed once a company, or once a pair,
//! instead of once a token. W₀ is applied part by part for the same reason.
//!
//! `no_comment` is a sentence that reports the lack of a position, as "declined to comment": evidence of `silent`. A
//! document's score for a stance is the log-sum-exp over its sentences of (logit of the stance − log-sum-exp of the logits
//! of `none` and `no_comment`), and 0 for `silent`; the softmax of these scores, divided by the calibration's temperature,
//! is the probability.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

use crate::engine::kernel::Kernel;
use crate::engine::kernel::dense::Dense;
use crate::engine::math::{gelu, log_sum_exp, softmax};
use crate::engine::model_file::{Model, ModelError, SENTENCE_CLASSES};
use crate::record::Stance;
use crate::text::window::{SentenceRows, Window};
use std::ops::Range;

/// How many numbers say how a sentence stands to a company.
const STANDING: usize = 5;

/// Column of the class `none`. The others follow it in the order of [`Stance::ALL`]: `no_comment` is evidence of `silent`.
const NONE: usize = 0;

/// Column of the class that is evidence of `stance`.
const fn class_of(stance: Stance) -> usize {
    stance as usize + 1
}

/// The stance head.
pub struct StanceHead {
    kernel: Kernel,
    query: Dense,
    /// Kᵀ, without a bias.
    key: Dense,
    value: Dense,
    /// W₀ of m, with its bias.
    of_vector: Dense,
    /// W₀ of `[a; m·a]`.
    of_attended: Dense,
    /// W₀ of the mean of s.
    of_sentence: Dense,
    /// W₀ of the standing of s.
    of_standing: Dense,
    output: Dense,
}

/// Where a window names a company, or what it carries of it.
#[derive(Clone, Debug)]
pub enum Presence {
    /// Rows of its mentions in the window, in order; never empty.
    Named(Vec<Range<usize>>),
    /// Its vector from another window, `[hidden]`.
    Carried(Array1<f32>),
}

impl Presence {
    /// The mentions that begin in `part`, in order.
    fn mentions_in(&self, part: &SentenceRows) -> impl Iterator<Item = &Range<usize>> {
        let mentions: &[Range<usize>] = match self {
            Presence::Named(mentions) => mentions,
            Presence::Carried(_) => &[],
        };
        mentions.iter().filter(|m| part.rows.contains(&m.start))
    }
}

/// What one sentence says about one company.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SentenceScore {
    /// Number of the sentence in the document.
    pub sentence: usize,
    /// Logits of none, halted, suspended, continuing, no_comment.
    pub logits: [f32; 5],
}

impl SentenceScore {
    /// What the likeliest class is evidence of; `None` for the class `none`.
    #[must_use]
    pub fn verdict(&self) -> Option<Stance> {
        let mut best = NONE;
        for class in 1..self.logits.len() {
            if self.logits[class] > self.logits[best] {
                best = class;
            }
        }
        best.checked_sub(1).map(|at| Stance::ALL[at])
    }

    /// Probability that the sentence says `stance`; for `silent`, that it reports the lack of a position.
    #[must_use]
    pub fn probability(&self, stance: Stance) -> f32 {
        let mut probabilities = self.logits;
        softmax(&mut probabilities);
        probabilities[class_of(stance)]
    }

    /// Logit of saying nothing of a stance.
    fn silence(&self) -> f32 {
        log_sum_exp(&[self.logits[NONE], self.logits[class_of(Stance::Silent)]])
    }

    /// How much the logits of the stances exceed that of saying nothing, for [`Stance::ALL`] but `silent`.
    #[must_use]
    pub fn margins(&self) -> [f32; 3] {
        let silence = self.silence();
        std::array::from_fn(|at| self.logits[class_of(Stance::ALL[at])] - silence)
    }
}

/// A company's vector in a window: the mean of its mentions' mean hidden states, `[hidden]`.
///
/// # Panics
///
/// If there is no mention, or an empty one.
#[must_use]
pub fn company_vector(hidden: ArrayView2<'_, f32>, mentions: &[Range<usize>]) -> Array1<f32> {
    let mut sum = Array1::zeros(hidden.ncols());
    for rows in mentions {
        sum += &mean(hidden, rows);
    }
    assert!(!mentions.is_empty(), "a company's vector needs a mention");
    sum / mentions.len() as f32
}

fn mean(hidden: ArrayView2<'_, f32>, rows: &Range<usize>) -> Array1<f32> {
    hidden.slice(s![rows.clone(), ..]).mean_axis(Axis(0)).expect("a mention or a sentence has a token")
}

impl StanceHead {
    /// Reads `query`, `key`, `value`, `stance.0` and `stance.3`, to run on `kernel`, which this CPU must have.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if one is missing or has another shape.
    pub fn read(model: &Model, kernel: Kernel) -> Result<Self, ModelError> {
        let (tensors, width) = (model.tensors()?, model.config().hidden_size);
        let key = tensors.matrix("key.weight", width, width)?;
        let hidden = tensors.matrix("stance.0.weight", width, 4 * width + STANDING)?;
        let bias = tensors.values("stance.0.bias", &[width])?;
        let none = vec![0.0; width];
        let columns = |from: usize, to: usize| hidden.slice(s![.., from * width..to * width]);
        Ok(StanceHead {
            kernel,
            query: tensors.dense("query", width, width, kernel)?,
            key: Dense::new(key.t(), &none, kernel),
            value: tensors.dense("value", width, width, kernel)?,
            of_vector: Dense::new(columns(0, 1), &bias, kernel),
            of_attended: Dense::new(columns(1, 3), &none, kernel),
            of_sentence: Dense::new(columns(3, 4), &none, kernel),
            of_standing: Dense::new(hidden.slice(s![.., 4 * width..]), &none, kernel),
            output: tensors.dense("stance.3", SENTENCE_CLASSES.len(), width, kernel)?,
        })
    }

    /// Scores every pair of a company present in `window` and a sentence of it.
    ///
    /// `hidden` is `[tokens, hidden]` of the window. Returns, per company in the order given, one score per sentence of
    /// the window.
    ///
    /// # Panics
    ///
    /// If `hidden` is narrower than the model or has fewer rows than the window.
    #[must_use]
    pub fn score(
        &self,
        window: &Window,
        hidden: ArrayView2<'_, f32>,
        companies: &[Presence],
    ) -> Vec<Vec<SentenceScore>> {
        let (sentences, width) = (window.sentences(), hidden.ncols());
        if companies.is_empty() || sentences.is_empty() {
            return vec![Vec::new(); companies.len()];
        }
        let mut vectors = Array2::zeros((companies.len(), width));
        for (mut row, presence) in vectors.rows_mut().into_iter().zip(companies) {
            match presence {
                Presence::Named(mentions) => row.assign(&company_vector(hidden, mentions)),
                Presence::Carried(vector) => row.assign(vector),
            }
        }
        let attention = self.attention(hidden, vectors.view());
        let pairs = companies.len() * sentences.len();
        let mut means = Array2::zeros((sentences.len(), width));
        let mut attended = Array2::zeros((pairs, width));
        // Per pair, the row of `vectors` with its m: the company's, or one of its own.
        let mut vector_of = Vec::with_capacity(pairs);
        for (at, part) in sentences.iter().enumerate() {
            means.row_mut(at).assign(&mean(hidden, &part.rows));
            let tokens = hidden.slice(s![part.rows.clone(), ..]);
            for company in 0..companies.len() {
                let mut weights: Vec<f32> = part.rows.clone().map(|row| attention[[row, company]]).collect();
                softmax(&mut weights);
                let mut sum = attended.row_mut(company * sentences.len() + at);
                for (weight, token) in weights.into_iter().zip(tokens.rows()) {
                    sum.scaled_add(weight, &token);
                }
            }
        }
        for (company, presence) in companies.iter().enumerate() {
            for part in sentences {
                let inside: Vec<Range<usize>> = presence.mentions_in(part).cloned().collect();
                if inside.is_empty() {
                    vector_of.push(company);
                } else {
                    vector_of.push(vectors.nrows());
                    vectors.push_row(company_vector(hidden, &inside).view()).expect("rows of one width");
                }
            }
        }
        let attended = self.value.apply(attended.view());
        let mut features = Array2::zeros((pairs, 2 * width));
        for ((mut row, attended), &vector) in features.rows_mut().into_iter().zip(attended.rows()).zip(&vector_of) {
            row.slice_mut(s![..width]).assign(&attended);
            row.slice_mut(s![width..]).assign(&(&vectors.row(vector) * &attended));
        }
        let mut inner = self.of_attended.apply(features.view());
        let (by_vector, by_sentence) = (self.of_vector.apply(vectors.view()), self.of_sentence.apply(means.view()));
        let by_standing = self.of_standing.apply(standings(sentences, companies).view());
        for (pair, mut row) in inner.rows_mut().into_iter().enumerate() {
            row += &by_vector.row(vector_of[pair]);
            row += &by_sentence.row(pair % sentences.len());
            row += &by_standing.row(pair);
        }
        gelu(inner.as_slice_mut().expect("a new array is contiguous"));
        let logits = self.output.apply(inner.view());
        let score = |company: usize, at: usize| {
            let row = logits.row(company * sentences.len() + at);
            SentenceScore { sentence: sentences[at].sentence, logits: std::array::from_fn(|class| row[class]) }
        };
        (0..companies.len()).map(|c| (0..sentences.len()).map(|at| score(c, at)).collect()).collect()
    }

    /// Scores of attention, `[tokens, companies]`, up to a constant of each company.
    fn attention(&self, hidden: ArrayView2<'_, f32>, vectors: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut turned = self.key.apply(self.query.apply(vectors).view());
        turned /= (hidden.ncols() as f32).sqrt();
        Dense::new(turned.view(), &vec![0.0; turned.nrows()], self.kernel).apply(hidden)
    }
}

/// How every sentence stands to every company, `[companies · sentences, STANDING]`: 1 if it names the company; 1 if it does
/// not, and no other company is mentioned between the company's latest mention before it and it; 1 if it names another
/// company; 1 / (sentences since that latest mention), 0 if it names the company or there is none; 1 / (companies present).
fn standings(sentences: &[SentenceRows], companies: &[Presence]) -> Array2<f32> {
    // Row and sentence of each company's latest mention before the sentence at hand.
    let mut latest: Vec<Option<(usize, usize)>> = vec![None; companies.len()];
    let mut standings = Array2::zeros((companies.len() * sentences.len(), STANDING));
    for (at, part) in sentences.iter().enumerate() {
        let rows = |presence: &Presence| presence.mentions_in(part).map(|m| m.start).max();
        let here: Vec<Option<usize>> = companies.iter().map(rows).collect();
        let count = here.iter().flatten().count();
        let newest = latest.iter().flatten().map(|&(row, _)| row).max();
        for (company, &named) in here.iter().enumerate() {
            let before = latest[company].filter(|_| named.is_none());
            let standing: [f32; STANDING] = [
                f32::from(named.is_some()),
                f32::from(before.is_some_and(|(row, _)| Some(row) == newest)),
                f32::from(count > usize::from(named.is_some())),
                before.map_or(0.0, |(_, sentence)| 1.0 / (at - sentence) as f32),
                1.0 / companies.len() as f32,
            ];
            standings.row_mut(company * sentences.len() + at).assign(&ArrayView1::from(&standing));
        }
        for (latest, row) in latest.iter_mut().zip(here) {
            *latest = row.map(|row| (row, at)).or(*latest);
        }
    }
    standings
}

/// Pools the sentences' scores of one company into the probability of each stance, columns as [`Stance::ALL`].
///
/// Without a sentence the company is silent.
#[must_use]
pub fn pool(scores: &[SentenceScore], temperature: f32) -> [f32; 4] {
    let mut row = [0.0; 4];
    let margins: Vec<[f32; 3]> = scores.iter().map(SentenceScore::margins).collect();
    for (column, slot) in row.iter_mut().take(3).enumerate() {
        let margins: Vec<f32> = margins.iter().map(|m| m[column]).collect();
        *slot = log_sum_exp(&margins) / temperature;
    }
    softmax(&mut row);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A score whose `no_comment` is out of the question.
    fn score(sentence: usize, [none, halted, suspended, continuing]: [f32; 4]) -> SentenceScore {
        SentenceScore { sentence, logits: [none, halted, suspended, continuing, -99.0] }
    }

    #[test]
    fn a_company_without_a_sentence_is_silent() {
        assert_eq!(pool(&[], 1.0), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn pooling_adds_up_what_sentences_say() {
        let one = pool(&[score(0, [0.0, 2.0, 0.0, 0.0])], 1.0);
        let two = pool(&[score(0, [0.0, 2.0, 0.0, 0.0]), score(1, [0.0, 2.0, -9.0, -9.0])], 1.0);
        let e2 = 2.0_f32.exp();
        assert!((one[0] - e2 / (e2 + 3.0)).abs() < 1e-6, "{one:?}");
        assert!((two[0] - 2.0 * e2 / (2.0 * e2 + 3.0)).abs() < 1e-4, "{two:?}");
        assert!((two.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_high_temperature_makes_modest() {
        let scores = [score(0, [0.0, 4.0, 0.0, 0.0])];
        assert!(pool(&scores, 2.0)[0] < pool(&scores, 1.0)[0]);
    }

    #[test]
    fn a_verdict_is_the_likeliest_class() {
        let paused = score(0, [0.0, 1.0, 3.0, 0.0]);
        assert_eq!(paused.verdict(), Some(Stance::Suspended));
        assert!((paused.probability(Stance::Suspended) - 0.8098).abs() < 1e-3, "{paused:?}");
        assert_eq!(score(0, [1.0, 0.0, 0.0, 0.0]).verdict(), None);
    }

    #[test]
    fn a_refusal_to_comment_is_evidence_of_silence_and_no_stance() {
        let refusal = SentenceScore { sentence: 0, logits: [2.0, 1.0, 0.0, 0.0, 5.0] };
        assert_eq!(refusal.verdict(), Some(Stance::Silent));
        let mixed = SentenceScore { sentence: 0, logits: [2.0, 1.0, 0.0, 0.0, 2.0] };
        let none = score(0, [2.0 + 2.0_f32.ln(), 1.0, 0.0, 0.0]);
        for (a, b) in pool(&[mixed], 1.0).into_iter().zip(pool(&[none], 1.0)) {
            assert!((a - b).abs() < 1e-5, "two ways to say nothing weigh as much as one twice as likely");
        }
    }

    #[test]
    fn standings_tell_how_near_a_sentence_is_to_a_mention() {
        let part = |sentence, rows| SentenceRows { sentence, rows };
        let sentences = [part(7, 1..5), part(8, 5..9), part(9, 9..12), part(10, 12..15)];
        let third = 1.0 / 3.0;
        let companies =
            [Presence::Named(vec![2..3, 3..4]), Presence::Named(vec![6..7, 7..8]), Presence::Carried(Array1::zeros(2))];
        let found = standings(&sentences, &companies);
        let first = [
            [1.0, 0.0, 0.0, 0.0, third],
            [0.0, 1.0, 1.0, 1.0, third],
            [0.0, 0.0, 0.0, 0.5, third],
            [0.0, 0.0, 0.0, third, third],
        ];
        let rows = |from: usize, to: usize| found.slice(s![from..to, ..]);
        assert_eq!(rows(0, 4), ndarray::arr2(&first), "named, then the last one named, then another one is");
        let second = [
            [0.0, 0.0, 1.0, 0.0, third],
            [1.0, 0.0, 0.0, 0.0, third],
            [0.0, 1.0, 0.0, 1.0, third],
            [0.0, 1.0, 0.0, 0.5, third],
        ];
        assert_eq!(rows(4, 8), ndarray::arr2(&second), "nobody is named after it");
        let carried = [0.0, 0.0, 1.0, 0.0, third];
        assert_eq!(rows(8, 10), ndarray::arr2(&[carried, carried]), "carried from another window");
        let alone = standings(&sentences[..1], &companies[..1]);
        assert_eq!(alone, ndarray::arr2(&[[1.0, 0.0, 0.0, 0.0, 1.0]]));
    }

    #[test]
    fn a_company_vector_is_the_mean_of_its_mentions() {
        let hidden = ndarray::array![[0.0, 0.0], [2.0, 4.0], [4.0, 8.0], [1.0, 1.0]];
        assert_eq!(company_vector(hidden.view(), &[1..3, 3..4]), ndarray::array![2.0, 3.5]);
    }
}
