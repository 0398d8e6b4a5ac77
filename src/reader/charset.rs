//! Bytes of a web page → text.

use chardetng::Iso2022JpDetection;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use super::decode::{decode_as, detect, look_of_utf16};

/// Bytes in which a page may name its encoding (HTML, "prescan a byte stream").
const PRESCAN: usize = 1024;

/// The text of the page `body` and what to warn about. `charset` is what HTTP says.
///
/// A byte order mark counts first, then valid UTF-8 is UTF-8 whatever is said of it; then HTTP, then `<meta>`, then a
/// detector.
pub(super) fn decode_html(body: &[u8], charset: Option<&str>) -> (String, Option<String>) {
    if let Some((encoding, mark_bytes)) = Encoding::for_bom(body) {
        return decode_as(encoding, &body[mark_bytes..], "byte order mark");
    }
    let named = charset.and_then(|label| Encoding::for_label_no_replacement(label.as_bytes()));
    if named.is_none()
        && let Some(encoding) = look_of_utf16(body)
    {
        return decode_as(encoding, body, "every other byte is 0");
    }
    // UTF-16 of Latin text is valid UTF-8 with every other byte 0.
    let is_utf16 = named.is_some_and(|encoding| encoding == UTF_16LE || encoding == UTF_16BE);
    if !(is_utf16 && body.contains(&0))
        && let Ok(text) = str::from_utf8(body)
    {
        return (text.to_owned(), None);
    }
    let named = named.map(|encoding| (encoding, "HTTP charset"));
    let named = named.or_else(|| meta_charset(body).map(|encoding| (encoding, "meta charset")));
    match named {
        // What is not UTF-8 as a whole and says so has damaged places, or is something else altogether.
        Some((encoding, how)) if encoding != UTF_8 || is_nearly_utf8(body) => decode_as(encoding, body, how),
        _ => detect(body, Iso2022JpDetection::Allow),
    }
}

/// Whether most bytes beyond ASCII are UTF-8.
fn is_nearly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().bytes().filter(|b| !b.is_ascii()).count();
        bad += chunk.invalid().len();
    }
    good > bad
}

/// The encoding that a `<meta charset>` or `<meta http-equiv content>` in the head names.
fn meta_charset(body: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&body[..body.len().min(PRESCAN)]).to_ascii_lowercase();
    let mut rest = &head[..];
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end..]);
            continue;
        }
        let Some(tag) =
            rest.strip_prefix("<meta").filter(|tag| tag.starts_with(|c: char| c.is_whitespace() || c == '/'))
        else {
            rest = &rest[1..];
            continue;
        };
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        rest = after;
        let label = tag.split_once("charset").and_then(|(_, value)| value.trim_start().strip_prefix('='));
        let label = label.map(|value| value.trim_start().trim_start_matches(['"', '\'']));
        let label = label.and_then(|value| value.split(['"', '\'', ';', '/', ' ', '\t', '\r', '\n']).next());
        if let Some(encoding) = label.and_then(|label| Encoding::for_label_no_replacement(label.as_bytes())) {
            // As HTML has it: a head that can be read is not UTF-16, and nobody means x-user-defined.
            return Some(match encoding.name() {
                "UTF-16LE" | "UTF-16BE" => UTF_8,
                "x-user-defined" => WINDOWS_1252,
                _ => encoding,
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LATIN: &[u8] = b"<p>Soci\xe9t\xe9 G\xe9n\xe9rale";

    fn page(head: &str, body: &[u8]) -> Vec<u8> {
        [head.as_bytes(), body].concat()
    }

    #[test]
    fn the_encoding_is_found_by_what_is_surest() {
        let koi = b"\xf0\xd2\xc9\xd7\xc5\xd4".to_vec();
        let utf16: Vec<u8> = "<p>Société".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let rows = [
            ("valid UTF-8", page("Привет", b""), Some("koi8-r"), "Привет", None),
            ("UTF-8 mark", page("\u{feff}Привет", b""), Some("koi8-r"), "Привет", None),
            ("UTF-16 mark", [b"\xff\xfe", &utf16[..]].concat(), Some("utf-8"), "<p>Société", Some("byte order mark")),
            ("UTF-16 by HTTP", utf16.clone(), Some("utf-16le"), "<p>Société", Some("HTTP charset")),
            ("HTTP", koi.clone(), Some("KOI8-R"), "Привет", Some("KOI8-R (HTTP charset)")),
            ("HTTP before meta", page("<meta charset=latin1>", &koi), Some("koi8-r"), "Привет", Some("HTTP charset")),
            ("meta charset", page("<META Charset = 'koi8-r' >", &koi), None, "Привет", Some("KOI8-R (meta charset)")),
            (
                "http-equiv",
                page(
                    "<!-- <meta charset=utf-8> --><meta http-equiv=Content-Type content=\"text/html; charset=koi8-r\">",
                    &koi,
                ),
                Some("no such"),
                "Привет",
                Some("KOI8-R (meta charset)"),
            ),
            (
                "meta too far",
                page(&format!("{}<meta charset=koi8-r>", " ".repeat(1024)), LATIN),
                None,
                "Société",
                Some("detected"),
            ),
            ("wrong UTF-8", LATIN.to_vec(), Some("utf-8"), "Société Générale", Some("windows-1252 (detected)")),
            ("meta of UTF-16", page("<meta charset=utf-16>", LATIN), None, "Société Générale", Some("detected")),
            ("nothing", LATIN.to_vec(), None, "Société Générale", Some("windows-1252 (detected)")),
            ("replacement", LATIN.to_vec(), Some("iso-2022-kr"), "Société Générale", Some("detected")),
            ("damaged UTF-8", page("Société Générale", b"\xff"), Some("utf8"), "Générale\u{fffd}", Some("undecodable")),
            (
                "undecodable",
                page("<meta charset=big5>", b"\xa4\xa4\xff"),
                None,
                "中\u{fffd}",
                Some("Big5 (meta charset); und"),
            ),
            ("empty", Vec::new(), None, "", None),
        ];
        for (name, body, charset, text, warning) in rows {
            let (decoded, warned) = decode_html(&body, charset);
            assert!(decoded.contains(text) && !decoded.contains('\u{feff}'), "{name}: {decoded}");
            match warning {
                None => assert_eq!(warned, None, "{name}"),
                Some(part) => assert!(warned.as_ref().is_some_and(|w| w.contains(part)), "{name}: {warned:?}"),
            }
        }
    }

    #[test]
    fn a_mostly_sound_page_stays_utf8() {
        let body = page(&"Société Générale. ".repeat(100), b"\xe9 and more");
        let (text, warning) = decode_html(&body, Some("utf-8"));
        assert!(text.ends_with("\u{fffd} and more"));
        assert_eq!(warning.as_deref(), Some("undecodable bytes became U+FFFD"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300), charset in "[a-z0-9-]{0,12}") {
            let _ = decode_html(&body, Some(&charset));
            let _ = decode_html(&page("<meta charset=", &body), None);
            let text = String::from_utf8_lossy(&body).into_owned();
            prop_assume!(Encoding::for_bom(text.as_bytes()).is_none());
            prop_assert_eq!(decode_html(text.as_bytes(), None), (text, None));
        }
    }
}
