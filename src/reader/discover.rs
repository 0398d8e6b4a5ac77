//! Arguments → sources: files, the documents of folders in a fixed order, standard input.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Kind;
use crate::error::InputError;

/// A file, or standard input, that will be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    path: Option<PathBuf>,
    name: String,
    size_bytes: Option<u64>,
    kind: Option<Kind>,
}

impl Source {
    /// The file; `None` for standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Path relative to the input argument, with `/`; the file's name for an argument that is a file; `-`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size on disk when it was found; `None` where it is unknown.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// What the name says; `None` leaves it to the content.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    fn file(path: PathBuf, name: String) -> Self {
        let size_bytes = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        let kind = kind_by_name(&path);
        Source { path: Some(path), name, size_bytes, kind }
    }
}

/// The sources that `arguments` name, in their order; a folder's files by path.
///
/// A folder yields its `.txt`, `.md`, `.jsonl` and `.ndjson` files, plain or with `.gz` or `.zst`, at any depth; hidden
/// files and folders are passed over, links are followed, and a loop of links ends. A file named outright is taken
/// whatever its name.
///
/// # Errors
///
/// [`InputError`] if an argument does not exist, may not be opened, or is a folder without documents.
pub fn discover(arguments: &[PathBuf]) -> Result<Vec<Source>, InputError> {
    let mut sources = Vec::new();
    for argument in arguments {
        let open = |source| InputError::Open { path: argument.clone(), source };
        if argument.as_os_str() == "-" {
            sources.push(Source { path: None, name: "-".to_owned(), size_bytes: None, kind: None });
        } else if fs::metadata(argument).map_err(open)?.is_dir() {
            let before = sources.len();
            sources.extend(folder_documents(argument));
            if sources.len() == before {
                return Err(InputError::NoDocuments { path: argument.clone() });
            }
        } else {
            File::open(argument).map_err(open)?;
            let name = argument.file_name().unwrap_or(argument.as_os_str());
            sources.push(Source::file(argument.clone(), name.to_string_lossy().into_owned()));
        }
    }
    Ok(sources)
}

fn folder_documents(folder: &Path) -> impl Iterator<Item = Source> + '_ {
    let visible =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    // An entry that cannot be looked at (a loop, a folder without permission) has no document to lose by name.
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible);
    entries.filter_map(Result::ok).filter(|e| !e.file_type().is_dir() && kind_by_name(e.path()).is_some()).map(
        move |e| {
            let relative = e.path().strip_prefix(folder).unwrap_or(e.path());
            let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy()).collect();
            let name = parts.join("/");
            Source::file(e.into_path(), name)
        },
    )
}

fn kind_by_name(path: &Path) -> Option<Kind> {
    let extension = |path: &Path| path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    let outer = extension(path)?;
    let inner = match outer.as_str() {
        "gz" | "zst" => extension(Path::new(path.file_stem()?))?,
        _ => outer,
    };
    match inner.as_str() {
        "txt" | "md" => Some(Kind::Plain),
        "jsonl" | "ndjson" => Some(Kind::JsonLines),
        _ => None,
    }
}
