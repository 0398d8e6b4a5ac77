//! JSON Lines → one document a line.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::date::iso_date;
use super::decode::decode;
use super::lines::{Line, read_line};
use super::{FieldNames, failed, too_large, unreadable};
use crate::document::{Document, Input};

/// Documents of a JSON Lines stream, in order.
pub(super) struct JsonLines<R> {
    name: String,
    /// `None` after the end or a read error.
    bytes: Option<R>,
    limit: u64,
    fields: FieldNames,
    line: u64,
}

impl<R: BufRead> JsonLines<R> {
    pub(super) fn new(name: String, bytes: R, limit: u64, fields: FieldNames) -> Self {
        JsonLines { name, bytes: Some(bytes), limit, fields, line: 0 }
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
                Ok(Some(Line::Whole(line))) => return Some(parse_line(source, line, &self.fields)),
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

/// One document from one line.
fn parse_line(source: String, line: Vec<u8>, fields: &FieldNames) -> Input {
    let (line, warning) = decode(line);
    let mut warnings: Vec<String> = warning.into_iter().collect();
    let parsed = serde_json::from_str::<Value>(&line).or_else(|error| {
        let repaired = replace_lone_surrogates(&line).ok_or(error)?;
        let value = serde_json::from_str(&repaired)?;
        warnings.push("lone surrogate escape replaced by U+FFFD".to_owned());
        Ok(value)
    });
    let object = match parsed {
        Ok(Value::Object(object)) => object,
        Ok(other) => return failed(source, "bad_json", format!("a JSON object is needed, not {}", kind_of(&other))),
        Err(error) => return failed(source, "bad_json", bad_json(&error)),
    };
    match document(&source, object, fields, warnings) {
        Ok(document) => Input { document, error: None },
        Err((kind, message)) => failed(source, kind, message),
    }
}

/// The parser's message with its place in the line; its own line number is always 1.
fn bad_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("bad JSON at column {}: {what}", error.column())
}

fn document(
    source: &str,
    mut object: Map<String, Value>,
    fields: &FieldNames,
    warnings: Vec<String>,
) -> Result<Document, (&'static str, String)> {
    let mut string = |name: &String| match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(("bad_field", format!("`{name}` must be a string, not {}", kind_of(&other)))),
    };
    let (title, text, url) = (string(&fields.title)?, string(&fields.text)?, string(&fields.url)?);
    let title = title.filter(|t| !t.trim().is_empty());
    let text = match (&title, text) {
        (None, None) => {
            return Err(("missing_text", format!("no `{}`; --text-field names another field", fields.text)));
        }
        (Some(title), None) => title.clone(),
        (None, Some(text)) => text,
        (Some(title), Some(text)) if text.starts_with(title.as_str()) => text,
        (Some(title), Some(text)) => format!("{title}\n\n{text}"),
    };
    let id = match object.remove(&fields.id) {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(other) => return Err(("bad_field", format!("`{}` must be a string, not {}", fields.id, kind_of(&other)))),
    };
    let mut meta = Map::new();
    let date = object.remove(&fields.date).filter(|d| !d.is_null()).and_then(|raw| {
        let iso = iso_date(&raw);
        if iso.as_ref().is_none_or(|iso| raw != **iso) {
            meta.insert("date".to_owned(), raw);
        }
        iso
    });
    Ok(Document { id, source: source.to_owned(), title, date, url, text, meta, warnings })
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
