//! Documents in, records out, in input order: the only thread pool, and what bounds memory.
//!
//! A reader thread cuts the input into groups of documents; rayon workers analyse groups, each worker with its own
//! engine; the calling thread puts records back into input order. A fixed number of groups is in flight, counted from
//! reading to writing, so that a slow worker or a slow disk holds up the reader and memory stays flat.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::analysis::{Analysis, Analyzer, Heads};
use crate::document::{DocumentError, Input};
use crate::engine::model_file::Model;
use crate::engine::{EngineError, EngineSource};
use crate::record::{Outcome, Record};

/// Bytes of text per token, about; a group of documents should fill a batch.
const BYTES_PER_TOKEN: usize = 4;
/// Fewest bytes of text after which a group of documents is complete: some 2,000 tokens, a fraction of a second of work.
const MIN_GROUP_BYTES: usize = 8 * 1024;
/// Most documents of a group for every KiB of its text, however short they are.
const DOCUMENTS_PER_KIB: usize = 8;
/// Groups in flight per worker.
const GROUPS_PER_WORKER: usize = 4;

/// How a run uses the machine. Records do not depend on it.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// Most tokens of a batch.
    pub batch_tokens: usize,
}

/// Why a run could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E> {
    /// The thread pool could not be made.
    #[error("cannot start {threads} worker threads")]
    Threads {
        /// As asked.
        threads: usize,
        /// What the pool said.
        source: rayon::ThreadPoolBuildError,
    },
    /// An engine could not be opened.
    #[error("cannot open the engine")]
    Engine(#[from] EngineError),
    /// The sink refused a record; reading has stopped.
    #[error(transparent)]
    Sink(E),
}

/// Documents that one worker takes at once, with their place in the input.
struct Group {
    number: usize,
    inputs: Vec<Input>,
}

/// Analyses `inputs` and hands one record per input to `sink`, in input order.
///
/// A document that makes the analysis panic yields a `failed` record, not the end of the run.
///
/// # Errors
///
/// [`RunError`] if the run cannot start, or with the first error of `sink`.
pub fn run<E>(
    inputs: impl Iterator<Item = Input> + Send,
    model: &Arc<Model>,
    heads: &Arc<Heads>,
    engines: &dyn EngineSource,
    options: RunOptions,
    mut sink: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), RunError<E>> {
    let threads = options.threads.get();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|at| format!("worker-{at}"))
        .build()
        .map_err(|source| RunError::Threads { threads, source })?;
    let open = |_| {
        let engine = engines.open()?;
        Ok(Mutex::new(Analyzer::new(Arc::clone(model), Arc::clone(heads), engine, options.batch_tokens)))
    };
    let analyzers = (0..threads).map(open).collect::<Result<Vec<_>, EngineError>>()?;
    let (permits, returned) = sync_channel(threads * GROUPS_PER_WORKER);
    let (finished, results) = channel();
    let stop = AtomicBool::new(false);
    let (analyzers, stop) = (&analyzers, &stop);
    pool.in_place_scope(|workers| {
        thread::scope(|threads| {
            threads.spawn(move || {
                let group_bytes = MIN_GROUP_BYTES.max(options.batch_tokens.saturating_mul(BYTES_PER_TOKEN));
                for group in groups(inputs, group_bytes, &permits, stop) {
                    let finished = finished.clone();
                    workers.spawn(move |_| work(group, analyzers, &finished));
                }
            });
            // By value: should the sink panic, the reader must find the other end of its permits gone.
            write_in_order(results, returned, stop, &mut sink)
        })
    })
    .map_err(RunError::Sink)
}

/// Groups of consecutive inputs; each waits for a permit before it is read.
fn groups(
    inputs: impl Iterator<Item = Input>,
    group_bytes: usize,
    permits: &SyncSender<()>,
    stop: &AtomicBool,
) -> impl Iterator<Item = Group> {
    let mut inputs = inputs.fuse();
    let mut number = 0;
    std::iter::from_fn(move || {
        permits.send(()).ok()?;
        let (mut group, mut bytes) = (Vec::new(), 0);
        let most = group_bytes / 1024 * DOCUMENTS_PER_KIB;
        while bytes < group_bytes && group.len() < most && !stop.load(Ordering::Relaxed) {
            let Some(input) = inputs.next() else { break };
            bytes += input.document.text.len();
            group.push(input);
        }
        number += 1;
        (!group.is_empty()).then_some(Group { number: number - 1, inputs: group })
    })
}

fn work(group: Group, analyzers: &[Mutex<Analyzer>], finished: &Sender<(usize, Vec<Record>)>) {
    let worker = rayon::current_thread_index().expect("groups are analysed by the pool's threads");
    // A poisoned lock means that a document panicked; an analyzer keeps nothing from one call to the next.
    let mut analyzer = analyzers[worker].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut analyze = |inputs: &[Input]| catch_unwind(AssertUnwindSafe(|| analyzer.analyze(inputs)));
    let analyses = analyze(&group.inputs).unwrap_or_else(|_| {
        let mut alone = |input: &Input| analyze(std::slice::from_ref(input)).ok().and_then(|mut all| all.pop());
        group.inputs.iter().map(|input| alone(input).unwrap_or_else(panicked)).collect()
    });
    let records = group.inputs.into_iter().zip(analyses).map(|(input, analysis)| Record {
        document: input.document,
        outcome: analysis.outcome,
        tokens: analysis.tokens,
    });
    // The receiver is gone when the sink has failed; then nobody wants the records.
    let _ = finished.send((group.number, records.collect()));
}

fn panicked() -> Analysis {
    let message = "the analysis panicked; this is a defect of the program, please report the text".to_owned();
    Analysis { outcome: Outcome::Error(DocumentError { kind: "internal", message, skipped: false }), tokens: 0 }
}

fn write_in_order<E>(
    results: Receiver<(usize, Vec<Record>)>,
    returned: Receiver<()>,
    stop: &AtomicBool,
    sink: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut outcome = Ok(());
    // Ends when the reader and all workers have dropped their senders.
    for (number, records) in results {
        early.insert(number, records);
        while let Some(records) = early.remove(&next) {
            next += 1;
            // Every group has taken a permit; this frees it for the reader.
            let _ = returned.recv();
            for record in records {
                if outcome.is_ok() {
                    outcome = sink(record);
                    stop.store(outcome.is_err(), Ordering::Relaxed);
                }
            }
        }
    }
    outcome
}
