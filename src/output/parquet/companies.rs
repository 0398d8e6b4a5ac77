//! Records → the columns of `companies`, one row per company of a document.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `document` | int64 | the document's place in the run, from 0 |
//! | `id`, `source`, `date`, `duplicate_of` | | as in `documents` |
//! | `key`, `name` | string | as in the record |
//! | `aliases` | list of strings | as in the record |
//! | `stance` | string | `halted`, `suspended`, `continuing` or `silent` |
//! | `confidence` | double | as in the record |
//! | `uncertain` | boolean | as in the record |
//! | `halted`, `suspended`, `continuing`, `silent` | double | `probabilities` of the record |
//! | `markets` | list of strings | as in the record |
//! | `mentions` | list of {`start` int64, `end` int64, `text` string} | as in the record |
//! | `evidence` | the same with `stance` string, `confidence` double | as in the record |

use std::io;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, LargeStringBuilder};

use super::{Columns, StringLists, push_day, signed, struct_lists};
use crate::output::record_line::{CompanyLine, EvidenceLine, MentionLine, RecordLine};

#[derive(Default)]
pub(super) struct Companies {
    document: Int64Builder,
    id: LargeStringBuilder,
    source: LargeStringBuilder,
    date: Date32Builder,
    duplicate_of: LargeStringBuilder,
    key: LargeStringBuilder,
    name: LargeStringBuilder,
    aliases: StringLists,
    stance: LargeStringBuilder,
    confidence: Float64Builder,
    uncertain: BooleanBuilder,
    halted: Float64Builder,
    suspended: Float64Builder,
    continuing: Float64Builder,
    silent: Float64Builder,
    markets: StringLists,
    mentions: Mentions,
    evidence: Evidence,
}

impl Companies {
    fn push_company(&mut self, number: i64, line: &RecordLine, company: &CompanyLine) -> io::Result<()> {
        self.document.append_value(number);
        self.id.append_value(&line.id);
        self.source.append_value(&line.source);
        push_day(&mut self.date, line.date.as_deref());
        self.duplicate_of.append_option(line.duplicate_of.as_ref());
        self.key.append_value(&company.key);
        self.name.append_value(&company.name);
        self.aliases.push(&company.aliases);
        self.stance.append_value(company.stance.name());
        self.confidence.append_value(company.confidence);
        self.uncertain.append_value(company.uncertain);
        self.halted.append_value(company.probabilities.halted);
        self.suspended.append_value(company.probabilities.suspended);
        self.continuing.append_value(company.probabilities.continuing);
        self.silent.append_value(company.probabilities.silent);
        self.markets.push(&company.markets);
        self.mentions.push(&company.mentions)?;
        self.evidence.push(&company.evidence)
    }
}

impl Columns for Companies {
    fn push(&mut self, number: i64, line: &RecordLine) -> io::Result<()> {
        line.companies.iter().try_for_each(|company| self.push_company(number, line, company))
    }

    fn waiting(&self) -> usize {
        [&self.id, &self.source, &self.mentions.spans.text, &self.evidence.spans.text]
            .iter()
            .map(|s| s.values_slice().len())
            .sum()
    }

    fn take(&mut self) -> io::Result<Vec<(&'static str, ArrayRef, bool)>> {
        Ok(vec![
            ("document", Arc::new(self.document.finish()), false),
            ("id", Arc::new(self.id.finish()), false),
            ("source", Arc::new(self.source.finish()), false),
            ("date", Arc::new(self.date.finish()), true),
            ("duplicate_of", Arc::new(self.duplicate_of.finish()), true),
            ("key", Arc::new(self.key.finish()), false),
            ("name", Arc::new(self.name.finish()), false),
            ("aliases", self.aliases.take(), false),
            ("stance", Arc::new(self.stance.finish()), false),
            ("confidence", Arc::new(self.confidence.finish()), false),
            ("uncertain", Arc::new(self.uncertain.finish()), false),
            ("halted", Arc::new(self.halted.finish()), false),
            ("suspended", Arc::new(self.suspended.finish()), false),
            ("continuing", Arc::new(self.continuing.finish()), false),
            ("silent", Arc::new(self.silent.finish()), false),
            ("markets", self.markets.take(), false),
            ("mentions", self.mentions.take()?, false),
            ("evidence", self.evidence.take()?, false),
        ])
    }
}

/// Spans of the text, the items of all lists one after the other.
#[derive(Default)]
struct Spans {
    start: Int64Builder,
    end: Int64Builder,
    text: LargeStringBuilder,
}

impl Spans {
    fn push(&mut self, start: u64, end: u64, text: &str) -> io::Result<()> {
        self.start.append_value(signed(start)?);
        self.end.append_value(signed(end)?);
        self.text.append_value(text);
        Ok(())
    }

    fn take(&mut self) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("start", Arc::new(self.start.finish())),
            ("end", Arc::new(self.end.finish())),
            ("text", Arc::new(self.text.finish())),
        ]
    }
}

#[derive(Default)]
struct Mentions {
    lengths: Vec<usize>,
    spans: Spans,
}

impl Mentions {
    fn push(&mut self, mentions: &[MentionLine]) -> io::Result<()> {
        self.lengths.push(mentions.len());
        mentions.iter().try_for_each(|m| self.spans.push(m.start, m.end, &m.text))
    }

    fn take(&mut self) -> io::Result<ArrayRef> {
        struct_lists(&mut self.lengths, self.spans.take())
    }
}

#[derive(Default)]
struct Evidence {
    lengths: Vec<usize>,
    spans: Spans,
    stance: LargeStringBuilder,
    confidence: Float64Builder,
}

impl Evidence {
    fn push(&mut self, evidence: &[EvidenceLine]) -> io::Result<()> {
        self.lengths.push(evidence.len());
        for sentence in evidence {
            self.spans.push(sentence.start, sentence.end, &sentence.text)?;
            self.stance.append_value(sentence.stance.name());
            self.confidence.append_value(sentence.confidence);
        }
        Ok(())
    }

    fn take(&mut self) -> io::Result<ArrayRef> {
        let mut columns = self.spans.take();
        columns.push(("stance", Arc::new(self.stance.finish())));
        columns.push(("confidence", Arc::new(self.confidence.finish())));
        struct_lists(&mut self.lengths, columns)
    }
}
