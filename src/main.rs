//! The `stancewire` program: parse, run, exit status.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use stancewire::cli::Cli;
use stancewire::command::{self, ExitStatus};

fn main() -> ExitCode {
    let status = command::run(Cli::parse()).unwrap_or_else(|error| {
        // When even standard error is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitStatus::Error
    });
    status.into()
}
