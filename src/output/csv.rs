//! Records → CSV, one row per company.
//!
//! UTF-8 without mark, lines end in `\n`, quotes only where a cell needs them. A document without companies has no row.
//! In order:
//!
//! | column | meaning |
//! |---|---|
//! | `document` | the document's place in the run, from 0 |
//! | `id`, `source` | as in the record |
//! | `date` | the day of `published`; empty if there is none or outside the years 1583 to 9999 |
//! | `published` | the record's `date`, which may have a time |
//! | `title`, `url`, `language`, `duplicate_of` | as in the record; empty for null |
//! | `key`, `name`, `aliases` | of the company |
//! | `stance`, `confidence`, `uncertain` | `uncertain` is `true` or `false` |
//! | `halted`, `suspended`, `continuing`, `silent` | probabilities |
//! | `markets` | a list |
//! | `mentions` | how many |
//! | `first_mention_start`, `first_mention_end` | code points of the analysed text, end exclusive |
//! | `evidence` | the sentences, a list |
//! | `evidence_start`, `evidence_end`, `evidence_confidence` | lists, an item for each sentence |
//! | `model` | as in the record |
//!
//! The items of a list are joined by ` | `. Inside an item `|` is written as `\|` and `\` as `\\`, so a `|` without a
//! backslash always parts two items.
//!
//! Cells are exact: nothing is put before a value that begins with `=`, `+`, `-` or `@`, which a spreadsheet may take
//! for a formula; there, import the columns as text. Excel cuts cells at 32,767 characters.

use std::io::{self, Write};

use serde::Serialize;

use super::day::day;
use super::record_line::{CompanyLine, RecordLine};

/// Columns in order, as the fields of [`Row`].
const COLUMNS: [&str; 28] = [
    "document",
    "id",
    "source",
    "date",
    "published",
    "title",
    "url",
    "language",
    "duplicate_of",
    "key",
    "name",
    "aliases",
    "stance",
    "confidence",
    "uncertain",
    "halted",
    "suspended",
    "continuing",
    "silent",
    "markets",
    "mentions",
    "first_mention_start",
    "first_mention_end",
    "evidence",
    "evidence_start",
    "evidence_end",
    "evidence_confidence",
    "model",
];

/// A company of a document.
#[derive(Serialize)]
struct Row<'r> {
    document: u64,
    id: &'r str,
    source: &'r str,
    date: Option<String>,
    published: Option<&'r str>,
    title: Option<&'r str>,
    url: Option<&'r str>,
    language: Option<&'r str>,
    duplicate_of: Option<&'r str>,
    key: &'r str,
    name: &'r str,
    aliases: String,
    stance: &'static str,
    confidence: f64,
    uncertain: bool,
    halted: f64,
    suspended: f64,
    continuing: f64,
    silent: f64,
    markets: String,
    mentions: usize,
    first_mention_start: Option<u64>,
    first_mention_end: Option<u64>,
    evidence: String,
    evidence_start: String,
    evidence_end: String,
    evidence_confidence: String,
    model: &'r str,
}

/// Writes the rows of records, in the order that they come.
pub struct CsvWriter<W: Write> {
    rows: csv::Writer<W>,
    /// The names of the columns are still to be written.
    header: bool,
}

impl<W: Write> CsvWriter<W> {
    /// With `header`, the first line names the columns.
    #[must_use]
    pub fn new(out: W, header: bool) -> Self {
        CsvWriter { rows: csv::WriterBuilder::new().has_headers(false).from_writer(out), header }
    }

    /// Adds the companies of the document with this place in the run.
    ///
    /// # Errors
    ///
    /// Whatever the writer below says.
    pub fn push(&mut self, number: u64, line: &RecordLine) -> io::Result<()> {
        self.write_header()?;
        for company in &line.companies {
            self.rows.serialize(row(number, line, company))?;
        }
        Ok(())
    }

    /// Writes out what is held back.
    ///
    /// # Errors
    ///
    /// Whatever the writer below says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.rows.flush()
    }

    /// Flushes and returns the writer below.
    ///
    /// # Errors
    ///
    /// Whatever the writer below says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_header()?;
        self.rows.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    fn write_header(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.header) {
            self.rows.write_record(COLUMNS)?;
        }
        Ok(())
    }
}

fn row<'r>(number: u64, line: &'r RecordLine, company: &'r CompanyLine) -> Row<'r> {
    let first = company.mentions.first();
    let evidence = &company.evidence;
    Row {
        document: number,
        id: &line.id,
        source: &line.source,
        date: line.date.as_deref().and_then(day).map(|d| d.to_string()),
        published: line.date.as_deref(),
        title: line.title.as_deref(),
        url: line.url.as_deref(),
        language: line.language.as_deref(),
        duplicate_of: line.duplicate_of.as_deref(),
        key: &company.key,
        name: &company.name,
        aliases: list(company.aliases.iter().map(String::as_str)),
        stance: company.stance.name(),
        confidence: company.confidence,
        uncertain: company.uncertain,
        halted: company.probabilities.halted,
        suspended: company.probabilities.suspended,
        continuing: company.probabilities.continuing,
        silent: company.probabilities.silent,
        markets: list(company.markets.iter().map(String::as_str)),
        mentions: company.mentions.len(),
        first_mention_start: first.map(|m| m.start),
        first_mention_end: first.map(|m| m.end),
        evidence: list(evidence.iter().map(|e| e.text.as_str())),
        evidence_start: list(evidence.iter().map(|e| e.start.to_string())),
        evidence_end: list(evidence.iter().map(|e| e.end.to_string())),
        evidence_confidence: list(evidence.iter().map(|e| e.confidence.to_string())),
        model: &line.model,
    }
}

