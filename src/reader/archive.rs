//! Zip and tar archives → the documents of their members.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use zip::ZipArchive;

use super::compression::limit_ratio;
use super::discover::is_hidden;
use super::kind::is_compressed_by_name;
use super::{Bytes, Hints, Kind, Reading, Stored};
use crate::document::{DocumentError, Input};

/// Emits the documents of a zip archive, members in the order of its table of contents.
pub(super) fn read_zip(reading: &mut Reading<'_>, name: &str, stored: Stored<'_>) -> ControlFlow<()> {
    let opened = reading.file_of(stored).and_then(|file| Ok(ZipArchive::new(file)?));
    let mut archive = match opened {
        Ok(archive) => archive,
        Err(error) => return reading.lost(name, &error),
    };
    if archive.has_duplicate_names() {
        let message = "several members have the same name, of which only the last can be read; unpack it first";
        reading.emit(Input::lost(name.to_owned(), DocumentError::failed("duplicate_members", message)))?;
    }
    let mut members = Members::default();
    for at in 0..archive.len() {
        let (member, is_encrypted) = match archive.by_index_raw(at) {
            Ok(file) if !file.is_file() => continue,
            Ok(file) => (String::from_utf8_lossy(file.name_raw()).replace('\\', "/"), file.encrypted()),
            Err(error) => {
                reading.lost(&format!("{name}!{at}"), &io::Error::from(error))?;
                continue;
            }
        };
        let Some(hints) = members.hints(reading, &member) else { continue };
        let member = format!("{name}!{member}");
        if is_encrypted {
            let error = DocumentError::failed("encrypted", "encrypted; unpack it with its password first");
            reading.emit(Input::lost(member, error))?;
            continue;
        }
        match archive.by_index(at) {
            Ok(file) => {
                let stored = file.compressed_size();
                let content = limit_ratio(file, Rc::clone(&reading.budget), move || stored);
                inside(reading, &member, Box::new(BufReader::new(content)), hints)?;
            }
            Err(error) => reading.lost(&member, &io::Error::from(error))?,
        }
    }
    members.tell(reading, name)
}

/// Emits the documents of a tar archive, members as they lie.
pub(super) fn read_tar(reading: &mut Reading<'_>, name: &str, bytes: Bytes<'_>) -> ControlFlow<()> {
    let has_ended = Rc::new(Cell::new(false));
    let mut archive = tar::Archive::new(Ending { inner: bytes, has_ended: Rc::clone(&has_ended) });
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return reading.lost(name, &error),
    };
    let mut members = Members::default();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            // Where the next member begins is not known any more.
            Err(error) => return reading.lost(name, &error),
        };
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() || kind.is_hard_link() || kind.is_symlink())
        {
            continue;
        }
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member = member.trim_start_matches("./");
        let Some(hints) = members.hints(reading, member) else { continue };
        let member = format!("{name}!{member}");
        if kind.is_hard_link() || kind.is_symlink() {
            let message = "a link; what it leads to has a record of its own if it is in the archive";
            reading.emit(Input::lost(member, DocumentError::skipped("link", message)))?;
            continue;
        }
        let whole = Whole { left: entry.size(), inner: entry };
        inside(reading, &member, Box::new(BufReader::new(whole)), hints)?;
    }
    // After its members an archive has blocks of zeros.
    let mut rest = archive.into_inner();
    if has_ended.get() {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the archive has no end; members may be missing");
        return reading.lost(name, &cut);
    }
    match only_zeros(&mut rest) {
        Ok(true) => members.tell(reading, name),
        Ok(false) => {
            let more = "there is more after the end of the archive, which is not read; unpack it first";
            reading.lost(name, &io::Error::other(more))
        }
        Err(error) => reading.lost(name, &error),
    }
}

fn only_zeros(rest: &mut impl Read) -> io::Result<bool> {
    let mut block = [0; 8192];
    loop {
        match rest.read(&mut block)? {
            0 => return Ok(true),
            count if block[..count].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// Members of an archive so far.
#[derive(Default)]
struct Members {
    taken: u64,
    passed_over: u64,
}

impl Members {
    /// What a member's name says; `None` for one that is passed over, as in a folder.
    fn hints(&mut self, reading: &Reading<'_>, member: &str) -> Option<Hints<'static>> {
        let path = Path::new(member);
        let is_hidden = path.iter().any(|part| is_hidden(Path::new(part))) || member.starts_with("__MACOSX/");
        let kind = reading.kind_of(Kind::by_name(path)).filter(|_| !is_hidden);
        let count = if kind.is_some() { &mut self.taken } else { &mut self.passed_over };
        *count += 1;
        let is_compressed = is_compressed_by_name(path);
        kind.map(|kind| Hints { kind: Some(kind), is_compressed, ..Hints::default() })
    }

    /// An archive of which nothing was taken has a record of its own.
    fn tell(&self, reading: &mut Reading<'_>, name: &str) -> ControlFlow<()> {
        if self.taken > 0 {
            return ControlFlow::Continue(());
        }
        let message =
            format!("no documents among its {} members by their names; --from reads them all", self.passed_over);
        reading.emit(Input::lost(name.to_owned(), DocumentError::skipped("no_documents", message)))
    }
}

fn inside(reading: &mut Reading<'_>, name: &str, bytes: Bytes<'_>, hints: Hints<'_>) -> ControlFlow<()> {
    let Reading { options, read, depth, ref budget, .. } = *reading;
    let budget = Rc::clone(budget);
    let mut member = Reading { options, read, emit: &mut *reading.emit, depth: depth + 1, budget };
    member.stream(name, bytes, hints)
}

/// Tells whether everything has been read.
struct Ending<R> {
    inner: R,
    has_ended: Rc<Cell<bool>>,
}

impl<R: Read> Read for Ending<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.has_ended.set(self.has_ended.get() || count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

/// A member that must not end before its size.
struct Whole<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside this member"));
        }
        Ok(count)
    }
}
