//! An output that survives being killed: made in parts in a folder beside it, put together at the end.
//!
//! | file in `OUT.parts` | content |
//! |---|---|
//! | `manifest.json`, `inputs.jsonl` | what the run was asked |
//! | `000000.jsonl.gz` … | parts of [`PART_DOCUMENTS`] documents in the form of the output: a gzip member, a zstd frame, a row group |
//! | `000000.trace` … | what each document of the part came to; the part counts once this is there |
//! | `pending.jsonl`, `pending.trace` | documents of the part that is not full yet |
//! | `replaces` | what is there may be replaced: it was asked for, or it may be this run's own output |
//!
//! Files get their names only when they are on the disk. Pending lines are believed as far as their traces bear them out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::csv::CsvWriter;
use super::file::{OutputError, OutputFile, sync_folder_of};
use super::manifest::Manifest;
use super::parquet::{ParquetPart, assemble};
use super::record_line::RecordLine;
use super::target::{Compression, Compressor, Form, Target};
use super::trace::{Loss, Origin, Trace, traces};
use super::write_line;
use crate::copies::Fingerprint;
use crate::reader::Source;

/// Documents of a part.
pub const PART_DOCUMENTS: usize = 1024;

const PENDING_LINES: &str = "pending.jsonl";
const PENDING_TRACES: &str = "pending.trace";
const REPLACES: &str = "replaces";
const LOCK: &str = "lock";

/// How an output is begun.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Form and compression.
    pub target: Target,
    /// Documents of a part.
    pub part_documents: usize,
    /// Goes on with an interrupted run, if there is one.
    pub resume: bool,
    /// Replaces what is there; of an interrupted run only if that is not gone on with.
    pub overwrite: bool,
    /// A file for what is skipped and failed.
    pub errors: Option<PathBuf>,
}

/// An output in the making.
pub struct Store {
    output: PathBuf,
    folder: PathBuf,
    options: StoreOptions,
    model: String,
    /// Held while this process works in the folder.
    _lock: File,
    lines: File,
    traces: File,
    parts: usize,
    pending: usize,
    /// Documents that an earlier run has done.
    found: usize,
}

/// What there is to do about an output.
pub enum Opened {
    /// Records are to be made.
    Store(Box<Store>),
    /// The output was complete before, and there is nothing to go on with.
    Complete,
}

/// The folder in which the parts of `output` are made.
#[must_use]
pub fn parts_folder(output: &Path) -> PathBuf {
    with_ending(output, "parts")
}

/// The file that tells what a shard is part of.
#[must_use]
pub fn shard_file(output: &Path) -> PathBuf {
    with_ending(output, "shard")
}

fn with_ending(output: &Path, ending: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// The files that `output` stands for: with Parquet one for each table.
#[must_use]
pub fn output_files(output: &Path, form: Form) -> Vec<PathBuf> {
    if form == Form::Parquet {
        let stem = if output.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet")) {
            output.with_extension("")
        } else {
            output.to_owned()
        };
        TABLES.iter().map(|table| with_ending(&stem, &format!("{table}.parquet"))).collect()
    } else {
        vec![output.to_owned()]
    }
}

const TABLES: [&str; 2] = ["documents", "companies"];

