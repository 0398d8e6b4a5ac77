//! A byte stream of JSON that is not one value a line → the text of each top-level element.
//!
//! Elements are those of an array, or follow one another with white space or commas between. Only strings and brackets
//! are looked at, so that an element damaged inside costs that one alone, as long as its brackets balance.

use std::io::{self, BufRead, Cursor, Read};
use std::ops::Range;

use memchr::memchr2;

use super::rows::Row;

/// Elements of a stream without byte order mark, numbered from 1; a stretch that is no element has a number too.
pub(super) struct JsonValues<R> {
    /// `None` after the end or a read error.
    bytes: Option<Input<R>>,
    /// Longest element in bytes.
    limit: u64,
    /// See [`wrapped`].
    own_fields: Vec<String>,
    /// Rows so far.
    count: u64,
    is_in_array: bool,
    /// What comes next is no element; an object may follow.
    is_lost: bool,
}

impl<R: BufRead> JsonValues<R> {
    /// A stream that is one object yields the records it wraps, if it has none of `own_fields` and [`wrapped`] finds
    /// them; with no fields named, it is a record like any other.
    pub(super) fn new(bytes: R, limit: u64, own_fields: Vec<String>) -> Self {
        let bytes = Some(Input::Stream(bytes));
        JsonValues { bytes, limit, own_fields, count: 0, is_in_array: false, is_lost: false }
    }

