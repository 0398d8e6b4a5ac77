//! Text → spans of sentences.
//!
//! A sentence ends at a line break (headlines, bullets, captions) unless the paragraph is hard-wrapped prose, and at
//! `.`, `!`, `?` or `…` before white space and something that can open a sentence; one that goes on without end is cut at
//! the first blank or ASCII mark beyond [`MAX_SENTENCE_BYTES`]. At all of these places the tokenizer separates words too,
//! so that cutting a text into sentences never changes its word pieces. The rules are a list of exceptions
//! rather than a model: they cost nothing beside the encoder, and a wrong cut can be traced to one line here.

use crate::document::ByteSpan;
use crate::text::normalize::is_blank;

/// Titles and other abbreviations that never end a sentence.
const NEVER_FINAL: &[&str] = &[
    "mr", "mrs", "ms", "mx", "dr", "prof", "gen", "sen", "rep", "gov", "lt", "col", "sgt", "capt", "cmdr", "adm",
    "maj", "rev", "hon", "pres", "messrs", "mme", "st", "mt", "ft", "vs", "v", "e.g", "i.e", "cf", "fig", "approx",
    "nos", "dept", "est", "supt", "atty", "ave", "blvd",
];

/// Abbreviations that end a sentence only before a word that plainly opens one.
const SELDOM_FINAL: &[&str] = &[
    "inc", "corp", "co", "ltd", "bros", "cos", "llc", "plc", "l.p", "n.v", "s.a", "s.p.a", "b.v", "a.g", "pty", "bhd",
    "jr", "sr", "no", "a.m", "p.m", "u.s", "u.k", "u.n", "e.u", "u.s.a", "d.c", "ph.d", "jan", "feb", "mar", "apr",
    "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec", "mon", "tue", "tues", "wed", "thu", "thurs", "fri", "sat",
    "sun", "calif", "mass", "conn", "fla", "ill", "mich", "minn", "tex", "va", "wash", "pa", "ont", "que", "etc", "al",
];

/// Words that, with a capital, open a sentence rather than continue a name.
const STARTERS: &[&str] = &[
    "a",
    "about",
    "according",
    "after",
    "all",
    "also",
    "although",
    "an",
    "and",
    "analysts",
    "any",
    "as",
    "asked",
    "at",
    "because",
    "before",
    "both",
    "but",
    "by",
    "despite",
    "during",
    "each",
    "earlier",
    "executives",
    "for",
    "from",
    "he",
    "her",
    "here",
    "his",
    "how",
    "however",
    "i",
    "if",
    "in",
    "instead",
    "investors",
    "it",
    "its",
    "last",
    "late",
    "later",
    "many",
    "meanwhile",
    "more",
    "most",
    "neither",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "officials",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "others",
    "our",
    "over",
    "rivals",
    "shares",
    "she",
    "since",
    "so",
    "some",
    "sources",
    "such",
    "that",
    "the",
    "their",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "though",
    "to",
    "under",
    "until",
    "we",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "with",
    "without",
    "yet",
    "you",
];

const CLOSERS: &[char] = &['"', '\'', '”', '’', ')', ']', '}', '»', '›'];
const OPENERS: &[char] = &['"', '\'', '“', '‘', '(', '[', '{', '«', '‹', '„', '‚', '$', '£', '€', '#', '@', '¿', '¡'];
const BULLETS: &[char] = &['•', '‣', '▪', '■', '●', '◦', '►', '▶', '–', '—', '-', '*', '·'];

/// Length from which a sentence is cut at the next opportunity: evidence quotes whole sentences, and a transcript or a
/// flattened table has none.
pub const MAX_SENTENCE_BYTES: usize = 4096;

/// Longest beginning of a sentence, in bytes, that can still be a list label with its brackets.
const MAX_LABEL_BYTES: usize = 16;

/// Shortest and longest maximal line, in characters, of a paragraph that counts as hard-wrapped.
const WRAP_WIDTHS: std::ops::RangeInclusive<usize> = 50..=120;

