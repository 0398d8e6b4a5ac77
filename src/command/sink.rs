//! Where records of `stancewire extract` go, and what is to be done when they end.

use std::fs;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::wants_colour;
use crate::cli::{ExtractArgs, ProgressMode};
use crate::copies::Copies;
use crate::output::file::OutputFile;
use crate::output::manifest::Manifest;
use crate::output::progress::Shown;
use crate::output::record_line::RecordLine;
use crate::output::store::{Opened, Store, StoreOptions};
use crate::output::stream::Stream;
use crate::output::summary::Summary;
use crate::output::table::TableOptions;
use crate::output::target::{Form, Target};
use crate::output::trace::{Loss, Trace};
use crate::output::write_line;
use crate::reader::Source;
use crate::record::Record;

/// Columns of the readable view where no terminal says how many it has.
const DEFAULT_WIDTH: usize = 100;

/// Where records go.
pub(super) enum Sink {
    Stdout(Stream<BufWriter<StdoutLock<'static>>>, Option<OutputFile>),
    /// A device, or a readable view in a file.
    File(Stream<OutputFile>, Option<OutputFile>),
    Store(Box<Store>),
}

impl Sink {
    /// `None` if the output is complete and the run was to go on with it.
    pub(super) fn open(
        arguments: &ExtractArgs,
        manifest: &Manifest,
        sources: &[Source],
    ) -> anyhow::Result<Option<Self>> {
        let on_terminal = io::stdout().is_terminal() && arguments.output.is_none();
        let view = TableOptions {
            width: terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0.into()),
            colour: wants_colour(arguments.color, on_terminal),
            min_confidence: arguments.min_confidence,
        };
        let errors = || -> anyhow::Result<_> {
            let create = |path: &Path| {
                OutputFile::create(path, Target::of(path, Some(Form::Jsonl))?.compression, arguments.overwrite)
            };
            Ok(arguments.errors.as_deref().map(create).transpose()?)
        };
        let Some(path) = &arguments.output else {
            let form = arguments.to.unwrap_or(if on_terminal { Form::Table } else { Form::Jsonl });
            let out = BufWriter::new(io::stdout().lock());
            let stream =
                Stream::new(out, form, view).context("Parquet is written to files\nhint: add `-o NAME.parquet`")?;
            return Ok(Some(Sink::Stdout(stream, errors()?)));
        };
        let target = Target::of(path, arguments.to)?;
        let is_device = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if is_device || target.form == Form::Table {
            anyhow::ensure!(!arguments.resume, "only records in a file can be gone on with");
            anyhow::ensure!(arguments.shard.is_none(), "--shard needs an output in JSON Lines");
            let out = OutputFile::create(path, target.compression, arguments.overwrite)?;
            let stream = Stream::new(out, target.form, view).context("Parquet is written to files, not to devices")?;
            return Ok(Some(Sink::File(stream, errors()?)));
        }
        anyhow::ensure!(
            arguments.shard.is_none() || target.form == Form::Jsonl,
            "--shard needs an output in JSON Lines\nhint: `stancewire merge` writes all forms"
        );
        anyhow::ensure!(arguments.errors.as_ref() != Some(path), "--errors and --output name the same file");
        let options = StoreOptions {
            target,
            part_documents: arguments.part_documents.get(),
            resume: arguments.resume,
            overwrite: arguments.overwrite,
            errors: arguments.errors.clone(),
        };
        Ok(match Store::open(path, manifest, sources, options)? {
            Opened::Store(store) => Some(Sink::Store(store)),
            Opened::Complete => None,
        })
    }

    /// Where what the run must remember can lie.
    pub(super) fn folder(&self) -> PathBuf {
        match self {
            Sink::Store(store) => store.folder().to_owned(),
            _ => std::env::temp_dir(),
        }
    }

    pub(super) fn progress(&self, arguments: &ExtractArgs) -> Shown {
        let is_terminal = io::stderr().is_terminal();
        let records_on_it = matches!(self, Sink::Stdout(..)) && io::stdout().is_terminal();
        match arguments.progress {
            _ if arguments.quiet => Shown::Nothing,
            ProgressMode::None => Shown::Nothing,
            ProgressMode::Log => Shown::Log,
            ProgressMode::Bar => Shown::Bar,
            ProgressMode::Auto if is_terminal && !records_on_it => Shown::Bar,
            ProgressMode::Auto => Shown::Nothing,
        }
    }

    /// What an earlier run has done, if this one goes on with it.
    pub(super) fn done(&self) -> Box<dyn Iterator<Item = io::Result<Trace>> + Send> {
        match self {
            Sink::Store(store) => Box::new(store.done().take(store.found())),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Takes what an earlier run has done into account.
    pub(super) fn take_up(&self, summary: &mut Summary, copies: &mut Copies) -> io::Result<()> {
        for trace in self.done() {
            let trace = trace?;
            trace.count(summary);
            if let Some(text) = trace.text {
                copies.look_up(text, trace.id())?;
            }
        }
        Ok(())
    }

    pub(super) fn push(&mut self, record: &Record, line: &RecordLine) -> io::Result<()> {
        match self {
            Sink::Stdout(stream, errors) => {
                write_loss(errors, record, line)?;
                stream.push(record, line)?;
                // A person who watches, or a program that answers, wants each document at once.
                stream.flush()
            }
            Sink::File(stream, errors) => {
                write_loss(errors, record, line)?;
                stream.push(record, line)
            }
            Sink::Store(store) => store.push(record.into(), line),
        }
    }

    /// Nobody reads standard output any more, which is no failure.
    pub(super) fn is_closed_pipe(&self, error: &io::Error) -> bool {
        matches!(self, Sink::Stdout(..)) && error.kind() == io::ErrorKind::BrokenPipe
    }

    /// Ends an unfinished run; how it can be gone on with, for the end of a message.
    pub(super) fn suspend(self) -> String {
        match self {
            Sink::Store(store) => match store.suspend() {
                Ok(()) => "\nhint: the same command with --resume goes on from here".to_owned(),
                Err(error) => format!("; what is done may be lost: {error}"),
            },
            Sink::Stdout(mut stream, _) => stream.flush().map_or_else(|error| format!("; {error}"), |()| String::new()),
            Sink::File(..) => String::new(),
        }
    }

    /// Ends a run that is complete; false if nobody reads the output any more.
    pub(super) fn finish(self, manifest: &Manifest, total: u64) -> anyhow::Result<bool> {
        let errors = match self {
            Sink::Store(store) => {
                let done = "everything is computed; the same command with --resume puts it together";
                store.finish(manifest, total).context(done)?;
                return Ok(true);
            }
            Sink::Stdout(stream, errors) => {
                match stream.finish().and_then(|mut out| out.flush()) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
                    written => written.context("cannot write to standard output")?,
                }
                errors
            }
            Sink::File(stream, errors) => {
                stream.finish().context("cannot write the output")?.finish()?;
                errors
            }
        };
        if let Some(errors) = errors {
            errors.finish()?;
        }
        Ok(true)
    }
}

fn write_loss(errors: &mut Option<OutputFile>, record: &Record, line: &RecordLine) -> io::Result<()> {
    let Some(out) = errors.as_mut().filter(|_| line.error.is_some()) else { return Ok(()) };
    let trace = Trace::new(record.into(), line, &[]);
    if let Some(loss) = Loss::of(&trace) {
        write_line(out, &loss)?;
    }
    Ok(())
}
