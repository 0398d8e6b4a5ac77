//! `stancewire extract`: texts in, records or a readable view out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;

use super::interrupt::Interrupt;
use super::{ExitStatus, Machine, inputs, tell, wants_colour};
use crate::cli::{Duplicates, ExtractArgs, ProgressMode, Shard};
use crate::copies::{Copies, Fingerprint};
use crate::document::Input;
use crate::output::file::OutputFile;
use crate::output::manifest::Manifest;
use crate::output::progress::{Progress, Shown};
use crate::output::record_line::{RecordLine, Status};
use crate::output::store::{Opened, Store, StoreOptions};
use crate::output::stream::Stream;
use crate::output::summary::{Summary, is_loss};
use crate::output::table::{TableOptions, plain};
use crate::output::target::{Form, Target};
use crate::output::trace::{Loss, Trace};
use crate::output::{OutputOptions, record_line};
use crate::pipeline::{self, CopyPolicy, Push, RunError};
use crate::prepare::Preparation;
use crate::reader::{BytesRead, Discovery, FieldNames, Keep, ReadOptions, Source, discover, read_documents};
use crate::record::Record;

/// Columns of the readable view where no terminal says how many it has.
const DEFAULT_WIDTH: usize = 100;

pub(super) fn run(arguments: &ExtractArgs) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let sources = discover(&discovery(arguments)?)?;
    let machine = Machine::open(&arguments.run)?;
    let interrupt = Interrupt::listen()?;
    let manifest = manifest(arguments, machine.tag());
    let Some(mut sink) = Sink::open(arguments, &manifest, &sources)? else {
        tell("the output is complete; there is nothing to go on with");
        return Ok(ExitStatus::Success);
    };
    let (mut summary, mut copies) = (Summary::default(), Copies::new().context("cannot make a temporary file")?);
    sink.take_up(&mut summary, &mut copies).context("cannot read what the interrupted run has left")?;
    let found = summary.clone();
    if found.documents > 0 {
        tell(&format!("going on after {} documents", found.documents));
    }
    let policy = match arguments.duplicates {
        Duplicates::Annotate => CopyPolicy::Annotate(copies),
        Duplicates::Drop => CopyPolicy::Drop(copies),
        Duplicates::Ignore => CopyPolicy::Ignore,
    };
    let read = BytesRead::default();
    let total_bytes = sources.iter().map(Source::size_bytes).sum();
    let mut progress = Progress::new(total_bytes, read.clone(), sink.progress(arguments));
    let output = OutputOptions {
        model: manifest.model.clone(),
        min_confidence: arguments.min_confidence,
        with_text: arguments.with_text,
    };
    let reader = Reader { arguments, sources: &sources, read, interrupt: &interrupt, state: ReadState::default() };
    let done = sink.done();
    let plan = machine.plan(Preparation { english_only: !arguments.any_language });
    let result = pipeline::run(
        |push| reader.read(done, push),
        &plan,
        policy,
        |record| {
            let line = record_line(&record, &output);
            let is_lost = is_loss(line.status, line.error.as_ref().map(|error| error.kind.as_str()));
            if let Some(message) = loss_message(&line) {
                progress.suspend(|| tell(&message));
            }
            if is_lost && arguments.strict {
                return Err(Stop::Loss);
            }
            summary.add_line(&line, record.tokens);
            if let Some(line) = progress.advance(record.tokens) {
                tell(&line);
            }
            sink.push(&record, &line).map_err(Stop::Write)
        },
    );
    progress.finish();
    let ReadState { is_complete, total, difference } = reader.state;
    let place = arguments.output.as_ref().map_or("standard output".into(), |path| path.to_string_lossy());
    let unfinished = match result {
        Ok(()) if is_complete.into_inner() => None,
        Ok(()) => Some(difference.into_inner().ok().flatten().map_or(Unfinished::Interrupted, Unfinished::Differs)),
        Err(RunError::Sink(Stop::Loss)) => Some(Unfinished::Strict),
        Err(RunError::Sink(Stop::Write(error))) if sink.is_closed_pipe(&error) => return Ok(ExitStatus::Success),
        Err(RunError::Sink(Stop::Write(error))) => Some(Unfinished::Unwritable(error)),
        Err(RunError::Threads { threads, source }) => {
            return Err(RunError::<io::Error>::Threads { threads, source }.into());
        }
        Err(RunError::Engine(error)) => return Err(error.into()),
    };
    if let Some(why) = unfinished {
        let how = sink.suspend();
        return match why {
            Unfinished::Interrupted => {
                tell(&format!("interrupted after {} documents{how}", summary.documents));
                Ok(ExitStatus::Interrupted)
            }
            Unfinished::Strict => {
                tell(&format!("stopped at the first failure, after {} documents{how}", summary.documents));
                Ok(ExitStatus::Losses)
            }
            Unfinished::Differs(what) => anyhow::bail!("cannot go on: {what}\nhint: --overwrite starts again"),
            Unfinished::Unwritable(error) => Err(error).with_context(|| format!("cannot write `{place}`{how}")),
        };
    }
    if !sink.finish(&manifest, arguments, total.into_inner())? {
        return Ok(ExitStatus::Success);
    }
    if !arguments.quiet {
        let seconds = start.elapsed().as_secs_f64();
        let rate = |count: usize| count as f64 / seconds.max(1e-3);
        let documents = rate(summary.documents - found.documents);
        let tokens = rate(summary.tokens - found.tokens);
        tell(&format!("{summary}; {seconds:.1} s, {documents:.1} documents/s, {tokens:.0} tokens/s"));
    }
    Ok(if summary.has_losses() { ExitStatus::Losses } else { ExitStatus::Success })
}

