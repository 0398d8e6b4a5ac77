//! A text to analyse with what is known about it, and positions inside it.

use serde_json::{Map, Value};

/// Half-open byte range `[start, end)` of a document's analysed text; always on char boundaries.
///
/// Every position in this crate is a `ByteSpan` of the *analysed* text; only [`crate::output`] turns them into code
/// points, for the reader of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSpan {
    start: u32,
    end: u32,
}

impl ByteSpan {
    /// The range from `start` to `end`, both in bytes.
    ///
    /// # Panics
    ///
    /// If `end < start` or `end` does not fit `u32`; [`Document`]s longer than [`MAX_TEXT_BYTES`] are refused when read.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        assert!(start <= end, "a span cannot end ({end}) before it starts ({start})");
        let narrow = |at: usize| u32::try_from(at).expect("documents longer than MAX_TEXT_BYTES are refused when read");
        ByteSpan { start: narrow(start), end: narrow(end) }
    }

    /// First byte.
    #[must_use]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    #[must_use]
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.end() - self.start()
    }

    /// True if the span holds no byte.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// True if the two spans share at least one byte; spans that only touch do not.
    #[must_use]
    pub fn overlaps(self, other: ByteSpan) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// True if `other` lies inside this span.
    #[must_use]
    pub fn contains(self, other: ByteSpan) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The part of `text` under the span.
    ///
    /// # Panics
    ///
    /// If the span is not on char boundaries of `text`.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        &text[self.start()..self.end()]
    }
}

/// Longest text that [`ByteSpan`] can address, in bytes (4 GiB − 1).
pub const MAX_TEXT_BYTES: u64 = u32::MAX as u64;

/// One news text as it will be analysed, with what its source says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The id given by the input; `None` makes the record use [`Document::source`].
    pub id: Option<String>,
    /// Where the document came from, relative to the input argument: `path` or `-`, with `:line`, `#record` or `!member`.
    pub source: String,
    /// Headline, if the input names one or the text begins with one.
    pub title: Option<String>,
    /// ISO date (`2022-05-09` or with a time), if the input names one that can be read as such.
    pub date: Option<String>,
    /// Address of the article, if the input names one.
    pub url: Option<String>,
    /// ISO 639 code of the language, if the source declares it or it has been detected.
    pub language: Option<String>,
    /// The analysed text. For a structured document whose text does not begin with its title: title, blank line, text.
    pub text: String,
    /// What else the record should carry, such as a date that could not be read as ISO.
    pub meta: Map<String, Value>,
    /// What a careful reader of the record should know, such as a guessed encoding.
    pub warnings: Vec<String>,
}

/// Why a document has no companies although it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Machine-readable reason in snake case: `too_large`, `bad_json`, `missing_text`, `read` …
    pub kind: &'static str,
    /// The reason for a person: lower case, no final period.
    pub message: String,
    /// True if a policy passed the document over (`skipped`); false if something went wrong (`failed`).
    pub skipped: bool,
}

/// What the text of an [`Input`] is, as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The text to analyse.
    #[default]
    Text,
    /// A page, in which the text is still to be found.
    Html,
}

/// One input document, or why it could not be had. Exactly one record is written for each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// The document; when `error` is set, its `source` (and whatever else is known) with an empty text.
    pub document: Document,
    /// What the document's text is.
    pub form: Form,
    /// Why the text could not be read.
    pub error: Option<DocumentError>,
}

impl Input {
    /// A document whose text is ready to be analysed.
    #[must_use]
    pub fn text(document: Document) -> Self {
        Input { document, ..Input::default() }
    }

    /// A document of which no more than its `source` is known, and why.
    #[must_use]
    pub fn lost(source: String, error: DocumentError) -> Self {
        Input { document: Document { source, ..Document::default() }, error: Some(error), ..Input::default() }
    }
}

impl DocumentError {
    /// Something went wrong.
    #[must_use]
    pub fn failed(kind: &'static str, message: impl Into<String>) -> Self {
        DocumentError { kind, message: message.into(), skipped: false }
    }

    /// A policy passed the document over.
    #[must_use]
    pub fn skipped(kind: &'static str, message: impl Into<String>) -> Self {
        DocumentError { kind, message: message.into(), skipped: true }
    }
}
