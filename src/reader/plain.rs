//! A text file → one document.

use std::io::{BufRead, Read};

use super::decode::decode;
use super::{ReadOptions, too_large, unreadable};
use crate::document::{Document, Input};

/// Longest first line, in characters, that is taken for a headline.
const MAX_TITLE_CHARS: usize = 200;

/// The document that `bytes` hold; `warning` is what reading them so far has found.
pub(super) fn read(source: &str, bytes: impl BufRead, warning: Option<&str>, options: &ReadOptions) -> Input {
    let limit = options.limit();
    let mut content = Vec::new();
    if let Err(error) = bytes.take(limit.saturating_add(1)).read_to_end(&mut content) {
        return unreadable(source.to_owned(), &error);
    }
    if content.len() as u64 > limit {
        return too_large(source.to_owned(), limit);
    }
    let (text, guess) = decode(content);
    if text.len() as u64 > limit {
        return too_large(source.to_owned(), limit);
    }
    let document = Document {
        source: source.to_owned(),
        title: headline(&text).map(str::to_owned),
        text,
        warnings: warning.map(str::to_owned).into_iter().chain(guess).collect(),
        ..Document::default()
    };
    Input::text(document)
}

/// The first line, if a blank line sets it apart from a text that follows.
pub(super) fn headline(text: &str) -> Option<&str> {
    let (first, rest) = text.split_once('\n')?;
    let (second, body) = rest.split_once('\n')?;
    let title = first.trim_end();
    let apart = second.trim().is_empty() && !title.trim().is_empty() && !body.trim().is_empty();
    (apart && title.chars().count() <= MAX_TITLE_CHARS).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_set_apart_is_the_headline() {
        assert_eq!(headline("Acme quits\n\nBody."), Some("Acme quits"));
        assert_eq!(headline("Acme quits\r\n\r\nBody."), Some("Acme quits"));
        for text in
            ["Acme quits\nBody.", "Acme quits\n\n \n", "\n\nBody.", "Acme quits", &format!("{}\n\nx", "a".repeat(201))]
        {
            assert_eq!(headline(text), None, "{text:?}");
        }
    }
}
