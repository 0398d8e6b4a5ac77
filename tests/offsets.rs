use std::path::Path;

use proptest::prelude::*;
use stancewire::text::{EncodedText, TextEncoder};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

fn encoder(max_tokens: usize) -> TextEncoder {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stancewire-small/tokenizer.json");
    TextEncoder::from_bytes(&std::fs::read(path).expect("tokenizer.json"), max_tokens).expect("a tokenizer")
}

/// The text under each word, by its pieces' spans.
fn words(text: &str, encoded: &EncodedText) -> Vec<String> {
    let pieces = &encoded.pieces;
    let starts: Vec<usize> = (0..pieces.len()).filter(|&at| pieces.starts_word(at)).chain([pieces.len()]).collect();
    starts.windows(2).map(|w| text[pieces.spans[w[0]].start()..pieces.spans[w[1] - 1].end()].to_owned()).collect()
}

#[test]
fn a_word_is_found_where_it_stands() {
    let encoder = encoder(64);
    let rows: &[(&str, &[&str])] = &[
        ("Société Générale quit", &["Société", "Générale", "quit"]),
        ("Soci\u{65}\u{301}t\u{65}\u{301} quit", &["Soci\u{65}\u{301}t\u{65}", "quit"]),
        ("👩‍💻 Lenovo 🚀 left", &["👩‍💻", "Lenovo", "🚀", "left"]),
        (
            "삼성 \u{1109}\u{1161}\u{11b7}\u{1109}\u{1165}\u{11bc}",
            &["삼성", "\u{1109}\u{1161}\u{11b7}\u{1109}\u{1165}\u{11bc}"],
        ),
        ("大疆DJI", &["大", "疆", "DJI"]),
        ("O\u{fb03}ce Depot", &["O\u{fb03}ce", "Depot"]),
        ("𝔏enovo 𠜎x", &["𝔏enovo", "𠜎", "x"]),
        ("Le\u{ad}no\u{200b}vo", &["Le\u{ad}no\u{200b}vo"]),
        ("Xiao\u{0}mi\u{fffd}s", &["Xiao\u{0}mi\u{fffd}s"]),
        ("A\r\nB\u{a0}C", &["A", "B", "C"]),
        ("[SEP] [MASK]", &["[", "SEP", "]", "[", "MASK", "]"]),
        ("AT&T’s U.S.", &["AT", "&", "T", "’", "s", "U", ".", "S", "."]),
        ("İstanbul ǅ", &["İstanbul", "ǅ"]),
    ];
    let found = |text: &str| words(text, &encoder.encode(text).expect("encodes"));
    let failures: Vec<_> =
        rows.iter().filter(|(text, want)| found(text) != *want).map(|(t, _)| (t, found(t))).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn any_text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-zA-Z]{1,12}",
        "[가-힣]{1,3}",
        "[ᄀ-ᄒ][ᅡ-ᅵ][ᆨ-ᇂ]",
        "[一-龥]{1,4}",
        "[éüñÅ]{1,4}|e\u{301}|o\u{308}x",
        "[\u{ad}\u{200b}\u{0}\u{fffd}\u{7}a-c]{1,6}",
        "[🚀👩💻𝔏𠜎ﬁﬃ½]{1,3}",
        "[.!?,“”()'’&%$-]{1,3}",
        "[0-9.,]{1,6}",
        "\\PC{1,8}",
        ".{1,6}",
        "x{90,110}",
    ];
    let gap = prop_oneof![Just(" "), Just("\n"), Just("\r\n"), Just("\u{a0}"), Just(""), Just("\u{3000}"), Just("\t")];
    prop::collection::vec((word, gap), 0..60).prop_map(|parts| parts.into_iter().map(|(w, g)| w + g).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_kept_character_is_covered_and_none_is_torn(text in any_text(), max_tokens in 128_usize..160) {
        let encoded = encoder_of(max_tokens).encode(&text).expect("encodes");
        let pieces = &encoded.pieces;
        for pair in pieces.spans.windows(2) {
            prop_assert!(pair[0].start() <= pair[1].start() && pair[0].end() <= pair[1].end());
        }
        let mut owner = vec![None; pieces.len()];
        for (number, window) in encoded.windows.iter().enumerate() {
            prop_assert!(window.len() <= max_tokens);
            for part in window.sentences() {
                for row in part.rows.clone() {
                    prop_assert_eq!(owner[window.piece(row)].replace(number), None, "a piece is owned once");
                }
            }
        }
        prop_assert!(owner.iter().all(Option::is_some));
        for (at, c) in text.char_indices() {
            let (start, end) = (at, at + c.len_utf8());
            let over: Vec<usize> =
                (0..pieces.len()).filter(|&p| pieces.spans[p].start() < end && start < pieces.spans[p].end()).collect();
            if keeps(c) && c.general_category_group() != GeneralCategoryGroup::Mark {
                prop_assert!(!over.is_empty(), "{:?} at {} is not covered", c, at);
            }
            prop_assert!(over.windows(2).all(|w| owner[w[0]] == owner[w[1]]), "{:?} at {} is torn", c, at);
        }
        for span in &pieces.spans {
            prop_assert!(text.is_char_boundary(span.start()) && text.is_char_boundary(span.end()));
        }
    }

    #[test]
    fn a_deleted_character_never_splits_a_word(stem in "[a-z]{2,9}", at in 1_usize..9, gone in "[\u{ad}\u{200b}\u{0}\u{fffd}\u{7}\u{feff}]{1,3}") {
        let at = at.min(stem.len() - 1);
        let text = format!("In {}{gone}{} we", &stem[..at], &stem[at..]);
        let encoder = encoder_of(128);
        let (broken, whole) = (encoder.encode(&text).expect("encodes"), encoder.encode(&format!("In {stem} we")).expect("encodes"));
        prop_assert_eq!(&broken.pieces.ids, &whole.pieces.ids);
        prop_assert_eq!(&broken.pieces.words, &whole.pieces.words);
        prop_assert_eq!(words(&text, &broken)[1].clone(), format!("{}{gone}{}", &stem[..at], &stem[at..]));
    }
}

/// True if the model's normalizer leaves something visible of `c`. (Combining marks it may also reorder.)
fn keeps(c: char) -> bool {
    let mut normalized = NormalizedString::from(c.to_string().as_str());
    BertNormalizer::new(true, true, Some(true), true).normalize(&mut normalized).expect("normalizes");
    normalized.get().chars().any(|c| !c.is_whitespace())
}

fn encoder_of(max_tokens: usize) -> &'static TextEncoder {
    static ENCODERS: std::sync::Mutex<Vec<(usize, &'static TextEncoder)>> = std::sync::Mutex::new(Vec::new());
    let mut known = ENCODERS.lock().expect("no test panics while it holds this");
    if let Some(&(_, found)) = known.iter().find(|(limit, _)| *limit == max_tokens) {
        return found;
    }
    let made: &'static TextEncoder = Box::leak(Box::new(encoder(max_tokens)));
    known.push((max_tokens, made));
    made
}