    fn read(&mut self) -> io::Result<Option<Row>> {
        let Some(bytes) = &mut self.bytes else { return Ok(None) };
        if self.is_lost {
            if !seek_object(bytes)? {
                self.bytes = None;
                return Ok(None);
            }
            self.is_lost = false;
            return self.element(Scan::object(), b"{".to_vec());
        }
        loop {
            match peek(bytes)? {
                None if self.is_in_array => return Ok(Some(self.cut_short("the array"))),
                None => return Ok(None),
                Some(b'[') if !self.is_in_array => self.is_in_array = true,
                Some(b']') if self.is_in_array => self.is_in_array = false,
                Some(byte) if is_between(byte) => {}
                Some(byte @ (b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')) => {
                    return self.element(Scan::starting_with(byte), Vec::new());
                }
                Some(byte) => {
                    self.is_lost = true;
                    let shown = if byte.is_ascii_graphic() { char::from(byte).into() } else { format!("{byte:#04x}") };
                    return Ok(Some(bad(format!("a JSON value or a comma must be here, not `{shown}`"))));
                }
            }
            bytes.consume(1);
        }
    }

    /// The rest of the element whose `head` has been read.
    fn element(&mut self, mut scan: Scan, head: Vec<u8>) -> io::Result<Option<Row>> {
        let Some(bytes) = &mut self.bytes else { return Ok(None) };
        let mut text = Some(head);
        loop {
            let chunk = bytes.fill_buf()?;
            if chunk.is_empty() {
                if scan.is_bare {
                    break;
                }
                return Ok(Some(self.cut_short(&format!("record {}", self.count + 1))));
            }
            let end = scan.advance(chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            text = text.filter(|text| (text.len() + part.len()) as u64 <= self.limit);
            if let Some(text) = &mut text {
                text.extend_from_slice(part);
            }
            let used = part.len();
            bytes.consume(used);
            if end.is_some() {
                break;
            }
        }
        match text {
            Some(text) if self.count == 0 && !self.is_in_array => self.unwrap_lone(text),
            Some(text) => Ok(Some(Row::Json(text))),
            None => Ok(Some(Row::TooLong)),
        }
    }

    /// The first element; if nothing follows and it wraps records, the first of these.
    fn unwrap_lone(&mut self, mut text: Vec<u8>) -> io::Result<Option<Row>> {
        let Some(bytes) = &mut self.bytes else { return Ok(None) };
        let found = if self.own_fields.is_empty() { None } else { wrapped(&text, &self.own_fields) };
        let Some(array) = found else { return Ok(Some(Row::Json(text))) };
        while let Some(byte) = peek(bytes)? {
            if !is_between(byte) {
                return Ok(Some(Row::Json(text)));
            }
            bytes.consume(1);
        }
        text.truncate(array.end);
        let mut held = Cursor::new(text);
        held.set_position(array.start as u64);
        self.bytes = Some(Input::Held(held));
        self.read()
    }

    fn cut_short(&mut self, what: &str) -> Row {
        self.bytes = None;
        bad(format!("the file ends inside {what}; it may have been cut short"))
    }
}

impl<R: BufRead> Iterator for JsonValues<R> {
    type Item = io::Result<(u64, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read() {
            Ok(row) => row.map(|row| {
                self.count += 1;
                Ok((self.count, row))
            }),
            Err(error) => {
                self.bytes = None;
                Some(Err(error))
            }
        }
    }
}

/// The place of the array of records in an object that is only their envelope, as news services answer: it has none of
/// `own_fields`, or only nulls there, and exactly one field that is an array with an object at its head.
fn wrapped(object: &[u8], own_fields: &[String]) -> Option<Range<usize>> {
    let mut found = None;
    let mut at = 1;
    loop {
        at += between(object.get(at..)?);
        match *object.get(at)? {
            b'"' => {}
            b'}' => return found,
            _ => return None,
        }
        let name = at..at + Scan::starting_with(b'"').advance(&object[at..])?;
        at = name.end + between(&object[name.end..]);
        let name: String = serde_json::from_slice(&object[name]).ok()?;
        if *object.get(at)? != b':' {
            return None;
        }
        at += 1 + between(&object[at + 1..]);
        let value = at..at + Scan::starting_with(*object.get(at)?).advance(&object[at..])?;
        at = value.end;
        let value_text = &object[value.clone()];
        if own_fields.contains(&name) && value_text != b"null" {
            return None;
        }
        let inside = value_text.strip_prefix(b"[").unwrap_or_default();
        if inside.get(between(inside)) == Some(&b'{') && found.replace(value).is_some() {
            return None;
        }
    }
}

/// Where in an element a scan is.
struct Scan {
    /// Brackets open.
    depth: u64,
    is_in_string: bool,
    /// After a backslash in a string.
    is_escaped: bool,
    /// A number or a word, which only what follows ends.
    is_bare: bool,
}

impl Scan {
    /// Before an element's first byte.
    fn starting_with(byte: u8) -> Self {
        let is_bare = !matches!(byte, b'{' | b'[' | b'"');
        Scan { depth: 0, is_in_string: false, is_escaped: false, is_bare }
    }

    /// After the opening bracket of an object.
    fn object() -> Self {
        Scan { depth: 1, ..Scan::starting_with(b'{') }
    }

    /// How many of `bytes`, which follow on what it has seen, belong to the element; `None` if it does not end in them.
    fn advance(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        if self.is_bare {
            return bytes.iter().position(|&b| is_between(b) || matches!(b, b'{' | b'}' | b'[' | b']' | b'"' | b':'));
        }
        while at < bytes.len() {
            if self.is_escaped {
                self.is_escaped = false;
                at += 1;
                continue;
            }
            at += 1 + if self.is_in_string {
                memchr2(b'"', b'\\', &bytes[at..])?
            } else {
                bytes[at..].iter().position(|b| matches!(b, b'"' | b'{' | b'}' | b'[' | b']'))?
            };
            match bytes[at - 1] {
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                b'{' | b'[' => self.depth += 1,
                _ => self.depth -= 1,
            }
            if self.depth == 0 && !self.is_in_string && !self.is_escaped {
                return Some(at);
            }
        }
        None
    }
}

/// Reads past the next `{` that a name or `}` follows, and the white space after it; false if there is none.
fn seek_object(bytes: &mut impl BufRead) -> io::Result<bool> {
    while bytes.skip_until(b'{')? > 0 {
        while let Some(byte) = peek(bytes)? {
            match byte {
                b'"' | b'}' => return Ok(true),
                b' ' | b'\t' | b'\r' | b'\n' => bytes.consume(1),
                _ => break,
            }
        }
    }
    Ok(false)
}

fn peek(bytes: &mut impl BufRead) -> io::Result<Option<u8>> {
    Ok(bytes.fill_buf()?.first().copied())
}

fn is_between(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',')
}

/// How many of `bytes` are between elements.
fn between(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| is_between(b)).count()
}

fn bad(message: String) -> Row {
    Row::Bad { kind: "bad_json", message }
}

