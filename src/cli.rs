//! What was typed: the command line, nothing resolved.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::engine::kernel::Kernel;
use crate::output::store::PART_DOCUMENTS;
use crate::output::target::Form;
use crate::reader::Kind;

/// Finds the companies in English news texts and says, for each, whether its business has halted, is suspended or continues.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "stancewire",
    version,
    after_help = "Exit status: 0 nothing failed; 1 a document failed or exceeded a limit; 2 could not run, or not to the end; 130 interrupted. With --strict, 1 as soon as a document is lost."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program's tasks.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Read texts and write one record per text.
    Extract(Box<ExtractArgs>),
    /// Join the outputs of all shards of a run.
    Merge(MergeArgs),
    /// Print the JSON Schema of a record.
    Schema,
    /// Score records against gold annotation.
    Eval(EvalArgs),
    /// Measure how fast this machine runs the model.
    Bench(BenchArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `stancewire extract`
#[derive(Clone, Debug, Args)]
pub struct ExtractArgs {
    /// Files, folders (searched for files with names of documents), patterns, or `-` for standard input
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// File with the names of further input files, one a line or ended by NUL; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,
    /// What the inputs hold, whatever their names; inside archives, what their members hold
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<Kind>,
    /// Shape of the result [default: what the name of the output says; a table on a terminal, records otherwise]
    #[arg(long, alias = "format", value_enum, value_name = "FORM")]
    pub to: Option<Form>,
    /// Write to FILE, which appears when it is complete; .gz and .zst compress it
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Let --output replace an existing file, and begin an interrupted run anew unless --resume goes on with it
    #[arg(long, requires = "output")]
    pub overwrite: bool,
    /// Go on with an interrupted run into the same output
    #[arg(long, requires = "output")]
    pub resume: bool,
    /// Write a line of JSON to FILE for every document that was skipped or failed
    #[arg(long, value_name = "FILE")]
    pub errors: Option<PathBuf>,
    /// Stop at the first document that fails or exceeds a limit
    #[arg(long)]
    pub strict: bool,
    /// Process one part of the documents, as `3/16`; `stancewire merge` joins the outputs
    #[arg(long, value_name = "I/N", requires = "output")]
    pub shard: Option<Shard>,
    /// What to do with texts that were seen before in the run
    #[arg(long, value_enum, default_value_t = Duplicates::Annotate)]
    pub duplicates: Duplicates,
    /// Analyse texts in other languages too
    #[arg(long)]
    pub any_language: bool,
    /// Mark companies `uncertain` whose confidence is below P; their stance stays
    #[arg(long, value_name = "P", default_value_t = 0.5, value_parser = probability)]
    pub min_confidence: f64,
    /// Add the analysed text to each record
    #[arg(long)]
    pub with_text: bool,
    /// Skip documents larger than this many bytes (K, M or G may follow); 0 lifts the limit
    #[arg(long, value_name = "N", default_value = "16M", value_parser = byte_count)]
    pub max_bytes: u64,
    /// Skip what becomes more than N times as large when it is decompressed, beyond 64M; 0 lifts the limit
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_ratio: u64,
    /// Name of the field or column with the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub text_field: String,
    /// Name of the field with the title
    #[arg(long, value_name = "NAME", default_value = "title")]
    pub title_field: String,
    /// Name of the field with the id
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub id_field: String,
    /// Name of the field with the date
    #[arg(long, value_name = "NAME", default_value = "date")]
    pub date_field: String,
    /// Name of the field with the address
    #[arg(long, value_name = "NAME", default_value = "url")]
    pub url_field: String,
    /// Other fields to keep in the record's `meta`, separated by commas; `*` for all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub keep: Vec<String>,
    /// Colour in the readable view
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    pub color: Colour,
    /// How to tell how far the run is
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
    /// No progress, no summary; errors are still reported
    #[arg(short, long)]
    pub quiet: bool,
    /// Documents of a part of the output
    #[arg(long, value_name = "N", hide = true, default_value_t = NonZeroUsize::new(PART_DOCUMENTS).expect("not 0"))]
    pub part_documents: NonZeroUsize,
    /// How to run the model.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `stancewire merge`
#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// Outputs of all shards of a run in JSON Lines, each with the `.shard` file beside it
    #[arg(value_name = "SHARD", required = true)]
    pub shards: Vec<PathBuf>,
    /// Write to FILE, in the form that its name says
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Form of the output
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: Option<Form>,
    /// Let --output replace an existing file
    #[arg(long)]
    pub overwrite: bool,
    /// Write a line of JSON to FILE for every document that was skipped or failed
    #[arg(long, value_name = "FILE")]
    pub errors: Option<PathBuf>,
    /// No summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// One of so many parts of the documents of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if 1 <= number && number <= of => Ok(Shard { number, of }),
            _ => Err("a part such as 1/16, up to 16/16, is needed".to_owned()),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// What becomes of texts that were seen before in the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Duplicates {
    /// Their records name the first one in `duplicate_of`
    Annotate,
    /// They are skipped
    Drop,
    /// Nobody looks
    Ignore,
}

/// How a run tells how far it is, on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A bar if that is a terminal
    Auto,
    /// A bar
    Bar,
    /// A line every ten seconds
    Log,
    /// Not at all
    None,
}

