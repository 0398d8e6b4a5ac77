//! What the readers of structured data yield: one row, not yet a document.

use serde_json::{Map, Value};

/// A row, or why there is none.
#[derive(Debug, PartialEq)]
pub(super) enum Row {
    /// The text of one JSON value, neither decoded nor parsed; it may be damaged inside.
    Json(Vec<u8>),
    /// Wanted columns by name; what is empty or null is absent.
    Values {
        values: Map<String, Value>,
        /// What reading them has lost or guessed.
        warnings: Vec<String>,
    },
    /// It was longer than the limit and has been passed over.
    TooLong,
    /// It could not be read; what follows may be readable.
    Bad { kind: &'static str, message: String },
}

/// The columns that are asked of a table.
pub(super) struct Columns {
    /// Name of the column of texts; a table without it is refused, lest headlines alone be read and nobody notice.
    pub(super) text: String,
    /// Whether a column of this name is read.
    pub(super) is_wanted: Box<dyn Fn(&str) -> bool + Send>,
}

impl Columns {
    /// Whether a table with columns of these names can hold texts.
    pub(super) fn suffice<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.any(|name| name == self.text)
    }

    /// Refuses a table with columns of these names.
    pub(super) fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> Row {
        const SHOWN_NAMES: usize = 20;
        const SHOWN_CHARS: usize = 40;
        let mut names = names.filter(|name| !name.is_empty());
        let mut shown: Vec<String> =
            names.by_ref().take(SHOWN_NAMES).map(|name| name.chars().take(SHOWN_CHARS).collect()).collect();
        let more = names.count();
        if more > 0 {
            shown.push(format!("{more} more"));
        }
        let shown = if shown.is_empty() { "none has a name".to_owned() } else { shown.join(", ") };
        let message = format!("no column `{}`; the columns are: {shown}; --text-field names another", self.text);
        Row::Bad { kind: "missing_column", message }
    }
}

/// Bytes of a row → text and what to warn about.
pub(super) type Decode = fn(Vec<u8>) -> (String, Option<String>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_names_some_columns() {
        let columns = Columns { text: "text".into(), is_wanted: Box::new(|_| true) };
        let refuse = |names: &[&str]| match columns.missing(names.iter().copied()) {
            Row::Bad { kind: "missing_column", message } => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refuse(&["body", "", "date"]),
            "no column `text`; the columns are: body, date; --text-field names another"
        );
        assert!(refuse(&[]).contains("none has a name"));
        assert!(refuse(&["x"; 25]).contains("x, 5 more;"));
        assert!(refuse(&["é".repeat(10_000).as_str()]).len() < 200);
        assert!(columns.suffice(["id", "text"].into_iter()) && !columns.suffice(["title"].into_iter()));
        assert!(!columns.suffice(["Text"].into_iter()));
    }
}
