//! `stancewire bench`: how fast this machine runs the model, and where the time goes.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::{ExitStatus, Machine, closed_pipe_is_success, tell};
use crate::analysis::Analyzer;
use crate::cli::BenchArgs;
use crate::document::{Document, Input};
use crate::engine::kernel::{Kernel, probe};
use crate::engine::model_file::EncoderConfig;
use crate::output::{OutputOptions, record_line, write_line};
use crate::pipeline::{self, CopyPolicy, Push};
use crate::prepare::Preparation;
use crate::reader::{BytesRead, Discovery, Kind, ReadOptions, discover, read_bytes, read_documents};
use crate::record::Record;

/// The built-in mix is made of these stories.
const STORIES: [&str; 6] = [
    include_str!("../../corpus/samples/airlines-roundup.txt"),
    include_str!("../../corpus/samples/burger-chain-pulls-out.txt"),
    include_str!("../../corpus/samples/carmaker-denies-exit.txt"),
    include_str!("../../corpus/samples/chinese-tech-leaves-russia.txt"),
    include_str!("../../corpus/samples/chipmaker-earnings.txt"),
    include_str!("../../corpus/samples/lng-project-paused.txt"),
];
/// Time of the probe of the core's peak.
const PROBE: Duration = Duration::from_millis(300);
/// Documents that go through the stages together.
const GROUP: usize = 8;

/// All figures.
#[derive(Debug, Serialize)]
struct Report {
    program: &'static str,
    model: String,
    /// Of the int8 encoder.
    kernel: Option<&'static str>,
    texts: String,
    documents: usize,
    tokens_per_document: f64,
    speeds: Vec<Speed>,
    stages: Stages,
    peak: Option<Peak>,
}

/// Medians over the rounds.
#[derive(Debug, Serialize)]
struct Speed {
    threads: usize,
    documents_per_second: f64,
    tokens_per_second: f64,
    lowest_tokens_per_second: f64,
    highest_tokens_per_second: f64,
}

/// Shares of one thread's time, 0 to 1.
#[derive(Debug, Default, Serialize)]
struct Stages {
    read: f64,
    tokenize: f64,
    encode: f64,
    heads: f64,
    write: f64,
}

/// The encoder against what the core's 8-bit products can do at most.
#[derive(Debug, Serialize)]
struct Peak {
    /// 8-bit operations per second of one core, by the probe.
    operations_per_second: f64,
    /// Those of the products with weights.
    operations_per_token: f64,
    /// While the encoder runs on one thread.
    encoder_tokens_per_second: f64,
    share: f64,
}

pub(super) fn run(arguments: &BenchArgs) -> anyhow::Result<ExitStatus> {
    let machine = Machine::open(&arguments.run)?;
    let (texts, inputs) = texts(&arguments.inputs)?;
    let seconds = Duration::from_secs(arguments.seconds);
    let (stages, encoder_rate, tokens) = stages(&machine, &inputs, seconds)?;
    let most = machine.options.threads.get();
    let mut counts: Vec<usize> = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|&n| n < most).collect();
    counts.push(most);
    let mut rounds = vec![Vec::new(); counts.len()];
    for _ in 0..arguments.rounds.get() {
        for (&threads, rates) in counts.iter().zip(&mut rounds) {
            rates.push(throughput(&machine, &inputs, threads, seconds)?);
        }
    }
    // Other numbers than int8's are named by the engine's suffix.
    let kernel = machine.engines.tag_suffix().is_empty().then_some(machine.kernel);
    let report = Report {
        program: concat!("stancewire ", env!("CARGO_PKG_VERSION")),
        model: machine.tag(),
        kernel: kernel.map(Kernel::name),
        texts,
        documents: inputs.len(),
        tokens_per_document: tokens as f64 / inputs.len() as f64,
        speeds: counts.into_iter().zip(rounds).map(|(threads, rates)| speed(threads, rates)).collect(),
        stages,
        peak: kernel.map(|kernel| peak(kernel, machine.model.config(), encoder_rate)),
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).context("figures are JSON")? + "\n"
    } else {
        render(&report)?
    };
    closed_pipe_is_success(io::stdout().write_all(text.as_bytes()))
}

