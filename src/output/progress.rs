//! A progress bar on standard error, for a person who waits.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::reader::BytesRead;

/// Documents and tokens per second, and the time left by the share of bytes read.
pub struct Progress {
    bar: ProgressBar,
    read: BytesRead,
    documents: usize,
    tokens: usize,
}

impl Progress {
    /// A bar over `total_bytes` of input, or a spinner when that is unknown; nothing at all unless `shown`.
    #[must_use]
    pub fn new(total_bytes: Option<u64>, read: BytesRead, shown: bool) -> Self {
        let bar = match total_bytes {
            Some(total) => ProgressBar::new(total).with_style(style("{bar:30} {percent}%  {msg}  {eta} left")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        };
        bar.set_draw_target(if shown { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() });
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress { bar, read, documents: 0, tokens: 0 }
    }

    /// Counts one finished document.
    pub fn advance(&mut self, tokens: usize) {
        self.documents += 1;
        self.tokens += tokens;
        if self.bar.is_hidden() {
            return;
        }
        let seconds = self.bar.elapsed().as_secs_f64().max(1e-3);
        let rate = |count: usize| count as f64 / seconds;
        self.bar.set_position(self.read.get());
        self.bar.set_message(format!(
            "{} documents  {:.1} documents/s  {:.0} tokens/s",
            self.documents,
            rate(self.documents),
            rate(self.tokens)
        ));
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
