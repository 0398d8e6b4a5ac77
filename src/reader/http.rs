//! HTTP response as an archive holds it → its body without transfer and content encoding.
//!
//! Archives keep the headers as sent, but may keep the body decoded, so each encoding is undone only where the body
//! has it.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::headers::{End, Value, read_header_line, read_headers};

/// Encodings of one body, one upon the other.
const MAX_ENCODINGS: usize = 4;
/// The largest window of zstd in HTTP (RFC 9659): 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HttpResponse {
    pub status: u16,
    /// The media type in lower case without parameters.
    pub content_type: Option<String>,
    /// The parameter `charset` of the media type, as written.
    pub charset: Option<String>,
    /// Without encodings; what could be decoded, if it is damaged.
    pub body: Vec<u8>,
    /// What is wrong with the body.
    pub damaged: Option<String>,
}

/// Why there is no response.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HttpError {
    /// The body is longer than the limit.
    TooLong,
    /// It is not an HTTP response; what was found.
    Bad(String),
}

/// Reads the response `block`; its body becomes no longer than `limit` bytes.
pub(super) fn http_response(block: &[u8], limit: u64) -> Result<HttpResponse, HttpError> {
    let mut rest = block;
    loop {
        let line = read_line(&mut rest);
        let Some(status) = status(&line) else {
            let line: String = line.chars().take(40).collect();
            return Err(HttpError::Bad(format!("not an HTTP response: it begins with `{}`", line.escape_debug())));
        };
        let mut headers = Headers::default();
        let end = read_headers(&mut rest, |_| false, |name, value| headers.take(name, value));
        // Interim responses, such as 100 Continue, come before the response.
        if matches!(status, 100..=199) && rest.starts_with(b"HTTP/") {
            continue;
        }
        let mut damaged = None;
        if !matches!(end, Ok(End::Blank)) {
            damaged = Some("the headers are cut off".to_owned());
        } else if let Some(length) = headers.length.filter(|&length| length > rest.len() as u64 && !headers.is_chunked)
        {
            damaged = Some(format!("only {} of {length} bytes of the body", rest.len()));
        }
        let mut body = Cow::Borrowed(rest);
        if headers.is_chunked {
            body = unchunk(rest, &mut damaged);
        }
        for encoding in headers.encodings.iter().rev() {
            body = Cow::Owned(decode(body, encoding, limit, &mut damaged)?);
        }
        if body.len() as u64 > limit {
            return Err(HttpError::TooLong);
        }
        let (content_type, charset) = headers.content_type.as_deref().map_or((None, None), media_type);
        return Ok(HttpResponse { status, content_type, charset, body: body.into_owned(), damaged });
    }
}

fn read_line(rest: &mut &[u8]) -> String {
    read_header_line(rest).ok().flatten().map(|line| line.text).unwrap_or_default()
}

/// The code of a status line such as `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/"))?;
    words.next()?.parse().ok().filter(|code| matches!(code, 100..=999))
}

/// Media type and charset of a `Content-Type`.
pub(super) fn media_type(value: &str) -> (Option<String>, Option<String>) {
    let mut parts = value.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']).trim();
        (name.trim().eq_ignore_ascii_case("charset") && !value.is_empty()).then(|| value.to_owned())
    });
    ((!kind.is_empty()).then_some(kind), charset)
}

/// The headers that are used; of a repeated one, the first, but all encodings.
#[derive(Default)]
struct Headers {
    content_type: Option<String>,
    encodings: Vec<String>,
    is_chunked: bool,
    length: Option<u64>,
}

impl Headers {
    fn take(&mut self, name: &str, value: Value<'_>) {
        let Value::Whole(value) = value else { return };
        let lower = value.to_ascii_lowercase();
        match name {
            "content-type" if self.content_type.is_none() => self.content_type = Some(value.to_owned()),
            "content-length" if self.length.is_none() => self.length = value.parse().ok(),
            "transfer-encoding" => self.is_chunked |= lower.split(',').any(|coding| coding.trim() == "chunked"),
            "content-encoding" => {
                let names = lower.split(',').map(|name| name.trim().to_owned());
                self.encodings.extend(names.filter(|name| !matches!(name.as_str(), "" | "identity")));
                self.encodings.truncate(MAX_ENCODINGS);
            }
            _ => {}
        }
    }
}