/// What is measured with, and its name.
fn texts(paths: &[PathBuf]) -> anyhow::Result<(String, Vec<Input>)> {
    if paths.is_empty() {
        return Ok(("the built-in mix".to_owned(), built_in()));
    }
    let name = paths.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let sources = discover(&Discovery { arguments: paths.to_vec(), ..Discovery::default() })?;
    let mut all = Vec::new();
    let mut collect = |mut input| {
        Preparation::default().apply(&mut input);
        all.push(input);
        ControlFlow::Continue(())
    };
    read_documents(&sources, &ReadOptions::default(), &BytesRead::default(), &mut collect);
    let found = all.len();
    let is_text = |input: &Input| input.error.is_none() && !input.document.text.trim().is_empty();
    let inputs: Vec<Input> = all.into_iter().filter(is_text).collect();
    anyhow::ensure!(!inputs.is_empty(), "no text to measure with in {name}");
    if inputs.len() < found {
        tell(&format!("{} documents without a text are left out", found - inputs.len()));
    }
    Ok((name, inputs))
}

/// Every story, its headline as a feed item, and two long texts of all stories.
fn built_in() -> Vec<Input> {
    let headline = |story: &str| story.lines().next().unwrap_or_default().to_owned();
    let reversed: Vec<&str> = STORIES.into_iter().rev().collect();
    let stories = STORIES.iter().map(|s| (*s).to_owned());
    let texts = stories.chain(STORIES.map(headline)).chain([STORIES.join("\n\n"), reversed.join("\n\n")]);
    texts.map(|text| Input::text(Document { text, ..Document::default() })).collect()
}

