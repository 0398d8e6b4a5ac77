//! The name of an output, or what was asked for → its form and compression.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::ValueEnum;
use flate2::Compression as GzipLevel;
use flate2::write::GzEncoder;

use super::file::OutputError;

/// The shape of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A readable view
    Table,
    /// One JSON record per line
    Jsonl,
    /// One row per company
    Csv,
    /// Two tables: NAME.documents.parquet and NAME.companies.parquet
    Parquet,
}

/// How an output is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip, at its usual level.
    Gzip,
    /// Zstandard, at its usual level.
    Zstd,
}

/// Form and compression of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The form.
    pub form: Form,
    /// The compression of the file as a whole; Parquet has its own inside.
    pub compression: Compression,
}

impl Target {
    /// What the name of a file asks for, unless `form` does: JSON Lines if it says nothing.
    ///
    /// # Errors
    ///
    /// [`OutputError::Compressed`] for a compressed Parquet file.
    pub fn of(path: &Path, form: Option<Form>) -> Result<Target, OutputError> {
        let extension = |path: &Path| path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
        let compression = match extension(path).as_deref() {
            Some("gz") => Compression::Gzip,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        };
        let inner = if compression == Compression::None {
            extension(path)
        } else {
            path.file_stem().map(Path::new).and_then(extension)
        };
        let named = match inner.as_deref() {
            Some("csv") => Form::Csv,
            Some("parquet") => Form::Parquet,
            _ => Form::Jsonl,
        };
        let form = form.unwrap_or(named);
        if form == Form::Parquet && compression != Compression::None {
            return Err(OutputError::Compressed { path: path.to_owned() });
        }
        Ok(Target { form, compression })
    }

    /// The ending of such a file's name, as `jsonl.gz`.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match (self.form, self.compression) {
            (Form::Table, _) => "txt",
            (Form::Jsonl, Compression::None) => "jsonl",
            (Form::Jsonl, Compression::Gzip) => "jsonl.gz",
            (Form::Jsonl, Compression::Zstd) => "jsonl.zst",
            (Form::Csv, Compression::None) => "csv",
            (Form::Csv, Compression::Gzip) => "csv.gz",
            (Form::Csv, Compression::Zstd) => "csv.zst",
            (Form::Parquet, _) => "parquet",
        }
    }
}

/// A file that compresses what is written to it.
pub enum Compressor {
    /// As it is.
    Plain(BufWriter<File>),
    /// One gzip member.
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    /// One zstd frame with a checksum.
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

impl Compressor {
    /// Begins a member or frame in `file`.
    ///
    /// # Errors
    ///
    /// If the compression cannot be set up.
    pub fn new(file: File, compression: Compression) -> io::Result<Self> {
        let file = BufWriter::with_capacity(128 * 1024, file);
        Ok(match compression {
            Compression::None => Compressor::Plain(file),
            Compression::Gzip => Compressor::Gzip(Box::new(GzEncoder::new(file, GzipLevel::default()))),
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Compressor::Zstd(Box::new(encoder))
            }
        })
    }

    /// Ends the member or frame and writes everything out; the file may take another after it.
    ///
    /// # Errors
    ///
    /// If what is left cannot be written.
    pub fn finish(self) -> io::Result<File> {
        let file = match self {
            Compressor::Plain(file) => file,
            Compressor::Gzip(encoder) => encoder.finish()?,
            Compressor::Zstd(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Compressor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::Plain(file) => file.write(bytes),
            Compressor::Gzip(encoder) => encoder.write(bytes),
            Compressor::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::Plain(file) => file.flush(),
            Compressor::Gzip(encoder) => encoder.flush(),
            Compressor::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_form_and_compression() {
        let rows = [
            ("a.jsonl", None, "jsonl"),
            ("a", None, "jsonl"),
            ("a.JSONL.GZ", None, "jsonl.gz"),
            ("a.zst", None, "jsonl.zst"),
            ("a.csv", None, "csv"),
            ("a.csv.zst", None, "csv.zst"),
            ("a.b.parquet", None, "parquet"),
            ("a.jsonl.gz", Some(Form::Csv), "csv.gz"),
            ("a.csv", Some(Form::Table), "txt"),
        ];
        for (name, form, extension) in rows {
            assert_eq!(Target::of(Path::new(name), form).expect("a target").extension(), extension, "{name}");
        }
        for (name, form) in [("a.parquet.gz", None), ("a.gz", Some(Form::Parquet))] {
            assert!(matches!(Target::of(Path::new(name), form), Err(OutputError::Compressed { .. })), "{name}");
        }
    }
}