/// The chunks of `body` joined; `body` as it is if it does not begin with one.
fn unchunk<'b>(body: &'b [u8], damaged: &mut Option<String>) -> Cow<'b, [u8]> {
    let (mut rest, mut joined) = (body, Vec::new());
    for number in 1.. {
        let Some((size, after)) = chunk_size(rest) else {
            if number == 1 {
                return Cow::Borrowed(body);
            }
            *damaged = Some(if rest.is_empty() {
                format!("the body ends after chunk {}, which is not the last", number - 1)
            } else {
                format!("chunk {number} of the body has no length")
            });
            break;
        };
        if size == 0 {
            break;
        }
        let (chunk, after) = after.split_at(after.len().min(size));
        joined.extend_from_slice(chunk);
        if chunk.len() < size {
            *damaged = Some(format!("chunk {number} of the body is cut off"));
            break;
        }
        rest = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")).unwrap_or(after);
    }
    Cow::Owned(joined)
}

/// The size that a chunk begins with, and what comes after its line, which ends with `\r\n`.
fn chunk_size(bytes: &[u8]) -> Option<(usize, &[u8])> {
    const LONGEST_LINE: usize = 1024;
    let end = bytes.iter().take(LONGEST_LINE).position(|&b| b == b'\n')?;
    let line = str::from_utf8(bytes[..end].strip_suffix(b"\r")?).ok()?;
    let digits = line.split(';').next()?.trim();
    // The parser would take a sign.
    let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let size = is_hex.then(|| usize::from_str_radix(digits, 16).unwrap_or(usize::MAX))?;
    Some((size, &bytes[end + 1..]))
}

/// `body` without `encoding`; as it is if it does not have it.
fn decode(body: Cow<'_, [u8]>, encoding: &str, limit: u64, damaged: &mut Option<String>) -> Result<Vec<u8>, HttpError> {
    let bytes: &[u8] = &body;
    let decoder: Box<dyn Read + '_> = match encoding {
        "gzip" | "x-gzip" if bytes.starts_with(&[0x1f, 0x8b]) => Box::new(MultiGzDecoder::new(bytes)),
        "deflate" if is_zlib(bytes) => Box::new(ZlibDecoder::new(bytes)),
        "deflate" if !is_text(bytes) => Box::new(DeflateDecoder::new(bytes)),
        // `br` in HTTP has no large window, which the decoder would make room for, up to 1 GiB.
        "br" if !is_text(bytes) && bytes.first().is_none_or(|b| b & 0x7f != 0x11) => {
            Box::new(Decompressor::new(bytes, 4096))
        }
        "zstd" if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
            let decoder = zstd::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(decoder)
            });
            Box::new(decoder.map_err(|error| HttpError::Bad(format!("zstd: {error}")))?)
        }
        _ => return Ok(body.into_owned()),
    };
    let (decoded, is_whole) = read_at_most(decoder, limit).ok_or(HttpError::TooLong)?;
    if !is_whole {
        *damaged = Some(format!("the {encoding} body is cut off or damaged after {} bytes", decoded.len()));
    }
    Ok(decoded)
}

/// What `input` gives before its end or an error, and whether it was the end; `None` if it is more than `limit` bytes.
fn read_at_most(input: impl Read, limit: u64) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let result = input.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    (bytes.len() as u64 <= limit).then_some((bytes, result.is_ok()))
}

/// The header of a zlib stream (RFC 1950) with the only method there is.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

