//! Hidden states → mentions: the names that a text gives to companies, other organisations, places and persons.
//!
//! Tags are decided per *word*, not per piece, by the probabilities of all its pieces, so that a name can neither begin
//! nor end inside a word. Runs of words of one kind are a mention; a `B` tag inside a run begins another.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};

use crate::document::ByteSpan;
use crate::engine::kernel::Kernel;
use crate::engine::kernel::dense::Dense;
use crate::engine::math::softmax;
use crate::engine::model_file::{ENTITY_TAGS, Model, ModelError};
use crate::text::EncodedText;
use crate::text::normalize::{is_accent, is_blank, is_deleted};
use crate::text::window::Window;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityLabel {
    /// A company whose business may be reported on.
    Company,
    /// Any other organisation: a ministry, a newspaper as source, a union, a team.
    Organisation,
    /// A country, city or region.
    Place,
    /// A person.
    Person,
}

const LABELS: [EntityLabel; 4] =
    [EntityLabel::Company, EntityLabel::Organisation, EntityLabel::Place, EntityLabel::Person];

/// A name in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Mention {
    /// Its characters.
    pub span: ByteSpan,
    /// What it names.
    pub label: EntityLabel,
    /// Mean probability of the label over its words, 0 to 1.
    pub score: f32,
    /// Number of its sentence in the document.
    pub sentence: usize,
    /// Number of the window that owns it.
    pub window: usize,
    /// Its rows in that window.
    pub rows: Range<usize>,
}

/// The entity head: a linear layer over hidden states.
pub struct EntityHead {
    tags: Dense,
}

/// A word's rows with the probability of each kind: outside, then [`LABELS`]; and whether its first piece says `B`.
struct TaggedWord {
    rows: Range<usize>,
    probabilities: [f32; 5],
    begins: bool,
}

impl TaggedWord {
    /// Position of the likeliest kind in [`LABELS`]; `None` for outside.
    fn kind(&self) -> Option<usize> {
        let mut best = 0;
        for kind in 1..self.probabilities.len() {
            if self.probabilities[kind] > self.probabilities[best] {
                best = kind;
            }
        }
        best.checked_sub(1)
    }
}

impl EntityHead {
    /// Reads `entity.weight` `[9, hidden]` and `entity.bias` `[9]`, to run on `kernel`.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if one is missing or has another shape.
    pub fn read(model: &Model, kernel: Kernel) -> Result<Self, ModelError> {
        let tags = model.tensors()?.dense("entity", ENTITY_TAGS.len(), model.config().hidden_size, kernel)?;
        Ok(EntityHead { tags })
    }

    /// Logits of [`ENTITY_TAGS`], `[tokens, 9]`, from hidden states `[tokens, hidden]`.
    #[must_use]
    pub fn logits(&self, hidden: ArrayView2<'_, f32>) -> Array2<f32> {
        self.tags.apply(hidden)
    }

    /// The mentions that window number `at` of `encoded` owns, in order. `hidden` is `[tokens, hidden]` of that window.
    #[must_use]
    pub fn mentions(&self, text: &str, encoded: &EncodedText, at: usize, hidden: ArrayView2<'_, f32>) -> Vec<Mention> {
        let window = &encoded.windows[at];
        let logits = self.logits(hidden);
        let mut mentions = Vec::new();
        for part in window.sentences() {
            let words = tag_words(encoded, window, part.rows.clone(), &logits.view());
            for run in runs(&words) {
                let Some(kind) = words[run.start].kind() else { continue };
                let Some((span, rows)) = trim(text, encoded, window, &words[run.clone()]) else { continue };
                let score =
                    words[run.clone()].iter().map(|w| w.probabilities[kind + 1]).sum::<f32>() / run.len() as f32;
                mentions.push(Mention { span, label: LABELS[kind], score, sentence: part.sentence, window: at, rows });
            }
        }
        mentions
    }
}

