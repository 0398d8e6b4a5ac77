//! Documents in, records out, in input order: the only thread pool, and what bounds memory.
//!
//! A reader thread pushes numbered inputs into a bounded queue. Each worker, with an engine of its own, takes a group of
//! them, prepares their texts, waits for its turn to ask which texts have been seen before, analyses the others and hands
//! the group on; the calling thread puts groups back into input order. A fixed number of groups is in flight, counted from
//! taking to writing, so that a slow worker or a slow disk holds up the reader and memory stays flat. A group is whatever
//! has arrived: nobody waits for one to fill.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::analysis::{Analysis, Analyzer, Heads};
use crate::copies::{Copies, Fingerprint, REMEMBERED, Recent, Sighting};
use crate::document::{DocumentError, Form, Input};
use crate::engine::model_file::Model;
use crate::engine::{EngineError, EngineSource};
use crate::prepare::Preparation;
use crate::record::{Outcome, Record};

/// Bytes of text per token, about; a group of documents should fill a batch.
const BYTES_PER_TOKEN: usize = 4;
/// Fewest bytes of text after which a group of documents is complete: some 2,000 tokens, a fraction of a second of work.
const MIN_GROUP_BYTES: usize = 8 * 1024;
/// Most documents of a group for every KiB of its text, however short they are.
const DOCUMENTS_PER_KIB: usize = 8;
/// A page's text is about this part of it.
const TEXT_OF_A_PAGE: usize = 16;
/// Groups in flight per worker.
const GROUPS_PER_WORKER: usize = 4;
/// Inputs that wait for a worker, per worker.
const INPUTS_PER_WORKER: usize = 4;
/// How long a group waits for one more input.
const PATIENCE: Duration = Duration::from_millis(20);

/// How a run uses the machine. Records do not depend on it.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// Most tokens of a batch.
    pub batch_tokens: usize,
}

/// What becomes of texts that have been seen before in the run.
#[derive(Debug, Default)]
pub enum CopyPolicy {
    /// Nobody looks.
    #[default]
    Ignore,
    /// They are marked with the id of the first.
    Annotate(Copies),
    /// They are passed over.
    Drop(Copies),
}