impl Store {
    /// Begins `output`, or goes on with it.
    ///
    /// # Errors
    ///
    /// [`OutputError`] if it exists, if a run into it was interrupted and neither `resume` nor `overwrite` is set, if the
    /// interrupted run was another than `manifest` and `sources` say, or if files cannot be read or written.
    pub fn open(
        output: &Path,
        manifest: &Manifest,
        sources: &[Source],
        options: StoreOptions,
    ) -> Result<Opened, OutputError> {
        let folder = parts_folder(output);
        let io = |source| OutputError::Parts { path: folder.clone(), source };
        let earlier = if options.overwrite && !options.resume { None } else { Manifest::read(&folder).map_err(io)? };
        let files: Vec<PathBuf> = output_files(output, options.target.form);
        let resumes = options.resume && earlier.is_some();
        match &earlier {
            Some(earlier) if resumes => {
                let mut differences = manifest.differences(earlier);
                if manifest.shard != earlier.shard {
                    differences.push("--shard".to_owned());
                }
                differences.extend(Manifest::input_differences(&folder, sources).map_err(io)?);
                if !differences.is_empty() {
                    return Err(OutputError::OtherRun {
                        path: output.to_owned(),
                        differences: differences.join("\n  "),
                    });
                }
            }
            // A merge is not gone on with; it begins again.
            Some(earlier) if !earlier.merges => return Err(OutputError::Interrupted { path: output.to_owned() }),
            None if options.resume
                && !options.overwrite
                && files.iter().all(|file| file.symlink_metadata().is_ok()) =>
            {
                // Without its manifest, what is left of the last step is nobody's.
                if folder.exists() {
                    let _lock = lock(&folder, output)?;
                    fs::remove_dir_all(&folder).map_err(io)?;
                }
                return Ok(Opened::Complete);
            }
            _ => {}
        }
        let replaces = options.overwrite || resumes && folder.join(REPLACES).exists();
        // Refuses now what could not be completed later.
        for file in files.iter().chain(&options.errors) {
            drop(OutputFile::create(file, Compression::None, replaces)?);
        }
        fs::create_dir_all(&folder).and_then(|()| sync_folder_of(&folder)).map_err(io)?;
        let lock = lock(&folder, output)?;
        if !resumes {
            empty_folder(&folder).map_err(io)?;
            if replaces {
                File::create(folder.join(REPLACES)).map_err(io)?;
            }
            manifest.write(&folder, sources).and_then(|()| sync_folder(&folder)).map_err(io)?;
        }
        let recovered = Recovered::of(&folder, options.target).map_err(io)?;
        let mut store = Store {
            output: output.to_owned(),
            model: manifest.model.clone(),
            _lock: lock,
            lines: append_to(&folder.join(PENDING_LINES), recovered.line_bytes).map_err(io)?,
            traces: append_to(&folder.join(PENDING_TRACES), recovered.trace_bytes).map_err(io)?,
            parts: recovered.parts,
            pending: recovered.pending,
            found: recovered.parts * options.part_documents + recovered.pending,
            folder: folder.clone(),
            options,
        };
        if store.pending >= store.options.part_documents {
            store.commit().map_err(io)?;
        }
        Ok(Opened::Store(Box::new(store)))
    }

