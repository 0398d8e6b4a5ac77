//! A name, or the first bytes → what a stream holds.

use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::lines::{add_line, first_line};
use super::web::looks_like_a_page;
use super::{Bytes, FieldNames, delimited, peek};

/// What a file or stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One document of plain text
    Text,
    /// A JSON object a line
    Jsonl,
    /// A JSON array of objects, or objects one after another, or an object that holds an array of them
    Json,
    /// Rows with a header; the separator is found out
    Csv,
    /// Rows separated by tabs, with a header
    Tsv,
    /// Rows of a Parquet file
    Parquet,
    /// A web page
    Html,
    /// Web pages as a crawler stored them
    Warc,
    /// An archive of files of the other kinds
    Zip,
    /// An archive of files of the other kinds
    Tar,
}

impl Kind {
    /// Whether it is files in a file.
    pub(super) fn is_archive(self) -> bool {
        matches!(self, Kind::Zip | Kind::Tar)
    }

    /// Whether the content is not text, or is text only in parts.
    pub(super) fn is_binary(self) -> bool {
        matches!(self, Kind::Parquet | Kind::Html | Kind::Warc | Kind::Zip | Kind::Tar)
    }

    /// What the name of a file says; `None` for a name that documents do not have.
    pub(super) fn by_name(path: &Path) -> Option<Kind> {
        let extension = extension(path)?;
        let inner = match extension.as_str() {
            "gz" | "zst" => self::extension(Path::new(path.file_stem()?))?,
            "tgz" | "tzst" => "tar".to_owned(),
            _ => extension,
        };
        match inner.as_str() {
            "txt" | "md" => Some(Kind::Text),
            "jsonl" | "ndjson" => Some(Kind::Jsonl),
            "json" => Some(Kind::Json),
            "csv" => Some(Kind::Csv),
            "tsv" => Some(Kind::Tsv),
            "parquet" => Some(Kind::Parquet),
            "html" | "htm" | "xhtml" => Some(Kind::Html),
            "warc" | "wet" => Some(Kind::Warc),
            "zip" => Some(Kind::Zip),
            "tar" => Some(Kind::Tar),
            _ => None,
        }
    }
}

/// Whether the name of a file says that it is compressed.
pub(super) fn is_compressed_by_name(path: &Path) -> bool {
    matches!(extension(path).as_deref(), Some("gz" | "zst" | "tgz" | "tzst"))
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase)
}

/// Where a tar archive has its mark (POSIX.1-1988).
const TAR_MARK: Range<usize> = 257..262;

/// Whether a stream that begins so is a tar archive.
pub(super) fn is_tar(head: &[u8]) -> bool {
    head.get(TAR_MARK) == Some(b"ustar")
}

/// Kinds that the first bytes tell; a tar archive only where bytes can be waited for, as its mark is far from the start.
pub(super) fn sniff_binary(bytes: Bytes<'_>, is_live: bool) -> io::Result<(Option<Kind>, Bytes<'_>)> {
    let (head, bytes) = peek(bytes, if is_live { 5 } else { TAR_MARK.end as u64 })?;
    let kind = match head.get(..4) {
        Some(b"PAR1") => Some(Kind::Parquet),
        Some(b"PK\x03\x04" | b"PK\x05\x06") => Some(Kind::Zip),
        Some(b"WARC") if head.get(4) == Some(&b'/') => Some(Kind::Warc),
        _ => is_tar(&head).then_some(Kind::Tar),
    };
    Ok((kind, bytes))
}

/// What the first line that is not blank shows: a JSON object with a text or title, or what would be one but for damage;
/// other JSON; a page; the header of a table. Else plain text.
pub(super) fn sniff_text<'b>(mut bytes: Bytes<'b>, fields: &FieldNames) -> io::Result<(Kind, Bytes<'b>)> {
    let mut head = first_line(&mut bytes, SNIFFED_BYTES)?;
    // A page may have its declaration and comments first.
    while head.len() < PROLOGUE_BYTES && is_prologue(&head) && add_line(&mut bytes, &mut head, SNIFFED_BYTES)? {}
    let kind = kind_of_line(head.trim_ascii(), head.len() as u64 >= SNIFFED_BYTES, fields);
    Ok((kind, Box::new(Cursor::new(head).chain(bytes))))
}