/// What runs, and how.
pub struct Plan<'p> {
    /// The model.
    pub model: &'p Arc<Model>,
    /// Its heads.
    pub heads: &'p Arc<Heads>,
    /// One engine for each worker comes from here.
    pub engines: &'p dyn EngineSource,
    /// How the machine is used.
    pub options: RunOptions,
    /// What is done to texts first.
    pub preparation: Preparation,
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
    /// Which texts have been seen before cannot be told any more.
    #[error("cannot tell which texts have been seen before")]
    Copies(#[source] io::Error),
    /// A worker panicked outside the analysis of a document.
    #[error("a worker panicked; this is a defect of the program, please report it")]
    Worker,
    /// An engine could not be opened.
    #[error("cannot open the engine")]
    Engine(#[from] EngineError),
    /// The sink refused a record; reading has stopped.
    #[error(transparent)]
    Sink(E),
}

/// Takes an input and its place among all documents, which must rise; `Break` asks the reader to stop.
pub type Push<'p> = dyn FnMut(u64, Input) -> ControlFlow<()> + 'p;

/// Analyses what `read` pushes and hands one record per input to `sink`, in input order.
///
/// A document that makes the analysis panic yields a `failed` record, not the end of the run.
///
/// # Errors
///
/// [`RunError`] if the run cannot start, or with the first error of `sink`.
pub fn run<E>(
    read: impl FnOnce(&mut Push<'_>) + Send,
    plan: &Plan<'_>,
    copies: CopyPolicy,
    mut sink: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), RunError<E>> {
    let RunOptions { threads, batch_tokens } = plan.options;
    let threads = threads.get();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|at| format!("worker-{at}"))
        .build()
        .map_err(|source| RunError::Threads { threads, source })?;
    let open = |_| {
        let engine = plan.engines.open()?;
        Ok(Mutex::new(Analyzer::new(Arc::clone(plan.model), Arc::clone(plan.heads), engine, batch_tokens)))
    };
    let analyzers = (0..threads).map(open).collect::<Result<Vec<_>, EngineError>>()?;
    let (pushed, taken) = sync_channel(threads * INPUTS_PER_WORKER);
    let (permits, returned) = sync_channel(threads * GROUPS_PER_WORKER);
    let (finished, results) = channel();
    let work = Work {
        queue: Mutex::new(Queue { inputs: Some(taken), permits, groups: 0 }),
        group_bytes: MIN_GROUP_BYTES.max(batch_tokens.saturating_mul(BYTES_PER_TOKEN)),
        preparation: plan.preparation,
        looks_for_copies: !matches!(copies, CopyPolicy::Ignore),
        turn: Mutex::new(Turn { next: 0, copies, recent: Recent::default() }),
        turned: Condvar::new(),
        stop: AtomicBool::new(false),
    };
    let (work, analyzers) = (&work, &analyzers);
    pool.in_place_scope(|workers| {
        workers.spawn_broadcast(move |_, worker| {
            let analyzer = &analyzers[worker.index()];
            while let Some(group) = work.take() {
                let number = group.number;
                let analyzed = catch_unwind(AssertUnwindSafe(|| work.analyze(group, analyzer)));
                let records = analyzed.unwrap_or_else(|_| {
                    work.pass(number);
                    Err(Fatal::Worker)
                });
                // The receiver is gone when the sink has panicked; then nobody wants the records.
                let _ = finished.send(Finished { group: number, records });
            }
        });
        thread::scope(|threads| {
            threads.spawn(move || {
                read(&mut |number, input| {
                    let is_wanted = !work.stop.load(Ordering::Relaxed) && pushed.send((number, input)).is_ok();
                    if is_wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
            });
            // Both ends by value: should the sink panic, workers must find the other end of their permits gone.
            write_in_order(results, returned, work, &mut sink)
        })
    })
}

/// Documents that one worker takes at once.
struct Group {
    /// Its place in the input.
    number: u64,
    inputs: Vec<(u64, Input)>,
}

/// What a worker hands on.
struct Finished {
    group: u64,
    records: Result<Vec<(Record, Option<u64>)>, Fatal>,
}

/// Why the run cannot go on.
enum Fatal {
    Copies(io::Error),
    Worker,
}

/// Inputs that have been read, and the right to take them.
struct Queue {
    /// `None` once nobody wants records any more, so that the reader finds it gone.
    inputs: Option<Receiver<(u64, Input)>>,
    permits: SyncSender<()>,
    groups: u64,
}

/// What groups do one after the other.
struct Turn {
    next: u64,
    copies: CopyPolicy,
    recent: Recent,
}

/// What workers share.
struct Work {
    queue: Mutex<Queue>,
    group_bytes: usize,
    preparation: Preparation,
    looks_for_copies: bool,
    turn: Mutex<Turn>,
    turned: Condvar,
    stop: AtomicBool,
}

/// A document on its way through a worker.
struct Prepared {
    input: Input,
    /// Of the input as it was read.
    read: Fingerprint,
    /// What its text is to others; `None` where there is nothing to compare.
    fingerprints: Option<(Fingerprint, Fingerprint)>,
    copy_of: Option<String>,
    /// The document whose result is this one's too.
    same_as: Option<u64>,
}

impl Work {
    /// The next group, once there is room for it; `None` when everything has been read.
    fn take(&self) -> Option<Group> {
        let mut queue = lock(&self.queue);
        if queue.permits.send(()).is_err() {
            queue.inputs = None;
        }
        let arrived = queue.inputs.as_ref()?;
        let first = arrived.recv().ok()?;
        let (mut bytes, most) = (text_bytes(&first.1), self.group_bytes / 1024 * DOCUMENTS_PER_KIB);
        let mut inputs = vec![first];
        let patient_until = Instant::now() + PATIENCE;
        while bytes < self.group_bytes && inputs.len() < most {
            match arrived.recv_timeout(patient_until.saturating_duration_since(Instant::now())) {
                Ok(input) => {
                    bytes += text_bytes(&input.1);
                    inputs.push(input);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        queue.groups += 1;
        Some(Group { number: queue.groups - 1, inputs })
    }

    /// The group's records, each with the document whose result is its own too.
    fn analyze(&self, group: Group, analyzer: &Mutex<Analyzer>) -> Result<Vec<(Record, Option<u64>)>, Fatal> {
        let numbers: Vec<u64> = group.inputs.iter().map(|(number, _)| *number).collect();
        let mut documents: Vec<Prepared> = group.inputs.into_iter().map(|(_, input)| self.prepare(input)).collect();
        self.look_for_copies(group.number, &numbers, &mut documents).map_err(Fatal::Copies)?;
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let fresh: Vec<Input> =
            documents.iter_mut().filter(|d| d.same_as.is_none()).map(|d| std::mem::take(&mut d.input)).collect();
        // A poisoned lock means that a document panicked; an analyzer keeps nothing from one call to the next.
        let mut analyzer = lock(analyzer);
        let mut analyze = |inputs: &[Input]| catch_unwind(AssertUnwindSafe(|| analyzer.analyze(inputs)));
        let analyses = analyze(&fresh).unwrap_or_else(|_| {
            let mut alone = |input: &Input| analyze(std::slice::from_ref(input)).ok().and_then(|mut all| all.pop());
            fresh.iter().map(|input| alone(input).unwrap_or_else(panicked)).collect()
        });
        let mut analyzed = fresh.into_iter().zip(analyses);
        let records = documents.into_iter().zip(numbers).map(|(document, number)| {
            let Prepared { input, read, fingerprints, copy_of, same_as } = document;
            let (input, Analysis { outcome, tokens }) = match same_as {
                Some(_) => (input, Analysis { outcome: Outcome::Empty, tokens: 0 }),
                None => analyzed.next().expect("one analysis for each document that is no copy"),
            };
            let text = fingerprints.map(|(normal, _)| normal);
            let record =
                Record { number, document: input.document, outcome, read, text, duplicate_of: copy_of, tokens };
            (record, same_as)
        });
        Ok(records.collect())
    }

    fn prepare(&self, mut input: Input) -> Prepared {
        let read = Fingerprint::of_input(&input);
        if catch_unwind(AssertUnwindSafe(|| self.preparation.apply(&mut input))).is_err() {
            let message = "reading the text panicked; this is a defect of the program, please report the document";
            input.error = Some(DocumentError::failed("internal", message));
            input.document.text.clear();
        }
        let text = &input.document.text;
        let is_text = self.looks_for_copies && input.error.is_none();
        let normal = if is_text { Fingerprint::of_text(text) } else { None };
        // Places in a title count too, where the input names one.
        let title = input.document.title.as_deref().unwrap_or_default();
        let fingerprints = normal.map(|normal| (normal, Fingerprint::of(&[title.as_bytes(), text.as_bytes()])));
        Prepared { input, read, fingerprints, copy_of: None, same_as: None }
    }

    /// Waits until all groups before this one have looked, and looks.
    fn look_for_copies(&self, group: u64, numbers: &[u64], documents: &mut [Prepared]) -> io::Result<()> {
        if !self.looks_for_copies {
            return Ok(());
        }
        let waiting = self.turned.wait_while(lock(&self.turn), |turn| turn.next < group);
        let mut turn = waiting.unwrap_or_else(PoisonError::into_inner);
        let looked = documents.iter_mut().zip(numbers).try_for_each(|(document, &number)| turn.look(number, document));
        drop(turn);
        self.pass(group);
        looked
    }

    /// Lets the groups after this one look.
    fn pass(&self, group: u64) {
        let mut turn = lock(&self.turn);
        turn.next = turn.next.max(group + 1);
        drop(turn);
        self.turned.notify_all();
    }
}

impl Turn {
    fn look(&mut self, number: u64, document: &mut Prepared) -> io::Result<()> {
        let Some((normal, exact)) = document.fingerprints else { return Ok(()) };
        let (copies, drops) = match &mut self.copies {
            CopyPolicy::Ignore => return Ok(()),
            CopyPolicy::Annotate(copies) => (copies, false),
            CopyPolicy::Drop(copies) => (copies, true),
        };
        let own = &document.input.document;
        let sighting = copies.look_up(normal, own.id.as_deref().unwrap_or(&own.source))?;
        if let Sighting::Copy { of } = sighting {
            if drops {
                document.input.error = Some(dropped_copy(&of));
            }
            document.copy_of = Some(of);
        }
        if !drops || document.copy_of.is_none() {
            document.same_as = self.recent.same_as(number, exact);
        }
        Ok(())
    }
}

/// Why a copy was passed over.
#[must_use]
pub fn dropped_copy(original: &str) -> DocumentError {
    DocumentError::skipped("duplicate", format!("the same text as `{original}`"))
}

fn text_bytes(input: &Input) -> usize {
    let bytes = input.document.text.len();
    if input.form == Form::Html { bytes / TEXT_OF_A_PAGE } else { bytes }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panicked() -> Analysis {
    let message = "the analysis panicked; this is a defect of the program, please report the text";
    Analysis { outcome: Outcome::Error(DocumentError::failed("internal", message)), tokens: 0 }
}

fn write_in_order<E>(
    results: Receiver<Finished>,
    returned: Receiver<()>,
    work: &Work,
    sink: &mut impl FnMut(Record) -> Result<(), E>,
) -> Result<(), RunError<E>> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    let mut kept = Results::default();
    let mut outcome = Ok(());
    // Ends when all workers have dropped their senders.
    for Finished { group, records } in results {
        early.insert(group, records);
        while let Some(records) = early.remove(&next) {
            next += 1;
            // Every group has taken a permit; this frees it for a worker.
            let _ = returned.recv();
            if outcome.is_ok() {
                outcome = match records {
                    Err(Fatal::Copies(error)) => Err(RunError::Copies(error)),
                    Err(Fatal::Worker) => Err(RunError::Worker),
                    Ok(records) => records.into_iter().try_for_each(|(mut record, same_as)| {
                        if work.looks_for_copies {
                            kept.complete(&mut record, same_as);
                        }
                        sink(record).map_err(RunError::Sink)
                    }),
                };
                work.stop.store(outcome.is_err(), Ordering::Relaxed);
            }
        }
    }
    outcome
}

/// Results of the last documents, for copies of them.
#[derive(Default)]
struct Results(VecDeque<(u64, Outcome)>);

impl Results {
    /// Gives a copy its original's result, or keeps the record's for copies to come.
    fn complete(&mut self, record: &mut Record, same_as: Option<u64>) {
        if let Some(original) = same_as {
            let at = self.0.binary_search_by_key(&original, |(number, _)| *number);
            let at = at.expect("the results of the last documents are kept, and no older ones are referred to");
            record.outcome = self.0[at].1.clone();
            return;
        }
        while self.0.front().is_some_and(|(number, _)| number + (REMEMBERED as u64) < record.number) {
            self.0.pop_front();
        }
        self.0.push_back((record.number, record.outcome.clone()));
    }
}
