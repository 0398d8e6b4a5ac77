//! Word pieces → windows: what the encoder sees at once.
//!
//! A window holds whole sentences up to the model's limit. A sentence longer than a window is cut into windows of its
//! own that overlap, so that no piece near a cut lacks context; each piece is *owned* by exactly one of them.

use std::ops::Range;

use crate::text::wordpiece::{TokenType, WordPieces};

/// Ids of the tokens that frame every window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `[CLS]`, first row of a window.
    pub cls: u32,
    /// `[SEP]`, last row of a window.
    pub sep: u32,
}

/// The share of a window's rows that one sentence owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentenceRows {
    /// Number of the sentence in the document.
    pub sentence: usize,
    /// Rows of the window; never empty.
    pub rows: Range<usize>,
}

/// A run of tokens that the encoder sees at once, `[CLS]` and `[SEP]` included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    ids: Vec<u32>,
    types: Vec<TokenType>,
    first_piece: usize,
    sentences: Vec<SentenceRows>,
}

impl Window {
    /// A window over `pieces[range]`, framed by the special tokens.
    ///
    /// # Panics
    ///
    /// If `sentences` is empty, does not rise, or leaves the rows `1..=range.len()`.
    #[must_use]
    pub fn new(pieces: &WordPieces, range: Range<usize>, sentences: Vec<SentenceRows>, special: SpecialTokens) -> Self {
        let ids = [&[special.cls], &pieces.ids[range.clone()], &[special.sep]].concat();
        let types = [&[TokenType::FRAME], &pieces.types[range.clone()], &[TokenType::FRAME]].concat();
        Window { first_piece: range.start, ..Window::from_tokens(ids, types, sentences) }
    }

    /// A window of tokens that are there already, special ones included, over the first pieces of its text.
    ///
    /// # Panics
    ///
    /// As [`Window::new`], and if there are not as many types as ids.
    #[must_use]
    pub fn from_tokens(ids: Vec<u32>, types: Vec<TokenType>, sentences: Vec<SentenceRows>) -> Self {
        assert_eq!(ids.len(), types.len(), "one type per token");
        let mut free = 1;
        for part in &sentences {
            assert!(part.rows.start >= free && part.rows.end > part.rows.start, "sentences of a window overlap");
            free = part.rows.end;
        }
        assert!((2..ids.len()).contains(&free), "a window's sentences must lie inside it");
        Window { ids, types, first_piece: 0, sentences }
    }

    /// Vocabulary ids, one per row.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Token types, one per row.
    #[must_use]
    pub fn types(&self) -> &[TokenType] {
        &self.types
    }

    /// Number of rows, special tokens included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Always false: a window holds at least one piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The sentences with rows here, in order. Rows outside all of them are context that another window owns.
    #[must_use]
    pub fn sentences(&self) -> &[SentenceRows] {
        &self.sentences
    }

    /// Number in the document of the piece in `row`.
    ///
    /// # Panics
    ///
    /// If the row is `[CLS]`.
    #[must_use]
    pub fn piece(&self, row: usize) -> usize {
        assert!(row > 0, "row 0 is [CLS]");
        self.first_piece + row - 1
    }
}

/// Cuts the pieces of a document into windows of at most `max_tokens` rows, special tokens counted.
///
/// `sentences` are the ranges of pieces of the document's sentences, as [`crate::text::wordpiece::encode`] returns
/// them. Neighbouring windows of one long sentence share about a quarter of a window; the shared stretch is split in
/// its middle, between two words (a word longer than a quarter of a window may be cut between two characters). Returns no window when there is no piece.
///
/// # Panics
///
/// If `max_tokens < 8`; the model file is checked for it.
#[must_use]
pub fn plan_windows(
    pieces: &WordPieces,
    sentences: &[Range<usize>],
    max_tokens: usize,
    special: SpecialTokens,
) -> Vec<Window> {
    assert!(max_tokens >= 8, "a window needs room for its frame and some words");
    let capacity = max_tokens - 2;
    let mut windows = Vec::new();
    let mut group: Vec<usize> = Vec::new();
    let close = |group: &mut Vec<usize>, windows: &mut Vec<Window>| {
        if let (Some(&first), Some(&last)) = (group.first(), group.last()) {
            let range = sentences[first].start..sentences[last].end;
            let rows = |s: usize| sentences[s].start - range.start + 1..sentences[s].end - range.start + 1;
            let parts = group.iter().map(|&s| SentenceRows { sentence: s, rows: rows(s) }).collect();
            windows.push(Window::new(pieces, range.clone(), parts, special));
            group.clear();
        }
    };
    for (number, sentence) in sentences.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
        if sentence.len() > capacity {
            close(&mut group, &mut windows);
            cut_long_sentence(pieces, number, sentence.clone(), capacity, special, &mut windows);
            continue;
        }
        if group.first().is_some_and(|&first| sentence.end - sentences[first].start > capacity) {
            close(&mut group, &mut windows);
        }
        group.push(number);
    }
    close(&mut group, &mut windows);
    windows
}

