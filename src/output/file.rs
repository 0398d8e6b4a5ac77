//! Where records go: a file that appears only when it is complete, or standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Why an output cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file is there already.
    #[error("`{}` exists\nhint: --overwrite replaces it", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be created, written or put in its place.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

enum Stream {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}

/// A file that is written under a temporary name beside its own, and renamed when it is complete.
///
/// Dropped before [`OutputFile::finish`], it leaves nothing behind.
pub struct OutputFile {
    path: PathBuf,
    part: PathBuf,
    /// `None` once finished.
    stream: Option<Stream>,
}

impl OutputFile {
    /// Begins `path`, compressed if its name ends in `.gz`.
    ///
    /// # Errors
    ///
    /// [`OutputError::Exists`] if it exists and `overwrite` is not set; [`OutputError::Write`] if it cannot be created.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, OutputError> {
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(OutputError::Exists { path: path.to_owned() });
        }
        let write = |source| OutputError::Write { path: path.to_owned(), source };
        let name = path.file_name().ok_or_else(|| write(io::ErrorKind::InvalidFilename.into()))?;
        let part = path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = BufWriter::new(OpenOptions::new().write(true).create_new(true).open(&part).map_err(write)?);
        let stream = match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
            true => Stream::Gzip(Box::new(GzEncoder::new(file, Compression::default()))),
            false => Stream::Plain(file),
        };
        Ok(OutputFile { path: path.to_owned(), part, stream: Some(stream) })
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// [`OutputError::Write`] if what is left cannot be written or the file cannot be renamed.
    pub fn finish(mut self) -> Result<(), OutputError> {
        self.complete().map_err(|source| OutputError::Write { path: self.path.clone(), source })
    }

    fn complete(&mut self) -> io::Result<()> {
        let file = match self.stream.take() {
            None => return Ok(()),
            Some(Stream::Plain(file)) => file,
            Some(Stream::Gzip(encoder)) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&self.part, &self.path)
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Some(Stream::Plain(file)) => file.write(bytes),
            Some(Stream::Gzip(encoder)) => encoder.write(bytes),
            None => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Some(Stream::Plain(file)) => file.flush(),
            Some(Stream::Gzip(encoder)) => encoder.flush(),
            None => Ok(()),
        }
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        // After a rename there is nothing under this name; before it, an incomplete file that nobody asked for.
        let _ = fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_file_appears_only_when_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl");
        let mut file = OutputFile::create(&path, false).expect("creates");
        file.write_all(b"half").expect("writes");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 0);
        let mut file = OutputFile::create(&path, false).expect("creates");
        file.write_all(b"whole\n").expect("writes");
        assert!(!path.exists());
        file.finish().expect("finishes");
        assert_eq!(fs::read(&path).expect("reads"), b"whole\n");
        assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
        assert!(matches!(OutputFile::create(&path, false), Err(OutputError::Exists { .. })));
        assert!(OutputFile::create(&path, true).is_ok());
    }

    #[test]
    fn a_name_in_gz_compresses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.jsonl.gz");
        let mut file = OutputFile::create(&path, false).expect("creates");
        file.write_all(b"line\n").expect("writes");
        file.finish().expect("finishes");
        let mut text = String::new();
        flate2::read::GzDecoder::new(File::open(&path).expect("opens"))
            .read_to_string(&mut text)
            .expect("decompresses");
        assert_eq!(text, "line\n");
    }
}
