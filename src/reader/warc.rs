//! WARC stream → its records (ISO 28500, versions 0.18 to 1.1), one after another, none held beyond a limit.
//!
//! What cannot be a record costs an error, and reading goes on at the next line that begins one.

use std::io::{self, BufRead, ErrorKind, Read};

use super::compression::is_too_compressed;
use super::headers::{End, HeaderLine, Value, read_header_line, read_headers};

/// Records of a WARC stream that is not compressed, in order.
pub(super) struct WarcReader<R> {
    input: R,
    /// Longest block in bytes.
    limit: u64,
    /// Of the record read last.
    number: u64,
    place: Place,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// After a whole record or at the head of the stream.
    Between,
    /// After an error: what comes before the next record is part of a bad one.
    Lost,
    /// After the line that begins a record.
    Headers(String),
    End,
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WarcRecord {
    /// From 1; records of all types count, and bad ones too.
    pub number: u64,
    /// `WARC-Type` in lower case.
    pub kind: String,
    /// `WARC-Record-ID` without its angle brackets.
    pub id: Option<String>,
    /// `WARC-Target-URI` without angle brackets.
    pub url: Option<String>,
    pub date: Option<String>,
    pub content_type: Option<String>,
    /// Why the block is not everything that the server sent.
    pub cut: Option<String>,
    pub block: Block,
}

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It was longer than the limit and has been passed over.
    TooLong,
    /// Its type carries no document, and it has been passed over.
    Unread,
}

impl<R: BufRead> WarcReader<R> {
    pub(super) fn new(input: R, limit: u64) -> Self {
        WarcReader { input, limit, number: 0, place: Place::Between }
    }

    /// The next record; `None` at the end.
    ///
    /// An error of kind `InvalidData` is about one record, which its message numbers, and the next call goes on after
    /// it. Any other error ends the stream; `UnexpectedEof` if it ends inside a record.
    pub(super) fn next_record(&mut self) -> io::Result<Option<WarcRecord>> {
        let result = self.find_record().and_then(|found| found.map(|version| self.read_record(&version)).transpose());
        if let Err(error) = &result {
            self.place = match (error.kind(), std::mem::replace(&mut self.place, Place::Lost)) {
                (ErrorKind::InvalidData, Place::Lost | Place::Between) => Place::Lost,
                (ErrorKind::InvalidData, place) => place,
                _ => Place::End,
            };
        }
        result
    }

    /// Goes on to the line that begins a record and returns it.
    fn find_record(&mut self) -> io::Result<Option<String>> {
        let is_lost = match std::mem::replace(&mut self.place, Place::Between) {
            Place::Headers(version) => return Ok(Some(version)),
            Place::End => {
                self.place = Place::End;
                return Ok(None);
            }
            place => place == Place::Lost,
        };
        let mut strange = 0;
        loop {
            let line = read_header_line(&mut self.input).map_err(|error| self.failed("after", error))?;
            let found = match line {
                Some(HeaderLine { text, is_cut: false, .. }) if text.trim().is_empty() => continue,
                // A byte order mark can only be at the head.
                Some(HeaderLine { text, .. }) if is_version(text.trim_start_matches('\u{feff}')) => Some(text),
                Some(line) => {
                    strange += line.bytes;
                    continue;
                }
                None => None,
            };
            if strange == 0 || is_lost {
                self.place = if found.is_some() { Place::Between } else { Place::End };
                return Ok(found);
            }
            self.place = found.map_or(Place::End, Place::Headers);
            let message = match self.number {
                0 => format!("{strange} bytes before the first record; it must begin with WARC/1.0 or 1.1"),
                number => format!("{strange} bytes after record {number} that are no record; is its length wrong?"),
            };
            return Err(io::Error::new(ErrorKind::InvalidData, message));
        }
    }