    /// The folder in which the parts are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Documents that an earlier run has done, at most.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found
    }

    /// What all documents that are done came to, in order, read as it is asked for.
    pub fn done(&self) -> impl Iterator<Item = io::Result<Trace>> + use<> {
        let parts = (0..self.parts).map(|part| trace_file(&self.folder, part));
        let files: Vec<PathBuf> = parts.chain([self.folder.join(PENDING_TRACES)]).collect();
        traces(files)
    }

    /// Adds a document, which is on its way to the disk then.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn push(&mut self, origin: Origin, line: &RecordLine) -> io::Result<()> {
        let mut json = serde_json::to_vec(line)?;
        let trace = Trace::new(origin, line, &json);
        json.push(b'\n');
        self.lines.write_all(&json)?;
        let mut known = serde_json::to_vec(&trace)?;
        known.push(b'\n');
        self.traces.write_all(&known)?;
        self.pending += 1;
        if self.pending >= self.options.part_documents {
            self.commit()?;
        }
        Ok(())
    }

    /// Makes sure of everything so far, to go on with it another time.
    ///
    /// # Errors
    ///
    /// If that is not possible.
    pub fn suspend(self) -> io::Result<()> {
        self.lines.sync_all()?;
        self.traces.sync_all()?;
        sync_folder(&self.folder)
    }

    /// Makes a part of what is pending.
    fn commit(&mut self) -> io::Result<()> {
        self.traces.sync_all()?;
        self.encode()?;
        fs::rename(self.folder.join(PENDING_TRACES), trace_file(&self.folder, self.parts))?;
        sync_folder(&self.folder)?;
        self.parts += 1;
        self.pending = 0;
        self.lines = append_to(&self.folder.join(PENDING_LINES), 0)?;
        self.traces = append_to(&self.folder.join(PENDING_TRACES), 0)?;
        Ok(())
    }

    /// Writes the pending lines as a part.
    fn encode(&self) -> io::Result<()> {
        let pending = self.folder.join(PENDING_LINES);
        let Target { form, compression } = self.options.target;
        let names = part_files(&self.folder, self.parts, self.options.target);
        if form == Form::Jsonl && compression == Compression::None {
            self.lines.sync_all()?;
            return fs::rename(pending, &names[0]);
        }
        let unfinished: Vec<PathBuf> = names.iter().map(|name| with_ending(name, "tmp")).collect();
        let lines = BufReader::new(File::open(&pending)?);
        let finished = match form {
            Form::Parquet => {
                let mut part = ParquetPart::new(&self.model)?;
                self.each_pending(lines, |number, line| part.push(number, line))?;
                let (documents, companies) = (File::create(&unfinished[0])?, File::create(&unfinished[1])?);
                part.finish(&documents, &companies)?;
                vec![documents, companies]
            }
            Form::Csv => {
                let out = Compressor::new(File::create(&unfinished[0])?, compression)?;
                let mut rows = CsvWriter::new(out, self.parts == 0);
                self.each_pending(lines, |number, line| rows.push(number, line))?;
                vec![rows.finish()?.finish()?]
            }
            Form::Jsonl | Form::Table => {
                let mut out = Compressor::new(File::create(&unfinished[0])?, compression)?;
                io::copy(&mut { lines }, &mut out)?;
                vec![out.finish()?]
            }
        };
        for ((file, unfinished), name) in finished.into_iter().zip(&unfinished).zip(&names) {
            file.sync_all()?;
            fs::rename(unfinished, name)?;
        }
        Ok(())
    }

    /// Reads pending lines back, with the numbers of their documents.
    fn each_pending(
        &self,
        lines: impl BufRead,
        mut take: impl FnMut(u64, &RecordLine) -> io::Result<()>,
    ) -> io::Result<()> {
        let known = traces([self.folder.join(PENDING_TRACES)]);
        for (line, trace) in lines.lines().zip(known) {
            take(trace?.number, &serde_json::from_str(&line?)?)?;
        }
        Ok(())
    }

    /// Puts the output together, with the file of errors if one was asked for, and removes the parts. `total` is the number of
    /// documents of the run, those of other shards included.
    ///
    /// # Errors
    ///
    /// [`OutputError`]; everything is still there then, to go on with.
    pub fn finish(mut self, manifest: &Manifest, total: u64) -> Result<(), OutputError> {
        let folder = self.folder.clone();
        let io = |source| OutputError::Parts { path: folder.clone(), source };
        // Headers and schemas are in parts, so that there must be one.
        if self.pending > 0 || self.parts == 0 {
            self.commit().map_err(io)?;
        }
        // From here on what is there is this run's.
        File::create(folder.join(REPLACES)).and_then(|file| file.sync_all()).map_err(io)?;
        sync_folder(&folder).map_err(io)?;
        if let Some(path) = &self.options.errors {
            let compression = Target::of(path, Some(Form::Jsonl))?.compression;
            let mut out = OutputFile::recreate(path, compression, true)?;
            write_losses(self.done(), &mut out).map_err(|source| OutputError::Write { path: path.clone(), source })?;
            out.finish()?;
        }
        if let Some(shard) = &manifest.shard {
            let path = shard_file(&self.output);
            let mut out = OutputFile::recreate(&path, Compression::None, true)?;
            self.write_shard(manifest, shard, total, &mut out).map_err(|source| OutputError::Write { path, source })?;
            out.finish()?;
        }
        for (at, path) in output_files(&self.output, self.options.target.form).iter().enumerate().rev() {
            let mut out = OutputFile::recreate(path, Compression::None, true)?;
            let parts = (0..self.parts).map(|part| part_files(&folder, part, self.options.target).swap_remove(at));
            self.put_together(parts.collect(), &mut out)
                .map_err(|source| OutputError::Write { path: path.clone(), source })?;
            out.finish()?;
        }
        empty_folder(&folder).and_then(|()| fs::remove_dir_all(&folder)).map_err(io)
    }

    fn put_together(&self, parts: Vec<PathBuf>, out: &mut OutputFile) -> io::Result<()> {
        if self.options.target.form == Form::Parquet {
            return assemble(&parts, out);
        }
        for part in parts {
            io::copy(&mut File::open(part)?, out)?;
        }
        Ok(())
    }

    fn write_shard(&self, manifest: &Manifest, shard: &str, total: u64, out: &mut impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        let inputs = Manifest::inputs_fingerprint(&self.folder)?;
        let head = ShardHead { shard: shard.to_owned(), total, inputs, manifest: manifest.clone() };
        write_line(&mut out, &head)?;
        for trace in self.done() {
            write_line(&mut out, &trace?)?;
        }
        out.flush()
    }
}

