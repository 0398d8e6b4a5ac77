//! `stancewire extract`: texts in, records or a readable view out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;

use super::interrupt::Interrupt;
use super::sink::Sink;
use super::{ExitStatus, Machine, inputs, tell};
use crate::cli::{Duplicates, ExtractArgs, Shard};
use crate::copies::{Copies, Fingerprint};
use crate::document::Input;
use crate::output::manifest::Manifest;
use crate::output::progress::Progress;
use crate::output::record_line::{RecordLine, Status};
use crate::output::store::{output_files, parts_folder, shard_file};
use crate::output::summary::{Summary, is_loss};
use crate::output::table::plain;
use crate::output::target::{Form, Target};
use crate::output::trace::Trace;
use crate::output::{OutputOptions, record_line};
use crate::pipeline::{self, CopyPolicy, Push, RunError};
use crate::prepare::Preparation;
use crate::reader::{BytesRead, Discovery, FieldNames, Keep, ReadOptions, Source, discover, read_documents};

pub(super) fn run(arguments: &ExtractArgs) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let mut sources = discover(&discovery(arguments)?)?;
    leave_out_own(&mut sources, arguments);
    let machine = Machine::open(&arguments.run)?;
    let interrupt = Interrupt::listen()?;
    let manifest = manifest(arguments, machine.tag());
    let place = arguments.output.as_ref().map_or("standard output".into(), |path| path.to_string_lossy());
    let Some(mut sink) = Sink::open(arguments, &manifest, &sources)? else {
        tell(&format!("`{place}` exists and no run into it was interrupted; there is nothing to go on with"));
        return Ok(ExitStatus::Success);
    };
    let (mut summary, mut copies) = (Summary::default(), Copies::new(sink.folder()));
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
            let is_lost = is_loss(line.status, line.error_kind());
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
    let unfinished = match result {
        Ok(()) if is_complete.into_inner() => None,
        Ok(()) => Some(difference.into_inner().ok().flatten().map_or(Unfinished::Interrupted, Unfinished::Differs)),
        Err(RunError::Sink(Stop::Loss)) => Some(Unfinished::Strict),
        Err(RunError::Sink(Stop::Write(error))) if sink.is_closed_pipe(&error) => return Ok(ExitStatus::Success),
        Err(RunError::Sink(Stop::Write(error))) => Some(Unfinished::Unwritable(error)),
        Err(error @ (RunError::Threads { .. } | RunError::Engine(_))) => return Err(error.into()),
        Err(error @ (RunError::Copies(_) | RunError::Worker)) => Some(Unfinished::Broken(error.into())),
    };
    if let Some(why) = unfinished {
        let how = sink.suspend();
        return match why {
            Unfinished::Interrupted => {
                tell(&format!("interrupted after {} documents{how}", summary.documents));
                Ok(ExitStatus::Interrupted)
            }
            Unfinished::Strict => {
                let without = if how.is_empty() { "" } else { ", without --strict past the failure" };
                tell(&format!("stopped at the first failure, after {} documents{how}{without}", summary.documents));
                Ok(ExitStatus::Losses)
            }
            Unfinished::Differs(what) => anyhow::bail!("cannot go on: {what}\nhint: --overwrite starts again"),
            Unfinished::Broken(error) => {
                Err(error.context(format!("stopped after {} documents{how}", summary.documents)))
            }
            Unfinished::Unwritable(error) => Err(error).with_context(|| format!("cannot write `{place}`{how}")),
        };
    }
    if !sink.finish(&manifest, total.into_inner())? {
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
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Write(io::Error),
    #[error("a document was lost, which should end the run")]
    Loss,
}

/// Why a run has not come to its end.
enum Unfinished {
    Interrupted,
    Strict,
    Differs(String),
    Unwritable(io::Error),
    Broken(anyhow::Error),
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
        // Whoever stops this program may have stopped the one that writes its input.
        stopped |= self.interrupt.is_asked();
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

/// One line on standard error for a document that was lost; texts that were passed over as wished are only counted.
fn loss_message(line: &RecordLine) -> Option<String> {
    let error = line.error.as_ref()?;
    let is_told = line.status == Status::Failed || is_loss(line.status, Some(&error.kind));
    is_told.then(|| format!("{}: {}: {}", plain(&line.source), line.status.name(), plain(&error.message)))
}

/// What this program writes is no input, even if it lies among the inputs.
fn leave_out_own(sources: &mut Vec<Source>, arguments: &ExtractArgs) {
    let Some(output) = &arguments.output else { return };
    let form = Target::of(output, arguments.to).map_or(Form::Jsonl, |target| target.form);
    let mut own = output_files(output, form);
    own.extend([parts_folder(output), shard_file(output)]);
    own.extend(arguments.errors.clone());
    // As typed, and behind links; what does not exist yet is behind none itself.
    let places = |path: &Path| {
        let absolute = std::path::absolute(path).ok();
        let folder = absolute.as_deref().and_then(Path::parent).and_then(|folder| fs::canonicalize(folder).ok());
        let linked = folder.zip(path.file_name()).map(|(folder, name)| folder.join(name));
        [absolute, linked, fs::canonicalize(path).ok()].into_iter().flatten()
    };
    let own: Vec<PathBuf> = own.iter().flat_map(|path| places(path)).collect();
    let is_own = |path: &Path| places(path).any(|place| own.iter().any(|own| place.starts_with(own)));
    let names: Vec<_> = own.iter().filter_map(|path| path.file_name()).collect();
    sources.retain(|source| {
        source.path().is_none_or(|path| {
            // Most paths have none of these names in them, and need not be looked at.
            let may_be_own = path.components().any(|part| names.contains(&part.as_os_str()));
            !may_be_own || !is_own(&path)
        })
    });
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
