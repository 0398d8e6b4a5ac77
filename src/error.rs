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
    #[error("no documents in `{}`\nhint: files ending in .txt, .md, .jsonl or .ndjson are read, plain or with .gz or .zst", .path.display())]
    NoDocuments {
        /// The folder as typed.
        path: PathBuf,
    },
}