/// The sentences of `text`, in order, without surrounding white space.
///
/// Spans are disjoint and rise; every character that is not white space lies in exactly one of them. Empty for a blank
/// text.
#[must_use]
pub fn sentence_spans(text: &str) -> Vec<ByteSpan> {
    let mut spans = Vec::new();
    for paragraph in paragraphs(text) {
        cut_paragraph(text, paragraph, &mut spans);
    }
    spans
}

/// Line spans joined into pieces that no line break ends: single lines, or the lines of a hard-wrapped paragraph.
fn paragraphs(text: &str) -> Vec<ByteSpan> {
    let mut pieces = Vec::new();
    let mut block: Vec<ByteSpan> = Vec::new();
    for line in lines(text) {
        if line.of(text).chars().all(is_blank) {
            close_block(text, &mut block, &mut pieces);
        } else {
            block.push(line);
        }
    }
    close_block(text, &mut block, &mut pieces);
    pieces
}

fn close_block(text: &str, block: &mut Vec<ByteSpan>, pieces: &mut Vec<ByteSpan>) {
    if let (true, Some(first), Some(last)) = (is_hard_wrapped(text, block), block.first(), block.last()) {
        pieces.push(ByteSpan::new(first.start(), last.end()));
        block.clear();
    } else {
        pieces.append(block);
    }
}

/// The lines of `text` without their ends; `\r\n` is one end.
fn lines(text: &str) -> impl Iterator<Item = ByteSpan> + '_ {
    let mut start = 0;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let rest = &text[start..];
        let is_end = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
        let Some((at, end)) = rest.char_indices().find(|&(_, c)| is_end(c)) else {
            done = true;
            return Some(ByteSpan::new(start, text.len()));
        };
        let line = ByteSpan::new(start, start + at);
        let width = if rest[at..].starts_with("\r\n") { 2 } else { end.len_utf8() };
        start += at + width;
        Some(line)
    })
}

/// True if the line breaks inside `block` are where a greedy line filler would have put them: no line had room for the
/// next line's first word. At least one break must fall before a lower-case letter, as in prose.
fn is_hard_wrapped(text: &str, block: &[ByteSpan]) -> bool {
    if block.len() < 2 {
        return false;
    }
    let widths: Vec<usize> = block.iter().map(|l| l.of(text).trim_end().chars().count()).collect();
    let widest = widths.iter().copied().max().unwrap_or(0);
    if !WRAP_WIDTHS.contains(&widest) {
        return false;
    }
    let mut continues = false;
    for (line, next) in block.windows(2).map(|w| w[1]).enumerate() {
        let next = next.of(text).trim_start();
        if next.starts_with(BULLETS) {
            return false;
        }
        let word = next.split(is_blank).next().map_or(0, |w| w.chars().count());
        if widths[line] + 1 + word <= widest {
            return false;
        }
        continues |= next.starts_with(char::is_lowercase);
    }
    continues
}

fn cut_paragraph(text: &str, paragraph: ByteSpan, spans: &mut Vec<ByteSpan>) {
    let body = paragraph.of(text);
    let after_blanks = |at: usize| body.len() - body[at..].trim_start_matches(is_blank).len();
    let mut start = after_blanks(0);
    let mut chars = body.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = at + c.len_utf8();
        let cut = match c {
            '.' | '!' | '?' | '…' => {
                let closed = after + body[after..].len() - body[after..].trim_start_matches(CLOSERS).len();
                ends_sentence(&body[start..after], &body[closed..]).then_some(closed)
            }
            // A bullet inside a line, as flattened lists have them: the item begins with its bullet.
            '•' | '‣' | '▪' | '■' | '●' | '◦'
                if body[..at].ends_with(is_blank) && body[after..].starts_with(is_blank) =>
            {
                Some(at)
            }
            _ => None,
        };
        let is_endless = at >= start + MAX_SENTENCE_BYTES && (is_blank(c) || c.is_ascii_punctuation());
        if let Some(end) = cut.or(is_endless.then_some(after)) {
            push_trimmed(text, paragraph.start() + start, paragraph.start() + end, spans);
            start = after_blanks(end);
            let end = start;
            while chars.peek().is_some_and(|&(next, _)| next < end) {
                chars.next();
            }
        }
    }
    push_trimmed(text, paragraph.start() + start, paragraph.end(), spans);
}