/// Why records are no longer wanted.
enum Stop {
    Write(io::Error),
    /// A document was lost, and that should end the run.
    Loss,
}

/// Why a run has not come to its end.
enum Unfinished {
    Interrupted,
    Strict,
    Differs(String),
    Unwritable(io::Error),
}

/// Reads the documents of a run: numbers them, leaves out those of other shards and those that are done.
struct Reader<'r> {
    arguments: &'r ExtractArgs,
    sources: &'r [Source],
    read: BytesRead,
    interrupt: &'r Interrupt,
    state: ReadState,
}

#[derive(Default)]
struct ReadState {
    is_complete: AtomicBool,
    /// Documents of all shards.
    total: AtomicU64,
    /// What is not as the interrupted run found it.
    difference: Mutex<Option<String>>,
}

impl Reader<'_> {
    fn read(&self, done: impl Iterator<Item = io::Result<Trace>>, push: &mut Push<'_>) {
        let mut done = done.peekable();
        let mut total = 0;
        let mut stopped = false;
        let differs = |what: String| {
            *self.state.difference.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(what);
            ControlFlow::Break(())
        };
        let mut take = |input: Input| {
            let number = total;
            total += 1;
            if self.interrupt.is_asked() {
                return ControlFlow::Break(());
            }
            if !self.arguments.shard.is_none_or(|shard| is_in_shard(&input, shard)) {
                return ControlFlow::Continue(());
            }
            match done.next() {
                None => push(number, input),
                Some(Ok(trace)) if trace.number == number && trace.read == Fingerprint::of_input(&input) => {
                    ControlFlow::Continue(())
                }
                Some(Ok(_)) => {
                    differs(format!("`{}` is not what the interrupted run has read there", input.document.source))
                }
                Some(Err(error)) => differs(format!("what the interrupted run has left cannot be read: {error}")),
            }
        };
        let mut emit = |input| {
            let flow = take(input);
            stopped |= flow.is_break();
            flow
        };
        read_documents(self.sources, &read_options(self.arguments), &self.read, &mut emit);
        if !stopped && done.peek().is_some() {
            stopped = differs("there are fewer documents than the interrupted run has read".to_owned()).is_break();
        }
        self.state.total.store(total, Ordering::Relaxed);
        self.state.is_complete.store(!stopped, Ordering::Relaxed);
    }
}

/// Whether a document belongs to a shard: by its source, which no shard's reading changes.
fn is_in_shard(input: &Input, shard: Shard) -> bool {
    Fingerprint::of(&[input.document.source.as_bytes()]).remainder(shard.of) + 1 == shard.number
}

/// Where records go.
enum Sink {
    Stdout(Stream<BufWriter<StdoutLock<'static>>>, Option<OutputFile>),
    /// A device, or a readable view in a file.
    File(Stream<OutputFile>, Option<OutputFile>),
    Store(Box<Store>),
}

impl Sink {
    /// `None` if the output is complete and the run was to go on with it.
    fn open(arguments: &ExtractArgs, manifest: &Manifest, sources: &[Source]) -> anyhow::Result<Option<Self>> {
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
        // Would it fail at the end, everything had been for nothing.
        drop(errors()?);
        let options = StoreOptions {
            target,
            part_documents: arguments.part_documents.get(),
            resume: arguments.resume,
            overwrite: arguments.overwrite,
        };
        Ok(match Store::open(path, manifest, sources, options)? {
            Opened::Store(store) => Some(Sink::Store(store)),
            Opened::Complete => None,
        })
    }

