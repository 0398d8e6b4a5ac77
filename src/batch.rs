//! Windows that go through the encoder together.

use std::ops::Range;

use crate::text::window::Window;

/// Windows of any lengths, their rows packed back to back without padding.
///
/// A batch carries its own windows, so that no stage can pair a result with another batch's window.
#[derive(Debug)]
pub struct Batch<'w> {
    windows: Vec<&'w Window>,
    ends: Vec<usize>,
}

impl<'w> Batch<'w> {
    /// A batch of `windows`, in this order.
    #[must_use]
    pub fn new(windows: Vec<&'w Window>) -> Self {
        let ends = windows
            .iter()
            .scan(0, |rows, w| {
                *rows += w.len();
                Some(*rows)
            })
            .collect();
        Batch { windows, ends }
    }

    /// The windows, in packed order.
    #[must_use]
    pub fn windows(&self) -> &[&'w Window] {
        &self.windows
    }

    /// Number of rows of all windows together.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The packed rows of window `at`.
    ///
    /// # Panics
    ///
    /// If the batch has no such window.
    #[must_use]
    pub fn rows_of(&self, at: usize) -> Range<usize> {
        self.ends[at] - self.windows[at].len()..self.ends[at]
    }
}

/// Groups windows into batches of similar lengths, longest first.
///
/// Returns, per batch, the positions of its windows in `windows`. A batch holds at most `budget_tokens` tokens, but at
/// least one window. Windows of one length keep their order.
#[must_use]
pub fn plan_batches(windows: &[&Window], budget_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(windows[at].len()));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut used = usize::MAX;
    for at in order {
        let len = windows[at].len();
        match batches.last_mut() {
            Some(batch) if used + len <= budget_tokens => {
                batch.push(at);
                used += len;
            }
            _ => {
                batches.push(vec![at]);
                used = len;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::window::{SentenceRows, SpecialTokens};
    use crate::text::wordpiece::{TokenType, WordPieces};

    fn window(len: usize) -> Window {
        let pieces = WordPieces {
            ids: vec![7; len],
            types: vec![TokenType::FRAME; len],
            spans: vec![crate::document::ByteSpan::new(0, 1); len],
            words: vec![0; len],
        };
        let rows = vec![SentenceRows { sentence: 0, rows: 1..len + 1 }];
        Window::new(&pieces, 0..len, rows, SpecialTokens { cls: 1, sep: 2 })
    }

    #[test]
    fn packs_rows_back_to_back() {
        let (a, b) = (window(3), window(1));
        let batch = Batch::new(vec![&a, &b]);
        assert_eq!((batch.rows_of(0), batch.rows_of(1), batch.rows()), (0..5, 5..8, 8));
        assert_eq!(Batch::new(Vec::new()).rows(), 0);
    }

    #[test]
    fn every_window_is_in_one_batch_and_none_exceeds_its_budget_unless_alone() {
        let windows: Vec<Window> = [3, 40, 1, 8, 8, 2].map(window).into();
        let refs: Vec<&Window> = windows.iter().collect();
        let batches = plan_batches(&refs, 20);
        assert_eq!(batches, [vec![1], vec![3, 4], vec![0, 5, 2]]);
        assert_eq!(plan_batches(&refs, 0).len(), 6);
        assert!(plan_batches(&[], 20).is_empty());
    }
}