fn cut_long_sentence(
    pieces: &WordPieces,
    number: usize,
    sentence: Range<usize>,
    capacity: usize,
    special: SpecialTokens,
    windows: &mut Vec<Window>,
) {
    let mut start = sentence.start;
    let mut owned_from = sentence.start;
    loop {
        let end = if sentence.end - start <= capacity {
            sentence.end
        } else {
            best_cut(pieces, start + capacity / 2..start + capacity + 1)
        };
        let last = end == sentence.end;
        let (next_start, owned_to) = if last {
            (end, end)
        } else {
            let next = best_cut(pieces, owned_from + 1..(end - capacity / 4).max(owned_from + 2));
            (next, best_cut(pieces, next..(next + end).div_ceil(2) + 1))
        };
        let rows = owned_from - start + 1..owned_to - start + 1;
        windows.push(Window::new(pieces, start..end, vec![SentenceRows { sentence: number, rows }], special));
        if last {
            return;
        }
        (start, owned_from) = (next_start, owned_to);
    }
}

/// The last place in `range` to cut before: a word's start, else one that splits no character, else the last.
fn best_cut(pieces: &WordPieces, range: Range<usize>) -> usize {
    let fallback = range.end - 1;
    let at = range.clone().rev().find(|&at| pieces.starts_word(at));
    at.or_else(|| range.rev().find(|&at| !pieces.splits_character(at))).unwrap_or(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::ByteSpan;
    use crate::text::lexicon::NameKind;
    use crate::text::wordpiece::LetterCase;
    use proptest::prelude::*;

    const FRAME: SpecialTokens = SpecialTokens { cls: 101, sep: 102 };

    /// Pieces of one byte each in words of the given lengths.
    fn pieces(words: &[usize]) -> WordPieces {
        let mut pieces = WordPieces::default();
        for (word, &len) in words.iter().enumerate() {
            for _ in 0..len {
                let at = pieces.len();
                pieces.ids.push(1000 + u32::try_from(at).expect("small"));
                pieces.types.push(TokenType::FRAME);
                pieces.spans.push(ByteSpan::new(at, at + 1));
                pieces.words.push(u32::try_from(word).expect("small"));
            }
        }
        pieces
    }

    #[test]
    fn fills_a_window_with_whole_sentences() {
        let mut pieces = pieces(&[1; 20]);
        pieces.types[0] = TokenType { case: LetterCase::Capitals, kind: NameKind::Ambiguous };
        let windows = plan_windows(&pieces, &[0..4, 4..8, 8..8, 8..20], 14, FRAME);
        assert_eq!(windows.len(), 2);
        assert_eq!(windows[0].len(), 10);
        assert_eq!(windows[0].sentences().iter().map(|s| s.sentence).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((windows[1].len(), windows[1].piece(1)), (14, 8));
        assert_eq!(windows[0].ids()[..2], [101, 1000]);
        assert_eq!(windows[0].ids()[9], 102);
        let types: Vec<usize> = windows[0].types().iter().map(|t| t.number()).collect();
        assert_eq!(types, [0, 2 + 4 * 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn each_piece_is_owned_once_and_no_word_is_torn(
            words in prop::collection::vec(1_usize..7, 1..60),
            lengths in prop::collection::vec(0_usize..40, 1..12),
            max_tokens in 30_usize..60,
        ) {
            let pieces = pieces(&words);
            let starts: Vec<usize> = (0..pieces.len()).filter(|&at| pieces.starts_word(at)).chain([pieces.len()]).collect();
            let (mut sentences, mut word) = (Vec::new(), 0);
            for len in lengths {
                let end = (word + len).min(starts.len() - 1);
                sentences.push(starts[word]..starts[end]);
                word = end;
            }
            sentences.push(starts[word]..pieces.len());
            let windows = plan_windows(&pieces, &sentences, max_tokens, FRAME);
            let mut owner = vec![Vec::new(); pieces.len()];
            for (number, window) in windows.iter().enumerate() {
                prop_assert!(window.len() <= max_tokens && window.len() >= 3);
                for part in window.sentences() {
                    for row in part.rows.clone() {
                        let piece = window.piece(row);
                        prop_assert!(sentences[part.sentence].contains(&piece));
                        prop_assert_eq!(window.ids()[row], pieces.ids[piece]);
                        owner[piece].push(number);
                    }
                }
            }
            for at in 0..pieces.len() {
                prop_assert_eq!(owner[at].len(), 1, "piece {}", at);
                prop_assert!(pieces.starts_word(at) || owner[at] == owner[at - 1], "word torn at {}", at);
            }
        }
    }
}
