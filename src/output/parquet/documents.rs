//! Records → the columns of `documents`, one row per document.
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `document` | int64 | the document's place in the run, from 0 |
//! | `id`, `source`, `status` | string | as in the record |
//! | `error_kind`, `error_message` | string or null | `error` of the record |
//! | `warnings` | list of strings | as in the record |
//! | `title` | string or null | as in the record |
//! | `date` | date or null | the day of `published`; null if there is none or outside the years 1583 to 9999 |
//! | `published` | string or null | the record's `date`, which may have a time |
//! | `url`, `language` | string or null | as in the record |
//! | `chars` | int64 | as in the record |
//! | `text` | string or null | null unless asked for |
//! | `duplicate_of` | string or null | as in the record |
//! | `meta` | string | an object in JSON |
//! | `companies` | int32 | how many |
//! | `model` | string | as in the record |

use std::io;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{Date32Builder, Int32Builder, Int64Builder, LargeStringBuilder};

use super::{Columns, StringLists, push_day, signed};
use crate::output::record_line::RecordLine;

#[derive(Default)]
pub(super) struct Documents {
    document: Int64Builder,
    id: LargeStringBuilder,
    source: LargeStringBuilder,
    status: LargeStringBuilder,
    error_kind: LargeStringBuilder,
    error_message: LargeStringBuilder,
    warnings: StringLists,
    title: LargeStringBuilder,
    date: Date32Builder,
    published: LargeStringBuilder,
    url: LargeStringBuilder,
    language: LargeStringBuilder,
    chars: Int64Builder,
    text: LargeStringBuilder,
    duplicate_of: LargeStringBuilder,
    meta: LargeStringBuilder,
    companies: Int32Builder,
    model: LargeStringBuilder,
}

impl Columns for Documents {
    fn push(&mut self, number: i64, line: &RecordLine) -> io::Result<()> {
        let chars = signed(line.chars)?;
        let companies = i32::try_from(line.companies.len()).map_err(io::Error::other)?;
        let meta = serde_json::to_string(&line.meta)?;
        self.document.append_value(number);
        self.id.append_value(&line.id);
        self.source.append_value(&line.source);
        self.status.append_value(line.status.name());
        self.error_kind.append_option(line.error.as_ref().map(|e| &e.kind));
        self.error_message.append_option(line.error.as_ref().map(|e| &e.message));
        self.warnings.push(&line.warnings);
        self.title.append_option(line.title.as_ref());
        push_day(&mut self.date, line.date.as_deref());
        self.published.append_option(line.date.as_ref());
        self.url.append_option(line.url.as_ref());
        self.language.append_option(line.language.as_ref());
        self.chars.append_value(chars);
        self.text.append_option(line.text.as_ref());
        self.duplicate_of.append_option(line.duplicate_of.as_ref());
        self.meta.append_value(meta);
        self.companies.append_value(companies);
        self.model.append_value(&line.model);
        Ok(())
    }

    fn waiting(&self) -> usize {
        [&self.title, &self.text, &self.meta].iter().map(|s| s.values_slice().len()).sum()
    }

    fn take(&mut self) -> io::Result<Vec<(&'static str, ArrayRef, bool)>> {
        Ok(vec![
            ("document", Arc::new(self.document.finish()), false),
            ("id", Arc::new(self.id.finish()), false),
            ("source", Arc::new(self.source.finish()), false),
            ("status", Arc::new(self.status.finish()), false),
            ("error_kind", Arc::new(self.error_kind.finish()), true),
            ("error_message", Arc::new(self.error_message.finish()), true),
            ("warnings", self.warnings.take(), false),
            ("title", Arc::new(self.title.finish()), true),
            ("date", Arc::new(self.date.finish()), true),
            ("published", Arc::new(self.published.finish()), true),
            ("url", Arc::new(self.url.finish()), true),
            ("language", Arc::new(self.language.finish()), true),
            ("chars", Arc::new(self.chars.finish()), false),
            ("text", Arc::new(self.text.finish()), true),
            ("duplicate_of", Arc::new(self.duplicate_of.finish()), true),
            ("meta", Arc::new(self.meta.finish()), false),
            ("companies", Arc::new(self.companies.finish()), false),
            ("model", Arc::new(self.model.finish()), false),
        ])
    }
}