/// Documents and tokens per second of the whole pipeline.
fn throughput(machine: &Machine, inputs: &[Input], threads: usize, time: Duration) -> anyhow::Result<(f64, f64)> {
    let mut plan = machine.plan(Preparation::default());
    plan.options.threads = NonZeroUsize::new(threads).context("at least one thread")?;
    let output = OutputOptions { model: machine.tag(), min_confidence: 0.0, with_text: false };
    let start = Instant::now();
    let endless = inputs.iter().cycle().take_while(|_| start.elapsed() < time).cloned();
    let (mut documents, mut tokens) = (0, 0);
    let read = |push: &mut Push<'_>| _ = (0..).zip(endless).try_for_each(|(number, input)| push(number, input));
    pipeline::run(read, &plan, CopyPolicy::Ignore, |record| {
        documents += 1;
        tokens += record.tokens;
        write_line(&mut io::sink(), &record_line(&record, &output))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok((f64::from(documents) / seconds, tokens as f64 / seconds))
}

fn speed(threads: usize, mut rates: Vec<(f64, f64)>) -> Speed {
    rates.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (documents_per_second, tokens_per_second) = rates[rates.len() / 2];
    Speed {
        threads,
        documents_per_second,
        tokens_per_second,
        lowest_tokens_per_second: rates[0].1,
        highest_tokens_per_second: rates[rates.len() - 1].1,
    }
}

/// Takes the documents through one stage after the other, on one thread; returns the stages' shares, the encoder's tokens
/// per second, and the tokens of all documents.
fn stages(machine: &Machine, inputs: &[Input], time: Duration) -> anyhow::Result<(Stages, f64, usize)> {
    let lines: Vec<u8> = inputs
        .iter()
        .flat_map(|input| {
            let mut line = serde_json::json!({ "text": input.document.text }).to_string();
            line.push('\n');
            line.into_bytes()
        })
        .collect();
    let output = OutputOptions { model: machine.tag(), min_confidence: 0.0, with_text: false };
    let Machine { model, heads, engines, options, .. } = machine;
    let mut analyzer = Analyzer::new(Arc::clone(model), Arc::clone(heads), engines.open()?, options.batch_tokens);
    let (mut read, mut write, mut tokens, mut all) = (Duration::ZERO, Duration::ZERO, 0, 0);
    let read_options = ReadOptions { kind: Some(Kind::Jsonl), ..ReadOptions::default() };
    let start = Instant::now();
    while start.elapsed() < time || all == 0 {
        let reading = Instant::now();
        let mut again = Vec::new();
        read_bytes("bench", &lines, &read_options, &mut |mut input| {
            Preparation::default().apply(&mut input);
            again.push(input);
            ControlFlow::Continue(())
        });
        read += reading.elapsed();
        for group in again.chunks(GROUP) {
            let analyses = analyzer.analyze(group);
            let writing = Instant::now();
            for (input, analysis) in group.iter().zip(analyses) {
                tokens += analysis.tokens;
                let document = input.document.clone();
                let record = Record { document, outcome: analysis.outcome, ..Record::default() };
                write_line(&mut io::sink(), &record_line(&record, &output))?;
            }
            write += writing.elapsed();
        }
        if all == 0 {
            all = tokens;
        }
    }
    let times = analyzer.times();
    let total = (read + times.tokenize + times.encode + times.heads + write).as_secs_f64();
    let share = |time: Duration| time.as_secs_f64() / total;
    let stages = Stages {
        read: share(read),
        tokenize: share(times.tokenize),
        encode: share(times.encode),
        heads: share(times.heads),
        write: share(write),
    };
    Ok((stages, tokens as f64 / times.encode.as_secs_f64(), all))
}

fn peak(kernel: Kernel, config: &EncoderConfig, encoder_tokens_per_second: f64) -> Peak {
    let (width, inner) = (config.hidden_size as f64, config.intermediate_size as f64);
    let operations_per_token = 2.0 * config.num_hidden_layers as f64 * (4.0 * width * width + 2.0 * width * inner);
    let operations_per_second = probe::peak_operations(kernel, PROBE);
    let share = encoder_tokens_per_second * operations_per_token / operations_per_second;
    Peak { operations_per_second, operations_per_token, encoder_tokens_per_second, share }
}

fn render(report: &Report) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let kernel = report.kernel.map(|k| format!(", kernel {k}")).unwrap_or_default();
    writeln!(out, "{}, {}{kernel}", report.program, report.model)?;
    let (documents, tokens) = (report.documents, report.tokens_per_document);
    writeln!(out, "{}: {documents} documents, {tokens:.0} tokens each\n", report.texts)?;
    writeln!(out, "threads  documents/s  tokens/s  lowest – highest  times one thread")?;
    for s in &report.speeds {
        let times = s.tokens_per_second / report.speeds[0].tokens_per_second;
        let range = format!("{:.0} – {:.0}", s.lowest_tokens_per_second, s.highest_tokens_per_second);
        let (threads, documents, tokens) = (s.threads, s.documents_per_second, s.tokens_per_second);
        writeln!(out, "{threads:>7}  {documents:>11.1}  {tokens:>8.0}  {range:>16}  {times:>16.2}")?;
    }
    let Stages { read, tokenize, encode, heads, write } = report.stages;
    writeln!(out, "\none thread's time:")?;
    for (name, share) in
        [("read", read), ("tokenize", tokenize), ("encode", encode), ("heads", heads), ("write", write)]
    {
        writeln!(out, "{name:>10}  {:>5.1} %", 100.0 * share)?;
    }
    if let Some(peak) = &report.peak {
        writeln!(
            out,
            "\nencoder: {:.0} tokens/s on one thread, {:.1} million 8-bit operations a token in products with weights;\n\
             one core's peak: {:.0} billion a second (probe); {:.0} % of it reached",
            peak.encoder_tokens_per_second,
            peak.operations_per_token / 1e6,
            peak.operations_per_second / 1e9,
            100.0 * peak.share
        )?;
    }
    Ok(out)
}