/// Groups `rows` into words and adds up what their pieces say. A later piece of a word cannot tell `B` from `I`.
fn tag_words(
    encoded: &EncodedText,
    window: &Window,
    rows: Range<usize>,
    logits: &ArrayView2<'_, f32>,
) -> Vec<TaggedWord> {
    let mut words: Vec<TaggedWord> = Vec::new();
    for row in rows.clone() {
        let mut tags = [0.0; ENTITY_TAGS.len()];
        for (tag, logit) in tags.iter_mut().zip(logits.row(row)) {
            *tag = *logit;
        }
        softmax(&mut tags);
        let kinds = [tags[0], tags[1] + tags[2], tags[3] + tags[4], tags[5] + tags[6], tags[7] + tags[8]];
        let first = row == rows.start || encoded.pieces.starts_word(window.piece(row));
        match words.last_mut() {
            Some(word) if !first => {
                word.rows.end = row + 1;
                for (sum, p) in word.probabilities.iter_mut().zip(kinds) {
                    *sum += p;
                }
            }
            _ => {
                let begins = (1..ENTITY_TAGS.len()).step_by(2).any(|b| tags.iter().all(|&t| t <= tags[b]));
                words.push(TaggedWord { rows: row..row + 1, probabilities: kinds, begins });
            }
        }
    }
    for word in &mut words {
        let pieces = word.rows.len() as f32;
        word.probabilities.iter_mut().for_each(|p| *p /= pieces);
    }
    words
}

