//! `stancewire merge`: the outputs of all shards of a run → the output of the run.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use super::{ExitStatus, tell};
use crate::cli::{MergeArgs, Shard};
use crate::copies::{Copies, Fingerprint, Sighting};
use crate::output::manifest::Manifest;
use crate::output::record_line::{ErrorLine, RecordLine, Status};
use crate::output::store::{Opened, ShardHead, Store, StoreOptions, shard_file};
use crate::output::summary::Summary;
use crate::output::target::{Form, Target};
use crate::output::trace::{Origin, Trace};
use crate::pipeline::dropped_copy;
use crate::reader::open_decompressed;

pub(super) fn run(arguments: &MergeArgs) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let mut shards = arguments.shards.iter().map(|path| ShardReader::open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    check_set(&shards)?;
    let ShardHead { total, manifest, .. } = shards[0].head.clone();
    let option = |name: &str| manifest.options.get(name).map(String::as_str).unwrap_or_default();
    let target = Target::of(&arguments.output, arguments.to)?;
    let part_documents =
        option("--part-documents").parse().context("the shards do not say how large their parts are")?;
    let duplicates = option("--duplicates").to_owned();
    anyhow::ensure!(target.form != Form::Table, "merge writes records, not a view");
    let errors = arguments.errors.clone();
    let options = StoreOptions { target, part_documents, resume: false, overwrite: arguments.overwrite, errors };
    let whole = Manifest { shard: None, merges: true, ..manifest };
    let Opened::Store(mut store) = Store::open(&arguments.output, &whole, &[], options)? else {
        anyhow::bail!("`{}` is complete", arguments.output.display());
    };
    let mut copies = Copies::new(store.folder().to_owned());
    let mut summary = Summary::default();
    for number in 0..total {
        let shard = shards.iter_mut().find(|shard| shard.next.as_ref().is_some_and(|trace| trace.number == number));
        let shard = shard.with_context(|| format!("document {number} of {total} is in none of the shards"))?;
        let (trace, mut line) = shard.take()?;
        if let Some(text) = trace.text.filter(|_| duplicates != "ignore") {
            let sighting = copies.look_up(text, &line.id).context("cannot look for copies")?;
            mark(&mut line, sighting, duplicates == "drop");
        }
        summary.add_line(&line, trace.tokens);
        store
            .push(Origin::from(&trace), &line)
            .with_context(|| format!("cannot write `{}`", arguments.output.display()))?;
    }
    if let Some(shard) = shards.iter().find(|shard| shard.next.is_some()) {
        anyhow::bail!("`{}` has documents that another shard has too", shard.path.display());
    }
    store.finish(&whole, total)?;
    if !arguments.quiet {
        tell(&format!("{summary}; {} shards, {:.1} s", shards.len(), start.elapsed().as_secs_f64()));
    }
    Ok(if summary.has_losses() { ExitStatus::Losses } else { ExitStatus::Success })
}

/// Says of a record what its text is among those of all shards.
fn mark(line: &mut RecordLine, sighting: Sighting, drops: bool) {
    let Sighting::Copy { of } = sighting else {
        line.duplicate_of = None;
        return;
    };
    if drops {
        let error = dropped_copy(&of);
        line.status = Status::Skipped;
        line.error = Some(ErrorLine { kind: error.kind.to_owned(), message: error.message });
        line.companies.clear();
    }
    line.duplicate_of = Some(of);
}

/// Refuses shards that are not all shards of one run.
fn check_set(shards: &[ShardReader]) -> anyhow::Result<()> {
    let first = &shards[0];
    let of = first.shard.of;
    for shard in shards {
        let head = &shard.head;
        let name = shard.path.display();
        // Each may be compressed in its own way.
        let bare = |head: &ShardHead| {
            let mut manifest = head.manifest.clone();
            manifest.options.remove("--to");
            manifest
        };
        let mut differences = bare(head).differences(&bare(&first.head));
        if shard.shard.of != of {
            differences.push(format!("shard {} is not one of {of}", shard.shard));
        }
        if head.inputs != first.head.inputs || head.total != first.head.total {
            differences.push("other inputs".to_owned());
        }
        if !differences.is_empty() {
            anyhow::bail!(
                "`{name}` and `{}` are of different runs:\n  {}",
                first.path.display(),
                differences.join("\n  ")
            );
        }
    }
    let mut numbers: Vec<u64> = shards.iter().map(|shard| shard.shard.number).collect();
    numbers.sort_unstable();
    let missing: Vec<String> =
        (1..=of).filter(|number| !numbers.contains(number)).map(|n| format!("{n}/{of}")).collect();
    anyhow::ensure!(missing.is_empty(), "shards are missing: {}", missing.join(", "));
    anyhow::ensure!(numbers.len() as u64 == of, "a shard is named twice");
    Ok(())
}

/// The records of one shard with their traces.
struct ShardReader {
    path: PathBuf,
    head: ShardHead,
    shard: Shard,
    records: Lines<Box<dyn BufRead>>,
    traces: Lines<BufReader<File>>,
    /// The trace of the next record.
    next: Option<Trace>,
}

impl ShardReader {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let traces_path = shard_file(path);
        let file = File::open(&traces_path).with_context(|| {
            format!("cannot open `{}`, which `extract --shard` writes beside its output", traces_path.display())
        })?;
        let mut traces = BufReader::new(file).lines();
        let head = traces.next().context("no line")?;
        let head: ShardHead =
            serde_json::from_str(&head?).with_context(|| format!("`{}` tells of no shard", traces_path.display()))?;
        let shard = head.shard.parse().map_err(anyhow::Error::msg)?;
        let records = open_decompressed(path).with_context(|| format!("cannot open `{}`", path.display()))?.lines();
        let mut reader = ShardReader { path: path.to_owned(), head, shard, records, traces, next: None };
        reader.advance()?;
        Ok(reader)
    }

    fn advance(&mut self) -> anyhow::Result<()> {
        let damaged = || format!("`{}` is damaged", shard_file(&self.path).display());
        self.next = match self.traces.next() {
            None => None,
            Some(line) => Some(serde_json::from_str(&line.with_context(damaged)?).with_context(damaged)?),
        };
        Ok(())
    }

    /// The next record and its trace, which there must be.
    fn take(&mut self) -> anyhow::Result<(Trace, RecordLine)> {
        let trace = self.next.take().context("there is a next record")?;
        let unlike = || {
            format!("`{}` is not the output that `{}` tells of", self.path.display(), shard_file(&self.path).display())
        };
        let json = self.records.next().with_context(unlike)?.with_context(unlike)?;
        anyhow::ensure!(trace.line == Fingerprint::of(&[json.as_bytes()]), unlike());
        let line = serde_json::from_str(&json).with_context(unlike)?;
        self.advance()?;
        Ok((trace, line))
    }
}
