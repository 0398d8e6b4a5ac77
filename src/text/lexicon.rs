//! Names that the world knows, found in word pieces: what a small encoder cannot hold, it is told as token types.
//!
//! The list belongs to a model (`names.tsv`, one `CLASS<TAB>NAME<TAB>IDS OF ITS WORD PIECES` a line) and is a hint, never an answer:
//! the encoder was trained with names missing from it, and reads `Apple` in its sentence. The ids stand in the list
//! because cutting tens of thousands of names takes longer than reading a document.

use rustc_hash::FxHashMap;

use crate::text::wordpiece::{LetterCase, WordPieces};

/// About how many bytes a line of a list has.
const MEAN_LINE: usize = 30;

/// What a known name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum NameKind {
    /// No known name.
    #[default]
    Unknown = 0,
    /// A company.
    Company = 1,
    /// A company, or something else of the same name (`Apple`, `Ford`).
    Ambiguous = 2,
    /// A newspaper, agency or broadcaster.
    Media = 3,
    /// Any other organisation.
    Organisation = 4,
    /// A product, index or event.
    Product = 5,
    /// A place.
    Place = 6,
    /// A person.
    Person = 7,
    /// A word or abbreviation that is written with a capital (`CEO`, `Monday`).
    Word = 8,
}

impl NameKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [NameKind; 9] = [
        NameKind::Unknown,
        NameKind::Company,
        NameKind::Ambiguous,
        NameKind::Media,
        NameKind::Organisation,
        NameKind::Product,
        NameKind::Place,
        NameKind::Person,
        NameKind::Word,
    ];
    /// Their letters in a list of names; nothing stands for `Unknown`.
    const LETTERS: [&'static str; 9] = ["", "C", "A", "M", "O", "B", "L", "P", "W"];
}

/// Why a list of names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LexiconError {
    /// Not in UTF-8.
    #[error("it is not in UTF-8")]
    Utf8(#[source] std::str::Utf8Error),
    /// A line of another form.
    #[error("line {line} is no class (C, A, M, O, B, L, P or W), name and ids of word pieces, parted by tabs")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
}

/// Known names as runs of word pieces.
#[derive(Clone, Debug, Default)]
pub struct Lexicon {
    kinds: FxHashMap<Box<[u32]>, NameKind>,
    /// Pieces of the longest name that begins with a piece.
    longest: FxHashMap<u32, usize>,
}

impl Lexicon {
    /// Reads a list of names. Of two with the same pieces the later one counts.
    ///
    /// # Errors
    ///
    /// [`LexiconError`], with the number of the line if one has another form.
    pub fn read(list: &[u8]) -> Result<Self, LexiconError> {
        let list = std::str::from_utf8(list).map_err(LexiconError::Utf8)?;
        let mut lexicon = Lexicon::default();
        lexicon.kinds.reserve(list.len() / MEAN_LINE);
        let mut ids = Vec::new();
        for (line, row) in (1..).zip(list.lines()) {
            let kind = parse(row, &mut ids).ok_or(LexiconError::Line { line })?;
            let longest = lexicon.longest.entry(ids[0]).or_default();
            *longest = ids.len().max(*longest);
            lexicon.kinds.insert(ids.as_slice().into(), kind);
        }
        Ok(lexicon)
    }

    /// Number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// True if no name is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Marks known names in the pieces from `start` on, which are one sentence: the longest name from left to right that
    /// begins with a word with a capital and ends with a word.
    ///
    /// # Panics
    ///
    /// If the vectors of `pieces` differ in length.
    pub fn mark(&self, pieces: &mut WordPieces, start: usize) {
        let end = pieces.len();
        let mut at = start;
        while at < end {
            let begins = pieces.types[at].case != LetterCase::Lower && (at == start || pieces.starts_word(at));
            let longest = self.longest.get(&pieces.ids[at]).filter(|_| begins).map_or(0, |&n| n.min(end - at));
            let known = (at + 1..=at + longest)
                .rev()
                .filter(|&stop| stop == end || pieces.starts_word(stop))
                .find_map(|stop| self.kinds.get(&pieces.ids[at..stop]).map(|&kind| (stop, kind)));
            at = match known {
                Some((stop, kind)) => {
                    pieces.types[at..stop].iter_mut().for_each(|piece| piece.kind = kind);
                    stop
                }
                None => at + 1,
            };
        }
    }
}

