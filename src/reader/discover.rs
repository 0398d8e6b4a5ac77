//! Arguments → sources: files, the documents of folders in a fixed order, patterns, lists of files, standard input.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use walkdir::WalkDir;

use super::Kind;
use super::kind::is_compressed_by_name;
use crate::error::InputError;

/// A file, or standard input, that will be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The folder that the name is relative to; `None` for standard input.
    root: Option<Arc<Path>>,
    inside: PathBuf,
    size_bytes: Option<u64>,
}

impl Source {
    /// The file; `None` for standard input.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        Some(self.root.as_ref()?.join(&self.inside))
    }

    /// Path relative to the input argument, with `/`; the file's name for an argument that is a file; `-`.
    #[must_use]
    pub fn name(&self) -> String {
        if self.root.is_none() {
            return "-".to_owned();
        }
        let parts = self.inside.components().map(|part| match part {
            Component::RootDir => std::borrow::Cow::Borrowed(""),
            other => other.as_os_str().to_string_lossy(),
        });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Size on disk when it was found; `None` where it is unknown.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// Seconds since 1970 at which the file was last changed; `None` where that is unknown.
    #[must_use]
    pub fn modified(&self) -> Option<u64> {
        let modified = fs::metadata(self.path()?).ok().filter(fs::Metadata::is_file)?.modified().ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    /// What the name says; `None` leaves it to the content.
    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::by_name(&self.inside)
    }

    /// Whether the name says that the content is compressed; if it does not, it may be all the same.
    pub(super) fn is_compressed(&self) -> bool {
        is_compressed_by_name(&self.inside)
    }

    fn standard_input() -> Self {
        Source { root: None, inside: PathBuf::new(), size_bytes: None }
    }

    fn file(root: &Arc<Path>, inside: PathBuf) -> Self {
        let size_bytes = fs::metadata(root.join(&inside)).ok().filter(fs::Metadata::is_file).map(|m| m.len());
        Source { root: Some(Arc::clone(root)), inside, size_bytes }
    }

    /// A file named outright: known by its last part.
    fn named(path: &Path) -> Self {
        let inside = path.file_name().map_or_else(|| path.to_owned(), PathBuf::from);
        Source::file(&Arc::from(path.parent().unwrap_or(Path::new(""))), inside)
    }
}

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Files, folders, patterns, `-`.
    pub arguments: Vec<PathBuf>,
    /// Files that list further files, one a line or ended by NUL; `-` for standard input.
    pub lists: Vec<PathBuf>,
    /// What all files hold: then a folder's files are taken whatever their names.
    pub kind: Option<Kind>,
}

/// The sources that `discovery` names: its arguments' in their order, then its lists'.
///
/// A folder yields the files whose names say that they hold documents, plain or with `.gz` or `.zst`, at any depth, by the
/// bytes of their paths; hidden files and folders are passed over, links are followed, and a loop of links ends. What cannot
/// be looked into, such as a folder inside without permission, is a source too, whose reading will fail. A file named
/// outright is taken whatever its name; so is one in a list, which may be gone when it is read. An argument that does not
/// exist and has one of `*?[` in it is a pattern; `**` stands for any folders.
///
/// # Errors
///
/// [`InputError`] if an argument or a list does not exist, may not be opened, or names no documents.
pub fn discover(discovery: &Discovery) -> Result<Vec<Source>, InputError> {
    let mut sources = Vec::new();
    let dashes = discovery.arguments.iter().chain(&discovery.lists).filter(|path| path.as_os_str() == "-");
    if dashes.count() > 1 {
        return Err(InputError::StandardInputTwice);
    }
    for argument in &discovery.arguments {
        let open = |source| InputError::Open { path: argument.clone(), source };
        if argument.as_os_str() == "-" {
            sources.push(Source::standard_input());
            continue;
        }
        let metadata = match fs::metadata(argument) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_pattern(argument) => {
                sources.extend(matching(argument, discovery.kind.is_some())?);
                continue;
            }
            found => found.map_err(open)?,
        };
        if metadata.is_dir() {
            fs::read_dir(argument).map_err(open)?;
            let found = folder_documents(argument, discovery.kind.is_some());
            if found.is_empty() {
                return Err(InputError::NoDocuments { path: argument.clone() });
            }
            sources.extend(found);
        } else {
            // A pipe is not tried: its writer would be gone by the time it is read.
            if metadata.is_file() {
                File::open(argument).map_err(open)?;
            }
            sources.push(Source::named(argument));
        }
    }
    for list in &discovery.lists {
        let listed = listed_files(list).map_err(|source| InputError::Open { path: list.clone(), source })?;
        if listed.is_empty() {
            return Err(InputError::EmptyList { path: list.clone() });
        }
        let here = Arc::from(Path::new(""));
        sources.extend(listed.into_iter().map(|path| Source::file(&here, path)));
    }
    Ok(sources)
}