fn push_trimmed(text: &str, start: usize, end: usize, spans: &mut Vec<ByteSpan>) {
    let piece = &text[start..end];
    let left = piece.len() - piece.trim_start_matches(is_blank).len();
    let right = piece.trim_end_matches(is_blank).len();
    if left < right {
        spans.push(ByteSpan::new(start + left, start + right));
    }
}

/// True if the terminator that ends `head` closes a sentence, given what follows it (closing quotes left out).
fn ends_sentence(head: &str, tail: &str) -> bool {
    let next = tail.trim_start_matches(is_blank);
    if next.len() == tail.len() || next.is_empty() {
        return false; // no white space: inside a number, an address, an abbreviation; or the end anyway
    }
    let opening = next.trim_start_matches(OPENERS);
    let quoted = opening.len() < next.len();
    let word: String = opening.chars().take_while(|c| c.is_alphanumeric()).collect();
    let Some(first) = opening.chars().next() else { return true };
    let opens = match first {
        c if c.is_uppercase() => true,
        c if c.is_lowercase() => word.chars().any(char::is_uppercase), // eBay, iPhone
        c => c.is_numeric() || c.is_alphabetic() || BULLETS.contains(&c),
    };
    if !opens {
        return false;
    }
    let Some(stem) = head.strip_suffix('.') else { return true };
    let last = stem.rsplit(|c: char| is_blank(c) || OPENERS.contains(&c) || c == '-').next().unwrap_or("");
    if stem.len() <= MAX_LABEL_BYTES {
        let whole = stem.trim_start_matches(OPENERS).trim_matches(is_blank);
        if whole.is_empty() || is_list_label(whole) {
            return false;
        }
    }
    let lower = last.to_lowercase();
    if NEVER_FINAL.contains(&lower.as_str()) {
        return false;
    }
    let starter = quoted || STARTERS.contains(&word.to_lowercase().as_str());
    if SELDOM_FINAL.contains(&lower.as_str()) {
        return starter && !(lower == "no" && first.is_numeric());
    }
    if is_initials(last) {
        return starter;
    }
    true
}

/// `1`, `12`, `a`, `iv` at the head of a list item.
fn is_list_label(word: &str) -> bool {
    word.len() <= 3 && (word.chars().all(|c| c.is_ascii_digit()) || word.len() == 1)
}