/// Puts the ids of a line, at least one, into `ids`, and returns its kind.
fn parse(row: &str, ids: &mut Vec<u32>) -> Option<NameKind> {
    let (letter, rest) = row.split_once('\t')?;
    let (_name, numbers) = rest.split_once('\t')?;
    let number = NameKind::LETTERS.iter().position(|&l| l == letter).filter(|&at| at > 0)?;
    ids.clear();
    for id in numbers.split(' ') {
        ids.push(id.parse().ok()?);
    }
    Some(NameKind::ALL[number])
}

#[cfg(test)]
mod tests {
    use tokenizers::Tokenizer;

    use super::*;
    use crate::document::ByteSpan;
    use crate::text::wordpiece;

    fn tokenizer() -> Tokenizer {
        let json = include_bytes!("../../models/stancewire-small/tokenizer.json");
        let mut tokenizer = Tokenizer::from_bytes(json).expect("a tokenizer");
        tokenizer.with_padding(None);
        tokenizer
    }

    fn ids(tokenizer: &Tokenizer, name: &str) -> String {
        let encoding = tokenizer.encode(name, false).expect("encodes");
        encoding.get_ids().iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
    }

    /// The pieces of `text` that are part of a known name, and its kind.
    fn known<'t>(list: &[(&str, &str)], text: &'t str) -> Vec<(&'t str, NameKind)> {
        let tokenizer = tokenizer();
        let pieces = |name: &str| ids(&tokenizer, name);
        let rows: String = list.iter().map(|(class, name)| format!("{class}\t{name}\t{}\n", pieces(name))).collect();
        let lexicon = Lexicon::read(rows.as_bytes()).expect("a list");
        let whole = ByteSpan::new(0, text.len());
        let (pieces, _) = wordpiece::encode(&tokenizer, &lexicon, text, &[whole]).expect("encodes");
        let rows = pieces.types.iter().zip(&pieces.spans).filter(|(piece, _)| piece.kind != NameKind::Unknown);
        rows.map(|(piece, span)| (span.of(text), piece.kind)).collect()
    }

    #[test]
    fn finds_the_longest_name_that_begins_with_a_capital() {
        let list = [("A", "Shell"), ("C", "Shell Energy"), ("O", "Bank of Russia"), ("B", "iPhone")];
        let rows: [(&str, &[(&str, NameKind)]); 6] = [
            ("Shell left.", &[("Shell", NameKind::Ambiguous)]),
            ("A shell company left.", &[]),
            ("SHELL ENERGY's owner", &[("SHELL", NameKind::Company), ("ENERGY", NameKind::Company)]),
            (
                "Bank of Russia, Bank of Shell",
                &[
                    ("Bank", NameKind::Organisation),
                    ("of", NameKind::Organisation),
                    ("Russia", NameKind::Organisation),
                    ("Shell", NameKind::Ambiguous),
                ],
            ),
            ("iPhone, iphone", &[("iPhone", NameKind::Product)]),
            ("Shellfish", &[]),
        ];
        for (text, want) in rows {
            assert_eq!(known(&list, text), want, "{text}");
        }
    }

    #[test]
    fn the_embedded_list_has_the_ids_that_its_names_have() {
        let tokenizer = tokenizer();
        let list = include_str!("../../models/stancewire-small/names.tsv");
        let names = Lexicon::read(list.as_bytes()).expect("a list");
        assert_eq!(names.len(), list.lines().count(), "each name once");
        for (number, line) in list.lines().enumerate() {
            let [_, name, found] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!(ids(&tokenizer, name), found, "line {}: {name}", number + 1);
        }
    }

    #[test]
    fn a_line_of_another_form_is_named() {
        let rows = [
            ("C\tHP\t6522\nC\tHP\n", 2),
            ("X\tHP\t6522\n", 1),
            ("\tHP\t6522\n", 1),
            ("C\tHP\t\n", 1),
            ("C\tHP\thp\n", 1),
        ];
        for (list, line) in rows {
            let error = Lexicon::read(list.as_bytes()).expect_err("no list");
            assert!(matches!(error, LexiconError::Line { line: found } if found == line), "{list:?}: {error}");
        }
    }
}
