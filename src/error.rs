//! The errors a caller can meet before any document is looked at. What goes wrong with one document is a
//! [`DocumentError`](crate::document::DocumentError) in its record.

use std::io;
use std::path::PathBuf;

/// An input argument that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The path does not exist or may not be opened.
    #[error("cannot open `{}`", .path.display())]
    Open {
        /// The argument as typed.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder in which no file has a name that is read.
    #[error("no documents in `{}`\nhint: files ending in .txt, .md, .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .html, .warc, .zip or .tar are read, \
             plain or with .gz or .zst; --from reads all files", .path.display())]
    NoDocuments {
        /// The folder as typed.
        path: PathBuf,
    },
    /// `-` stands for standard input, which can be read once.
    #[error("standard input is named twice")]
    StandardInputTwice,
    /// A list of files without any.
    #[error("`{}` lists no files", .path.display())]
    EmptyList {
        /// The list.
        path: PathBuf,
    },
    /// A pattern that is none, or that nothing matches.
    #[error("pattern `{}`: {message}", .pattern.display())]
    Pattern {
        /// The argument as typed.
        pattern: PathBuf,
        /// What is wrong.
        message: String,
    },
}
