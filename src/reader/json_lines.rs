//! JSON Lines → one document a line.
//!
//! Only the named fields are parsed. What is in the others, if it is JSON at all, cannot cost a document: half a
//! surrogate pair or a number beyond `f64` in a field that nobody asked for is passed over unread.

use std::fmt;
use std::io::BufRead;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::date::iso_date;
use super::decode::decode;
use super::lines::{Line, read_line};
use super::{FieldNames, failed, too_large, unreadable};
use crate::document::{Document, DocumentError, Input};

/// Documents of a JSON Lines stream, in order.
pub(super) struct JsonLines<R> {
    name: String,
    /// `None` after the end or a read error.
    bytes: Option<R>,
    /// What reading the stream so far has found; holds for every document.
    warning: Option<String>,
    limit: u64,
    fields: FieldNames,
    line: u64,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(name: String, bytes: R, warning: Option<String>, limit: u64, fields: FieldNames) -> Self {
        JsonLines { name, bytes: Some(bytes), warning, limit, fields, line: 0 }
    }

    /// One document from one line.
    fn parse_line(&self, source: String, line: Vec<u8>) -> Input {
        let (line, guess) = decode(line);
        if line.len() as u64 > self.limit {
            return too_large(source, self.limit);
        }
        let mut warnings: Vec<String> = self.warning.iter().cloned().chain(guess).collect();
        // Where marked files were joined, a mark can be at the head of any line.
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        let parsed = parse_fields(line, &self.fields).or_else(|error| {
            let repaired = replace_lone_surrogates(line).ok_or(error)?;
            let fields = parse_fields(&repaired, &self.fields)?;
            warnings.push("lone surrogate escape replaced by U+FFFD".to_owned());
            Ok(fields)
        });
        match parsed {
            Ok(values) => {
                let mut document = Document { source, warnings, ..Document::default() };
                let error = fill(&mut document, values, &self.fields).err();
                Input { document, error }
            }
            Err(error) => failed(source, "bad_json", bad_json(&error)),
        }
    }
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        loop {
            let bytes = self.bytes.as_mut()?;
            self.line += 1;
            let source = format!("{}:{}", self.name, self.line);
            match read_line(bytes, self.limit) {
                Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {}
                Ok(Some(Line::Whole(line))) => return Some(self.parse_line(source, line)),
                Ok(Some(Line::TooLong)) => return Some(too_large(source, self.limit)),
                Ok(None) => {
                    self.bytes = None;
                    return None;
                }
                Err(error) => {
                    self.bytes = None;
                    return Some(unreadable(source, &error));
                }
            }
        }
    }
}

/// The values of `fields` in a line; of a repeated one, the last.
fn parse_fields(line: &str, fields: &FieldNames) -> serde_json::Result<Map<String, Value>> {
    let mut json = serde_json::Deserializer::from_str(line);
    let values = Wanted(fields).deserialize(&mut json)?;
    json.end()?;
    Ok(values)
}

/// Takes these fields from an object and passes over the others.
struct Wanted<'a>(&'a FieldNames);

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if self.0.contains(&name) {
                values.insert(name, entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(values)
    }
}

/// The parser's message with its place in the line; its own line number is always 1.
fn bad_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("bad JSON at column {}: {what}", error.column())
}

/// Fills `document` from `values`; after an error it holds what was found before, so that the record can be told by it.
///
/// Two fields may have one name, as an address that is also the id.
fn fill(document: &mut Document, mut values: Map<String, Value>, fields: &FieldNames) -> Result<(), DocumentError> {
    let given = |name: &String| values.get(name).filter(|value| !value.is_null());
    if let Some(raw) = given(&fields.date) {
        document.date = iso_date(raw);
        if document.date.as_ref().is_none_or(|iso| raw != iso) {
            document.meta.insert("date".to_owned(), raw.clone());
        }
    }
    document.id = match given(&fields.id) {
        Some(Value::Number(id)) => Some(id.to_string()),
        id => string(&fields.id, id.cloned())?.filter(|id| !id.is_empty()),
    };
    document.url = string(&fields.url, given(&fields.url).cloned())?;
    document.title = string(&fields.title, given(&fields.title).cloned())?.filter(|title| !title.trim().is_empty());
    let text = string(&fields.text, values.remove(&fields.text))?;
    document.text = match (&document.title, text) {
        (None, None) => {
            let message = format!("no `{}`; --text-field names another field", fields.text);
            return Err(DocumentError { kind: "missing_text", message, skipped: false });
        }
        (Some(title), None) => title.clone(),
        (Some(title), Some(text)) if !text.starts_with(title.as_str()) => format!("{title}\n\n{text}"),
        (_, Some(text)) => text,
    };
    Ok(())
}

fn string(name: &str, value: Option<Value>) -> Result<Option<String>, DocumentError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let message = format!("`{name}` must be a string, not {}", kind_of(&other));
            Err(DocumentError { kind: "bad_field", message, skipped: false })
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// `line` with escapes of half a surrogate pair replaced by U+FFFD; `None` if there are none.
fn replace_lone_surrogates(line: &str) -> Option<String> {
    let unit = |at: usize| {
        let digits = line.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut repaired = String::with_capacity(line.len());
    let (mut at, mut copied, mut found) = (0, 0, false);
    while let Some(step) = line[at..].find('\\') {
        at += step;
        let high = unit(at);
        let is_pair = matches!((high, unit(at + 6)), (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)));
        if matches!(high, Some(0xd800..=0xdfff)) && !is_pair {
            repaired.push_str(&line[copied..at]);
            repaired.push('\u{fffd}');
            found = true;
            copied = at + 6;
        }
        at += match (is_pair, high) {
            (true, _) => 12,
            (false, Some(_)) => 6,
            (false, None) => 1 + line[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    repaired.push_str(&line[copied..]);
    found.then_some(repaired)
}
