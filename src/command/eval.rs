//! `stancewire eval`: records against gold annotation.

use super::ExitStatus;
use crate::cli::EvalArgs;

pub(super) fn run(_arguments: &EvalArgs) -> anyhow::Result<ExitStatus> {
    anyhow::bail!("pending")
}
