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
use super::{Bytes, Hints, Kind, Reading, spooled};
use crate::document::{DocumentError, Input};

/// Emits the documents of a zip archive, members in the order of its table of contents.
pub(super) fn read_zip(reading: &mut Reading<'_>, name: &str, bytes: Bytes<'_>) -> ControlFlow<()> {
    let opened = spooled(bytes).and_then(|file| Ok((file.metadata()?.len(), ZipArchive::new(file)?)));
    let (archive_bytes, mut archive) = match opened {
        Ok(opened) => opened,
        Err(error) => return reading.lost(name, &error),
    };
    // Members may share stored bytes, so that each is harmless and all together are not.
    let given = Rc::new(Cell::new(0));
    for at in 0..archive.len() {
        let (member, is_encrypted) = match archive.by_index_raw(at) {
            Ok(file) if !file.is_file() => continue,
            Ok(file) => (String::from_utf8_lossy(file.name_raw()).replace('\\', "/"), file.encrypted()),
            Err(error) => {
                reading.lost(&format!("{name}!{at}"), &io::Error::from(error))?;
                continue;
            }
        };
        let Some(hints) = member_hints(reading, &member) else { continue };
        let member = format!("{name}!{member}");
        if is_encrypted {
            reading.emit(Input::lost(
                member,
                DocumentError::failed("encrypted", "encrypted; unpack it with its password first"),
            ))?;
            continue;
        }
        match archive.by_index(at) {
            Ok(file) => {
                let (max_ratio, stored) = (reading.options.max_ratio, file.compressed_size());
                let content = limit_ratio(file, max_ratio, Rc::default(), move || stored);
                let content = limit_ratio(content, max_ratio, Rc::clone(&given), move || archive_bytes);
                inside(reading, &member, Box::new(BufReader::new(content)), hints)?;
            }
            Err(error) => reading.lost(&member, &io::Error::from(error))?,
        }
    }
    ControlFlow::Continue(())
}

/// Emits the documents of a tar archive, members as they lie.
pub(super) fn read_tar(reading: &mut Reading<'_>, name: &str, bytes: Bytes<'_>) -> ControlFlow<()> {
    let has_ended = Rc::new(Cell::new(false));
    let mut archive = tar::Archive::new(Ending { inner: bytes, has_ended: Rc::clone(&has_ended) });
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return reading.lost(name, &error),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            // Where the next member begins is not known any more.
            Err(error) => return reading.lost(name, &error),
        };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member = member.trim_start_matches("./");
        if let Some(hints) = member_hints(reading, member) {
            let whole = Whole { left: entry.size(), inner: entry };
            inside(reading, &format!("{name}!{member}"), Box::new(BufReader::new(whole)), hints)?;
        }
    }
    // After its members an archive has blocks of zeros, behind which nothing is read.
    if has_ended.get() {
        let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the archive has no end; members may be missing");
        return reading.lost(name, &cut);
    }
    ControlFlow::Continue(())
}

/// What a member's name says; `None` for one that is passed over, as in a folder.
fn member_hints(reading: &Reading<'_>, member: &str) -> Option<Hints> {
    let path = Path::new(member);
    if path.iter().any(|part| is_hidden(Path::new(part))) || member.starts_with("__MACOSX/") {
        return None;
    }
    let kind = Kind::by_name(path);
    let forced = reading.options.kind.filter(|kind| !matches!(kind, Kind::Zip | Kind::Tar));
    let kind = if matches!(kind, Some(Kind::Zip | Kind::Tar)) { kind } else { forced.or(kind) };
    kind.map(|kind| Hints { kind: Some(kind), is_compressed: is_compressed_by_name(path), is_live: false })
}

fn inside(reading: &mut Reading<'_>, name: &str, bytes: Bytes<'_>, hints: Hints) -> ControlFlow<()> {
    let Reading { options, read, depth, .. } = *reading;
    let mut member = Reading { options, read, emit: &mut *reading.emit, depth: depth + 1 };
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
