//! Ctrl-C: the first asks to stop, the second stops. Other signals end the program as ever; what is done is kept.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::tell;

/// Whether somebody has asked the run to stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let interrupt = Interrupt::default();
        let asked = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            tell("stopping when the documents in flight are done and the input yields; once more stops at once");
        })
        .map_err(io::Error::other)
        .context("cannot listen for signals")?;
        Ok(interrupt)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
