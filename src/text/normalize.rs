//! Which characters the model's normalizer keeps, turns into a blank, or deletes.
//!
//! The normalizer itself is the `tokenizers` crate's `BertNormalizer`. These predicates mirror it, because sentences,
//! windows and mentions must not be cut at characters that the model never sees. `tests` compares them with the crate
//! over all of Unicode.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// True for white space that separates words after normalization.
///
/// Form feed, vertical tab and next line are *not* blank: the normalizer deletes them as control characters.
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() && !is_deleted(c)
}

/// True for characters that the normalizer deletes: controls, format characters (soft hyphen, zero-width space and
/// joiners), private use and U+FFFD.
#[must_use]
pub fn is_deleted(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | ' '..='~' => false,
        '\u{fffd}' => true,
        _ => matches!(
            c.general_category(),
            GeneralCategory::Control | GeneralCategory::Format | GeneralCategory::PrivateUse
        ),
    }
}

/// True for combining marks that the normalizer strips as accents.
#[must_use]
pub fn is_accent(c: char) -> bool {
    !c.is_ascii() && c.general_category() == GeneralCategory::NonspacingMark
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::normalizers::BertNormalizer;
    use tokenizers::{NormalizedString, Normalizer};

    /// Characters that the tables of the two crates, of different Unicode versions, class differently.
    const TABLE_DRIFT: usize = 1_000;

    #[test]
    fn agrees_with_the_normalizer_over_all_of_unicode() {
        let normalizer = BertNormalizer::new(true, true, Some(true), true);
        let (mut checked, mut drift) = (0, Vec::new());
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let mut normalized = NormalizedString::from(c.to_string().as_str());
            normalizer.normalize(&mut normalized).expect("normalization of one character");
            let seen = normalized.get();
            let expected = if seen.is_empty() {
                "gone"
            } else if seen.chars().all(char::is_whitespace) {
                "blank"
            } else {
                "kept"
            };
            let actual = if is_deleted(c) || is_accent(c) {
                "gone"
            } else if is_blank(c) {
                "blank"
            } else {
                "kept"
            };
            checked += 1;
            if expected != actual {
                drift.push(c);
            }
        }
        assert!(checked > 1_000_000);
        assert!(drift.iter().all(|&c| c > '\u{2ff}'), "{:?}", &drift[..drift.len().min(20)]);
        assert!(drift.len() < TABLE_DRIFT, "{} differ: {:?}", drift.len(), &drift[..20]);
    }
}