/// Items joined by ` | `, with `\` before every `|` and `\` of their own.
fn list(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut list = String::new();
    for (n, item) in items.enumerate() {
        if n > 0 {
            list.push_str(" | ");
        }
        for c in item.as_ref().chars() {
            if matches!(c, '|' | '\\') {
                list.push('\\');
            }
            list.push(c);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::made_up::{company, record};
    use proptest::prelude::*;

    fn csv_of(lines: &[RecordLine], header: bool) -> String {
        let mut writer = CsvWriter::new(Vec::new(), header);
        for (number, line) in (0..).zip(lines) {
            writer.push(number, line).expect("writes to memory");
        }
        String::from_utf8(writer.finish().expect("writes to memory")).expect("UTF-8")
    }

    /// The items that [`list`] joined.
    fn items(cell: &str) -> Vec<String> {
        let mut items = vec![String::new()];
        let mut chars = cell.chars();
        while let Some(c) = chars.next() {
            let last = items.last_mut().expect("never empty");
            match c {
                '\\' => last.extend(chars.next()),
                '|' => {
                    assert_eq!(last.pop(), Some(' '));
                    assert_eq!(chars.next(), Some(' '));
                    items.push(String::new());
                }
                c => last.push(c),
            }
        }
        items
    }

    #[test]
    fn a_row_for_each_company() {
        let mut line = record("a.jsonl:1");
        line.date = Some("2022-05-09T10:00:00Z".to_owned());
        line.title = Some("Acme, \"for good\"".to_owned());
        line.companies.push(company("Globex"));
        line.companies[1].evidence.clear();
        line.companies[1].mentions.clear();
        line.companies[1].confidence = 1.0;
        let expected = "\
document,id,source,date,published,title,url,language,duplicate_of,key,name,aliases,stance,confidence,uncertain,halted,\
suspended,continuing,silent,markets,mentions,first_mention_start,first_mention_end,evidence,evidence_start,\
evidence_end,evidence_confidence,model
0,a.jsonl:1,a.jsonl:1,2022-05-09,2022-05-09T10:00:00Z,\"Acme, \"\"for good\"\"\",,en,,acme,Acme,Acme Inc | ACM,halted,\
0.9333,true,0.9333,0.0333,0.0,0.0334,Freedonia | Sylvania,2,0,4,Acme left. | It said so.,0 | 11,10 | 22,0.9877 | 0.75,\
toy@1-00000000
0,a.jsonl:1,a.jsonl:1,2022-05-09,2022-05-09T10:00:00Z,\"Acme, \"\"for good\"\"\",,en,,globex,Globex,Globex Inc | ACM,\
halted,1.0,true,0.9333,0.0333,0.0,0.0334,Freedonia | Sylvania,0,,,,,,,toy@1-00000000
";
        assert_eq!(csv_of(&[line.clone()], true), expected);
        let rows = expected.split_once('\n').map(|(_, rows)| rows);
        assert_eq!(Some(csv_of(&[line], false).as_str()), rows);
    }

    #[test]
    fn the_columns_are_the_fields_of_a_row() {
        let line = record("a");
        let row = serde_json::to_value(row(0, &line, &line.companies[0])).expect("JSON");
        let fields: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(fields, COLUMNS);
    }

    #[test]
    fn without_companies_only_the_header() {
        let mut line = record("a");
        line.companies.clear();
        assert_eq!(csv_of(&[line.clone()], true).lines().count(), 1);
        assert_eq!(csv_of(&[], true).lines().count(), 1);
        assert_eq!(csv_of(&[line], false), "");
    }

    #[test]
    fn parts_make_up_the_whole() {
        let lines = [record("a"), record("b")];
        let mut second = CsvWriter::new(Vec::new(), false);
        second.push(1, &lines[1]).expect("writes to memory");
        let second = String::from_utf8(second.finish().expect("writes to memory")).expect("UTF-8");
        assert_eq!(csv_of(&lines[..1], true) + &second, csv_of(&lines, true));
    }

    #[test]
    fn an_error_of_the_writer_below_is_handed_on() {
        let mut full = [0; 100];
        let mut writer = CsvWriter::new(full.as_mut_slice(), true);
        let pushed = writer.push(0, &record("a"));
        let error = pushed.and_then(|()| writer.finish().map(drop)).expect_err("100 bytes are too few");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }

    proptest! {
        #[test]
        fn every_cell_is_read_back(
            title in "(?s).{0,20}",
            sentences in prop::collection::vec("(?s)[ |\\\\\"\r\n,;=\u{0}é👩a]{1,8}", 1..4),
        ) {
            let mut line = record("a");
            line.title = Some(title.clone());
            let evidence = line.companies[0].evidence[0].clone();
            line.companies[0].evidence =
                sentences.iter().map(|text| super::super::record_line::EvidenceLine { text: text.clone(), ..evidence.clone() }).collect();
            let text = csv_of(&[line], true);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("CSV");
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(&rows[0][5], title);
            prop_assert_eq!(items(&rows[0][23]), sentences);
        }
    }
}