const SNIFFED_BYTES: u64 = 1 << 20;
const PROLOGUE_BYTES: usize = 1 << 14;

fn is_prologue(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    (start.starts_with(b"<?xml") || start.starts_with(b"<!--")) && page_within(start).is_none()
}

/// Where in `head` a page begins.
fn page_within(head: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'<', head).find(|&at| looks_like_a_page(&head[at..]))
}

fn kind_of_line(first: &[u8], is_cut_short: bool, fields: &FieldNames) -> Kind {
    let inside = |open: u8| first.strip_prefix(&[open]).map(|rest| rest.trim_ascii_start().first().copied());
    let is_markup = first.starts_with(b"<?xml") || first.starts_with(b"<!--");
    if let Some(next @ (None | Some(b'"' | b'}'))) = inside(b'{') {
        let is_document = match serde_json::from_slice::<Map<String, Value>>(first) {
            Ok(object) => {
                [&fields.text, &fields.title].iter().any(|name| object.get(*name).is_some_and(|v| !v.is_null()))
            }
            // Half a surrogate or a strange encoding costs a line, not its neighbours.
            Err(_) => next.is_some() && (is_cut_short || first.ends_with(b"}")),
        };
        if is_document { Kind::Jsonl } else { Kind::Json }
    } else if let Some(None | Some(b'{' | b']')) = inside(b'[') {
        Kind::Json
    } else if looks_like_a_page(first) || is_markup && page_within(first).is_some() {
        Kind::Html
    } else if let Some(separator) = delimited::looks_delimited(first, &fields.text, &fields.roles()) {
        if separator == b'\t' { Kind::Tsv } else { Kind::Csv }
    } else {
        Kind::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_kind() {
        let rows: [(&[u8], Kind); 20] = [
            (b"{\"text\":\"x\"}\n", Kind::Jsonl),
            (b"\n {\"title\":\"x\"}", Kind::Jsonl),
            (b"{\"text\":\"half \\ud83d\"}\n", Kind::Jsonl),
            (b"{\"text\":\"Soci\xe9t\xe9\"}\n", Kind::Jsonl),
            (b"{\"articles\":[{\"text\":\"x\"}]}", Kind::Json),
            (b"{\n \"text\": 1}", Kind::Json),
            (b"{ \"text\": 1,\n}", Kind::Json),
            (b"[{\"text\":\"x\"}]", Kind::Json),
            (b"[ {\"text\"", Kind::Json),
            (b"[\n{}]", Kind::Json),
            (b"{ is no JSON\n", Kind::Text),
            (b"[Reuters] Acme left.\n", Kind::Text),
            (b"<!DOCTYPE HTML>\n", Kind::Html),
            (b"<?xml version=\"1.0\"?>\n<!-- x -->\n<html>", Kind::Html),
            (b"<?xml version=\"1.0\"?>\n<feed>", Kind::Text),
            (b"id,text\n1,x", Kind::Csv),
            (b"\"date\"\t\"text\"\n", Kind::Tsv),
            (b"Money, text, fame\n", Kind::Text),
            (b"WARCRAFT maker stops sales\n", Kind::Text),
            (b"", Kind::Text),
        ];
        for (content, kind) in rows {
            let (found, _) = sniff_text(Box::new(content), &FieldNames::default()).expect("reads");
            assert_eq!(found, kind, "{}", String::from_utf8_lossy(content));
            assert_eq!(sniff_binary(Box::new(content), true).expect("reads").0, None);
        }
        assert_eq!(sniff_binary(Box::new(&b"WARC/1.0\r\n"[..]), true).expect("reads").0, Some(Kind::Warc));
    }
}
