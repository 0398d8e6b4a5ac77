//! Hidden states and mentions → what each sentence says about each company, and what the document says in all.
//!
//! The stance head scores pairs of a company and a sentence. For company *c* and sentence *s* of a window, with hidden
//! states *h* of width *H*:
//!
//! ```text
//! m = mean hidden state of c's mentions in s; in the window when s does not name it; carried there when no sentence does
//! a = softmax over the tokens of s of (query(c) · key(h) / √H), times value(h)
//! logits = W₃ gelu(W₀ [m; a; m·a; mean of s; 1 if s names c else 0])        none, halted, suspended, continuing
//! ```
//!
//! A document's score for a stance is the log-sum-exp over its sentences of (logit of the stance − logit of `none`), and
//! 0 for `silent`; the softmax of these scores, divided by the calibration's temperature, is the probability.

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};

use crate::engine::linear::Linear;
use crate::engine::math::{gelu, log_sum_exp, softmax};
use crate::engine::model_file::{Model, ModelError, SENTENCE_CLASSES};
use crate::record::Stance;
use crate::text::window::Window;
use std::ops::Range;

/// Sentence classes other than `none`, as stances, in the head's column order.
const SPOKEN: [Stance; 3] = [Stance::Halted, Stance::Suspended, Stance::Continuing];

/// The stance head.
pub struct StanceHead {
    query: Linear,
    key: Linear,
    value: Linear,
    hidden: Linear,
    output: Linear,
}

/// Where a window names a company, or what it carries of it.
#[derive(Clone, Debug)]
pub enum Presence {
    /// Rows of its mentions in the window, in order; never empty.
    Named(Vec<Range<usize>>),
    /// Its vector from another window, `[hidden]`.
    Carried(Array1<f32>),
}

/// What one sentence says about one company.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SentenceScore {
    /// Number of the sentence in the document.
    pub sentence: usize,
    /// Logits of none, halted, suspended, continuing.
    pub logits: [f32; 4],
}

impl SentenceScore {
    /// The likeliest class and its probability; `None` for the class `none`.
    #[must_use]
    pub fn verdict(&self) -> (Option<Stance>, f32) {
        let mut probabilities = self.logits;
        softmax(&mut probabilities);
        let mut best = 0;
        for class in 1..4 {
            if self.logits[class] > self.logits[best] {
                best = class;
            }
        }
        (best.checked_sub(1).map(|at| SPOKEN[at]), probabilities[best])
    }

    /// Probability that the sentence says `stance`; for `silent`, that it says nothing.
    #[must_use]
    pub fn probability(&self, stance: Stance) -> f32 {
        let mut probabilities = self.logits;
        softmax(&mut probabilities);
        match SPOKEN.iter().position(|&s| s == stance) {
            Some(at) => probabilities[at + 1],
            None => probabilities[0],
        }
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
    /// Reads `query`, `key`, `value`, `stance.0` and `stance.3`.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if one is missing or has another shape.
    pub fn read(model: &Model) -> Result<Self, ModelError> {
        let (tensors, width) = (model.tensors()?, model.config().hidden_size);
        Ok(StanceHead {
            query: tensors.linear("query", width, width)?,
            key: tensors.linear("key", width, width)?,
            value: tensors.linear("value", width, width)?,
            hidden: tensors.linear("stance.0", width, 4 * width + 1)?,
            output: tensors.linear("stance.3", SENTENCE_CLASSES.len(), width)?,
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
        let (keys, values) = (self.key.apply(&hidden), self.value.apply(&hidden));
        let mut attention = self.query.apply(&vectors.view()).dot(&keys.t());
        attention /= (width as f32).sqrt();

        let mut features = Array2::zeros((companies.len() * sentences.len(), 4 * width + 1));
        for (at, part) in sentences.iter().enumerate() {
            let weights = &mut attention.slice(s![.., part.rows.clone()]).to_owned();
            for mut row in weights.rows_mut() {
                softmax(row.as_slice_mut().expect("a new array is contiguous"));
            }
            let attended = weights.dot(&values.slice(s![part.rows.clone(), ..]));
            let sentence_mean = mean(hidden, &part.rows);
            for (company, presence) in companies.iter().enumerate() {
                let inside: Vec<Range<usize>> = match presence {
                    Presence::Named(mentions) => {
                        mentions.iter().filter(|m| part.rows.contains(&m.start)).cloned().collect()
                    }
                    Presence::Carried(_) => Vec::new(),
                };
                let vector =
                    if inside.is_empty() { vectors.row(company).to_owned() } else { company_vector(hidden, &inside) };
                let row = features.row_mut(company * sentences.len() + at);
                fill(row, &vector, attended.row(company), &sentence_mean, !inside.is_empty());
            }
        }
        let mut inner = self.hidden.apply(&features.view());
        gelu(inner.as_slice_mut().expect("a new array is contiguous"));
        let logits = self.output.apply(&inner.view());
        let score = |company: usize, at: usize| {
            let row = logits.row(company * sentences.len() + at);
            SentenceScore { sentence: sentences[at].sentence, logits: [row[0], row[1], row[2], row[3]] }
        };
        (0..companies.len()).map(|c| (0..sentences.len()).map(|at| score(c, at)).collect()).collect()
    }
}

/// One row of features: `[m; a; m·a; mean; named]`.
fn fill(
    mut row: ndarray::ArrayViewMut1<'_, f32>,
    vector: &Array1<f32>,
    attended: ArrayView1<'_, f32>,
    sentence_mean: &Array1<f32>,
    named: bool,
) {
    let width = vector.len();
    row.slice_mut(s![..width]).assign(vector);
    row.slice_mut(s![width..2 * width]).assign(&attended);
    row.slice_mut(s![2 * width..3 * width]).assign(&(vector * &attended));
    row.slice_mut(s![3 * width..4 * width]).assign(sentence_mean);
    row[4 * width] = f32::from(u8::from(named));
}

/// Pools the sentences' scores of one company into the probability of each stance, columns as [`Stance::ALL`].
///
/// Without a sentence the company is silent.
#[must_use]
pub fn pool(scores: &[SentenceScore], temperature: f32) -> [f32; 4] {
    let mut row = [0.0; 4];
    for (column, slot) in row.iter_mut().take(3).enumerate() {
        let margins: Vec<f32> = scores.iter().map(|s| s.logits[column + 1] - s.logits[0]).collect();
        *slot = log_sum_exp(&margins) / temperature;
    }
    softmax(&mut row);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(sentence: usize, logits: [f32; 4]) -> SentenceScore {
        SentenceScore { sentence, logits }
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
        let (stance, p) = score(0, [0.0, 1.0, 3.0, 0.0]).verdict();
        assert_eq!(stance, Some(Stance::Suspended));
        assert!((p - 0.8098).abs() < 1e-3, "{p}");
        assert_eq!(score(0, [1.0, 0.0, 0.0, 0.0]).verdict().0, None);
    }

    #[test]
    fn a_company_vector_is_the_mean_of_its_mentions() {
        let hidden = ndarray::array![[0.0, 0.0], [2.0, 4.0], [4.0, 8.0], [1.0, 1.0]];
        assert_eq!(company_vector(hidden.view(), &[1..3, 3..4]), ndarray::array![2.0, 3.5]);
    }
}
