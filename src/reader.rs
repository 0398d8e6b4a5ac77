//! Input arguments → documents, one after another, in bounded memory.
//!
//! [`discover`](fn@discover) turns arguments into sources and refuses what cannot be read at all; [`read_documents`] opens
//! one source at a time and emits exactly one [`Input`] per document, with an error where a document could not be had.

mod archive;
mod charset;
mod compression;
mod date;
mod decode;
mod delimited;
mod discover;
mod fields;
mod headers;
mod html;
mod http;
mod json_lines;
mod json_values;
mod kind;
mod lines;
mod parquet_rows;
mod plain;
mod records;
mod rows;
mod table;
mod warc;
mod web;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use discover::{Discovery, Source, discover};
pub use fields::{FieldNames, Keep};
pub use kind::Kind;
pub use web::find_text;

use crate::document::{DocumentError, Input, MAX_TEXT_BYTES};
use compression::{TooCompressed, decompress};
use decode::unmark;

/// Archives inside archives that are opened.
const MAX_DEPTH: usize = 3;

/// How inputs are read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Longest document in bytes, decompressed; 0 for no limit but [`MAX_TEXT_BYTES`].
    pub max_bytes: u64,
    /// Most bytes that a compressed one may become, over a whole stream of more than 64 MiB.
    pub max_ratio: u64,
    /// Names of the fields of structured documents.
    pub fields: FieldNames,
    /// What the inputs hold; `None` lets names and content tell.
    pub kind: Option<Kind>,
}

impl Default for ReadOptions {
    /// Documents of up to 16 MiB, fields by their usual names.
    fn default() -> Self {
        ReadOptions { max_bytes: 16 << 20, max_ratio: 200, fields: FieldNames::default(), kind: None }
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

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Takes the documents as they are read; `Break` ends the reading.
pub type Emit<'e> = dyn FnMut(Input) -> ControlFlow<()> + 'e;

/// Emits the documents of `sources`, in order, until `emit` breaks.
pub fn read_documents(sources: &[Source], options: &ReadOptions, read: &BytesRead, emit: &mut Emit<'_>) {
    for source in sources {
        let mut reading = Reading { options, read, emit: &mut *emit, depth: 0 };
        // A decoder that panics costs the rest of its source, not the run.
        let flow = catch_unwind(AssertUnwindSafe(|| reading.source(source))).unwrap_or_else(|_| {
            let message = "the reader panicked; this is a defect of the program, please report the file";
            emit(Input::lost(source.name(), DocumentError::failed("internal", message)))
        });
        if flow.is_break() {
            return;
        }
    }
}

/// Emits the documents of `bytes`, which come from elsewhere than a source; `name` stands for it.
pub fn read_bytes(name: &str, bytes: &[u8], options: &ReadOptions, emit: &mut Emit<'_>) {
    let mut reading = Reading { options, read: &BytesRead::default(), emit: &mut *emit, depth: 0 };
    let _ = reading.stream(name, Box::new(bytes), Hints { kind: options.kind, ..Hints::default() });
}

type Bytes<'b> = Box<dyn BufRead + 'b>;

/// One source on its way to documents.
struct Reading<'r> {
    options: &'r ReadOptions,
    read: &'r BytesRead,
    emit: &'r mut Emit<'r>,
    /// Archives that are open around what is read.
    depth: usize,
}

/// What is known of a stream before it is read.
#[derive(Clone, Copy, Debug, Default)]
struct Hints {
    /// What its name or `--from` says that it holds.
    kind: Option<Kind>,
    /// Whether its name says that it is compressed; if it does not, it may be all the same.
    is_compressed: bool,
    /// Whether somebody may be writing to it still, so that bytes must not be waited for.
    is_live: bool,
}

impl Reading<'_> {
    fn emit(&mut self, input: Input) -> ControlFlow<()> {
        (self.emit)(input)
    }

    fn lost(&mut self, name: &str, error: &io::Error) -> ControlFlow<()> {
        self.emit(unreadable(name.to_owned(), error))
    }

