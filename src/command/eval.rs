//! `stancewire eval`: records, or the model on the gold texts, against gold annotation.

use std::io::{self, Write};

use anyhow::Context;

use super::{ExitStatus, Machine, closed_pipe_is_success};
use crate::cli::EvalArgs;
use crate::document::{Document, Input};
use crate::eval::{
    EvalOptions, GoldDocument, KnownNames, Prediction, evaluate, predictions_from_lines, read_gold, read_predictions,
    render,
};
use crate::output::{OutputOptions, record_line, write_line};
use crate::pipeline::{self, CopyPolicy, Push};
use crate::prepare::Preparation;

pub(super) fn run(arguments: &EvalArgs) -> anyhow::Result<ExitStatus> {
    let gold = read_gold(&arguments.gold)?;
    let known = arguments.train.as_deref().map(KnownNames::read).transpose()?;
    let predictions = match &arguments.predictions {
        Some(path) => read_predictions(path)?,
        None => predict(&gold, &Machine::open(&arguments.run)?)?,
    };
    let evaluation = evaluate(&gold, &predictions, &EvalOptions { known, worst: arguments.worst });
    let text = if arguments.json {
        serde_json::to_string_pretty(&evaluation).context("figures are JSON")? + "\n"
    } else {
        render(&evaluation)
    };
    closed_pipe_is_success(io::stdout().write_all(text.as_bytes()))
}

/// The records that `extract` would write of the gold texts.
fn predict(gold: &[GoldDocument], machine: &Machine) -> anyhow::Result<Vec<Prediction>> {
    let options = OutputOptions { model: machine.tag(), min_confidence: 0.0, with_text: false };
    let inputs = gold.iter().map(|g| {
        let title = g.title.clone().filter(|t| g.text.starts_with(t.as_str()));
        Input::text(Document { id: Some(g.id.clone()), title, text: g.text.clone(), ..Document::default() })
    });
    let mut lines = Vec::new();
    let read = |push: &mut Push<'_>| _ = (0..).zip(inputs).try_for_each(|(number, input)| push(number, input));
    pipeline::run(read, &machine.plan(Preparation::default()), CopyPolicy::Ignore, |record| {
        write_line(&mut lines, &record_line(&record, &options))
    })?;
    predictions_from_lines(&lines).context("a record of this program cannot be read back")
}
