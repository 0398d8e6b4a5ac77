//! Text → word pieces with their spans, letter case and known names.
//!
//! The `tokenizers` crate does the cutting, sentence by sentence: sentences end at white space, so the pieces are those
//! of the whole text, and memory stays small for a text of any length. A stretch without a break longer than
//! [`MAX_CHUNK_BYTES`] is cut into chunks first.

use std::ops::Range;

use tokenizers::Tokenizer;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::document::ByteSpan;
use crate::text::lexicon::{Lexicon, NameKind};
use crate::text::normalize::{is_accent, is_blank, is_deleted};

/// Letter case of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LetterCase {
    /// No capital: lower case, digits, punctuation, scripts without case.
    Lower = 0,
    /// First character is a capital (`McDonald`, `U`).
    Capitalized = 1,
    /// Longer than one character and all its cased characters are capitals (`IBM`, `3M`).
    Capitals = 2,
    /// A capital, but not the first character (`iPhone`).
    Mixed = 3,
}

impl LetterCase {
    /// All of them, in the order of their numbers.
    pub const ALL: [LetterCase; 4] =
        [LetterCase::Lower, LetterCase::Capitalized, LetterCase::Capitals, LetterCase::Mixed];

    /// The class of `word` as it stands in the original text.
    #[must_use]
    pub fn of(word: &str) -> LetterCase {
        let title = |c: char| c.general_category() == GeneralCategory::TitlecaseLetter;
        let upper = |c: char| c.is_uppercase() && !title(c);
        let mut chars = word.chars();
        let first_is_capital = chars.next().is_some_and(upper);
        let longer = chars.next().is_some();
        let lower = word.chars().any(|c| c.is_lowercase() || title(c));
        let capital = first_is_capital || word.chars().any(upper);
        match (capital, lower, first_is_capital) {
            (true, false, _) if longer => LetterCase::Capitals,
            (_, _, true) => LetterCase::Capitalized,
            (true, _, false) => LetterCase::Mixed,
            (false, _, false) => LetterCase::Lower,
        }
    }
}

/// What the encoder is told of a piece beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenType {
    /// Letter case of its word.
    pub case: LetterCase,
    /// The known name that it belongs to.
    pub kind: NameKind,
}

impl TokenType {
    /// How many there are with known names; [`LetterCase::ALL`] are those without.
    pub const COUNT: usize = LetterCase::ALL.len() * NameKind::ALL.len();
    /// The type of `[CLS]` and `[SEP]`.
    pub const FRAME: TokenType = TokenType { case: LetterCase::Lower, kind: NameKind::Unknown };

    /// Its row of the token-type embedding: letter case plus four times the kind.
    #[must_use]
    pub fn number(self) -> usize {
        self.case as usize + LetterCase::ALL.len() * self.kind as usize
    }

    /// The type with this number.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn from_number(number: usize) -> TokenType {
        let cases = LetterCase::ALL.len();
        TokenType { case: LetterCase::ALL[number % cases], kind: NameKind::ALL[number / cases] }
    }
}

/// The word pieces of a text, in order; the vectors run in parallel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WordPieces {
    /// Vocabulary ids.
    pub ids: Vec<u32>,
    /// Letter case of the word, and known name, that the piece belongs to.
    pub types: Vec<TokenType>,
    /// The characters under each piece. Several pieces may share one character (a decomposed syllable).
    pub spans: Vec<ByteSpan>,
    /// Number of the piece's word in the text; rises by one from word to word. Punctuation marks are words.
    pub words: Vec<u32>,
}

impl WordPieces {
    /// Number of pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// True if there is no piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// True if a window or a mention may begin at piece `at`: a word does.
    #[must_use]
    pub fn starts_word(&self, at: usize) -> bool {
        at == 0 || self.words[at] != self.words[at - 1]
    }

    /// True if cutting before piece `at` would separate two pieces of one character.
    #[must_use]
    pub fn splits_character(&self, at: usize) -> bool {
        at > 0 && self.spans[at].start() < self.spans[at - 1].end()
    }
}

