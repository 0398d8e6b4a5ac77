//! Where records go: a file that appears only when it is complete, or standard output.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::target::{Compression, Compressor};

/// Why an output cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file is there already.
    #[error("`{}` exists\nhint: --overwrite replaces it", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The path is a folder.
    #[error("`{}` is a folder; --output needs the name of a file", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A compressed file of a form that compresses itself.
    #[error("`{}`: Parquet is compressed inside; leave .gz or .zst out", .path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// A run into it was interrupted, and nobody said what to do about that.
    #[error("a run into `{}` was interrupted\nhint: --resume goes on with it, --overwrite starts again", .path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
    /// A run into it was interrupted that was asked something else.
    #[error("cannot go on with the interrupted run into `{}`, which was another:\n  {differences}\nhint: run it as before, or start again with --overwrite", .path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs, a line each.
        differences: String,
    },
    /// Another process is at work on it.
    #[error("another run is writing `{}`", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The parts of an output cannot be read or written.
    #[error("cannot work in `{}`\nhint: what is done is kept; --resume goes on with it", .path.display())]
    Parts {
        /// Their folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file cannot be created or written.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// All records are written, but the file cannot be completed under its name.
    #[error("cannot complete `{}`; the records are in `{}`", .path.display(), .part.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// Where its content is.
        part: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A file that is written under a temporary name beside its own, and renamed when it is complete.
///
/// Dropped before [`OutputFile::finish`], it leaves nothing behind. A device or a named pipe is written directly.
pub struct OutputFile {
    path: PathBuf,
    /// The temporary name; `None` for a device.
    part: Option<PathBuf>,
    overwrite: bool,
    /// `None` once finished.
    stream: Option<Compressor>,
}

impl OutputFile {
    /// Begins `path`.
    ///
    /// # Errors
    ///
    /// [`OutputError`] if it is a folder, if it exists and `overwrite` is not set, or if it cannot be created.
    pub fn create(path: &Path, compression: Compression, overwrite: bool) -> Result<Self, OutputError> {
        OutputFile::begin(path, compression, overwrite, false)
    }

    /// Begins `path` again under the same temporary name as before, of whoever is the only one to write it.
    ///
    /// # Errors
    ///
    /// As [`OutputFile::create`].
    pub(super) fn recreate(path: &Path, compression: Compression, overwrite: bool) -> Result<Self, OutputError> {
        OutputFile::begin(path, compression, overwrite, true)
    }

    fn begin(path: &Path, compression: Compression, overwrite: bool, reuses_part: bool) -> Result<Self, OutputError> {
        let write = |source| OutputError::Write { path: path.to_owned(), source };
        let existing = fs::metadata(path).ok();
        if existing.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(OutputError::Folder { path: path.to_owned() });
        }
        let is_device = existing.as_ref().is_some_and(|m| !m.is_file());
        let (path, part, file) = if is_device {
            (path.to_owned(), None, OpenOptions::new().write(true).open(path).map_err(write)?)
        } else if !overwrite && path.symlink_metadata().is_ok() {
            return Err(OutputError::Exists { path: path.to_owned() });
        } else {
            // Behind a link it is the file that is replaced, not the link.
            let target = if existing.is_some() { fs::canonicalize(path).map_err(write)? } else { path.to_owned() };
            let name = target.file_name().ok_or_else(|| write(io::ErrorKind::InvalidFilename.into()))?;
            let made = if reuses_part { recreate_part(&target, name) } else { create_part(&target, name) };
            let (part, file) = made.map_err(write)?;
            if let Some(error) = existing.and_then(|e| file.set_permissions(e.permissions()).err()) {
                let _ = fs::remove_file(&part);
                return Err(write(error));
            }
            (target, Some(part), file)
        };
        let stream =
            Compressor::new(file, compression).map_err(|source| OutputError::Write { path: path.clone(), source })?;
        Ok(OutputFile { path, part, overwrite, stream: Some(stream) })
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// [`OutputError::Write`] if what is left cannot be written; [`OutputError::Unfinished`] if the complete file cannot
    /// be renamed, or another has taken its name meanwhile.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.write_out().map_err(|source| OutputError::Write { path: self.path.clone(), source })?;
        let Some(part) = self.part.take() else { return Ok(()) };
        let taken = !self.overwrite && self.path.symlink_metadata().is_ok();
        let renamed = if taken { Err(io::ErrorKind::AlreadyExists.into()) } else { fs::rename(&part, &self.path) };
        renamed.map_err(|source| OutputError::Unfinished { path: self.path.clone(), part, source })?;
        sync_folder_of(&self.path).map_err(|source| OutputError::Write { path: self.path.clone(), source })
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(stream) = self.stream.take() else { return Ok(()) };
        let file = stream.finish()?;
        if self.part.is_some() { file.sync_all() } else { Ok(()) }
    }
}