/// The stream, or what it wrapped.
enum Input<R> {
    Stream(R),
    Held(Cursor<Vec<u8>>),
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Input::Stream(bytes) => bytes.fill_buf(),
            Input::Held(bytes) => bytes.fill_buf(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Input::Stream(bytes) => bytes.consume(count),
            Input::Held(bytes) => bytes.consume(count),
        }
    }
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    const LIMIT: u64 = 200;

    /// Rows in short: the text of an element, `TOO LONG`, or the message.
    fn read_as(text: &str, own_fields: &[&str], chunk: usize) -> Vec<String> {
        let own_fields = own_fields.iter().map(|&name| name.to_owned()).collect();
        let rows = JsonValues::new(BufReader::with_capacity(chunk, text.as_bytes()), LIMIT, own_fields);
        let numbered = rows.map(|row| row.expect("reads")).enumerate().map(|(at, (number, row))| {
            assert_eq!(number, at as u64 + 1);
            match row {
                Row::Json(text) => String::from_utf8(text).expect("cut at ASCII"),
                Row::TooLong => "TOO LONG".to_owned(),
                Row::Bad { kind: "bad_json", message } => message,
                other => panic!("{other:?}"),
            }
        });
        numbered.collect()
    }

    fn read(text: &str) -> Vec<String> {
        let rows = read_as(text, &[], 8192);
        for chunk in 1..4 {
            assert_eq!(read_as(text, &[], chunk), rows, "in chunks of {chunk}");
        }
        rows
    }

    #[test]
    fn elements_are_told_apart() {
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(200));
        let rows: [(&str, &[&str]); 17] = [
            ("", &[]),
            (" \n", &[]),
            ("[]", &[]),
            ("[\n]\n", &[]),
            (r#"[{"a":1},{"b":[{}]}]"#, &[r#"{"a":1}"#, r#"{"b":[{}]}"#]),
            ("{\n  \"a\": 1\n}\n", &["{\n  \"a\": 1\n}"]),
            (r#"{"a":1}{"a":2} {"a":3},{"a":4},"#, &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"a":4}"#]),
            (r#"[{"a":1}][{"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]),
            (r#"[{"a":"}]\"{\\"},{"b":"\\\\"}]"#, &[r#"{"a":"}]\"{\\"}"#, r#"{"b":"\\\\"}"#]),
            // No objects, or none that can be parsed: for the parser to refuse.
            (r#"[1,-2.5e3,null,"a ] b",[[2]],true]"#, &["1", "-2.5e3", "null", r#""a ] b""#, "[[2]]", "true"]),
            ("nul", &["nul"]),
            (
                r#"[{"a" 1,,},{]},{"b":2}]"#,
                &[r#"{"a" 1,,}"#, "{]", r#"a JSON value or a comma must be here, not `}`"#, r#"{"b":2}"#],
            ),
            // Too long.
            (&format!(r#"[{long},{{"b":2}}]"#), &["TOO LONG", r#"{"b":2}"#]),
            (&"7".repeat(300), &["TOO LONG"]),
            // Cut short.
            (r#"[{"a":1},{"a":"}"#, &[r#"{"a":1}"#, "the file ends inside record 2; it may have been cut short"]),
            (&long[..205], &["the file ends inside record 1; it may have been cut short"]),
            (r#"[{"a":1},"#, &[r#"{"a":1}"#, "the file ends inside the array; it may have been cut short"]),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn reading_goes_on_at_an_object_after_what_is_no_element() {
        let not = |byte: &str| format!("a JSON value or a comma must be here, not `{byte}`");
        let rows: [(&str, Vec<String>); 6] = [
            (r#"[{"a":1}}},{"b":2}]"#, vec![r#"{"a":1}"#.into(), not("}"), r#"{"b":2}"#.into()]),
            (r#"{"a":1} = {x { "b":2}"#, vec![r#"{"a":1}"#.into(), not("="), r#"{"b":2}"#.into()]),
            (r#"done({"a":1});"#, vec![not("d"), r#"{"a":1}"#.into(), not(")")]),
            ("<html>{}</html>", vec![not("<"), "{}".into(), not("<")]),
            ("\0{", vec![not("0x00")]),
            ("{} ]", vec!["{}".into(), not("]")]),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn a_lone_envelope_yields_what_it_wraps() {
        let records = [r#"{"text":"a"}"#, r#"{"text":"b]"}"#];
        let list = format!("[{}, {}]", records[0], records[1]);
        let wraps = |object: &str| read_as(object, &["text", "title"], 5) == records;
        assert!(wraps(&format!(r#"{{"status":"ok","totalResults":2,"articles":{list}}}"#)));
        assert!(wraps(&format!(
            "{{ \"articles\" : {list} , \"next\" : null , \"title\":null, \"tags\" : [\"x\"] }}\n"
        )));
        assert!(wraps(&format!(r#"{{"a":{{"b":[{{}}]}},"\u0061rticles":{list}}}"#)));
        let kept = [
            format!(r#"{{"text":"own","articles":{list}}}"#),
            format!(r#"{{"articles":{list},"\u0074itle":"own"}}"#),
            format!(r#"{{"articles":{list},"more":[{{}}]}}"#),
            format!(r#"{{"articles" {list}}}"#),
            r#"{"articles":[]}"#.to_owned(),
            r#"{"articles":["a"]}"#.to_owned(),
            "{}".to_owned(),
            "{,".to_owned() + r#" "a":}"#,
            format!(r#"{{ {list} }}"#),
        ];
        for object in kept {
            assert_eq!(read_as(&object, &["text", "title"], 5), [object]);
        }
        let first = format!(r#"{{"articles":{list}}}"#);
        assert_eq!(read_as(&first, &[], 5), [first.as_str()], "no fields named");
        assert_eq!(read_as(&format!("{first}{{}}"), &["text"], 5), [first.as_str(), "{}"], "not alone");
        assert_eq!(read_as(&format!("[{first}]"), &["text"], 5), [first.as_str()], "in an array");
        // What is damaged in one record costs that record.
        assert_eq!(read_as(r#"{"articles":[{"a":tru},{}]}"#, &["text"], 5), [r#"{"a":tru}"#, "{}"]);
    }

    #[test]
    fn nothing_follows_a_read_error() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk"))
            }
        }
        let bytes = BufReader::new(&b"[{},{\"a\""[..]).chain(BufReader::new(Failing));
        let mut rows = JsonValues::new(bytes, LIMIT, Vec::new());
        assert!(matches!(rows.next(), Some(Ok((1, Row::Json(_))))));
        assert!(matches!(rows.next(), Some(Err(error)) if error.to_string() == "disk"));
        assert!(rows.next().is_none());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\"\\\\{}\\[\\]a\u{e9}\n,]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[\"\\\\{}a-c]{0,4}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    fn objects() -> impl Strategy<Value = Vec<Map<String, Value>>> {
        let object = prop::collection::vec(("[\"\\\\{}a-c]{0,4}", value()), 0..4).prop_map(|e| e.into_iter().collect());
        prop::collection::vec(object, 0..6)
    }

    proptest! {
        #[test]
        fn objects_come_back(objects in objects(), chunk in 1..40_usize, layout in 0..4) {
            let each = objects.iter().map(|object| json!(object).to_string());
            let text = match layout {
                0 => serde_json::to_string(&objects).expect("JSON"),
                1 => serde_json::to_string_pretty(&objects).expect("JSON"),
                2 => each.collect::<Vec<_>>().join("\n"),
                _ => each.collect(),
            };
            let rows = JsonValues::new(BufReader::with_capacity(chunk, text.as_bytes()), u64::MAX, Vec::new());
            let back: Vec<Map<String, Value>> = rows.map(|row| match row.expect("reads").1 {
                Row::Json(text) => serde_json::from_slice(&text).expect("an object"),
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(back, objects);
        }

        #[test]
        fn any_bytes_are_read_within_the_limit(
            bytes in prop::collection::vec(prop_oneof![4 => prop::sample::select(&b"{}[]\",:\\ \n1ax"[..]), 1 => any::<u8>()], 0..200),
            chunk in 1..9_usize,
            limit in 0..20_u64,
        ) {
            for own_fields in [Vec::new(), vec!["a".to_owned()]] {
                let rows = JsonValues::new(BufReader::with_capacity(chunk, &bytes[..]), limit, own_fields);
                for row in rows.take(bytes.len() + 2) {
                    match row.expect("reads").1 {
                        Row::Json(text) => prop_assert!(text.len() as u64 <= limit && !text.is_empty()),
                        Row::Bad { .. } | Row::TooLong => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
}
