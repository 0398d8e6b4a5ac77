//! HTML of a main text → its paragraphs, a blank line between each.

use std::cell::RefCell;

use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, Token, TokenSink, TokenSinkResult, Tokenizer};

/// Elements within a line; all others begin and end a paragraph.
const INLINE: [&str; 35] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img",
    "ins", "kbd", "label", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time",
    "tt", "u", "var", "wbr",
];

/// The text of the HTML `fragment`, paragraphs as its elements make them. `<br>` ends one too: articles put it between
/// paragraphs or the items of a list, not within sentences.
pub(super) fn read_paragraphs(fragment: &str) -> String {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(fragment));
    let tokenizer = Tokenizer::new(Text::default(), Default::default());
    while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
    tokenizer.end();
    tokenizer.sink.0.take().text
}

/// A text without tags; its paragraphs are where it has blank lines.
pub(super) fn plain_paragraphs(text: &str) -> String {
    let mut writer = Writer::default();
    for line in text.lines() {
        if line.trim().is_empty() {
            writer.end_paragraph();
        } else {
            writer.end_line();
            writer.push(line);
        }
    }
    writer.text
}

#[derive(Default)]
struct Text(RefCell<Writer>);

impl TokenSink for Text {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        let mut writer = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => writer.push(&text),
            Token::TagToken(Tag { name, .. }) => match &*name {
                name if INLINE.contains(&name) => {}
                _ => writer.end_paragraph(),
            },
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// Text with what is to stand before its next word.
#[derive(Default)]
struct Writer {
    text: String,
    gap: Gap,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

impl Writer {
    /// Adds `text` with each run of white space as one space.
    fn push(&mut self, text: &str) {
        let mut words = text.split(|c: char| c.is_whitespace() || c == '\0').peekable();
        while let Some(word) = words.next() {
            if !word.is_empty() {
                if !self.text.is_empty() {
                    self.text.push_str(match self.gap {
                        Gap::None => "",
                        Gap::Space => " ",
                        Gap::Line => "\n",
                        Gap::Paragraph => "\n\n",
                    });
                }
                self.text.push_str(word);
                self.gap = Gap::None;
            }
            if words.peek().is_some() {
                self.gap = self.gap.max(Gap::Space);
            }
        }
    }

    fn end_line(&mut self) {
        self.gap = self.gap.max(Gap::Line);
    }

    fn end_paragraph(&mut self) {
        self.gap = Gap::Paragraph;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_make_paragraphs() {
        let rows = [
            ("<p>a b</p><p>c</p>", "a b\n\nc"),
            ("<p> a\n\t b </p>\n  <h2>c</h2>d", "a b\n\nc\n\nd"),
            ("a<br>b<br/><br>c", "a\n\nb\n\nc"),
            ("<p>a<b>b</b> <i>c</i>d<wbr>e</p>", "ab cde"),
            ("<ul><li>a<li>b</ul><table><tr><td>c<td>d</table>", "a\n\nb\n\nc\n\nd"),
            ("<p></p><div> </div><p>&nbsp;a&#0;&lt;b&gt;&amp;</p><!-- c --><hr>", "a\u{fffd}<b>&"),
            ("", ""),
        ];
        for (html, text) in rows {
            assert_eq!(read_paragraphs(html), text, "{html}");
        }
    }

    #[test]
    fn a_plain_text_keeps_its_lines() {
        assert_eq!(plain_paragraphs("\n a  b \r\nc\n \t\n\n\nd\0e\n"), "a b\nc\n\nd e");
    }
}
