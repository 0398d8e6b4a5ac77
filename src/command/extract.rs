//! `stancewire extract`: texts in, records or a readable view out.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::time::Instant;

use anyhow::Context;

use super::{ExitStatus, Machine, inputs, tell, wants_colour};
use crate::cli::{ExtractArgs, Format};
use crate::output::file::OutputFile;
use crate::output::progress::Progress;
use crate::output::summary::Summary;
use crate::output::table::{TableOptions, plain, render};
use crate::output::{OutputOptions, status, write_record};
use crate::pipeline::{self, RunError};
use crate::reader::{BytesRead, FieldNames, ReadOptions, Source, discover, documents};
use crate::record::{Outcome, Record};

/// Columns of the readable view where no terminal says how many it has.
const DEFAULT_WIDTH: usize = 100;

/// Where records go.
enum Sink {
    Stdout(BufWriter<StdoutLock<'static>>),
    File(OutputFile),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Stdout(out) => out.write(bytes),
            Sink::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Stdout(out) => out.flush(),
            Sink::File(out) => out.flush(),
        }
    }
}

pub(super) fn run(arguments: &ExtractArgs) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let sources = discover(&inputs(&arguments.inputs)?)?;
    let on_terminal = io::stdout().is_terminal() && arguments.output.is_none();
    let table = match arguments.format {
        Format::Auto => on_terminal,
        Format::Table => true,
        Format::Jsonl => false,
    };
    let mut sink = match &arguments.output {
        Some(path) => Sink::File(OutputFile::create(path, arguments.overwrite)?),
        None => Sink::Stdout(BufWriter::new(io::stdout().lock())),
    };
    let machine = Machine::open(&arguments.run)?;
    let view = table.then(|| TableOptions {
        width: terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0.into()),
        colour: wants_colour(arguments.color, on_terminal),
        min_confidence: arguments.min_confidence,
    });
    let options = OutputOptions {
        model: machine.tag(),
        min_confidence: arguments.min_confidence,
        with_text: arguments.with_text,
    };
    let total_bytes = sources.iter().map(Source::size_bytes).sum();
    let read = BytesRead::default();
    let shown = !arguments.quiet && io::stderr().is_terminal() && !on_terminal;
    let mut progress = Progress::new(total_bytes, read.clone(), shown);
    let mut summary = Summary::default();
    let inputs = documents(sources, read_options(arguments), read);
    let Machine { model, heads, engines, options: run_options, .. } = &machine;
    let result = pipeline::run(inputs, model, heads, engines.as_ref(), *run_options, |record| {
        summary.add(&record, arguments.min_confidence);
        progress.advance(record.tokens);
        progress.suspend(|| report(&record));
        match view {
            Some(view) => sink.write_all(render(&record, view).as_bytes())?,
            None => write_record(&mut sink, &record, &options)?,
        }
        // A person who watches wants each document at once.
        if on_terminal { sink.flush() } else { Ok(()) }
    });
    progress.finish();
    let written = match result {
        Ok(()) => sink.flush(),
        Err(RunError::Sink(error)) => Err(error),
        Err(cannot_start) => return Err(cannot_start.into()),
    };
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitStatus::Success),
        Err(error) => {
            let place = arguments.output.as_ref().map_or("standard output".into(), |p| p.to_string_lossy());
            return Err(error).with_context(|| format!("cannot write `{place}`"));
        }
    }
    if let Sink::File(file) = sink {
        file.finish()?;
    }
    if !arguments.quiet {
        let seconds = start.elapsed().as_secs_f64();
        let rate = |count: usize| count as f64 / seconds.max(1e-3);
        let (documents, tokens) = (rate(summary.documents), rate(summary.tokens));
        tell(&format!("{summary}; {seconds:.1} s, {documents:.1} documents/s, {tokens:.0} tokens/s"));
    }
    Ok(if summary.has_losses() { ExitStatus::Losses } else { ExitStatus::Success })
}

fn read_options(arguments: &ExtractArgs) -> ReadOptions {
    let fields = FieldNames {
        id: arguments.id_field.clone(),
        title: arguments.title_field.clone(),
        text: arguments.text_field.clone(),
        date: arguments.date_field.clone(),
        url: arguments.url_field.clone(),
    };
    ReadOptions { max_bytes: arguments.max_bytes, fields }
}

/// One line on standard error for a document that was lost.
fn report(record: &Record) {
    if let Outcome::Error(error) = &record.outcome {
        let source = plain(&record.document.source);
        tell(&format!("{source}: {}: {}", status(&record.outcome), plain(&error.message)));
    }
}