    fn source(&mut self, source: &Source) -> ControlFlow<()> {
        let name = source.name();
        let stored: io::Result<Bytes<'_>> = match source.path() {
            Some(path) => File::open(path).map(|file| counted(file, self.read)),
            None => Ok(counted(io::stdin(), self.read)),
        };
        let is_live = source.path().is_none();
        let hints = Hints { kind: self.options.kind.or(source.kind()), is_compressed: source.is_compressed(), is_live };
        match stored {
            Ok(stored) => self.stream(&name, stored, hints),
            Err(error) => self.lost(&name, &error),
        }
    }

    /// Everything in `stored`, whatever it is.
    fn stream(&mut self, name: &str, stored: Bytes<'_>, hints: Hints) -> ControlFlow<()> {
        match self.recognize(stored, hints) {
            Ok((kind, bytes, warning)) => self.content(name, kind, bytes, warning.as_deref()),
            Err(error) => self.lost(name, &error),
        }
    }

    /// What `stored` holds, decompressed, without byte order mark, and what to warn about.
    fn recognize<'b>(&self, stored: Bytes<'b>, hints: Hints) -> io::Result<(Kind, Bytes<'b>, Option<String>)> {
        let Hints { kind, is_compressed, is_live } = hints;
        let (bytes, was_compressed) = decompress(stored, is_compressed, self.options.max_ratio)?;
        if let Some(kind) = kind.filter(|kind| kind.is_binary()) {
            return Ok((kind, bytes, None));
        }
        let (binary, bytes) =
            if kind.is_none() { kind::sniff_binary(bytes, is_live && !was_compressed)? } else { (None, bytes) };
        if let Some(kind) = binary {
            return Ok((kind, bytes, None));
        }
        let (bytes, warning) = unmark(bytes)?;
        let (kind, bytes) = match kind {
            Some(kind) if kind != Kind::Json => (kind, bytes),
            // By that name both are common.
            _ => kind::sniff_text(bytes, &self.options.fields, kind)?,
        };
        Ok((kind, bytes, warning))
    }

    fn content(&mut self, name: &str, kind: Kind, bytes: Bytes<'_>, warning: Option<&str>) -> ControlFlow<()> {
        match kind {
            Kind::Text => {
                let input = plain::read(name, bytes, warning, self.options);
                self.emit(input)
            }
            Kind::Jsonl => json_lines::read(self, name, bytes, warning),
            Kind::Json => table::read_json(self, name, bytes, warning),
            Kind::Csv | Kind::Tsv => table::read_delimited(self, name, bytes, kind, warning),
            Kind::Parquet => table::read_parquet(self, name, bytes),
            Kind::Html => web::read_page(self, name, bytes, warning),
            Kind::Warc => web::read_warc(self, name, bytes),
            Kind::Zip | Kind::Tar if self.depth == MAX_DEPTH => {
                let message = format!("more than {MAX_DEPTH} archives inside each other");
                self.emit(Input::lost(name.to_owned(), DocumentError::skipped("nested_archive", message)))
            }
            Kind::Zip => archive::read_zip(self, name, bytes),
            Kind::Tar => archive::read_tar(self, name, bytes),
        }
    }
}

fn counted<'b>(inner: impl Read + 'b, read: &BytesRead) -> Bytes<'b> {
    Box::new(BufReader::with_capacity(128 * 1024, Counted { inner, read: read.clone() }))
}

/// The first `len` bytes of `bytes`, however small the pieces they come in, and all of `bytes` again.
fn peek<'b>(mut bytes: Bytes<'b>, len: u64) -> io::Result<(Vec<u8>, Bytes<'b>)> {
    let mut head = Vec::new();
    bytes.by_ref().take(len).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

/// `bytes` as a file that can be read from any place, for formats with their table of contents at the end.
fn spooled(mut bytes: Bytes<'_>) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut bytes, &mut file)?;
    Ok(file)
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
        self.read.add(count as u64);
        Ok(count)
    }
}

/// The record of a source that cannot be read (any further).
fn unreadable(source: String, error: &io::Error) -> Input {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TooCompressed>());
    Input::lost(
        source,
        match inner {
            Some(bomb) => DocumentError::skipped("compression_ratio", bomb.to_string()),
            None => DocumentError::failed("read", format!("cannot read on: {error}")),
        },
    )
}

fn too_large(source: String, limit: u64) -> Input {
    Input::lost(
        source,
        DocumentError::skipped("too_large", format!("larger than {limit} bytes; --max-bytes raises the limit")),
    )
}

#[cfg(test)]
mod tests;