    fn progress(&self, arguments: &ExtractArgs) -> Shown {
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
    fn done(&self) -> Box<dyn Iterator<Item = io::Result<Trace>> + Send> {
        match self {
            Sink::Store(store) => Box::new(store.done().take(store.found())),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// Takes what an earlier run has done into account.
    fn take_up(&self, summary: &mut Summary, copies: &mut Copies) -> io::Result<()> {
        for trace in self.done() {
            let trace = trace?;
            trace.count(summary);
            if let Some(text) = trace.text {
                copies.look_up(text, trace.id())?;
            }
        }
        Ok(())
    }

    fn push(&mut self, record: &Record, line: &RecordLine) -> io::Result<()> {
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
    fn is_closed_pipe(&self, error: &io::Error) -> bool {
        matches!(self, Sink::Stdout(..)) && error.kind() == io::ErrorKind::BrokenPipe
    }

    /// Ends an unfinished run; how it can be gone on with, for the end of a message.
    fn suspend(self) -> String {
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
    fn finish(self, manifest: &Manifest, arguments: &ExtractArgs, total: u64) -> anyhow::Result<bool> {
        let errors = match self {
            Sink::Store(store) => {
                store.finish(manifest, arguments.errors.as_deref(), total)?;
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
        serde_json::to_writer(&mut *out, &loss)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// One line on standard error for a document that was lost; texts that were passed over as wished are only counted.
fn loss_message(line: &RecordLine) -> Option<String> {
    let error = line.error.as_ref()?;
    let is_told = line.status == Status::Failed || is_loss(line.status, Some(&error.kind));
    is_told.then(|| format!("{}: {}: {}", plain(&line.source), line.status.name(), plain(&error.message)))
}

fn discovery(arguments: &ExtractArgs) -> anyhow::Result<Discovery> {
    let has_list = !arguments.files_from.is_empty();
    let files = if has_list { arguments.inputs.clone() } else { inputs(&arguments.inputs)? };
    Ok(Discovery { arguments: files, lists: arguments.files_from.clone(), kind: arguments.from })
}

fn read_options(arguments: &ExtractArgs) -> ReadOptions {
    let keep = match &arguments.keep[..] {
        [] => Keep::Nothing,
        names if names.iter().any(|name| name == "*") => Keep::Everything,
        names => Keep::Named(names.to_vec()),
    };
    let fields = FieldNames {
        id: arguments.id_field.clone(),
        title: arguments.title_field.clone(),
        text: arguments.text_field.clone(),
        date: arguments.date_field.clone(),
        url: arguments.url_field.clone(),
        keep,
    };
    ReadOptions { max_bytes: arguments.max_bytes, max_ratio: arguments.max_ratio, fields, kind: arguments.from }
}

/// Everything that records depend on.
fn manifest(arguments: &ExtractArgs, model: String) -> Manifest {
    let form =
        arguments.output.as_deref().and_then(|path| Target::of(path, arguments.to).ok()).map_or("", Target::extension);
    let options = [
        ("--to", form.to_owned()),
        ("--from", format!("{:?}", arguments.from)),
        ("--duplicates", format!("{:?}", arguments.duplicates).to_lowercase()),
        ("--any-language", arguments.any_language.to_string()),
        ("--min-confidence", arguments.min_confidence.to_string()),
        ("--with-text", arguments.with_text.to_string()),
        ("--max-bytes", arguments.max_bytes.to_string()),
        ("--max-ratio", arguments.max_ratio.to_string()),
        ("--text-field", arguments.text_field.clone()),
        ("--title-field", arguments.title_field.clone()),
        ("--id-field", arguments.id_field.clone()),
        ("--date-field", arguments.date_field.clone()),
        ("--url-field", arguments.url_field.clone()),
        ("--keep", arguments.keep.join(",")),
        ("--part-documents", arguments.part_documents.to_string()),
    ];
    let options: BTreeMap<String, String> = options.map(|(name, value)| (name.to_owned(), value)).into();
    Manifest::new(model, options, arguments.shard.map(|shard| shard.to_string()))
}
