//! Input arguments → documents, one after another, in bounded memory.
//!
//! [`discover`](fn@discover) turns arguments into sources and refuses what cannot be read at all; [`documents`] opens one
//! source at a time and yields exactly one [`Input`] per document, with an error where a document could not be had.

mod compression;
mod date;
mod decode;
mod discover;
mod json_lines;
mod lines;
mod plain;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use discover::{Source, discover};

use crate::document::{Document, DocumentError, Input, MAX_TEXT_BYTES};
use compression::decompress;
use decode::unmark;
use json_lines::JsonLines;

/// How inputs are read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Longest document in bytes, decompressed; 0 for no limit but [`MAX_TEXT_BYTES`].
    pub max_bytes: u64,
    /// Names of the fields of structured documents.
    pub fields: FieldNames,
}

/// Names of the fields of a structured document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldNames {
    /// Id; absent documents are named by their source.
    pub id: String,
    /// Headline.
    pub title: String,
    /// The text.
    pub text: String,
    /// Date of publication.
    pub date: String,
    /// Address.
    pub url: String,
}

impl Default for FieldNames {
    fn default() -> Self {
        let name = str::to_owned;
        FieldNames { id: name("id"), title: name("title"), text: name("text"), date: name("date"), url: name("url") }
    }
}

impl FieldNames {
    fn contains(&self, name: &str) -> bool {
        [&self.id, &self.title, &self.text, &self.date, &self.url].into_iter().any(|field| field == name)
    }
}

impl Default for ReadOptions {
    /// Documents of up to 16 MiB, fields by their usual names.
    fn default() -> Self {
        ReadOptions { max_bytes: 16 << 20, fields: FieldNames::default() }
    }
}

impl ReadOptions {
    fn limit(&self) -> u64 {
        if self.max_bytes == 0 { MAX_TEXT_BYTES } else { self.max_bytes.min(MAX_TEXT_BYTES) }
    }
}

/// Bytes taken from the sources so far, as they lie on disk; shared with whoever shows progress.
#[derive(Clone, Debug, Default)]
pub struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The documents of `sources`, in order, read as they are asked for.
pub fn documents(sources: Vec<Source>, options: ReadOptions, read: BytesRead) -> impl Iterator<Item = Input> + Send {
    sources.into_iter().flat_map(move |source| open(source, &options, &read))
}

/// The documents of JSON Lines that come from elsewhere than a source; `name` stands for it.
pub fn json_lines<'b>(name: &str, bytes: impl BufRead + 'b, options: &ReadOptions) -> impl Iterator<Item = Input> + 'b {
    JsonLines::new(name.to_owned(), bytes, None, options.limit(), options.fields.clone())
}

type Bytes = Box<dyn BufRead + Send>;

/// What the name or the first bytes of a source say it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    JsonLines,
}

fn open(source: Source, options: &ReadOptions, read: &BytesRead) -> Box<dyn Iterator<Item = Input> + Send> {
    let opened = open_stored(&source, read)
        .and_then(|stored| decompress(stored, source.is_compressed()))
        .and_then(unmark)
        .and_then(|(bytes, warning)| match source.kind() {
            Some(kind) => Ok((kind, bytes, warning)),
            None => sniff(bytes).map(|(kind, bytes)| (kind, bytes, warning)),
        });
    match opened {
        Err(error) => Box::new(std::iter::once(unreadable(source.name().to_owned(), &error))),
        Ok((Kind::Plain, bytes, warning)) => {
            Box::new(std::iter::once(plain::read(source.name(), bytes, warning, options)))
        }
        Ok((Kind::JsonLines, bytes, warning)) => {
            Box::new(JsonLines::new(source.name().to_owned(), bytes, warning, options.limit(), options.fields.clone()))
        }
    }
}

/// The source's bytes as they are stored.
fn open_stored(source: &Source, read: &BytesRead) -> io::Result<Bytes> {
    let inner: Box<dyn Read + Send> = match source.path() {
        Some(path) => Box::new(File::open(path)?),
        None => Box::new(io::stdin()),
    };
    Ok(Box::new(BufReader::with_capacity(128 * 1024, Counted { inner, read: read.clone() })))
}

/// The first `len` bytes of `bytes`, however small the pieces they come in, and all of `bytes` again.
fn peek(mut bytes: Bytes, len: u64) -> io::Result<(Vec<u8>, Bytes)> {
    let mut head = Vec::new();
    bytes.by_ref().take(len).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

/// JSON Lines if the first line that is not blank is a whole JSON object; else plain text.
fn sniff(mut bytes: Bytes) -> io::Result<(Kind, Bytes)> {
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
    let kind = if is_object || cut_short { Kind::JsonLines } else { Kind::Plain };
    Ok((kind, Box::new(Cursor::new(head).chain(bytes))))
}

/// Counts what is read, and reads again when a signal came between.
struct Counted<R> {
    inner: R,
    read: BytesRead,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.read.0.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The record of a source that cannot be read (any further).
fn unreadable(source: String, error: &io::Error) -> Input {
    failed(source, "read", format!("cannot read on: {error}"))
}

/// A document that failed, with what is known of it.
fn failed(source: String, kind: &'static str, message: String) -> Input {
    let document = Document { source, ..Document::default() };
    Input { document, error: Some(DocumentError { kind, message, skipped: false }) }
}

fn too_large(source: String, limit: u64) -> Input {
    let message = format!("larger than {limit} bytes; --max-bytes raises the limit");
    let document = Document { source, ..Document::default() };
    Input { document, error: Some(DocumentError { kind: "too_large", message, skipped: true }) }
}

#[cfg(test)]
mod tests;
