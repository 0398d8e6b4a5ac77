//! What was typed → what is done: options resolved, model loaded, the run's exit status.

mod bench;
mod eval;
mod extract;
mod interrupt;
mod merge;
mod sink;

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::CommandFactory;

use crate::analysis::Heads;
use crate::cli::{Cli, Colour, Command, EngineName, Precision, RunArgs};
use crate::engine::EngineSource;
use crate::engine::float::F32Source;
use crate::engine::int8::Int8Source;
use crate::engine::kernel::Kernel;
use crate::engine::model_file::Model;
use crate::output::record_schema;
use crate::pipeline::{Plan, RunOptions};
use crate::prepare::Preparation;

/// How a run ended, for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// Nothing failed; also when the reader of our output has gone.
    Success,
    /// A document failed or exceeded a limit.
    Losses,
    /// The program could not run, or not to the end.
    Error,
    /// Somebody stopped it.
    Interrupted,
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Success => 0.into(),
            ExitStatus::Losses => 1.into(),
            ExitStatus::Error => 2.into(),
            ExitStatus::Interrupted => 130.into(),
        }
    }
}

/// Does what the command line asks.
///
/// # Errors
///
/// Whatever keeps the command from running at all, for a person to read.
pub fn run(cli: Cli) -> anyhow::Result<ExitStatus> {
    match cli.command {
        Command::Extract(arguments) => extract::run(&arguments),
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Schema => {
            let schema = format!("{:#}\n", record_schema());
            closed_pipe_is_success(io::stdout().write_all(schema.as_bytes()))
        }
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stancewire", &mut script);
            closed_pipe_is_success(io::stdout().write_all(&script))
        }
    }
}

/// A loaded model with its heads and engine.
struct Machine {
    model: Arc<Model>,
    heads: Arc<Heads>,
    engines: Box<dyn EngineSource>,
    /// Of the heads, and of the encoder in int8.
    kernel: Kernel,
    options: RunOptions,
}

impl Machine {
    fn open(arguments: &RunArgs) -> anyhow::Result<Self> {
        let model = match &arguments.model {
            Some(folder) => {
                Model::open(folder).with_context(|| format!("cannot use the model in `{}`", folder.display()))?
            }
            None => Model::embedded().context("the model inside the program is damaged")?,
        };
        let model = Arc::new(model);
        let kernel = arguments.kernel.unwrap_or_else(Kernel::best);
        let engines = open_engines(arguments, kernel, &model)?;
        let heads = Arc::new(Heads::read(&model, kernel)?);
        let threads = arguments.threads.unwrap_or_else(cores);
        let batch_tokens = arguments.batch_tokens.unwrap_or_else(|| engines.batch_tokens());
        Ok(Machine { model, heads, engines, kernel, options: RunOptions { threads, batch_tokens } })
    }

    /// How texts are analysed on it.
    fn plan(&self, preparation: Preparation) -> Plan<'_> {
        let Machine { model, heads, engines, options, .. } = self;
        Plan { model, heads, engines: engines.as_ref(), options: *options, preparation }
    }

    /// The tag of the model and of what makes its numbers differ from the default engine's.
    fn tag(&self) -> String {
        self.model.tag() + self.engines.tag_suffix()
    }
}

/// Physical cores that this process may use: the vector units of two threads on one core are the same.
fn cores() -> NonZeroUsize {
    let allowed = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(num_cpus::get_physical()).map_or(allowed, |physical| allowed.min(physical))
}

fn open_engines(arguments: &RunArgs, kernel: Kernel, model: &Arc<Model>) -> anyhow::Result<Box<dyn EngineSource>> {
    if arguments.engine == EngineName::Torch {
        if arguments.kernel.is_some() {
            anyhow::bail!("--kernel is for the embedded engine");
        }
        return open_torch(arguments, model);
    }
    if arguments.device != "cpu" || arguments.precision == Some(Precision::Bf16) {
        anyhow::bail!("--device and bf16 are for the torch engine\nhint: add `--engine torch`");
    }
    match arguments.precision {
        Some(Precision::F32) if arguments.kernel.is_some() => {
            anyhow::bail!("--kernel is for the int8 encoder\nhint: leave `--precision f32` out")
        }
        Some(Precision::F32) => Ok(Box::new(F32Source::new(model)?)),
        _ => Ok(Box::new(Int8Source::new(model, kernel)?)),
    }
}

#[cfg(feature = "torch")]
fn open_torch(arguments: &RunArgs, model: &Arc<Model>) -> anyhow::Result<Box<dyn EngineSource>> {
    use crate::engine::torch::{TorchPrecision, TorchSource};
    let precision = match arguments.precision {
        None | Some(Precision::F32) => TorchPrecision::F32,
        Some(Precision::Bf16) => TorchPrecision::Bf16,
        Some(Precision::Int8) => anyhow::bail!("int8 is for the embedded engine; torch computes in f32 or bf16"),
    };
    Ok(Box::new(TorchSource::new(model, &arguments.device, precision)?))
}

#[cfg(not(feature = "torch"))]
fn open_torch(_: &RunArgs, _: &Arc<Model>) -> anyhow::Result<Box<dyn EngineSource>> {
    anyhow::bail!(
        "this program was built without the torch engine\nhint: in the project's folder, run \
         `scripts/setup-libtorch && cargo build --release --features torch`"
    )
}

/// Output that nobody reads any more is no failure.
fn closed_pipe_is_success(result: io::Result<()>) -> anyhow::Result<ExitStatus> {
    match result {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitStatus::Success),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// A line on standard error. When even that is closed there is nobody to tell.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

fn wants_colour(colour: Colour, terminal: bool) -> bool {
    match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// The inputs as typed; none means standard input, if something is piped in.
fn inputs(typed: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    if !typed.is_empty() {
        return Ok(typed.to_vec());
    }
    if io::stdin().is_terminal() {
        anyhow::bail!(
            "no input\nhint: name files or folders, or pipe a text in; `stancewire extract --help` tells more"
        );
    }
    Ok(vec![PathBuf::from("-")])
}