/// `J`, `J.P`, `U.S.S.R`: single letters joined by periods.
fn is_initials(word: &str) -> bool {
    word.split('.').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        sentence_spans(text).into_iter().map(|s| s.of(text)).collect()
    }

    #[test]
    fn cuts_where_a_reader_would() {
        let rows: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \n\u{a0}\n", &[]),
            ("One. Two! Three? Four", &["One.", "Two!", "Three?", "Four"]),
            ("Mr. Smith met Dr. Wu. They spoke.", &["Mr. Smith met Dr. Wu.", "They spoke."]),
            ("Acme Inc. Chief J. P. Roe left.", &["Acme Inc. Chief J. P. Roe left."]),
            ("It was bought by Acme Inc. The price rose.", &["It was bought by Acme Inc.", "The price rose."]),
            ("The U.S. Commerce Department said no.", &["The U.S. Commerce Department said no."]),
            ("It left the U.S. It stayed.", &["It left the U.S.", "It stayed."]),
            ("\"We stopped.\" He left.", &["\"We stopped.\"", "He left."]),
            ("“Why?” she asked. “Go.” No.", &["“Why?” she asked.", "“Go.”", "No."]),
            (
                "It rose 3.5 percent to $2.1 billion. Shares fell.",
                &["It rose 3.5 percent to $2.1 billion.", "Shares fell."],
            ),
            ("Sales fell at stancewire.com last year.", &["Sales fell at stancewire.com last year."]),
            ("Chip Maker Pauses Sales\n\nIt said so.", &["Chip Maker Pauses Sales", "It said so."]),
            ("Head\r\nBody. More\r\rEnd", &["Head", "Body.", "More", "End"]),
            ("Sold.\u{a0}The rest stays.", &["Sold.", "The rest stays."]),
            ("• First item • Second item", &["• First item", "• Second item"]),
            ("- one\n- two", &["- one", "- two"]),
            ("1. Lenovo stopped. 2. Xiaomi too.", &["1. Lenovo stopped.", "2. Xiaomi too."]),
            ("He left. eBay stayed. and so on.", &["He left.", "eBay stayed. and so on."]),
            ("Wait… Then go.", &["Wait…", "Then go."]),
            ("It is No. 1 in Asia. No. 2 is far.", &["It is No. 1 in Asia.", "No. 2 is far."]),
            ("At 9 a.m. Monday it shut. Then what?", &["At 9 a.m. Monday it shut.", "Then what?"]),
            ("On Jan. 5 it quit.", &["On Jan. 5 it quit."]),
            ("(It left.) The rest stays.", &["(It left.)", "The rest stays."]),
            ("Yahoo! Inc said so.", &["Yahoo!", "Inc said so."]),
        ];
        let failures: Vec<_> =
            rows.iter().filter(|(text, want)| cut(text) != *want).map(|(t, _)| (t, cut(t))).collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn a_sentence_without_end_is_cut_between_words() {
        let text = "word ".repeat(5000) + &"a,b".repeat(5000);
        let spans = sentence_spans(&text);
        assert!(spans.len() > 8);
        assert!(spans.iter().all(|s| s.len() <= MAX_SENTENCE_BYTES + 8), "{spans:?}");
        let visible = |part: &str| part.chars().filter(|c| !is_blank(*c)).count();
        assert_eq!(spans.iter().map(|s| visible(s.of(&text))).sum::<usize>(), visible(&text), "nothing is lost");
    }

    #[test]
    fn hostile_text_takes_no_time_to_speak_of() {
        let start = std::time::Instant::now();
        let blanks = " ".repeat(2_000_000) + &"Mr. A ".repeat(300_000);
        let brackets = "(".repeat(2_000_000) + &" Mr. A".repeat(300_000);
        for text in [blanks, brackets] {
            assert!(!sentence_spans(&text).is_empty());
        }
        assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
    }

    #[test]
    fn joins_the_lines_of_a_hard_wrapped_paragraph() {
        let text = "The company said on Monday that it would stop all of its\nshipments to the country until the spring. Its rival\nstays.";
        assert_eq!(cut(text).len(), 2);
        assert!(cut(text)[1].starts_with("Its rival\nstays"));
        let list = "The company said on Monday that it would stop all of its\nshort line here\nshipments to the country until the spring";
        assert_eq!(cut(list).len(), 3, "a line that had room for the next word was not wrapped");
    }

    proptest! {
        #[test]
        fn every_visible_character_lies_in_exactly_one_sentence(text in "(?s)[A-Za-z. \n\r\"“”!?é\u{a0}•\u{301}漢1-9]{0,80}|\\PC{0,40}") {
            let spans = sentence_spans(&text);
            for pair in spans.windows(2) {
                prop_assert!(pair[0].end() <= pair[1].start());
            }
            for (at, c) in text.char_indices().filter(|&(_, c)| !is_blank(c)) {
                prop_assert_eq!(spans.iter().filter(|s| s.start() <= at && at < s.end()).count(), 1, "{:?} at {}", c, at);
            }
            for span in &spans {
                prop_assert!(!span.of(&text).starts_with(is_blank) && !span.of(&text).ends_with(is_blank));
            }
        }
    }
}
