//! Bytes → text. UTF-8 as it is; otherwise by byte order mark, by the look of UTF-16, or by a detector, with a warning.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// The text of `bytes` without byte order mark, and what to warn about.
pub(super) fn decode(bytes: Vec<u8>) -> (String, Option<String>) {
    if let Some((encoding, mark_bytes)) = Encoding::for_bom(&bytes) {
        if encoding != UTF_8 {
            return decode_as(encoding, &bytes[mark_bytes..], "byte order mark");
        }
        return decode_unmarked(bytes[mark_bytes..].to_vec());
    }
    decode_unmarked(bytes)
}

fn decode_unmarked(bytes: Vec<u8>) -> (String, Option<String>) {
    match look_of_utf16(&bytes) {
        Some(encoding) => decode_as(encoding, &bytes, "every other byte is 0"),
        None => String::from_utf8(bytes).map_or_else(|error| detect(error.as_bytes()), |text| (text, None)),
    }
}

fn detect(bytes: &[u8]) -> (String, Option<String>) {
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    decode_as(detector.guess(None, chardetng::Utf8Detection::Deny), bytes, "detected")
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8], how: &str) -> (String, Option<String>) {
    let (text, damaged) = encoding.decode_without_bom_handling(bytes);
    let loss = if damaged { "; undecodable bytes became U+FFFD" } else { "" };
    (text.into_owned(), Some(format!("not UTF-8: decoded as {} ({how}){loss}", encoding.name())))
}

/// UTF-16 without a mark: nearly every other byte of a Latin text is 0.
fn look_of_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    const LOOKED_AT: usize = 4096;
    let head = &bytes[..bytes.len().min(LOOKED_AT) & !1];
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|&&b| b == 0).count();
    let (even, odd, pairs) = (zeros(0), zeros(1), head.len() / 2);
    if pairs < 4 {
        None
    } else if odd * 10 > pairs * 8 && even * 10 < pairs {
        Some(UTF_16LE)
    } else if even * 10 > pairs * 8 && odd * 10 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_comes_through_without_its_mark() {
        assert_eq!(decode("\u{feff}é\0x\r\n".into()), ("é\0x\r\n".to_owned(), None));
        assert_eq!(decode(Vec::new()), (String::new(), None));
    }

    #[test]
    fn utf16_is_known_by_its_mark_or_its_look() {
        let bytes = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        for text in ["\u{feff}Acme left.", "Acme left."] {
            let (decoded, warning) = decode(bytes(text));
            assert_eq!(decoded, "Acme left.");
            assert!(warning.is_some_and(|w| w.contains("UTF-16BE")));
        }
    }

    #[test]
    fn legacy_encodings_are_guessed() {
        let (text, warning) = decode(b"Soci\xe9t\xe9 G\xe9n\xe9rale a quitt\xe9 la Russie".to_vec());
        assert_eq!(text, "Société Générale a quitté la Russie");
        assert!(warning.is_some_and(|w| w.contains("windows-1252")));
    }

    #[test]
    fn cut_off_utf16_loses_only_its_half_character() {
        let (text, warning) = decode(b"\xff\xfeA\0b\0c".to_vec());
        assert_eq!(text, "Ab\u{fffd}");
        assert!(warning.is_some_and(|w| w.contains("U+FFFD")));
    }
}
