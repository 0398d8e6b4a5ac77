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
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use discover::{Discovery, Source, discover};
pub use fields::{FieldNames, Keep};
pub use kind::Kind;
pub use web::find_text;

use crate::document::{DocumentError, Input, MAX_TEXT_BYTES};
use compression::{Budget, TooCompressed, decompress};
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
        let budget = Budget::new(options.max_ratio);
        let mut reading = Reading { options, read, emit: &mut *emit, depth: 0, budget };
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
    let budget = Budget::new(options.max_ratio);
    budget.has_stored(bytes.len() as u64);
    let mut reading = Reading { options, read: &BytesRead::default(), emit: &mut *emit, depth: 0, budget };
    let _ = reading.stream(name, Box::new(bytes), Hints { kind: options.kind, ..Hints::default() });
}

/// The content of the file at `path`, without its compression if it has one.
///
/// # Errors
///
/// If it cannot be opened, or is named as compressed and is not.
pub fn open_decompressed(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = Box::new(BufReader::new(File::open(path)?));
    Ok(decompress(file, kind::is_compressed_by_name(path), &Budget::new(0))?.0)
}

type Bytes<'b> = Box<dyn BufRead + 'b>;

/// One source on its way to documents.
struct Reading<'r> {
    options: &'r ReadOptions,
    read: &'r BytesRead,
    emit: &'r mut Emit<'r>,
    /// Archives that are open around what is read.
    depth: usize,
    budget: Rc<Budget>,
}

/// What is known of a stream before it is read.
#[derive(Clone, Copy, Debug, Default)]
struct Hints<'h> {
    /// What its name or `--from` says that it holds.
    kind: Option<Kind>,
    /// Whether its name says that it is compressed; if it does not, it may be all the same.
    is_compressed: bool,
    /// Whether somebody may be writing to it still, so that bytes must not be waited for.
    is_live: bool,
    /// The file that it is, if it is one.
    file: Option<&'h Path>,
}

/// A stream, and the file that it is if it is one as it lies on disk.
struct Stored<'s> {
    bytes: Bytes<'s>,
    file: Option<&'s Path>,
}