    /// Reads the record that began with the line `version`.
    fn read_record(&mut self, version: &str) -> io::Result<WarcRecord> {
        self.number += 1;
        let mut headers = Headers::default();
        let end = read_headers(&mut self.input, is_version, |name, value| headers.take(name, value))
            .map_err(|error| self.failed("in the headers of", error))?;
        match end {
            End::Blank => {}
            End::Input => return Err(self.cut_off("inside its headers")),
            End::NextRecord(next) => {
                self.place = Place::Headers(next);
                return Err(self.bad("its headers do not end with an empty line"));
            }
        }
        if !matches!(version.trim_start_matches('\u{feff}').trim(), "WARC/0.17" | "WARC/0.18" | "WARC/1.0" | "WARC/1.1")
        {
            return Err(self.bad(&format!("its version is {}; only 0.18, 1.0 and 1.1 can be read", version.trim())));
        }
        let length = match headers.length.as_deref() {
            None => return Err(self.bad("it has no Content-Length")),
            Some(length) => length.parse().map_err(|_| self.bad("its Content-Length is not a number"))?,
        };
        let has_document = matches!(headers.kind.as_deref(), Some("response" | "resource" | "conversion"));
        let block = self.read_block(length, has_document)?;
        let Some(kind) = headers.kind else { return Err(self.bad("it has no WARC-Type")) };
        Ok(WarcRecord {
            number: self.number,
            kind,
            id: headers.id,
            url: headers.url,
            date: headers.date,
            content_type: headers.content_type,
            cut: headers.truncated.map(|why| format!("the crawler cut it off: {why}")).or_else(|| {
                headers
                    .segment
                    .map(|_| "the first part of a record that goes on in others, which are not read".to_owned())
            }),
            block,
        })
    }

    fn read_block(&mut self, length: u64, is_wanted: bool) -> io::Result<Block> {
        let mut bytes = Vec::new();
        let mut block = self.input.by_ref().take(length);
        let read = if is_wanted && length <= self.limit {
            block.read_to_end(&mut bytes).map(|count| count as u64)
        } else {
            io::copy(&mut block, &mut io::sink())
        };
        let read = read.map_err(|error| self.failed("in the block of", error))?;
        if read < length {
            return Err(self.cut_off(&format!("after {read} of {length} bytes of its block")));
        }
        Ok(match is_wanted {
            false => Block::Unread,
            true if length > self.limit => Block::TooLong,
            true => Block::Whole(bytes),
        })
    }

    fn bad(&self, what: &str) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, format!("record {}: {what}", self.number))
    }

    fn cut_off(&self, place: &str) -> io::Error {
        let message = format!("record {}: the file ends {place}; is the download complete?", self.number);
        io::Error::new(ErrorKind::UnexpectedEof, message)
    }

    /// An error of the input itself, which ends the stream whatever its kind.
    fn failed(&self, place: &str, error: io::Error) -> io::Error {
        if is_too_compressed(&error) {
            return error;
        }
        // An error of this kind is about one record only.
        let kind = if error.kind() == ErrorKind::InvalidData { ErrorKind::Other } else { error.kind() };
        io::Error::new(kind, format!("{place} record {}: {error}", self.number))
    }
}

