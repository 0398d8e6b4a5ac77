//! Text → the language it is in, as far as that can be told.

use whatlang::{Detector, Lang, Script};

/// Bytes of a text that are looked at: some 600 words.
const LOOKED_AT: usize = 4096;
/// Letters below which a text says too little to be passed over for its language.
const MIN_LETTERS: usize = 60;

/// What a text seems to be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English, or too short or mixed to tell.
    English,
    /// Surely another, by its ISO 639 code.
    Other(&'static str),
}

/// The language of `text`, told from its beginning.
///
/// Two detectors must agree that it is not English: each alone takes some English texts full of foreign names for others.
/// `whatlang` compares trigram frequencies (Cavnar and Trenkle 1994) and knows 70 languages; `whichlang` is a logistic
/// regression over n-grams and knows 16, so that it only says whether a text is English.
#[must_use]
pub fn detect(text: &str) -> Language {
    let text = text.trim_start();
    let end = (0..=LOOKED_AT.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let head = &text[..end];
    if head.chars().filter(|c| c.is_alphabetic()).take(MIN_LETTERS).count() < MIN_LETTERS {
        return Language::English;
    }
    // The faster one first: it settles nearly all texts of an English archive.
    let other = whichlang::detect_language(head);
    if other == whichlang::Lang::Eng {
        return Language::English;
    }
    match Detector::new().detect(head) {
        Some(found) if found.lang() == Lang::Eng => Language::English,
        Some(found) if found.is_reliable() => Language::Other(iso_639(found.lang())),
        // No English, and of languages in one script the other detector knows the frequent ones.
        Some(found) if found.script() != Script::Latin => {
            Language::Other(Lang::from_code(other.three_letter_code()).map_or("und", iso_639))
        }
        _ => Language::English,
    }
}

/// Two letters where ISO 639-1 has the language, else three.
fn iso_639(language: Lang) -> &'static str {
    match language {
        Lang::Ara => "ar",
        Lang::Bul => "bg",
        Lang::Cat => "ca",
        Lang::Ces => "cs",
        Lang::Cmn => "zh",
        Lang::Dan => "da",
        Lang::Deu => "de",
        Lang::Ell => "el",
        Lang::Epo => "eo",
        Lang::Est => "et",
        Lang::Fin => "fi",
        Lang::Fra => "fr",
        Lang::Heb => "he",
        Lang::Hin => "hi",
        Lang::Hrv => "hr",
        Lang::Hun => "hu",
        Lang::Ind => "id",
        Lang::Ita => "it",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Lat => "la",
        Lang::Lit => "lt",
        Lang::Lav => "lv",
        Lang::Nld => "nl",
        Lang::Nob => "nb",
        Lang::Pes => "fa",
        Lang::Pol => "pl",
        Lang::Por => "pt",
        Lang::Ron => "ro",
        Lang::Rus => "ru",
        Lang::Slk => "sk",
        Lang::Slv => "sl",
        Lang::Spa => "es",
        Lang::Srp => "sr",
        Lang::Swe => "sv",
        Lang::Tgl => "tl",
        Lang::Tha => "th",
        Lang::Tur => "tr",
        Lang::Ukr => "uk",
        Lang::Vie => "vi",
        other => other.code(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_languages_are_told_and_doubt_is_english() {
        let rows = [
            ("Die Fabrik in Lübeck hat nach Angaben des Unternehmens den Betrieb am Montag eingestellt.", "de"),
            ("L'entreprise a annoncé lundi qu'elle suspendait toutes ses activités dans le pays.", "fr"),
            ("Компания объявила, что приостанавливает все поставки в страну до конца года.", "ru"),
            ("Spółka poinformowała w poniedziałek, że wstrzymała całą produkcję w kraju do odwołania.", "pl"),
            ("La compañía anunció el lunes que suspende todas sus operaciones en el país andino.", "es"),
        ];
        for (text, code) in rows {
            assert_eq!(detect(text), Language::Other(code), "{text}");
        }
        for text in [
            "",
            "Ach so.",
            "Lenovo, Xiaomi, Huawei, Oppo",
            "The carmaker said on Monday that it has halted all production in the country until further notice.",
            "STOP PRESS\n\nCHICAGO 0010Z BOEING SUSPENDS PARTS, MAINTENANCE AND TECHNICAL SUPPORT FOR RUSSIAN AIRLINES",
            "ACME HALTS SALES IN FREEDONIA AFTER NEW SANCTIONS, SOURCES SAY; SHARES FALL 3 PERCENT IN LATE TRADE",
        ] {
            assert_eq!(detect(text), Language::English, "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(detect(&"й".repeat(10_000)), detect(&"й".repeat(2048)));
    }
}
