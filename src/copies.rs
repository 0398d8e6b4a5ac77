//! Which texts of a run have been seen before in it.
//!
//! Two texts are the same if they are after white space is made equal; of the same texts the first in input order is the
//! original. A fingerprint is a part of SHA-256; 88 bits of it are kept, so that among a billion texts two different ones
//! are taken for one with a probability below one in a hundred million. Memory: 20 to 40 bytes for every different text, half
//! as much again while the table grows; the ids of many originals lie in a temporary file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::document::{Document, Input};

/// Documents back to which the result of an equal one is still at hand.
pub const REMEMBERED: usize = 1024;

/// What tells texts apart, 128 bits of a SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of these pieces exactly, and of where each ends.
    #[must_use]
    pub fn of(pieces: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for piece in pieces {
            hash.update((piece.len() as u64).to_le_bytes());
            hash.update(piece);
        }
        Fingerprint::from_hash(hash)
    }

    /// Of a text with all white space made equal; `None` for one without anything else.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let mut hash = Sha256::new();
        let mut words = text.split_whitespace();
        hash.update(words.next()?);
        for word in words {
            hash.update(b" ");
            hash.update(word);
        }
        Some(Fingerprint::from_hash(hash))
    }

    /// Of an input as it was read.
    #[must_use]
    pub fn of_input(input: &Input) -> Self {
        let Document { id, source, title, date, url, text, meta, .. } = &input.document;
        let error = input.error.as_ref().map_or("", |error| error.kind);
        let meta = meta.iter().map(|(name, value)| format!("{name} {value}\n")).collect::<String>();
        let [id, title, date, url] = [id, title, date, url].map(|part| part.as_deref().unwrap_or_default().as_bytes());
        Fingerprint::of(&[source.as_bytes(), id, title, date, url, text.as_bytes(), meta.as_bytes(), error.as_bytes()])
    }

    /// A part of it, below `count`.
    #[must_use]
    pub fn remainder(self, count: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder is below its divisor")]
        let remainder = (self.0 % u128::from(count)) as u64;
        remainder
    }

    fn from_hash(hash: Sha256) -> Self {
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Fingerprint(u128::from_be_bytes(bytes))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        format!("{:032x}", fingerprint.0)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = std::num::ParseIntError;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&digits, 16).map(Fingerprint)
    }
}

/// What a text is to those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The first of its kind.
    Original,
    /// Seen before.
    Copy {
        /// The id of the first.
        of: String,
    },
}

/// The texts of a run so far.
#[derive(Debug)]
pub struct Copies {
    /// By 64 bits of the fingerprint: 24 further bits and the place of the original's id in `ids`.
    seen: HashMap<u64, u64, FxBuildHasher>,
    /// Where a file for ids can be made, and the file, which a small run does without.
    folder: PathBuf,
    ids: Option<File>,
    /// Bytes of `ids` that are there; `unwritten` follows.
    written: u64,
    unwritten: Vec<u8>,
}

const PLACE_BITS: u32 = 40;
const UNWRITTEN_BYTES: usize = 64 * 1024;

impl Copies {
    /// None seen; many ids will lie in a file in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Copies { seen: HashMap::default(), folder, ids: None, written: 0, unwritten: Vec::new() }
    }

    /// Looks a text up and remembers it under `id` if it is new.
    ///
    /// # Errors
    ///
    /// If the temporary file cannot be read or written.
    pub fn look_up(&mut self, text: Fingerprint, id: &str) -> io::Result<Sighting> {
        #[expect(clippy::cast_possible_truncation, reason = "different parts of the fingerprint are wanted")]
        let (key, check) = (text.0 as u64, (text.0 >> 64) as u64 >> PLACE_BITS);
        match self.seen.get(&key) {
            Some(entry) if entry >> PLACE_BITS == check => {
                let place = entry & ((1 << PLACE_BITS) - 1);
                Ok(Sighting::Copy { of: self.id_at(place)? })
            }
            // A different text with the same 64 bits: it stays unknown, and so do its copies.
            Some(_) => Ok(Sighting::Original),
            None => {
                let place = self.written + self.unwritten.len() as u64;
                let length = u32::try_from(id.len()).map_err(io::Error::other)?;
                self.unwritten.extend(length.to_le_bytes());
                self.unwritten.extend(id.as_bytes());
                if self.unwritten.len() >= UNWRITTEN_BYTES {
                    self.write_out()?;
                }
                if place >> PLACE_BITS == 0 {
                    self.seen.insert(key, check << PLACE_BITS | place);
                }
                Ok(Sighting::Original)
            }
        }
    }

    fn id_at(&mut self, place: u64) -> io::Result<String> {
        match (&mut self.ids, usize::try_from(place.saturating_sub(self.written))) {
            (Some(ids), _) if place < self.written => {
                ids.seek(SeekFrom::Start(place))?;
                read_id(ids)
            }
            (_, Ok(at)) => read_id(&mut self.unwritten.get(at..).unwrap_or_default()),
            (_, Err(error)) => Err(io::Error::other(error)),
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let ids = match &mut self.ids {
            Some(ids) => ids,
            none => none.insert(tempfile::tempfile_in(&self.folder)?),
        };
        ids.seek(SeekFrom::Start(self.written))?;
        ids.write_all(&self.unwritten)?;
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }
}

