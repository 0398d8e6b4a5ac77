//! A name, or the first bytes → what a stream holds.

use std::ffi::OsStr;
use std::io::{self, BufRead, Cursor, Read};
use std::path::Path;

use clap::ValueEnum;

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

/// Kinds that the first bytes tell; a tar archive only where bytes can be waited for, as its mark is far from the start.
pub(super) fn sniff_binary(bytes: Bytes<'_>, is_live: bool) -> io::Result<(Option<Kind>, Bytes<'_>)> {
    const TAR_MARK: std::ops::Range<usize> = 257..262;
    let (head, bytes) = peek(bytes, if is_live { 4 } else { TAR_MARK.end as u64 })?;
    let kind = match head.get(..4) {
        Some(b"PAR1") => Some(Kind::Parquet),
        Some(b"PK\x03\x04" | b"PK\x05\x06") => Some(Kind::Zip),
        Some(b"WARC") => Some(Kind::Warc),
        _ => (head.get(TAR_MARK) == Some(b"ustar")).then_some(Kind::Tar),
    };
    Ok((kind, bytes))
}

/// What the first line that is not blank shows: a whole JSON object, the beginning of JSON or of a page, the header of a
/// table with a column of texts or titles; else plain text. `named` is what the name says, if anything.
pub(super) fn sniff_text<'b>(
    mut bytes: Bytes<'b>,
    fields: &FieldNames,
    named: Option<Kind>,
) -> io::Result<(Kind, Bytes<'b>)> {
    const SNIFFED_BYTES: u64 = 1 << 20;
    let mut head = Vec::new();
    while head.trim_ascii().is_empty() {
        let room = SNIFFED_BYTES.saturating_sub(head.len() as u64);
        if room == 0 || bytes.by_ref().take(room).read_until(b'\n', &mut head)? == 0 {
            break;
        }
    }
    let first = head.trim_ascii();
    let cut_short = head.len() as u64 == SNIFFED_BYTES && first.starts_with(b"{\"");
    let is_object = first.starts_with(b"{") && serde_json::from_slice::<serde_json::Map<_, _>>(first).is_ok();
    let begins = |mark: &[u8]| first.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    let kind = if is_object || cut_short && named.is_none() {
        Kind::Jsonl
    } else if let Some(kind) = named {
        kind
    } else if first == b"{" || first == b"[" || begins(b"[{\"") {
        Kind::Json
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Kind::Html
    } else if let Some(separator) = delimited::looks_delimited(first, &[&fields.text, &fields.title]) {
        if separator == b'\t' { Kind::Tsv } else { Kind::Csv }
    } else {
        Kind::Text
    };
    Ok((kind, Box::new(Cursor::new(head).chain(bytes))))
}
