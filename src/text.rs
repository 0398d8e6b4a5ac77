//! Document → windows: [`sentence`] spans, [`wordpiece`]s with spans and letter case, known names of a [`lexicon`],
//! [`window`]s; with [`normalize`] saying which characters the model sees.

pub mod lexicon;
pub mod normalize;
pub mod sentence;
pub mod window;
pub mod wordpiece;

use tokenizers::Tokenizer;

use crate::document::ByteSpan;
use lexicon::Lexicon;
use window::{SpecialTokens, Window};
use wordpiece::WordPieces;

/// A tokenizer with the names and the limits that go with a model.
pub struct TextEncoder {
    tokenizer: Tokenizer,
    lexicon: Lexicon,
    special: SpecialTokens,
    max_tokens: usize,
}

/// A text cut up for the encoder.
#[derive(Clone, Debug)]
pub struct EncodedText {
    /// Sentences of the text.
    pub sentences: Vec<ByteSpan>,
    /// All word pieces.
    pub pieces: WordPieces,
    /// Windows over the pieces, in order.
    pub windows: Vec<Window>,
}

/// Why a `tokenizer.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Not a tokenizer description.
    #[error("the tokenizer cannot be read")]
    Parse(#[source] tokenizers::Error),
    /// A token that frames windows is not in the vocabulary.
    #[error("the tokenizer's vocabulary has no `{0}`")]
    NoSpecialToken(&'static str),
}

impl TextEncoder {
    /// Reads a `tokenizer.json`; windows will have at most `max_tokens` tokens, special tokens included.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`] if the bytes are no tokenizer, or one without `[CLS]` or `[SEP]`.
    pub fn from_bytes(json: &[u8], max_tokens: usize) -> Result<Self, TokenizerError> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(TokenizerError::Parse)?;
        // Windows are cut here, and engines take ragged batches: the file's own truncation and padding would lose text.
        tokenizer.with_truncation(None).map_err(TokenizerError::Parse)?;
        tokenizer.with_padding(None);
        // `[SEP]` in a news text is five characters, not the end of it.
        tokenizer.set_encode_special_tokens(true);
        let id = |token| tokenizer.token_to_id(token).ok_or(TokenizerError::NoSpecialToken(token));
        let special = SpecialTokens { cls: id("[CLS]")?, sep: id("[SEP]")? };
        Ok(TextEncoder { tokenizer, lexicon: Lexicon::default(), special, max_tokens })
    }

    /// The same with known names.
    #[must_use]
    pub fn with_names(self, lexicon: Lexicon) -> Self {
        TextEncoder { lexicon, ..self }
    }

    /// Rows that a word embedding needs: one more than the largest id. Ids may have gaps.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Cuts `text` into sentences, pieces and windows.
    ///
    /// # Errors
    ///
    /// The tokenizer's own error, which a vocabulary with an unknown-word entry never yields.
    pub fn encode(&self, text: &str) -> Result<EncodedText, tokenizers::Error> {
        let sentences = sentence::sentence_spans(text);
        let (pieces, sentence_pieces) = wordpiece::encode(&self.tokenizer, &self.lexicon, text, &sentences)?;
        let windows = window::plan_windows(&pieces, &sentence_pieces, self.max_tokens, self.special);
        Ok(EncodedText { sentences, pieces, windows })
    }
}