/// An id with its length before it.
fn read_id(from: &mut impl Read) -> io::Result<String> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut id = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut id)?;
    String::from_utf8(id).map_err(io::Error::other)
}

/// Which of the last [`REMEMBERED`] analysed documents had exactly this text.
#[derive(Debug, Default)]
pub struct Recent {
    numbers: HashMap<Fingerprint, u64, FxBuildHasher>,
    order: VecDeque<(u64, Fingerprint)>,
}

impl Recent {
    /// The document whose result is this text's too; if there is none, `number` is from now on.
    pub fn same_as(&mut self, number: u64, exact: Fingerprint) -> Option<u64> {
        while let Some(&(old, fingerprint)) = self.order.front()
            && old + (REMEMBERED as u64) < number
        {
            self.order.pop_front();
            self.numbers.remove(&fingerprint);
        }
        let known = self.numbers.get(&exact).copied();
        if known.is_none() {
            self.numbers.insert(exact, number);
            self.order.push_back((number, exact));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn look_up(copies: &mut Copies, text: &str, id: &str) -> Sighting {
        copies.look_up(Fingerprint::of_text(text).expect("a text"), id).expect("looks up")
    }

    #[test]
    fn white_space_makes_no_other_text_and_the_first_is_the_original() {
        let mut copies = Copies::new(std::env::temp_dir());
        assert_eq!(look_up(&mut copies, "Acme  left.\n\nIt did.", "a"), Sighting::Original);
        assert_eq!(look_up(&mut copies, "Acme left.", "b"), Sighting::Original);
        for again in [" Acme left. It did.\r\n", "Acme\u{a0}left.\tIt did."] {
            assert_eq!(look_up(&mut copies, again, "c"), Sighting::Copy { of: "a".to_owned() });
        }
        assert_eq!(look_up(&mut copies, "acme left.", "d"), Sighting::Original);
        assert_eq!(look_up(&mut copies, "Acme left.", ""), Sighting::Copy { of: "b".to_owned() });
        assert_eq!(Fingerprint::of_text(" \n"), None);
    }

    #[test]
    fn fingerprints_go_through_json_and_know_pieces_apart() {
        let print = Fingerprint::of(&[b"ab", b"c"]);
        assert_ne!(print, Fingerprint::of(&[b"a", b"bc"]));
        let json = serde_json::to_string(&print).expect("JSON");
        assert_eq!(serde_json::from_str::<Fingerprint>(&json).expect("a fingerprint"), print);
        assert!(serde_json::from_str::<Fingerprint>("\"xyz\"").is_err());
    }

    #[test]
    fn results_are_at_hand_for_a_while() {
        let mut recent = Recent::default();
        let (a, b) = (Fingerprint::of(&[b"a"]), Fingerprint::of(&[b"b"]));
        assert_eq!((recent.same_as(0, a), recent.same_as(1, b), recent.same_as(5, a)), (None, None, Some(0)));
        assert_eq!(recent.same_as(REMEMBERED as u64, a), Some(0));
        assert_eq!(recent.same_as(REMEMBERED as u64 + 1, a), None);
        assert_eq!(recent.same_as(REMEMBERED as u64 + 2, a), Some(REMEMBERED as u64 + 1));
        assert_eq!(recent.order.len(), recent.numbers.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn every_copy_names_its_first(texts in prop::collection::vec(0_u32..40, 1..3000)) {
            let mut copies = Copies::new(std::env::temp_dir());
            let mut first = std::collections::BTreeMap::new();
            for (number, text) in texts.iter().enumerate() {
                let id = format!("{number}{}", "x".repeat(number % 90));
                let want = match first.get(text) {
                    Some(of) => Sighting::Copy { of: String::clone(of) },
                    None => Sighting::Original,
                };
                first.entry(text).or_insert_with(|| id.clone());
                prop_assert_eq!(look_up(&mut copies, &text.to_string(), &id), want);
            }
        }
    }
}