/// Whether `line` begins a record: `WARC/` and a version.
fn is_version(line: &str) -> bool {
    line.strip_prefix("WARC/").and_then(|version| version.trim_end().split_once('.')).is_some_and(|(major, minor)| {
        [major, minor].iter().all(|part| matches!(part.len(), 1..=3) && part.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// The headers that are used; of a repeated one, the first.
#[derive(Default)]
struct Headers {
    kind: Option<String>,
    id: Option<String>,
    url: Option<String>,
    date: Option<String>,
    content_type: Option<String>,
    length: Option<String>,
    truncated: Option<String>,
    segment: Option<String>,
}

impl Headers {
    /// Takes a header unless it is not used, empty or too long to be held.
    fn take(&mut self, name: &str, value: Value<'_>) {
        let place = match name {
            "warc-type" => &mut self.kind,
            "warc-record-id" => &mut self.id,
            "warc-target-uri" => &mut self.url,
            "warc-date" => &mut self.date,
            "content-type" => &mut self.content_type,
            "content-length" => &mut self.length,
            "warc-truncated" => &mut self.truncated,
            "warc-segment-number" => &mut self.segment,
            _ => return,
        };
        let Value::Whole(value) = value else { return };
        let value = match name {
            "warc-type" => value.to_ascii_lowercase(),
            "warc-record-id" | "warc-target-uri" => {
                value.strip_prefix('<').and_then(|inner| inner.strip_suffix('>')).unwrap_or(value).to_owned()
            }
            _ => value.to_owned(),
        };
        if place.is_none() && !value.is_empty() {
            *place = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 1000;

    /// What each call gives, up to the end: kind and content, or the error's kind and message.
    fn read_all(stream: &[u8], piece: usize) -> Vec<Result<WarcRecord, (ErrorKind, String)>> {
        let mut reader = WarcReader::new(BufReader::with_capacity(piece, stream), LIMIT);
        let mut all = Vec::new();
        loop {
            match reader.next_record() {
                Ok(Some(record)) => all.push(Ok(record)),
                Ok(None) => return all,
                Err(error) => all.push(Err((error.kind(), error.to_string()))),
            }
            assert!(all.len() <= stream.len(), "it must come to an end");
        }
    }

    fn record(kind: &str, url: &str, block: &[u8]) -> Vec<u8> {
        let head = format!(
            "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Target-URI: {url}\r\n\
             WARC-Date: 2024-05-06T07:08:09Z\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            block.len()
        );
        [head.as_bytes(), block, b"\r\n\r\n"].concat()
    }

    fn text(record: &Result<WarcRecord, (ErrorKind, String)>) -> String {
        match record {
            Ok(WarcRecord { block: Block::Whole(bytes), .. }) => String::from_utf8_lossy(bytes).into_owned(),
            Ok(WarcRecord { block, .. }) => format!("{block:?}"),
            Err((kind, message)) => format!("{kind:?}: {message}"),
        }
    }

    #[test]
    fn a_record_has_its_headers_and_block() {
        let stream =
            [record("warcinfo", "", b"software: x"), record("Response", "<http://a.example/>", b"body")].concat();
        let all = read_all(&stream, 7);
        let expected = WarcRecord {
            number: 2,
            kind: "response".to_owned(),
            id: Some("urn:uuid:1".to_owned()),
            url: Some("http://a.example/".to_owned()),
            date: Some("2024-05-06T07:08:09Z".to_owned()),
            content_type: Some("text/plain".to_owned()),
            cut: None,
            block: Block::Whole(b"body".to_vec()),
        };
        assert_eq!(all[1].as_ref(), Ok(&expected));
        let first = all[0].as_ref().expect("a record");
        assert_eq!((first.number, &first.url, &first.block), (1, &None, &Block::Unread));
    }

    #[test]
    fn only_what_carries_documents_is_read_up_to_the_limit() {
        let long = vec![b'x'; LIMIT as usize + 1];
        for (kind, length, expected) in [
            ("response", 1001, "TooLong"),
            ("response", 1000, "whole"),
            ("resource", 1000, "whole"),
            ("conversion", 1000, "whole"),
            ("request", 1000, "Unread"),
            ("metadata", 1001, "Unread"),
            ("revisit", 5, "Unread"),
            ("continuation", 5, "Unread"),
            ("x-own", 5, "Unread"),
        ] {
            let stream =
                [record(kind, "http://a.example/", &long[..length]), record("response", "u", b"next")].concat();
            let all = read_all(&stream, 64);
            let first = text(&all[0]);
            let first = if first.len() == 1000 { "whole" } else { &first };
            assert_eq!((first, text(&all[1]).as_str()), (expected, "next"), "{kind} {length}");
        }
    }

    #[test]
    fn what_is_clear_is_read() {
        let whole = "WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 4\r\n\r\nbody\r\n\r\n";
        let long = "x".repeat(3 * super::super::headers::MAX_HEADER);
        let rows = [
            ("as it should be", whole.to_owned()),
            ("bare line ends", whole.replace('\r', "")),
            ("no end of the record", whole.trim_end().to_owned()),
            ("more blank lines", format!("\r\n\n{whole}\n\n")),
            ("byte order mark", format!("\u{feff}{whole}")),
            ("version 0.18", whole.replace("1.0", "0.18")),
            ("version 1.1 and a space", whole.replace("1.0", "1.1 ")),
            (
                "names in other case",
                whole.replace("WARC-Type", "warc-TYPE").replace("Content-Length", "CONTENT-LENGTH"),
            ),
            ("no space after the colon", whole.replace(": ", ":")),
            ("space before the colon", whole.replace(": ", " : ")),
            ("folded", whole.replace(": response", ":\r\n\t response")),
            ("folded for long", whole.replace("response", &format!("response\r\nX: {}", " y\r\n y".repeat(99_999)))),
            ("a long header", whole.replace("response", &format!("response\r\nX: {long}"))),
            ("a long address", whole.replace("response", &format!("response\r\nWARC-Target-URI: {long}"))),
            ("a line without a colon", whole.replace("response", "response\r\nwhat is this")),
            ("repeated", whole.replace("4\r\n", "4\r\nContent-Length: 9\r\n")),
            ("not UTF-8 would be", whole.replace("response", "response\r\nX: \u{fffd}")),
        ];
        for (name, stream) in rows {
            let texts: Vec<String> = read_all(stream.as_bytes(), 11).iter().map(text).collect();
            assert_eq!(texts, ["body"], "{name}");
        }
    }

    /// What a bad archive may hold before a good record, and the error for it.
    fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
        let long = vec![b'x'; 1_000_000];
        let after = |head: &str| [head.as_bytes(), &long].concat();
        vec![
            ("text", b"hello\r\nWARC/x\r\nWARC/1.0 is a version\r\n".to_vec(), "before the first record"),
            ("a long line", [&long[..], b"\n"].concat(), "1000001 bytes before the first record"),
            ("NULs", [vec![0; 70_000], b"\n".to_vec()].concat(), "before the first record"),
            (
                "no length",
                b"WARC/1.0\r\nWARC-Type: response\r\n\r\nbody\r\n\r\n".to_vec(),
                "record 1: it has no Content-Length",
            ),
            ("negative length", b"WARC/1.0\r\nContent-Length: -1\r\n\r\n".to_vec(), "is not a number"),
            (
                "huge length",
                format!("WARC/1.0\r\nContent-Length: {}9\r\n\r\n", u64::MAX).into_bytes(),
                "is not a number",
            ),
            (
                "long length",
                after("WARC/1.0\r\nContent-Length: 1").into_iter().chain(*b"\n\n").collect(),
                "no Content-Length",
            ),
            ("no type", b"WARC/1.0\nContent-Length: 4\n\nbody\n\n".to_vec(), "record 1: it has no WARC-Type"),
            (
                "other version",
                b"WARC/2.0\nWARC-Type: response\nContent-Length: 4\n\nbody\n\n".to_vec(),
                "its version is WARC/2.0",
            ),
            ("endless headers", b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 4\r\n".to_vec(), "do not end"),
            ("half a record", b"WARC/1.0\r\n".to_vec(), "do not end"),
            (
                "too short a length",
                b"WARC/1.0\nWARC-Type: request\nContent-Length: 2\n\nbody\n\n".to_vec(),
                "3 bytes after record 1",
            ),
        ]
    }

    #[test]
    fn a_bad_record_costs_one_error_and_not_the_next_record() {
        for (name, bytes, message) in hostile() {
            let all = read_all(&[bytes, record("response", "u", b"good")].concat(), 5);
            let errors: Vec<_> = all.iter().filter_map(|result| result.as_ref().err()).collect();
            let good = all.last().map(text);
            assert_eq!((errors.len(), good.as_deref()), (1, Some("good")), "{name}: {all:?}");
            assert_eq!(errors[0].0, ErrorKind::InvalidData, "{name}");
            assert!(errors[0].1.contains(message), "{name}: {}", errors[0].1);
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_record_says_which() {
        for (name, mut prefix, _) in hostile() {
            let at = prefix.len();
            prefix.extend(record("response", "http://a.example/", b"a block of some length"));
            let number = read_all(&prefix, 99).iter().flatten().last().map_or(0, |record| record.number);
            // From the second line of the last record to the byte before its block ends.
            for end in at + 11..prefix.len() - 4 {
                let all = read_all(&prefix[..end], 99);
                let Some(Err((kind, message))) = all.last() else { panic!("{name} {end}: {all:?}") };
                assert_eq!(*kind, ErrorKind::UnexpectedEof, "{name} {end}");
                assert!(message.starts_with(&format!("record {number}: ")), "{name} {end}: {message}");
            }
        }
        let lie = b"WARC/1.0\nWARC-Type: response\nContent-Length: 18446744073709551615\n\nbody";
        assert_eq!(read_all(lie, 3).len(), 1);
    }

    #[test]
    fn an_error_of_the_input_ends_the_stream() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(ErrorKind::InvalidData, "corrupt deflate stream"))
            }
        }
        let whole = record("response", "u", b"good");
        for end in [0, 5, 60, whole.len() - 6, whole.len()] {
            let mut reader = WarcReader::new(BufReader::new(whole[..end].chain(Broken)), LIMIT);
            let error = loop {
                match reader.next_record() {
                    Ok(record) => assert!(record.is_some()),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(error.contains("record ") && error.ends_with("corrupt deflate stream"), "{end}: {error}");
            assert!(reader.next_record().expect("the end").is_none());
        }
    }

    #[test]
    fn no_input_is_no_record() {
        assert!(read_all(b"", 1).is_empty());
        assert!(read_all(b"\r\n\n  \n", 1).is_empty());
        assert_eq!(read_all(b"a text of another kind\n", 4).len(), 1);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            records in prop::collection::vec(
                (prop::sample::select(vec!["response", "resource", "request", "warcinfo"]), "[!-;=?-~]{0,40}",
                 prop::collection::vec(any::<u8>(), 0..1500)), 0..6),
            piece in 1..300_usize,
        ) {
            let stream: Vec<u8> = records.iter().flat_map(|(kind, url, block)| record(kind, url, block)).collect();
            let all = read_all(&stream, piece);
            prop_assert_eq!(all.len(), records.len());
            for (at, ((kind, url, block), read)) in records.iter().zip(all).enumerate() {
                let read = read.expect("a record");
                prop_assert_eq!((read.number, read.kind.as_str()), (at as u64 + 1, *kind));
                prop_assert_eq!(read.url.unwrap_or_default(), url.as_str());
                let expected = match *kind {
                    "response" | "resource" if block.len() as u64 > LIMIT => Block::TooLong,
                    "response" | "resource" => Block::Whole(block.clone()),
                    _ => Block::Unread,
                };
                prop_assert_eq!(read.block, expected);
            }
        }

        #[test]
        fn any_bytes_are_survived_and_the_next_record_is_read(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..100),
                prop::sample::select(vec![&b"WARC/1.0\r\n"[..], b"WARC-Type: response\r\n", b"Content-Length: 9\r\n",
                    b"Content-Length: 2000\n", b"\r\n", b" folded", b"WARC/", b":", b"\n"]).prop_map(<[u8]>::to_vec),
            ], 0..30),
            piece in 1..300_usize,
        ) {
            let mut stream = pieces.concat();
            for record in read_all(&stream, piece).into_iter().flatten() {
                if let Block::Whole(bytes) = record.block {
                    prop_assert!(bytes.len() as u64 <= LIMIT);
                }
            }
            // Ends any headers, and is longer than any block that these pieces announce.
            stream.extend(b"\n\n");
            stream.extend([b'x'; 2010]);
            stream.extend(b"\n\n");
            stream.extend(record("response", "u", b"good"));
            let last = read_all(&stream, piece).pop().expect("a record");
            prop_assert_eq!(text(&last), "good");
        }
    }
}
