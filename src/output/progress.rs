//! How far a run is, on standard error: a bar for a person who waits, or lines for a log.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::reader::BytesRead;

/// Time between two lines of a log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A bar.
    Bar,
    /// Lines.
    Log,
    /// Nothing.
    Nothing,
}

/// Documents and tokens per second, and the time left by the share of bytes read.
pub struct Progress {
    bar: ProgressBar,
    shown: Shown,
    total_bytes: Option<u64>,
    read: BytesRead,
    start: Instant,
    /// When the last line was due.
    logged: Instant,
    documents: usize,
    tokens: usize,
}

impl Progress {
    /// Of a run over `total_bytes` of input, if that is known.
    #[must_use]
    pub fn new(total_bytes: Option<u64>, read: BytesRead, shown: Shown) -> Self {
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total).with_style(style("{bar:30} {percent}%  {msg}  {eta} left")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        };
        let is_bar = shown == Shown::Bar;
        bar.set_draw_target(if is_bar { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() });
        if is_bar {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        let start = Instant::now();
        Progress { bar, shown, total_bytes, read, start, logged: start, documents: 0, tokens: 0 }
    }

    /// Counts one finished document; the line to log now, if one is due.
    pub fn advance(&mut self, tokens: usize) -> Option<String> {
        self.documents += 1;
        self.tokens += tokens;
        match self.shown {
            Shown::Nothing => None,
            Shown::Bar => {
                self.bar.set_position(self.read.get());
                self.bar.set_message(self.rates());
                None
            }
            Shown::Log if self.logged.elapsed() < LOG_EVERY => None,
            Shown::Log => {
                self.logged = Instant::now();
                Some(self.line())
            }
        }
    }

    fn rates(&self) -> String {
        let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
        let rate = |count: usize| count as f64 / seconds;
        format!(
            "{} documents  {:.1} documents/s  {:.0} tokens/s",
            self.documents,
            rate(self.documents),
            rate(self.tokens)
        )
    }

    fn line(&self) -> String {
        let Some(total) = self.total_bytes.filter(|total| *total > 0) else { return self.rates() };
        let share = (self.read.get() as f64 / total as f64).clamp(1e-9, 1.0);
        let left = self.start.elapsed().mul_f64((1.0 - share) / share);
        format!("{}  {:.1}% read  {} left", self.rates(), 100.0 * share, HumanDuration(left))
    }

    /// Takes the bar off the screen while `print` writes to the terminal.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar off the screen for good.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of this file")
}
