//! The fields of a structured document, whatever it was stored in → a document.
//!
//! Only wanted fields are parsed. What is in the others, if it is JSON at all, cannot cost a document: half a surrogate
//! pair or a number beyond `f64` in a field that nobody asked for is passed over unread.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::date::iso_date;
use crate::document::{Document, DocumentError, Input};

/// Names of the fields of a structured document, and which others go into the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldNames {
    /// Id; absent documents are named by their source.
    pub id: String,
    /// Headline.
    pub title: String,
    /// The text.
    pub text: String,
    /// Date of publication.
    pub date: String,
    /// Address.
    pub url: String,
    /// What else is kept, in `meta`.
    pub keep: Keep,
}

/// Other fields that go into a record's `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None.
    #[default]
    Nothing,
    /// These, where they are there.
    Named(Vec<String>),
    /// All.
    Everything,
}

impl Default for FieldNames {
    fn default() -> Self {
        let name = str::to_owned;
        FieldNames {
            id: name("id"),
            title: name("title"),
            text: name("text"),
            date: name("date"),
            url: name("url"),
            keep: Keep::Nothing,
        }
    }
}

impl FieldNames {
    /// Whether a field is read at all.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.has_role(name)
            || match &self.keep {
                Keep::Nothing => false,
                Keep::Named(names) => names.iter().any(|kept| kept == name),
                Keep::Everything => true,
            }
    }

    /// The names of the fields that make a document.
    pub(super) fn roles(&self) -> [&str; 5] {
        [&self.id, &self.title, &self.text, &self.date, &self.url]
    }

    fn has_role(&self, name: &str) -> bool {
        self.roles().contains(&name)
    }

    /// The document that a JSON object describes, or why it cannot be had.
    pub(super) fn parse(&self, source: String, json: &str, mut warnings: Vec<String>) -> Input {
        let parsed = self.values(json).or_else(|error| {
            let repaired = replace_lone_surrogates(json).ok_or(error)?;
            let values = self.values(&repaired)?;
            warnings.push("lone surrogate escape replaced by U+FFFD".to_owned());
            Ok(values)
        });
        match parsed {
            Ok(values) => self.document(source, values, warnings),
            Err(error) => Input::lost(source, DocumentError::failed("bad_json", bad_json(&error))),
        }
    }

    /// The document that these values describe; after an error with what was found before, so that it can be told by that.
    pub(super) fn document(&self, source: String, values: Map<String, Value>, warnings: Vec<String>) -> Input {
        let mut document = Document { source, warnings, ..Document::default() };
        let error = self.fill(&mut document, values).err();
        Input { error, ..Input::text(document) }
    }

    /// The wanted values of an object; of a repeated one, the last.
    fn values(&self, json: &str) -> serde_json::Result<Map<String, Value>> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let values = Wanted(self).deserialize(&mut parser)?;
        parser.end()?;
        Ok(values)
    }

    /// Two fields may have one name, as an address that is also the id.
    fn fill(&self, document: &mut Document, mut values: Map<String, Value>) -> Result<(), DocumentError> {
        let given = |name: &String| values.get(name).filter(|value| !value.is_null());
        if let Some(raw) = given(&self.date) {
            document.date = iso_date(raw);
            if document.date.as_ref().is_none_or(|iso| raw != iso) {
                document.meta.insert("date".to_owned(), raw.clone());
            }
        }
        document.id = match given(&self.id) {
            Some(Value::Number(id)) => Some(id.to_string()),
            id => string(&self.id, id.cloned())?.filter(|id| !id.is_empty()),
        };
        document.url = string(&self.url, given(&self.url).cloned())?;
        document.title = string(&self.title, given(&self.title).cloned())?.filter(|title| !title.trim().is_empty());
        let text = string(&self.text, values.remove(&self.text))?;
        document.meta.extend(values.into_iter().filter(|(name, _)| !self.has_role(name)));
        if let Some((name, _)) = document.meta.iter().find(|(_, value)| !is_shallow(value, MAX_DEPTH)) {
            let message = format!("`{name}` has values inside each other more than {MAX_DEPTH} deep");
            document.meta.clear();
            return Err(DocumentError::failed("bad_field", message));
        }
        document.text = match (&document.title, text) {
            (None, None) => {
                let message = format!("no `{}`; --text-field names another field", self.text);
                return Err(DocumentError::failed("missing_text", message));
            }
            (Some(title), None) => title.clone(),
            (Some(title), Some(text)) => with_title(title, text),
            (None, Some(text)) => text,
        };
        Ok(())
    }
}

/// Levels of a value that is kept; a record must be readable itself.
const MAX_DEPTH: usize = 64;

fn is_shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| is_shallow(value, levels - 1)),
        Value::Object(values) => levels > 0 && values.values().all(|value| is_shallow(value, levels - 1)),
        _ => true,
    }
}

/// `text` with the title and a blank line before it, unless it begins with the title.
pub(super) fn with_title(title: &str, text: String) -> String {
    if text.starts_with(title) { text } else { format!("{title}\n\n{text}") }
}

/// Takes the wanted fields from an object and passes over the others.
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
            if self.0.wants(&name) {
                values.insert(name, entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(values)
    }
}

/// The parser's message with its place in the object.
fn bad_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let line = if error.line() > 1 { format!("line {} of the object, ", error.line()) } else { String::new() };
    format!("bad JSON at {line}column {}: {what}", error.column())
}

fn string(name: &str, value: Option<Value>) -> Result<Option<String>, DocumentError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            let message = format!("`{name}` must be a string, not {}", kind_of(&other));
            Err(DocumentError::failed("bad_field", message))
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