/// The first line of the file that tells what a shard is part of; a trace for each document follows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShardHead {
    /// Which one, as `3/16`.
    pub shard: String,
    /// Documents of all shards.
    pub total: u64,
    /// Of the names and sizes of all inputs.
    pub inputs: Fingerprint,
    /// What the run was asked.
    pub manifest: Manifest,
}

fn write_losses(done: impl Iterator<Item = io::Result<Trace>>, out: &mut impl Write) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    for trace in done {
        if let Some(loss) = Loss::of(&trace?) {
            write_line(&mut out, &loss)?;
        }
    }
    out.flush()
}

/// What a run has left in its folder.
struct Recovered {
    parts: usize,
    pending: usize,
    line_bytes: u64,
    trace_bytes: u64,
}

impl Recovered {
    /// Finds it, and removes files of parts that do not count.
    fn of(folder: &Path, target: Target) -> io::Result<Self> {
        let is_whole = |part: &usize| {
            trace_file(folder, *part).exists() && part_files(folder, *part, target).iter().all(|file| file.exists())
        };
        let parts = (0..).take_while(is_whole).count();
        // A plain part gets its name before its traces do.
        let (next, pending) = (&part_files(folder, parts, target)[0], folder.join(PENDING_LINES));
        let is_plain = target.form == Form::Jsonl && target.compression == Compression::None;
        if is_plain && next.exists() && !pending.exists() {
            fs::rename(next, &pending)?;
        }
        // What is pending follows the last part that was there.
        let mut follows = true;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.split('.').next()?.parse::<usize>().ok());
            if number.is_some_and(|number| number >= parts) {
                follows &= path.extension().is_none_or(|extension| extension != "trace");
                fs::remove_file(path)?;
            }
        }
        let mut recovered = Recovered { parts, pending: 0, line_bytes: 0, trace_bytes: 0 };
        let open = |name: &str| File::open(folder.join(name)).map(BufReader::new);
        if let (true, Ok(mut lines), Ok(mut known)) = (follows, open(PENDING_LINES), open(PENDING_TRACES)) {
            while let (Some(line), Some(trace)) = (whole_line(&mut lines)?, whole_line(&mut known)?) {
                let is_borne_out = serde_json::from_slice::<Trace>(&trace)
                    .is_ok_and(|trace| trace.line == Fingerprint::of(&[line.trim_ascii_end()]));
                if !is_borne_out {
                    break;
                }
                recovered.pending += 1;
                recovered.line_bytes += line.len() as u64;
                recovered.trace_bytes += trace.len() as u64;
            }
        }
        Ok(recovered)
    }
}

/// The next line with its end; `None` at the end, or if it has none.
fn whole_line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line)?;
    Ok(line.ends_with(b"\n").then_some(line))
}

/// A file to append to, cut to its first `bytes`.
fn append_to(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    file.set_len(bytes)?;
    Ok(file)
}

fn trace_file(folder: &Path, part: usize) -> PathBuf {
    folder.join(format!("{part:06}.trace"))
}

fn part_files(folder: &Path, part: usize, target: Target) -> Vec<PathBuf> {
    output_files(&folder.join(format!("{part:06}.{}", target.extension())), target.form)
}

/// Keeps other processes out of the folder in which `output` is made, as long as the file is open.
fn lock(folder: &Path, output: &Path) -> Result<File, OutputError> {
    let file =
        File::create(folder.join(LOCK)).map_err(|source| OutputError::Parts { path: folder.to_owned(), source })?;
    // Some network file systems have no locks; then nobody is kept out.
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OutputError::InUse { path: output.to_owned() }),
        _ => Ok(file),
    }
}

/// Removes what a run has left but the lock; its manifest first, without which the rest does not count.
fn empty_folder(folder: &Path) -> io::Result<()> {
    Manifest::remove(folder)?;
    sync_folder(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != LOCK) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes sure of the names in a folder, where the system can.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