/// Makes sure of the name of a file, where the system can.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The file beside `target` that a run which was stopped may have left there.
fn recreate_part(target: &Path, name: &OsStr) -> io::Result<(PathBuf, File)> {
    let part = target.with_file_name(format!(".{}.part", name.to_string_lossy()));
    let file = File::create(&part)?;
    Ok((part, file))
}

/// A new file beside `target`, under a name that no other run, and none that was killed, has left there.
fn create_part(target: &Path, name: &OsStr) -> io::Result<(PathBuf, File)> {
    let process = std::process::id();
    let mut attempt = 0;
    loop {
        let part = target.with_file_name(format!(".{}.{process}.{attempt}.part", name.to_string_lossy()));
        match OpenOptions::new().write(true).create_new(true).open(&part) {
            Ok(file) => return Ok((part, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.as_mut().map_or(Ok(0), |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.as_mut().map_or(Ok(()), Compressor::flush)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // An incomplete file that nobody asked for; if it cannot be removed there is nobody to tell.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_only_when_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let mut file = OutputFile::create(&path, Compression::None, false).expect("creates");
        file.write_all(b"half").expect("writes");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 0);
        let mut file = OutputFile::create(&path, Compression::None, false).expect("creates");
        file.write_all(b"whole\n").expect("writes");
        assert!(!path.exists());
        file.finish().expect("finishes");
        assert_eq!(fs::read(&path).expect("reads"), b"whole\n");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
        assert!(matches!(OutputFile::create(&path, Compression::None, false), Err(OutputError::Exists { .. })));
        assert!(OutputFile::create(&path, Compression::None, true).is_ok());
    }

    #[test]
    fn a_file_that_came_meanwhile_is_not_replaced_and_nothing_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let mut file = OutputFile::create(&path, Compression::None, false).expect("creates");
        file.write_all(b"ours\n").expect("writes");
        fs::write(&path, b"theirs\n").expect("writes");
        let Err(OutputError::Unfinished { part, .. }) = file.finish() else { panic!("the name is taken") };
        assert_eq!(fs::read(&path).expect("reads"), b"theirs\n");
        assert_eq!(fs::read(part).expect("reads"), b"ours\n");
    }

    #[test]
    fn what_a_killed_run_left_does_not_stop_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let killed = OutputFile::create(&path, Compression::None, false).expect("creates");
        std::mem::forget(killed);
        let mut file = OutputFile::create(&path, Compression::None, false).expect("creates beside it");
        file.write_all(b"whole\n").expect("writes");
        file.finish().expect("finishes");
        assert_eq!(fs::read(&path).expect("reads"), b"whole\n");
    }

    #[test]
    fn folders_are_refused_and_devices_written() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(OutputFile::create(folder.path(), Compression::None, true), Err(OutputError::Folder { .. })));
        if cfg!(unix) {
            let mut null = OutputFile::create(Path::new("/dev/null"), Compression::None, false).expect("opens");
            null.write_all(b"gone").expect("writes");
            null.finish().expect("finishes");
            assert!(!Path::new("/dev/null").metadata().expect("still there").is_file());
        }
    }

    #[cfg(unix)]
    #[test]
    fn overwriting_keeps_links_and_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("real.jsonl"), folder.path().join("link.jsonl"));
        fs::write(&path, b"old").expect("writes");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changes");
        std::os::unix::fs::symlink(&path, &link).expect("links");
        let mut file = OutputFile::create(&link, Compression::None, true).expect("creates");
        file.write_all(b"new").expect("writes");
        file.finish().expect("finishes");
        assert!(link.symlink_metadata().expect("a link").is_symlink());
        assert_eq!(fs::read(&path).expect("reads"), b"new");
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    }
}