/// Ranges of neighbouring words of one kind, outside included.
fn runs(words: &[TaggedWord]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for at in 0..words.len() {
        match runs.last_mut() {
            Some(run) if words[run.start].kind() == words[at].kind() && !words[at].begins => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// Span and rows of a run of words without quotes, commas and unmatched brackets around it; `None` if no letter or digit
/// is left. Accents that the normalizer stripped belong to the span.
fn trim(text: &str, encoded: &EncodedText, window: &Window, words: &[TaggedWord]) -> Option<(ByteSpan, Range<usize>)> {
    let span = |rows: &Range<usize>| {
        let (first, last) = (window.piece(rows.start), window.piece(rows.end - 1));
        ByteSpan::new(encoded.pieces.spans[first].start(), encoded.pieces.spans[last].end())
    };
    let (mut first, mut last) = (0, words.len());
    while first < last {
        let inside = &text[span(&words[first].rows).start()..span(&words[last - 1].rows).end()];
        let (head, tail) = (span(&words[first].rows).of(text), span(&words[last - 1].rows).of(text));
        if is_loose_mark(head) || head == ")" || head == "." || head == "(" && !inside.contains(')') {
            first += 1;
        } else if is_loose_mark(tail) || tail == "(" || tail == ")" && !inside.contains('(') {
            last -= 1;
        } else {
            break;
        }
    }
    if first == last {
        return None;
    }
    let rows = words[first].rows.start..words[last - 1].rows.end;
    let bare = span(&rows);
    let accents = |c: &char| is_accent(*c);
    let tail: usize = text[bare.end()..].chars().take_while(accents).map(char::len_utf8).sum();
    let whole = ByteSpan::new(bare.start(), bare.end() + tail);
    whole.of(text).chars().any(char::is_alphanumeric).then_some((whole, rows))
}

fn is_loose_mark(word: &str) -> bool {
    matches!(word, "\"" | "“" | "”" | "‘" | "," | ";" | ":" | "-" | "–" | "—" | "|" | "/" | "•" | "*" | "…" | "[" | "]")
}

/// The name as a reader would write it down: blanks and line breaks folded into single spaces, deleted characters and a
/// final possessive left out.
#[must_use]
pub fn clean_surface(surface: &str) -> String {
    let kept: String = surface.chars().filter(|&c| !is_deleted(c)).collect();
    let folded = kept.split(is_blank).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    let possessive = ["'s", "’s"].iter().find_map(|tail| folded.strip_suffix(tail));
    // `McDonald's` and `Sainsbury’s` are names: the possessive of a single word without it stays in doubt, so it stays.
    match possessive {
        Some(stem) if stem.contains(' ') => stem.to_owned(),
        _ => folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextEncoder;

    fn encode(text: &str) -> EncodedText {
        let json = include_bytes!("../models/stancewire-small/tokenizer.json");
        TextEncoder::from_bytes(json, 64).expect("a tokenizer").encode(text).expect("encodes")
    }

    /// Mentions when every piece of a word is tagged `tag(word)`.
    fn mentions(text: &str, tag: impl Fn(&str) -> &'static str) -> Vec<(String, EntityLabel)> {
        let pieces = encode(text).pieces;
        mentions_by_piece(text, |at| {
            let same: Vec<_> = (0..pieces.len()).filter(|&p| pieces.words[p] == pieces.words[at]).collect();
            let (first, last) = (same[0], same[same.len() - 1]);
            tag(&text[pieces.spans[first].start()..pieces.spans[last].end()])
        })
    }

    /// A head that reads tag logits straight off the hidden state, and hidden states that say `tag(piece)`.
    fn mentions_by_piece(text: &str, tag: impl Fn(usize) -> &'static str) -> Vec<(String, EntityLabel)> {
        let encoded = encode(text);
        let head = EntityHead { tags: Dense::new(Array2::eye(9).view(), &[0.0; 9], Kernel::best()) };
        let mut found = Vec::new();
        for (at, window) in encoded.windows.iter().enumerate() {
            let mut hidden = Array2::zeros((window.len(), 9));
            for row in 1..window.len() - 1 {
                let name = tag(window.piece(row));
                let column = ENTITY_TAGS.iter().position(|t| *t == name).expect("a tag");
                hidden[[row, column]] = 9.0;
            }
            found.extend(head.mentions(text, &encoded, at, hidden.view()));
        }
        found.into_iter().map(|m| (m.span.of(text).to_owned(), m.label)).collect()
    }

    fn names(text: &str, company: &[&str]) -> Vec<String> {
        let tag = |piece: &str| if company.contains(&piece) { "I-COMPANY" } else { "O" };
        mentions(text, tag).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn an_inside_tag_without_a_beginning_starts_a_mention() {
        assert_eq!(names("In May Acme Devices quit.", &["Acme", "Devices"]), ["Acme Devices"]);
    }

    #[test]
    fn a_beginning_inside_a_run_starts_another_mention() {
        let tag = |piece: &str| match piece {
            "Acme" | "Globe" => "B-COMPANY",
            "Corp" => "I-COMPANY",
            "Paris" => "B-LOC",
            _ => "O",
        };
        let want =
            [("Acme", EntityLabel::Company), ("Globe Corp", EntityLabel::Company), ("Paris", EntityLabel::Place)];
        assert_eq!(mentions("Acme Globe Corp Paris", tag), want.map(|(n, l)| (n.to_owned(), l)));
    }

    #[test]
    fn names_are_whole_words() {
        let text = "the Zxqvwkbrn left";
        let count = encode(text).pieces.len() - 2;
        assert!(count >= 4, "a rare word has many pieces");
        let tagged = |from: usize, to: usize| {
            mentions_by_piece(text, |at| if (from..to).contains(&at) { "I-COMPANY" } else { "O" })
        };
        assert_eq!(tagged(count, count + 1), [], "its last piece alone is outvoted");
        assert_eq!(
            tagged(2, count + 1),
            [("Zxqvwkbrn".to_owned(), EntityLabel::Company)],
            "all but the first carry it"
        );
    }

    #[test]
    fn marks_around_a_name_stay_outside() {
        let all = ["“", "Acme", "(", ")", ",", "Inc", ".", "”"];
        assert_eq!(names("“Acme (Inc.),” he said", &all), ["Acme (Inc.)"]);
        assert_eq!(names("said (Acme, twice", &["(", "Acme", ","]), ["Acme"]);
        assert_eq!(names("and , ” so", &[",", "”"]), Vec::<String>::new());
    }

    #[test]
    fn deleted_characters_and_accents_never_split_a_name() {
        let text = "In Le\u{ad}no\u{200b}vo Ca\u{301}fe\u{301} Gro\u{0}up, all";
        let encoded = encode(text);
        let outside = |piece: &str| ["In", ",", "all"].contains(&piece);
        let tag = |piece: &str| if outside(piece) { "O" } else { "I-COMPANY" };
        assert!(encoded.pieces.len() >= 5);
        let found = mentions(text, tag);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "Le\u{ad}no\u{200b}vo Ca\u{301}fe\u{301} Gro\u{0}up");
        let at_end = mentions("at Café Ne\u{301}e\u{301}", |p| if p == "at" { "O" } else { "I-COMPANY" });
        assert_eq!(at_end[0].0, "Café Ne\u{301}e\u{301}", "a trailing accent belongs to the name");
    }

    #[test]
    fn cleans_a_surface_for_display() {
        assert_eq!(clean_surface("SZ DJI\r\nTech\u{ad}nology"), "SZ DJI Technology");
        assert_eq!(clean_surface("Ford Motor’s"), "Ford Motor");
        assert_eq!(clean_surface("McDonald's"), "McDonald's");
    }
}
