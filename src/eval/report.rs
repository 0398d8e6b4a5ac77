//! An evaluation → tables for a person, within 100 columns.

use std::fmt::Write;

use super::figures::{Figures, Ratio};
use super::worst::{Error, ErrorKind};
use super::{Evaluation, Slice};
use crate::record::Stance;

/// The whole report.
#[must_use]
pub fn render(evaluation: &Evaluation) -> String {
    let figures = &evaluation.figures;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!(
        "{} documents ({} without a record, {} records of unknown documents, {} bad offsets)",
        figures.documents, figures.missing, evaluation.unknown_predictions, figures.bad_offsets
    ));
    line(String::new());
    line(format!("{:<38}{:>7}   {:<17}{:>10}{:>10}", "", "F1", "95 %", "precision", "recall"));
    let interval = |name: &str| {
        let bounds = evaluation.intervals.get(name);
        bounds.map_or(String::new(), |i| format!("{:.3} – {:.3}", i.low, i.high))
    };
    let ratio = |name: &str, ratio: &Ratio, key: &str| {
        format!("{name:<38}{:>7.3}   {:<17}{:>10.3}{:>10.3}", ratio.f1, interval(key), ratio.p, ratio.r)
    };
    let single = |name: &str, value: f64, key: &str| format!("{name:<38}{value:>7.3}   {}", interval(key));
    line(ratio("companies found", &figures.company_detection, "company_f1"));
    line(ratio("mentions, both ends right", &figures.mention_exact, "mention_f1"));
    for stance in Stance::ALL {
        let of_stance = &figures.end_to_end_by_stance[stance.name()];
        line(ratio(&format!("end to end, {}", stance.name()), of_stance, ""));
    }
    line(single("end to end, mean of stances", figures.end_to_end_macro_f1, "end_to_end_macro_f1"));
    line(single("end to end, all companies", figures.end_to_end_micro_f1, "end_to_end_micro_f1"));
    line(single("end to end, without silent", figures.end_to_end_active_f1, "end_to_end_active_f1"));
    let given = figures.stance_given_match_macro_f1;
    line(single("stance of a found company, mean", given, "stance_given_match_macro_f1"));
    line(ratio("evidence sentences", &figures.evidence, "evidence_f1"));
    line(single("documents wholly right", figures.documents_fully_right, "documents_fully_right"));
    line(single("calibration error", figures.ece, "ece"));
    line(single("calibration error, spurious counted", figures.ece_all, ""));
    let compared = figures.markets_compared;
    line(format!("{:<38}{:>7.3}   of {compared} companies", "markets hold the gold market", figures.markets_right));
    line(String::new());
    out.push_str(&confusion(figures));
    out.push_str(&reliability(figures));
    out.push_str(&slices(&evaluation.slices));
    out.push_str(&worst(&evaluation.worst));
    out
}

fn confusion(figures: &Figures) -> String {
    let columns = ["halted", "suspended", "continuing", "silent", "missed"];
    let mut out = format!("{:<14}", "gold \\ record");
    for column in columns {
        let _ = write!(out, "{column:>12}");
    }
    out.push('\n');
    for row in ["halted", "suspended", "continuing", "silent", "spurious"] {
        let _ = write!(out, "{row:<14}");
        for column in columns {
            let count = figures.confusion.get(&format!("{row}>{column}")).copied().unwrap_or(0);
            let cell = if (row, column) == ("spurious", "missed") { String::new() } else { count.to_string() };
            let _ = write!(out, "{cell:>12}");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out + "\n"
}

fn reliability(figures: &Figures) -> String {
    let mut out = format!("{:<14}{:>12}{:>12}{:>12}{:>12}\n", "confidence", "companies", "mean", "right", "spurious");
    for bin in figures.reliability.iter().filter(|b| b.count + b.spurious > 0) {
        let range = format!("{:.1} – {:.1}", bin.from, bin.from + 0.1);
        let (mean, right) = (bin.confidence, bin.accuracy);
        let _ = writeln!(out, "{range:<14}{:>12}{mean:>12.3}{right:>12.3}{:>12}", bin.count, bin.spurious);
    }
    out + "\n"
}

fn slices(slices: &[Slice]) -> String {
    let heads = ["found", "mentions", "end to end", "micro", "stance", "evidence", "ece"];
    let mut out = format!("{:<18}{:>6}{:>8}", "slice", "texts", "gold");
    for head in heads {
        let _ = write!(out, "{head:>11}");
    }
    out.push('\n');
    for slice in slices {
        let f = &slice.figures;
        let of_companies = slice.name.ends_with("companies");
        let _ = write!(out, "{:<18}{:>6}{:>8}", slice.name, f.documents, slice.companies);
        let values = [
            Some(if of_companies { f.company_detection.r } else { f.company_detection.f1 }),
            (!of_companies).then_some(f.mention_exact.f1),
            Some(f.end_to_end_macro_f1),
            Some(f.end_to_end_micro_f1),
            Some(f.stance_given_match_macro_f1),
            (!of_companies).then_some(f.evidence.f1),
            Some(f.ece),
        ];
        for value in values {
            let cell = value.map_or("–".to_owned(), |v| format!("{v:.3}"));
            let _ = write!(out, "{cell:>11}");
        }
        out.push('\n');
    }
    if slices.iter().any(|s| s.name.ends_with("companies")) {
        out.push_str("(by companies: spurious ones belong to no part; `found` is recall there)\n");
    }
    out + "\n"
}

fn worst(errors: &[Error]) -> String {
    let mut out = String::new();
    for (kind, title) in [
        (ErrorKind::WrongStance, "wrong stance, most confident first"),
        (ErrorKind::Spurious, "no company, most confident first"),
        (ErrorKind::Missed, "companies not found"),
    ] {
        let of_kind: Vec<&Error> = errors.iter().filter(|e| e.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{title}");
        for error in of_kind {
            let name = |stance: Option<Stance>| stance.map_or("–", Stance::name);
            let (gold, predicted) = (name(error.gold), name(error.predicted));
            let _ = writeln!(out, "  {}  {}: {gold} → {predicted} {:.2}", error.id, error.company, error.confidence);
            for (label, sentence) in [("gold", &error.gold_sentence), ("record", &error.predicted_sentence)] {
                if let Some(sentence) = sentence {
                    let _ =
                        writeln!(out, "      {label}: {}", sentence.split_whitespace().collect::<Vec<_>>().join(" "));
                }
            }
        }
        out.push('\n');
    }
    out
}
