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
    is_compressed: bool,
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

    /// Whether the name says that the content is compressed; if it does not, it may be all the same.
    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    fn standard_input() -> Self {
        Source { path: None, name: "-".to_owned(), size_bytes: None, kind: None, is_compressed: false }
    }

    fn file(path: PathBuf, name: String) -> Self {
        let size_bytes = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        let (kind, is_compressed) = (kind_by_name(&path), is_compressed_by_name(&path));
        Source { path: Some(path), name, size_bytes, kind, is_compressed }
    }
}

/// The sources that `arguments` name, in their order; a folder's files by the bytes of their paths.
///
/// A folder yields its `.txt`, `.md`, `.jsonl` and `.ndjson` files, plain or with `.gz` or `.zst`, at any depth; hidden
/// files and folders are passed over, links are followed, and a loop of links ends. What cannot be looked into, such as
/// a folder inside without permission, is a source too, whose reading will fail. A file named outright is taken
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
            sources.push(Source::standard_input());
            continue;
        }
        let metadata = fs::metadata(argument).map_err(open)?;
        if metadata.is_dir() {
            fs::read_dir(argument).map_err(open)?;
            let found = folder_documents(argument);
            if found.is_empty() {
                return Err(InputError::NoDocuments { path: argument.clone() });
            }
            sources.extend(found);
        } else {
            // A pipe is not tried: its writer would be gone by the time it is read.
            if metadata.is_file() {
                File::open(argument).map_err(open)?;
            }
            let name = argument.file_name().unwrap_or(argument.as_os_str());
            sources.push(Source::file(argument.clone(), name.to_string_lossy().into_owned()));
        }
    }
    Ok(sources)
}

fn folder_documents(folder: &Path) -> Vec<Source> {
    let entries = WalkDir::new(folder).follow_links(true).into_iter();
    let visible = entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path()));
    let mut paths: Vec<PathBuf> = visible
        .filter_map(|entry| match entry {
            Ok(entry) => {
                (entry.file_type().is_file() && kind_by_name(entry.path()).is_some()).then(|| entry.into_path())
            }
            // What is behind it is found where it lies.
            Err(error) if error.loop_ancestor().is_some() => None,
            Err(error) => error.path().filter(|path| may_hold_documents(path)).map(Path::to_owned),
        })
        .collect();
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    let relative = |path: &Path| {
        let inside = path.strip_prefix(folder).unwrap_or(path);
        inside.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    paths
        .into_iter()
        .map(|path| {
            let name = relative(&path);
            Source::file(path, name)
        })
        .collect()
}

/// Whether documents are lost with a path that cannot be looked at: a folder, or a link to nowhere by a document's name.
fn may_hold_documents(path: &Path) -> bool {
    !is_hidden(path) && (path.is_dir() || kind_by_name(path).is_some())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_compressed_by_name(path: &Path) -> bool {
    matches!(extension(path).as_deref(), Some("gz" | "zst"))
}

fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase)
}

fn kind_by_name(path: &Path) -> Option<Kind> {
    let inner = if is_compressed_by_name(path) { extension(Path::new(path.file_stem()?))? } else { extension(path)? };
    match inner.as_str() {
        "txt" | "md" => Some(Kind::Plain),
        "jsonl" | "ndjson" => Some(Kind::JsonLines),
        _ => None,
    }
}