impl Reading<'_> {
    fn emit(&mut self, input: Input) -> ControlFlow<()> {
        (self.emit)(input)
    }

    fn lost(&mut self, name: &str, error: &io::Error) -> ControlFlow<()> {
        self.emit(unreadable(name.to_owned(), error))
    }

    fn source(&mut self, source: &Source) -> ControlFlow<()> {
        let (name, path) = (source.name(), source.path());
        let is_file = source.size_bytes().is_some();
        let opened: io::Result<Bytes<'_>> = match &path {
            Some(path) => File::open(path).map(|file| self.counted(file)),
            None => Ok(self.counted(io::stdin())),
        };
        let mut stored = match opened {
            Ok(stored) => stored,
            Err(error) => return self.lost(&name, &error),
        };
        let mut kind = self.kind_of(source.kind());
        // What is live is not waited for; but a tar archive shows in the first piece that comes.
        if !is_file && kind.is_none() && stored.fill_buf().is_ok_and(kind::is_tar) {
            kind = Some(Kind::Tar);
        }
        let file = path.as_deref().filter(|_| is_file);
        let hints = Hints { kind, is_compressed: source.is_compressed(), is_live: !is_file, file };
        self.stream(&name, stored, hints)
    }

    /// What `--from` says that a file of this name holds, or the name; archives are opened whatever `--from` says.
    fn kind_of(&self, named: Option<Kind>) -> Option<Kind> {
        named.filter(|kind| kind.is_archive()).or(self.options.kind).or(named)
    }

    /// Everything in `stored`, whatever it is.
    fn stream(&mut self, name: &str, stored: Bytes<'_>, hints: Hints<'_>) -> ControlFlow<()> {
        match self.recognize(stored, hints) {
            Ok((kind, stored, warning)) => self.content(name, kind, stored, warning.as_deref()),
            Err(error) => self.lost(name, &error),
        }
    }

    /// What `stored` holds, decompressed, without byte order mark, and what to warn about.
    fn recognize<'b>(&self, stored: Bytes<'b>, hints: Hints<'b>) -> io::Result<(Kind, Stored<'b>, Option<String>)> {
        let Hints { kind, is_compressed, is_live, file } = hints;
        let (bytes, was_compressed) = decompress(stored, is_compressed, &self.budget)?;
        let file = file.filter(|_| !was_compressed);
        let is_forced = self.options.kind.is_some();
        let is_archive = kind.is_some_and(Kind::is_archive);
        let (binary, bytes) = if !is_archive && (kind.is_none() || is_forced) {
            kind::sniff_binary(bytes, is_live && !was_compressed)?
        } else {
            (None, bytes)
        };
        // Archives of what `--from` says may have any name.
        let kind = if is_forced { binary.filter(|kind| kind.is_archive()).or(kind) } else { kind.or(binary) };
        if let Some(kind) = kind.filter(|kind| kind.is_binary()) {
            return Ok((kind, Stored { bytes, file }, None));
        }
        let (bytes, warning) = unmark(bytes)?;
        let (kind, bytes) = match kind {
            Some(kind) => (kind, bytes),
            None => kind::sniff_text(bytes, &self.options.fields)?,
        };
        Ok((kind, Stored { bytes, file }, warning))
    }

    fn counted<'b>(&self, inner: impl Read + 'b) -> Bytes<'b> {
        let counted = Counted { inner, read: self.read.clone(), count: 0, budget: Rc::clone(&self.budget) };
        Box::new(BufReader::with_capacity(128 * 1024, counted))
    }

    /// `stored` as a file that can be read from any place, for formats with their table of contents at the end.
    fn file_of(&self, stored: Stored<'_>) -> io::Result<File> {
        let Stored { mut bytes, file } = stored;
        if let Some(path) = file {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            self.read.add(length);
            self.budget.has_stored(length);
            return Ok(file);
        }
        let mut file = tempfile::tempfile()?;
        io::copy(&mut bytes, &mut file).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull => {
                let folder = std::env::temp_dir();
                io::Error::new(error.kind(), format!("{error} in {}; TMPDIR names another folder", folder.display()))
            }
            _ => error,
        })?;
        Ok(file)
    }

    fn content(&mut self, name: &str, kind: Kind, stored: Stored<'_>, warning: Option<&str>) -> ControlFlow<()> {
        match kind {
            Kind::Text => {
                let input = plain::read(name, stored.bytes, warning, self.options);
                self.emit(input)
            }
            Kind::Jsonl => json_lines::read(self, name, stored.bytes, warning),
            Kind::Json => table::read_json(self, name, stored.bytes, warning),
            Kind::Csv | Kind::Tsv => table::read_delimited(self, name, stored.bytes, kind, warning),
            Kind::Parquet => table::read_parquet(self, name, stored),
            Kind::Html => web::read_page(self, name, stored.bytes, warning),
            Kind::Warc => web::read_warc(self, name, stored.bytes),
            Kind::Zip | Kind::Tar if self.depth == MAX_DEPTH => {
                let message = format!("more than {MAX_DEPTH} archives inside each other");
                self.emit(Input::lost(name.to_owned(), DocumentError::skipped("nested_archive", message)))
            }
            Kind::Zip => archive::read_zip(self, name, stored),
            Kind::Tar => archive::read_tar(self, name, stored.bytes),
        }
    }
}

/// The first `len` bytes of `bytes`, however small the pieces they come in, and all of `bytes` again.
fn peek<'b>(mut bytes: Bytes<'b>, len: u64) -> io::Result<(Vec<u8>, Bytes<'b>)> {
    let mut head = Vec::new();
    bytes.by_ref().take(len).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

/// Counts what is read, and reads again when a signal came between.
struct Counted<R> {
    inner: R,
    read: BytesRead,
    count: u64,
    budget: Rc<Budget>,
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
        self.count += count as u64;
        self.budget.has_stored(self.count);
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