/// `stancewire eval`
#[derive(Clone, Debug, Args)]
pub struct EvalArgs {
    /// Annotated documents in JSON Lines, as corpus/markup.py writes them
    #[arg(value_name = "GOLD")]
    pub gold: PathBuf,
    /// Records to score; without it the model is run on the gold texts
    #[arg(value_name = "PRED")]
    pub predictions: Option<PathBuf>,
    /// Print all figures as JSON
    #[arg(long)]
    pub json: bool,
    /// Training documents, to report companies that they do not name apart
    #[arg(long, value_name = "FILE")]
    pub train: Option<PathBuf>,
    /// How many of the worst errors of each kind to list
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub worst: usize,
    /// How to run the model.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `stancewire bench`
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Texts to measure with, as `extract` reads them; without one, a mix of feed items, stories and long texts that is built in
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Seconds of each measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Measurements of each number of threads, in turn; their median is reported
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(3).expect("not 0"))]
    pub rounds: NonZeroUsize,
    /// Print all figures as JSON
    #[arg(long)]
    pub json: bool,
    /// How to run the model; `--threads` is the largest number that is measured.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Options of every command that runs the model.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Folder of a model to use instead of the one inside the program
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Worker threads [default: one per physical core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// What runs the encoder
    #[arg(long, value_enum, default_value_t = EngineName::Embedded)]
    pub engine: EngineName,
    /// Where the torch engine runs: `cpu`, `cuda`, or `cuda:N`
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
    /// Numbers that the encoder computes in [default: int8; torch: f32]
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,
    /// Instructions of the int8 encoder [default: the CPU's best]; changes speed, never the records
    #[arg(long, value_enum)]
    pub kernel: Option<Kernel>,
    /// Most tokens that go through the encoder together; changes speed and memory, never the records
    #[arg(long, value_name = "N", hide = true)]
    pub batch_tokens: Option<usize>,
}

/// What runs the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// The program's own, on the CPU
    Embedded,
    /// rust-bert on libtorch, also on a GPU; needs a build with the feature `torch`
    Torch,
}

/// Numbers that an encoder computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 8-bit integers: the embedded engine; the same records on every CPU
    Int8,
    /// Single precision: slower, the reference
    F32,
    /// bfloat16: torch, where the device has it
    Bf16,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn probability(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

fn byte_count(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        unit => return Err(format!("`{unit}` is no unit; use K, M or G")),
    };
    let number: u64 = digits.parse().map_err(|_| "a whole number is needed".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(byte_count("16M"), Ok(16 << 20));
        assert_eq!(byte_count("2kib"), Ok(2048));
        assert_eq!(byte_count("0"), Ok(0));
        assert!(byte_count("M").is_err() && byte_count("1T").is_err() && byte_count("99999999999G").is_err());
        assert!(probability("1.5").is_err() && probability("nan").is_err());
        assert_eq!(probability("0.7"), Ok(0.7));
    }

    #[test]
    fn shards_count_from_one() {
        assert_eq!("3/16".parse(), Ok(Shard { number: 3, of: 16 }));
        assert_eq!(Shard { number: 3, of: 16 }.to_string(), "3/16");
        for bad in ["0/4", "5/4", "4", "a/b", "1/0", "-1/2", ""] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
