//! Bytes → text. UTF-8 as it is; otherwise by byte order mark, by the look of UTF-16, or by a detector, with a warning.
//!
//! A mark is at the head of a stream and is dealt with there, because the lines of a UTF-16 stream cannot be told apart
//! before it is decoded. What has no mark is decoded document by document: an archive may mix encodings.

use std::io::{self, BufRead, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::{Bytes, peek};

/// `bytes` without their byte order mark; if that says UTF-16, as UTF-8, with a warning.
///
/// UTF-16 without a mark is known by its first two characters: no text begins with a letter and a NUL, twice.
pub(super) fn unmark(bytes: Bytes<'_>) -> io::Result<(Bytes<'_>, Option<String>)> {
    let (head, mut bytes) = peek(bytes, 4)?;
    let (encoding, how) = match (Encoding::for_bom(&head), &head[..]) {
        (Some((encoding, mark_bytes)), _) => {
            bytes.read_exact(&mut vec![0; mark_bytes])?;
            (encoding, "byte order mark")
        }
        (None, [1..=255, 0, 1..=255, 0]) => (UTF_16LE, "every other byte is 0"),
        (None, [0, 1..=255, 0, 1..=255]) => (UTF_16BE, "every other byte is 0"),
        _ => return Ok((bytes, None)),
    };
    if encoding == UTF_8 {
        return Ok((bytes, None));
    }
    let decoder = encoding.new_decoder_without_bom_handling();
    let decoded = Decoded { input: bytes, decoder, text: String::new(), at: 0, is_done: false };
    Ok((Box::new(decoded), Some(warn(encoding, how, false))))
}

/// The text of `bytes`, which have no byte order mark, and what to warn about.
pub(super) fn decode(bytes: Vec<u8>) -> (String, Option<String>) {
    match look_of_utf16(&bytes) {
        Some(encoding) => decode_as(encoding, &bytes, "every other byte is 0"),
        None => String::from_utf8(bytes)
            .map_or_else(|error| detect(error.as_bytes(), Iso2022JpDetection::Deny), |text| (text, None)),
    }
}

/// A stream in some encoding, read as UTF-8; what cannot be decoded is U+FFFD.
struct Decoded<R> {
    input: R,
    decoder: Decoder,
    /// Decoded and not yet given from `at` on.
    text: String,
    at: usize,
    is_done: bool,
}

impl<R: BufRead> BufRead for Decoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.text.len() && !self.is_done {
            let chunk = self.input.fill_buf()?;
            self.text.clear();
            self.at = 0;
            self.text.reserve(self.decoder.max_utf8_buffer_length(chunk.len()).unwrap_or(chunk.len()));
            let is_last = chunk.is_empty();
            let (result, used, _) = self.decoder.decode_to_string(chunk, &mut self.text, is_last);
            self.input.consume(used);
            self.is_done = is_last && result == CoderResult::InputEmpty;
        }
        Ok(&self.text.as_bytes()[self.at..])
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// The text of `bytes`, which are not UTF-8; ISO-2022-JP, which looks like ASCII, is for pages only.
pub(super) fn detect(bytes: &[u8], iso_2022_jp: Iso2022JpDetection) -> (String, Option<String>) {
    let mut detector = EncodingDetector::new(iso_2022_jp);
    detector.feed(bytes, true);
    decode_as(detector.guess(None, Utf8Detection::Deny), bytes, "detected")
}

/// The text of `bytes` in `encoding` and what to warn about; `how` that is known.
pub(super) fn decode_as(encoding: &'static Encoding, bytes: &[u8], how: &str) -> (String, Option<String>) {
    let (text, damaged) = encoding.decode_without_bom_handling(bytes);
    let warning = match (encoding == UTF_8, damaged) {
        (true, false) => None,
        (true, true) => Some(LOSS.to_owned()),
        (false, damaged) => Some(warn(encoding, how, damaged)),
    };
    (text.into_owned(), warning)
}

const LOSS: &str = "undecodable bytes became U+FFFD";

fn warn(encoding: &'static Encoding, how: &str, damaged: bool) -> String {
    let loss = if damaged { format!("; {LOSS}") } else { String::new() };
    format!("not UTF-8: decoded as {} ({how}){loss}", encoding.name())
}

/// UTF-16 without a mark: nearly every other byte of a Latin text is 0.
pub(super) fn look_of_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
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

    fn read_marked(content: Vec<u8>) -> (String, Option<String>) {
        // Small pieces, so that marks and characters are cut.
        let bytes: Bytes = Box::new(io::BufReader::with_capacity(1, io::Cursor::new(content)));
        let (mut bytes, warning) = unmark(bytes).expect("reads");
        let mut text = String::new();
        bytes.read_to_string(&mut text).expect("UTF-8");
        (text, warning)
    }

    #[test]
    fn utf8_comes_through_without_its_mark() {
        assert_eq!(read_marked("\u{feff}é\0x\r\n".into()), ("é\0x\r\n".to_owned(), None));
        assert_eq!(read_marked("é".into()), ("é".to_owned(), None));
        assert_eq!(read_marked(Vec::new()), (String::new(), None));
        assert_eq!(decode("é\0x\r\n".into()), ("é\0x\r\n".to_owned(), None));
    }

    #[test]
    fn utf16_is_known_by_its_mark_or_its_look() {
        let text = "Acme left 😀.";
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let rows = [
            ("UTF-16BE", read_marked([b"\xfe\xff", &big[..]].concat())),
            ("UTF-16LE", read_marked([b"\xff\xfe", &little[..]].concat())),
            ("UTF-16BE", decode(big)),
            ("UTF-16LE", decode(little)),
        ];
        for (encoding, (decoded, warning)) in rows {
            assert_eq!(decoded, text);
            assert!(warning.is_some_and(|w| w.contains(encoding)), "{encoding}");
        }
    }

    #[test]
    fn cut_off_utf16_loses_only_its_half_character() {
        assert_eq!(read_marked(b"\xff\xfeA\0b\0c".to_vec()).0, "Ab\u{fffd}");
        let (text, warning) = decode(b"A\0c\0m\0e\0 \0l\0e\0f\0t\0\x3d\xd8".to_vec());
        assert_eq!(text, "Acme left\u{fffd}");
        assert!(warning.is_some_and(|w| w.contains("U+FFFD")));
    }

    #[test]
    fn legacy_encodings_are_guessed() {
        let (text, warning) = decode(b"Soci\xe9t\xe9 G\xe9n\xe9rale a quitt\xe9 la Russie".to_vec());
        assert_eq!(text, "Société Générale a quitté la Russie");
        assert!(warning.is_some_and(|w| w.contains("windows-1252")));
    }
}
