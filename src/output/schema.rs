//! The form of a record → JSON Schema, draft 2020-12.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::record_line::RecordLine;

/// The JSON Schema of one line of JSON Lines output. Keys that it does not name are allowed: later versions may add some.
#[must_use]
pub fn record_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<RecordLine>().to_value();
    if let Value::Object(keys) = &mut schema
        && let Some(draft) = keys.shift_remove("$schema")
    {
        keys.shift_insert(0, "$schema".to_owned(), draft);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::made_up::record;
    use crate::output::record_line::{ErrorLine, Status};
    use jsonschema::Validator;
    use serde_json::json;

    fn validator() -> Validator {
        let schema = record_schema();
        assert!(jsonschema::draft202012::meta::is_valid(&schema));
        jsonschema::validator_for(&schema).expect("a schema")
    }

    #[test]
    fn what_is_written_is_valid() {
        let validator = validator();
        let whole = record("a.jsonl:3");
        let with_text = RecordLine { text: Some("Acme left. It said so.".to_owned()), ..whole.clone() };
        let error = Some(ErrorLine { kind: "bad_json".to_owned(), message: "at column 3".to_owned() });
        let failed = RecordLine { status: Status::Failed, error, companies: Vec::new(), ..whole.clone() };
        for line in [whole, with_text, failed] {
            let value = serde_json::to_value(&line).expect("JSON");
            assert!(validator.is_valid(&value), "{:?}", validator.iter_errors(&value).collect::<Vec<_>>());
            let mut more = value;
            more["sentiment"] = json!(0.5);
            assert!(validator.is_valid(&more), "keys may be added");
        }
    }

    #[test]
    fn a_wrong_line_is_refused() {
        let validator = validator();
        let whole = serde_json::to_value(record("a")).expect("JSON");
        let wrong = [
            ("/schema", json!(2)),
            ("/id", Value::Null),
            ("/status", json!("fine")),
            ("/error", json!({"kind": "bad_json"})),
            ("/warnings", json!("none")),
            ("/date", json!(20_220_509)),
            ("/chars", json!(-1)),
            ("/chars", json!(1.5)),
            ("/meta", json!([])),
            ("/companies", Value::Null),
            ("/companies/0/stance", json!("Halted")),
            ("/companies/0/confidence", json!(1.01)),
            ("/companies/0/uncertain", json!(0)),
            ("/companies/0/probabilities/silent", json!(-0.1)),
            ("/companies/0/mentions/0/start", json!("0")),
            ("/companies/0/evidence/0/stance", Value::Null),
        ];
        for (at, value) in wrong {
            let mut line = whole.clone();
            *line.pointer_mut(at).expect("is there") = value.clone();
            assert!(!validator.is_valid(&line), "{at} = {value}");
        }
        let mut line = whole;
        line["text"] = Value::Null;
        assert!(!validator.is_valid(&line), "the text is a string or not there");
    }

    /// Every object in `value`, with the path of its keys.
    fn objects<'v>(value: &'v Value, path: &str, found: &mut Vec<(String, &'v serde_json::Map<String, Value>)>) {
        match value {
            Value::Object(map) => {
                found.push((path.to_owned(), map));
                map.iter().for_each(|(key, value)| objects(value, &format!("{path}/{key}"), found));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| objects(item, &format!("{path}/{n}"), found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_key_but_the_text_is_required() {
        let validator = validator();
        let line = RecordLine { text: Some(String::new()), ..record("a") };
        let whole = serde_json::to_value(&line).expect("JSON");
        let mut found = Vec::new();
        objects(&whole, "", &mut found);
        let keys = found.into_iter().flat_map(|(path, map)| map.keys().map(move |key| (path.clone(), key.clone())));
        for (path, key) in keys.filter(|(path, _)| !path.starts_with("/meta")) {
            let mut line = whole.clone();
            let object = line.pointer_mut(&path).and_then(Value::as_object_mut).expect("is there");
            object.remove(&key);
            assert_eq!(validator.is_valid(&line), key == "text" && path.is_empty(), "without {path}/{key}");
        }
    }

    #[test]
    fn every_key_and_value_is_described() {
        let schema = record_schema();
        assert_eq!(schema.as_object().and_then(|keys| keys.keys().next()).map(String::as_str), Some("$schema"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let mut found = Vec::new();
        objects(&schema, "", &mut found);
        let mut described = 0;
        for (path, map) in found {
            assert!(!map.contains_key("additionalProperties") || path == "/properties/meta", "{path}");
            let parent = path.rsplit('/').nth(1);
            if matches!(parent, Some("properties" | "oneOf" | "$defs")) {
                let text = map.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(text.ends_with('.') && !text.contains('\n'), "{path}: {text:?}");
                described += 1;
            }
        }
        assert_eq!(described, 16 + 2 + 10 + 4 + 3 + 5 + 4 + 4 + 7, "keys, values of the two enumerations, types");
    }
}