/// Whether the head is text, which a compressed body is not, and which would be decoded to something else.
fn is_text(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(256)];
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}'));
    match str::from_utf8(head) {
        Ok(text) => is_text(text),
        // A character that the head cuts.
        Err(error) => error.error_len().is_none() && str::from_utf8(&head[..error.valid_up_to()]).is_ok_and(is_text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 10_000;
    const PAGE: &[u8] = "<html><p>Société Générale left Russia. Société Générale left Russia.</html>".as_bytes();

    fn encode(encoding: &str, body: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match encoding {
            "gzip" => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(body).and_then(|()| encoder.finish()).expect("to memory")
            }
            "zlib" => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(body).and_then(|()| encoder.finish()).expect("to memory")
            }
            "deflate" => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(body).and_then(|()| encoder.finish()).expect("to memory")
            }
            "br" => {
                let mut out = Vec::new();
                let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
                encoder.write_all(body).expect("to memory");
                drop(encoder);
                out
            }
            "zstd" => zstd::encode_all(body, 3).expect("to memory"),
            "chunked" => {
                let mut out = Vec::new();
                for chunk in body.chunks(10) {
                    out.extend(format!("{:04X};x=y\r\n", chunk.len()).bytes());
                    out.extend([chunk, b"\r\n"].concat());
                }
                [out, b"0\r\nTrailer: x\r\n\r\n".to_vec()].concat()
            }
            _ => body.to_vec(),
        }
    }

    fn response(headers: &str, body: &[u8]) -> Result<HttpResponse, HttpError> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n{headers}\r\n");
        http_response(&[head.as_bytes(), body].concat(), LIMIT)
    }

    #[test]
    fn status_and_media_type_are_read() {
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", 200, "text/html", ""),
            ("HTTP/1.0 404\nCONTENT-TYPE:Text/HTML;Charset=\"ISO-8859-1\"\n\n", 404, "text/html", "ISO-8859-1"),
            ("HTTP/2 200 \r\ncontent-type: text/html ; x=y; charset = 'utf-8' ; z\r\n\r\n", 200, "text/html", "utf-8"),
            (
                "HTTP/1.1 200 OK\r\nContent-Type:\r\n text/plain;\r\n\tcharset=koi8-r\r\n\r\n",
                200,
                "text/plain",
                "koi8-r",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Type: a/b\r\n\r\n", 201, "a/b", ""),
            ("HTTP/1.1 200 OK\r\nContent-Type: ;charset=\r\n\r\n", 200, "", ""),
            ("HTTP/1.1 301 Moved\r\n\r\n", 301, "", ""),
        ];
        for (head, status, kind, charset) in rows {
            let read = http_response(&[head.as_bytes(), b"body"].concat(), LIMIT).expect("a response");
            let given = (read.status, read.content_type.unwrap_or_default(), read.charset.unwrap_or_default());
            assert_eq!(given, (status, kind.to_owned(), charset.to_owned()), "{head}");
            assert_eq!((read.body, read.damaged), (b"body".to_vec(), None), "{head}");
        }
    }

    #[test]
    fn what_is_no_response_says_what_it_is() {
        for block in ["", "\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 99\r\n\r\n", "<html>"]
        {
            let Err(HttpError::Bad(message)) = http_response(block.as_bytes(), LIMIT) else { panic!("{block}") };
            assert!(message.contains("not an HTTP response"), "{message}");
        }
        let long = [b"\0\x1b".to_vec(), vec![b'x'; 1_000_000]].concat();
        assert!(matches!(http_response(&long, LIMIT), Err(HttpError::Bad(message)) if message.len() < 200));
    }

    #[test]
    fn each_encoding_is_undone_where_it_is() {
        let rows = [
            ("", vec![]),
            ("Content-Encoding: gzip\r\n", vec!["gzip"]),
            ("Content-Encoding: X-GZIP\r\n", vec!["gzip"]),
            ("Content-Encoding: deflate\r\n", vec!["zlib"]),
            ("Content-Encoding: deflate\r\n", vec!["deflate"]),
            ("Content-Encoding: br\r\n", vec!["br"]),
            ("Content-Encoding: zstd\r\n", vec!["zstd"]),
            ("Content-Encoding: identity\r\n", vec![]),
            ("Content-Encoding: unknown\r\n", vec![]),
            ("Content-Encoding: br, gzip\r\n", vec!["br", "gzip"]),
            ("Content-Encoding: deflate\r\nContent-Encoding: gzip\r\n", vec!["zlib", "gzip"]),
            ("Transfer-Encoding: chunked\r\n", vec!["chunked"]),
            ("transfer-encoding: gzip, Chunked\r\n", vec!["chunked"]),
            ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", vec!["gzip", "chunked"]),
            // Kept decoded.
            ("Content-Encoding: gzip\r\n", vec![]),
            ("Content-Encoding: deflate\r\n", vec![]),
            ("Content-Encoding: br\r\n", vec![]),
            ("Content-Encoding: zstd\r\n", vec![]),
            ("Transfer-Encoding: chunked\r\n", vec![]),
            ("Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n", vec!["gzip"]),
            ("Transfer-Encoding: chunked\r\nContent-Encoding: br\r\n", vec!["chunked"]),
        ];
        for (headers, encodings) in rows {
            let body = encodings.iter().fold(PAGE.to_vec(), |body, encoding| encode(encoding, &body));
            let read = response(headers, &body).expect("a response");
            assert_eq!((read.body, read.damaged), (PAGE.to_vec(), None), "{headers} {encodings:?}");
        }
    }

    #[test]
    fn what_a_cut_off_body_still_has_is_kept() {
        let page: Vec<u8> = (0..400_u32).flat_map(|n| format!("<p>{} ", n.wrapping_mul(7919)).into_bytes()).collect();
        for (headers, encoding) in [
            ("Content-Encoding: gzip\r\n", "gzip"),
            ("Content-Encoding: deflate\r\n", "zlib"),
            ("Content-Encoding: deflate\r\n", "deflate"),
            ("Content-Encoding: br\r\n", "br"),
            ("Content-Encoding: zstd\r\n", "zstd"),
            ("Transfer-Encoding: chunked\r\n", "chunked"),
        ] {
            let body = encode(encoding, &page);
            for part in 1..10 {
                let read = response(headers, &body[..body.len() * part / 10]).expect("a response");
                assert!(page.starts_with(&read.body), "{encoding} {part}");
                assert!(read.damaged.is_some(), "{encoding} {part}");
                // Compressors give out whole blocks only.
                assert!(read.body.len() > 100 || part < 9 || matches!(encoding, "br" | "zstd"), "{encoding} {part}");
            }
        }
        let read = response(&format!("Content-Length: {}\r\n", PAGE.len() + 5), PAGE).expect("a response");
        assert_eq!(read.body, PAGE);
        assert!(read.damaged.is_some_and(|what| what.contains("bytes of the body")));
        let cut = http_response(b"HTTP/1.1 200 OK\r\nContent-Ty", LIMIT).expect("a response");
        assert_eq!((cut.status, cut.body.len(), cut.damaged.is_some()), (200, 0, true));
    }

    #[test]
    fn damage_is_told() {
        let mut gzip = encode("gzip", PAGE);
        let crc = gzip.len() - 8;
        gzip[crc] ^= 1;
        let rows: [(&str, Vec<u8>, &[u8]); 4] = [
            ("Content-Encoding: gzip\r\n", gzip, PAGE),
            ("Content-Encoding: br\r\n", b"\xff\xff\xff\xff".to_vec(), b""),
            ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\nxyz\r\n".to_vec(), b"abc"),
            ("Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\nffffffffffffffffffff\r\nxyz".to_vec(), b"abcxyz"),
        ];
        for (headers, body, kept) in rows {
            let read = response(headers, &body).expect("a response");
            assert!(read.damaged.is_some(), "{headers}");
            assert_eq!(read.body, kept, "{headers}");
        }
    }

    #[test]
    fn no_body_grows_beyond_the_limit() {
        let bomb = vec![0; 50 << 20];
        for (headers, encoding) in [
            ("Content-Encoding: gzip\r\n", "gzip"),
            ("Content-Encoding: deflate\r\n", "zlib"),
            ("Content-Encoding: deflate\r\n", "deflate"),
            ("Content-Encoding: br\r\n", "br"),
            ("Content-Encoding: zstd\r\n", "zstd"),
        ] {
            assert_eq!(response(headers, &encode(encoding, &bomb)), Err(HttpError::TooLong), "{encoding}");
        }
        let nested = encode("gzip", &encode("gzip", &encode("gzip", &bomb)));
        assert_eq!(response("Content-Encoding: gzip,gzip,gzip\r\n", &nested), Err(HttpError::TooLong));
        let full = vec![b'x'; LIMIT as usize + 1];
        assert_eq!(response("", &full), Err(HttpError::TooLong));
        assert_eq!(response("", &full[1..]).expect("a response").body.len() as u64, LIMIT);
        assert_eq!(response("Content-Encoding: gzip\r\n", &encode("gzip", &full[1..])).expect("it").body, full[1..]);
        assert_eq!(read_at_most(std::io::repeat(0), LIMIT), None, "nor is more than the limit held");
        // A window of 1 GiB.
        assert!(response("Content-Encoding: br\r\n", &[0x11, 0x1e, 0xff, 0xff, 0xff]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            encoding in prop::sample::select(vec!["gzip", "deflate", "br", "zstd", "gzip, br", "x"]),
            is_chunked: bool,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            magic in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"5\r\n"]),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut body = if damage.is_empty() { [magic, &body].concat() } else { encode(encoding, PAGE) };
            for (at, byte) in damage {
                let at = at.index(body.len());
                body[at] = byte;
            }
            let transfer = if is_chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
            if let Ok(read) = response(&format!("Content-Encoding: {encoding}\r\n{transfer}"), &body) {
                prop_assert!(read.body.len() as u64 <= LIMIT);
            }
            let _ = http_response(&body, LIMIT);
        }
    }
}