/// The paths in `list`: ended by NUL if there is one, else lines; `-` is standard input.
fn listed_files(list: &Path) -> io::Result<Vec<PathBuf>> {
    let mut content = Vec::new();
    if list.as_os_str() == "-" {
        io::stdin().read_to_end(&mut content)?;
    } else {
        File::open(list)?.read_to_end(&mut content)?;
    }
    let end = if content.contains(&0) { 0 } else { b'\n' };
    let paths = content.split(|&byte| byte == end).map(|path| if end == 0 { path } else { path.trim_ascii_end() });
    Ok(paths.filter(|path| !path.is_empty()).map(path_from_bytes).collect())
}

#[cfg(unix)]
fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path_from_bytes(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn is_pattern(argument: &Path) -> bool {
    argument.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// The files that a pattern matches, and those of the folders that it matches, by the bytes of their paths, each named from
/// where the pattern begins.
fn matching(pattern: &Path, any_name: bool) -> Result<Vec<Source>, InputError> {
    let bad = |message: String| InputError::Pattern { pattern: pattern.to_owned(), message };
    let text = pattern.to_str().ok_or_else(|| bad("not UTF-8".to_owned()))?;
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let found = glob::glob_with(text, options).map_err(|error| bad(error.to_string()))?;
    // Matches of several `**` repeat themselves.
    let paths: BTreeSet<PathBuf> = found.map(|entry| entry.unwrap_or_else(|e| e.path().to_owned())).collect();
    let root: PathBuf = pattern.components().take_while(|part| !is_pattern(Path::new(part.as_os_str()))).collect();
    let inside = |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_owned();
    let root: Arc<Path> = Arc::from(root.as_path());
    // What is in folders of any depth is matched itself.
    let searches = !text.contains("**");
    let (folders, files): (Vec<&PathBuf>, Vec<&PathBuf>) = paths.iter().partition(|path| path.is_dir());
    let found = folders.into_iter().filter(|_| searches).flat_map(|folder| {
        folder_documents(folder, any_name).into_iter().map(move |source| folder.join(source.inside))
    });
    let mut inside: Vec<PathBuf> = files.into_iter().cloned().chain(found).map(|path| inside(&path)).collect();
    sort_by_bytes(&mut inside);
    if inside.is_empty() {
        return Err(bad("no file matches".to_owned()));
    }
    Ok(inside.into_iter().map(|path| Source::file(&root, path)).collect())
}

fn folder_documents(folder: &Path, any_name: bool) -> Vec<Source> {
    let is_wanted = |path: &Path| any_name || Kind::by_name(path).is_some();
    let entries = WalkDir::new(folder).follow_links(true).into_iter();
    let visible = entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path()));
    let found = visible.filter_map(|entry| match entry {
        Ok(entry) => (entry.file_type().is_file() && is_wanted(entry.path())).then(|| entry.into_path()),
        // What is behind it is found where it lies.
        Err(error) if error.loop_ancestor().is_some() => None,
        // Documents are lost with a folder, or a link to nowhere by a document's name.
        Err(error) => {
            let path = error.path().filter(|path| !is_hidden(path) && (path.is_dir() || is_wanted(path)));
            path.map(Path::to_owned)
        }
    });
    let mut inside: Vec<PathBuf> =
        found.map(|path| path.strip_prefix(folder).map_or_else(|_| path.clone(), Path::to_owned)).collect();
    sort_by_bytes(&mut inside);
    let root: Arc<Path> = Arc::from(folder);
    inside.into_iter().map(|path| Source::file(&root, path)).collect()
}

fn sort_by_bytes(paths: &mut [PathBuf]) {
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
}

/// Whether a file or folder is one that listings leave out.
pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