/// Longest stretch handed to the tokenizer at once, in bytes. Longer sentences are cut at white space, or, where there
/// is none, between two characters.
pub const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Cuts `sentences` of `text` into word pieces, and marks names of `lexicon` in each.
///
/// Returns the pieces and, per sentence, the range of its pieces (empty for a sentence made only of characters that the
/// normalizer deletes).
///
/// # Errors
///
/// The tokenizer's own error; a vocabulary with an unknown-word entry never yields one.
pub fn encode(
    tokenizer: &Tokenizer,
    lexicon: &Lexicon,
    text: &str,
    sentences: &[ByteSpan],
) -> Result<(WordPieces, Vec<Range<usize>>), tokenizers::Error> {
    let mut pieces = WordPieces::default();
    let mut ranges = Vec::with_capacity(sentences.len());
    let mut next_word = 0;
    for &sentence in sentences {
        let first = pieces.len();
        for chunk in chunks(text, sentence) {
            let encoding = tokenizer.encode(chunk.of(text), false)?;
            let word_ids = encoding.get_word_ids();
            let offsets = encoding.get_offsets();
            let mut at = 0;
            while at < word_ids.len() {
                let end = at + word_ids[at..].iter().take_while(|&&w| w == word_ids[at]).count();
                let span = |(start, end): (usize, usize)| ByteSpan::new(chunk.start() + start, chunk.start() + end);
                let word = ByteSpan::new(span(offsets[at]).start(), span(offsets[end - 1]).end());
                let unmarked = TokenType { case: LetterCase::of(word.of(text)), kind: NameKind::Unknown };
                pieces.ids.extend(&encoding.get_ids()[at..end]);
                pieces.spans.extend(offsets[at..end].iter().copied().map(span));
                pieces.types.extend((at..end).map(|_| unmarked));
                pieces.words.extend((at..end).map(|_| next_word));
                next_word += 1;
                at = end;
            }
        }
        lexicon.mark(&mut pieces, first);
        ranges.push(first..pieces.len());
    }
    Ok((pieces, ranges))
}

/// `sentence` in chunks of at most [`MAX_CHUNK_BYTES`].
fn chunks(text: &str, sentence: ByteSpan) -> impl Iterator<Item = ByteSpan> + '_ {
    let mut start = sentence.start();
    std::iter::from_fn(move || {
        if start >= sentence.end() {
            return None;
        }
        let end = if sentence.end() - start <= MAX_CHUNK_BYTES {
            sentence.end()
        } else {
            let limit = (0..=start + MAX_CHUNK_BYTES).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(start);
            let piece = &text[start..limit];
            let blank = piece.char_indices().rev().find(|&(at, c)| at > 0 && is_blank(c));
            // Without a blank: before a character that does not hang on the one before it.
            let loose = || piece.char_indices().rev().find(|&(at, c)| at > 0 && !is_accent(c) && !is_deleted(c));
            start + blank.or_else(loose).map_or(piece.len(), |(at, _)| at)
        };
        let chunk = ByteSpan::new(start, end);
        start = end;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_letter_case_by_the_original_word() {
        use LetterCase::{Capitalized, Capitals, Lower, Mixed};
        let rows = [
            ("IBM", Capitals),
            ("3M", Capitals),
            ("U", Capitalized),
            ("McDonald", Capitalized),
            ("iPhone", Mixed),
            ("eBay", Mixed),
            ("shop", Lower),
            ("2022", Lower),
            (",", Lower),
            ("", Lower),
            ("É", Capitalized),
            ("ÉÀ", Capitals),
            ("漢字", Lower),
            ("ǅ", Lower),
            ("ǅA", Mixed),
        ];
        for (word, class) in rows {
            assert_eq!(LetterCase::of(word), class, "{word:?}");
        }
    }

    #[test]
    fn chunks_cover_a_stretch_without_blanks() {
        let text = "é".repeat(MAX_CHUNK_BYTES);
        let all: Vec<_> = chunks(&text, ByteSpan::new(0, text.len())).collect();
        assert_eq!(all.len(), 3, "one byte short of two whole chunks each");
        assert_eq!(all[0].start(), 0);
        assert!(all.windows(2).all(|w| w[0].end() == w[1].start()));
        assert_eq!(all.last().map(|c| c.end()), Some(text.len()));
    }
}
