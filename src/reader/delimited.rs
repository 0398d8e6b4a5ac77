//! Delimited text (CSV, TSV) with a header → rows of named values.
//!
//! Cells may be quoted as RFC 4180 says; `\r\n`, `\n` and `\r` end a line. Passed over: blank lines and rows with nothing
//! in any cell. Names lose white space around them; a column without a name is not read, and of several with one name
//! the last cell that holds anything counts.

use std::io::{self, BufRead, Chain, Cursor, Read};

use serde_json::{Map, Value};

use super::lines::first_line;
use super::records::{Record, Records};
use super::rows::{Columns, Decode, Row};

/// In order of preference.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Longest header in bytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Rows of a stream without byte order mark, numbered by the lines they start on.
pub(super) struct Delimited<R> {
    state: State<R>,
    /// Most bytes of the wanted cells of a row, as they come and as UTF-8.
    limit: u64,
    columns: Columns,
    decode: Decode,
}

enum State<R> {
    /// With the delimiter, if it is known.
    Start(R, Option<u8>),
    Rows(Box<Records<Chain<Cursor<Vec<u8>>, R>>>, Header),
    /// At the end or after a read error.
    Done,
}

/// What the header says of the rows.
struct Header {
    /// Cells, and how many of them must be there: those after the last name need not.
    cells: usize,
    named_cells: usize,
    /// Names of the wanted columns, by index.
    wanted: Vec<(usize, String)>,
}

impl Header {
    /// The name of a wanted column.
    fn name(&self, index: usize) -> Option<&str> {
        let at = self.wanted.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.wanted[at].1)
    }
}

impl<R: BufRead> Delimited<R> {
    /// Without a `delimiter`, the header tells it.
    pub(super) fn new(bytes: R, delimiter: Option<u8>, limit: u64, columns: Columns, decode: Decode) -> Self {
        Delimited { state: State::Start(bytes, delimiter), limit, columns, decode }
    }

    fn read(&mut self) -> io::Result<Option<(u64, Row)>> {
        if let State::Start(..) = self.state
            && let Some(refused) = self.start()?
        {
            return Ok(Some(refused));
        }
        let State::Rows(records, header) = &mut self.state else { return Ok(None) };
        loop {
            let Some(record) = records.read(self.limit, |cell| header.name(cell).is_some())? else { return Ok(None) };
            if record.filled_cells > 0 || record.is_cut_short {
                return Ok(Some((record.first_line, row(record, header, self.limit, self.decode))));
            }
        }
    }

    /// Reads the header; if nothing can be read by it, says so.
    fn start(&mut self) -> io::Result<Option<(u64, Row)>> {
        let State::Start(mut bytes, delimiter) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(None);
        };
        let head = first_line(&mut bytes, MAX_HEADER_BYTES)?;
        let delimiter = delimiter.unwrap_or_else(|| choose_delimiter(&head, &self.columns.text));
        let mut records = Records::new(Cursor::new(head).chain(bytes), delimiter);
        let Some(record) = records.read(MAX_HEADER_BYTES, |_| true)? else { return Ok(None) };
        let line = record.first_line;
        let Some(cells) = record.kept.filter(|_| !record.is_cut_short) else {
            let message =
                format!("no header of at most {MAX_HEADER_BYTES} bytes: {}", open_quote(line, record.last_line));
            return Ok(Some((line, Row::Bad { kind: "bad_row", message })));
        };
        let names = decode_cells(cells, self.decode).0;
        let names: Vec<&str> = names.iter().map(|(_, name)| trim_name(name)).collect();
        if !self.columns.suffice(names.iter().copied()) {
            return Ok(Some((line, self.columns.missing(names.into_iter()))));
        }
        let is_wanted = |name: &str| !name.is_empty() && (self.columns.is_wanted)(name);
        let header = Header {
            cells: names.len(),
            named_cells: names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1),
            wanted: names.iter().enumerate().filter(|(_, n)| is_wanted(n)).map(|(i, n)| (i, (*n).to_owned())).collect(),
        };
        self.state = State::Rows(Box::new(records), header);
        Ok(None)
    }
}

impl<R: BufRead> Iterator for Delimited<R> {
    type Item = io::Result<(u64, Row)>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read();
        if row.is_err() {
            self.state = State::Done;
        }
        row.transpose()
    }
}

/// The delimiter of a header: a line with a column named exactly `wanted` and another of the `known` names. With one name
/// only it may be a sentence.
pub(super) fn looks_delimited(first_line: &[u8], wanted: &str, known: &[&str]) -> Option<u8> {
    let delimiter = choose_delimiter(first_line, wanted);
    let columns = split(first_line, delimiter);
    let count = columns.iter().filter(|column| known.contains(&column.as_str())).count();
    (count > 1 && columns.iter().any(|column| column == wanted)).then_some(delimiter)
}

/// The delimiter by which a header has the column `wanted`; of several, or of none, the one that makes most columns.
fn choose_delimiter(header: &[u8], wanted: &str) -> u8 {
    let rank = |delimiter: u8| {
        let columns = split(header, delimiter);
        (columns.iter().any(|column| column == wanted), columns.len())
    };
    // Of equals the first is preferred.
    DELIMITERS.into_iter().rev().max_by_key(|delimiter| rank(*delimiter)).unwrap_or(DELIMITERS[0])
}

/// The names in a header.
fn split(header: &[u8], delimiter: u8) -> Vec<String> {
    let record = Records::new(header, delimiter).read(MAX_HEADER_BYTES, |_| true);
    let cells = record.ok().flatten().and_then(|record| record.kept).unwrap_or_default();
    cells.iter().map(|(_, name)| trim_name(&String::from_utf8_lossy(name)).to_owned()).collect()
}

fn trim_name(name: &str) -> &str {
    name.trim_start_matches('\u{feff}').trim()
}

fn row(record: Record, header: &Header, limit: u64, decode: Decode) -> Row {
    let lines = open_quote(record.first_line, record.last_line);
    let bad = |message| Row::Bad { kind: "bad_row", message };
    if record.is_cut_short {
        return bad(format!("the file ends inside a quoted cell; {lines}"));
    }
    let is_one_line = record.first_line == record.last_line;
    if record.is_misquoted && !is_one_line {
        return bad(format!("a quote inside a quoted cell is not doubled; {lines}"));
    }
    if record.cells < header.named_cells || record.filled_cells > header.cells {
        let hint = if is_one_line { String::new() } else { format!("; {lines}") };
        return bad(format!("{} fields where the header has {}{hint}", record.cells, header.cells));
    }
    let Some(cells) = record.kept else { return Row::TooLong };
    let (cells, warning) = decode_cells(cells, decode);
    if cells.iter().map(|(_, value)| value.len() as u64).sum::<u64>() > limit {
        return Row::TooLong;
    }
    let mut values = Map::new();
    for (index, value) in cells {
        if let Some(name) = header.name(index).filter(|_| !value.is_empty()) {
            values.insert(name.to_owned(), Value::String(value));
        }
    }
    Row::Values { values, warnings: warning.into_iter().collect() }
}

fn open_quote(first_line: u64, last_line: u64) -> String {
    format!("a quote may be left open from line {first_line} to line {last_line}")
}

/// Cells by column, decoded together, because short ones say little about their encoding.
fn decode_cells(cells: Vec<(usize, Vec<u8>)>, decode: Decode) -> (Vec<(usize, String)>, Option<String>) {
    // No encoding has this byte inside a character.
    const BETWEEN: char = '\u{1e}';
    let joined: Vec<u8> = cells.iter().map(|(_, cell)| &cell[..]).collect::<Vec<_>>().join(&(BETWEEN as u8));
    let (text, warning) = decode(joined);
    if text.matches(BETWEEN).count() + 1 == cells.len() {
        let indices = cells.iter().map(|(index, _)| *index);
        return (indices.zip(text.split(BETWEEN).map(str::to_owned)).collect(), warning);
    }
    let mut warning = None;
    let decoded = cells.into_iter().map(|(index, cell)| {
        let (text, found) = decode(cell);
        warning = warning.take().or(found);
        (index, text)
    });
    (decoded.collect(), warning)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    const KNOWN: [&str; 3] = ["id", "title", "text"];

    fn columns(is_wanted: impl Fn(&str) -> bool + Send + 'static) -> Columns {
        Columns { text: "text".into(), is_wanted: Box::new(is_wanted) }
    }

    fn lossy(bytes: Vec<u8>) -> (String, Option<String>) {
        String::from_utf8(bytes).map_or_else(
            |error| (String::from_utf8_lossy(error.as_bytes()).into_owned(), Some("lossy".to_owned())),
            |text| (text, None),
        )
    }

    fn rows(content: &[u8], delimiter: Option<u8>, limit: u64, chunk: usize) -> Vec<(u64, Row)> {
        let bytes = BufReader::with_capacity(chunk, content);
        let wanted = columns(|name| name != "unwanted");
        Delimited::new(bytes, delimiter, limit, wanted, lossy).map(|row| row.expect("reads")).collect()
    }

    /// Rows in short: `line {values}warnings`, `line kind: message`.
    fn read(content: &[u8]) -> Vec<String> {
        let read = |chunk| {
            let short = rows(content, None, 20, chunk).into_iter().map(|(line, row)| match row {
                Row::Values { values, warnings } => format!("{line} {}{}", Value::Object(values), warnings.concat()),
                Row::TooLong => format!("{line} too long"),
                Row::Bad { kind, message } => format!("{line} {kind}: {message}"),
                Row::Json(_) => panic!("no JSON here"),
            });
            short.collect::<Vec<_>>()
        };
        let whole = read(8192);
        for chunk in 1..4 {
            assert_eq!(read(chunk), whole, "in chunks of {chunk}");
        }
        whole
    }

    #[test]
    fn cells_get_the_names_of_the_header() {
        let rows: [(&[u8], &[&str]); 14] = [
            (b"", &[]),
            (b"\n\r\n", &[]),
            (b"text\n", &[]),
            (b"text,id\na,1\nb,2", &[r#"2 {"text":"a","id":"1"}"#, r#"3 {"text":"b","id":"2"}"#]),
            // Line ends, and where a row starts.
            (b"text,id\r\n\r\na,1\r\n\n\nb,2\r\n", &[r#"3 {"text":"a","id":"1"}"#, r#"6 {"text":"b","id":"2"}"#]),
            (b"\rtext,id\ra,1\r\rb,2", &[r#"3 {"text":"a","id":"1"}"#, r#"5 {"text":"b","id":"2"}"#]),
            (b"text\n\"a\r\n,\"\"\r\rb\"\nc\n", &["2 {\"text\":\"a\\r\\n,\\\"\\\"\\r\\rb\"}".replace("\\\"\\\"", "\\\"").leak(), r#"6 {"text":"c"}"#]),
            // Names.
            (b"\xef\xbb\xbf text ;\"id\";\n a ;1;\n", &[r#"2 {"text":" a ","id":"1"}"#]),
            (b"id,,text,id,unwanted\n1,x,a,2,y\n1,x,a,,y\n", &[r#"2 {"text":"a","id":"2"}"#.replace("\"text\":\"a\",\"id\":\"2\"", "\"id\":\"2\",\"text\":\"a\"").leak(), r#"3 {"id":"1","text":"a"}"#]),
            // Nothing in them.
            (b"text,id\n,1\n,\n , \n\"\",\"\"\na,\n", &[r#"2 {"id":"1"}"#, r#"6 {"text":"a"}"#]),
            // More and fewer.
            (b"id,text\n1,a,, \n1\n1,a,b\n1,b\n", &[r#"2 {"id":"1","text":"a"}"#, "3 bad_row: 1 fields where the header has 2", "4 bad_row: 3 fields where the header has 2", r#"5 {"id":"1","text":"b"}"#]),
            (b"id,text,,\n1,a\n", &[r#"2 {"id":"1","text":"a"}"#]),
            // Long ones, and bytes that are no UTF-8; more of them when decoded.
            (b"text,unwanted\naaaaaaaaaabbbbbbbbbbc,\na,ccccccccccccccccccccccccccc\n\xe9,\n\xe9\xe9\xe9\xe9\xe9\xe9\xe9,\n", &["2 too long", r#"3 {"text":"a"}"#, "4 {\"text\":\"\u{fffd}\"}lossy", "5 too long"]),
            (b"text\n\x1e\xe9\x1e\n", &["2 {\"text\":\"\\u001e\u{fffd}\\u001e\"}lossy"]),
        ];
        for (content, expected) in rows {
            assert_eq!(read(content), expected, "{}", String::from_utf8_lossy(content));
        }
    }

    #[test]
    fn an_open_quote_costs_the_rows_it_swallows() {
        let rows: [(&str, &[&str]); 8] = [
            (
                "id,text\n1,\"a\n2,b\n3,\"c\"\n4,d\n",
                &[
                    "2 bad_row: a quote inside a quoted cell is not doubled; a quote may be left open from line 2 to line 4",
                    r#"5 {"id":"4","text":"d"}"#,
                ],
            ),
            ("id,text\n1,\"a\n2,\"\n3,\"b\"\n", &[r#"2 {"id":"1","text":"a\n2,"}"#, r#"4 {"id":"3","text":"b"}"#]),
            ("text,id\n\"a,1\nb,2\n\",4\n", &[r#"2 {"text":"a,1\nb,2\n","id":"4"}"#]),
            (
                "id,text\n\"1\n\",a,b\n2,c \"d\" e\n3,\"f\" \"g\"\n",
                &[
                    "2 bad_row: 3 fields where the header has 2; a quote may be left open from line 2 to line 3",
                    r#"4 {"id":"2","text":"c \"d\" e"}"#,
                    r#"5 {"id":"3","text":"f \"g\""}"#,
                ],
            ),
            (
                "text\na\n\"b\nc",
                &[
                    r#"2 {"text":"a"}"#,
                    "3 bad_row: the file ends inside a quoted cell; a quote may be left open from line 3 to line 4",
                ],
            ),
            (
                "text\n\"",
                &["2 bad_row: the file ends inside a quoted cell; a quote may be left open from line 2 to line 2"],
            ),
            ("text\n\"a\"", &[r#"2 {"text":"a"}"#]),
            (
                "text,\"a\nb",
                &["1 bad_row: no header of at most 1048576 bytes: a quote may be left open from line 1 to line 2"],
            ),
        ];
        for (content, expected) in rows {
            assert_eq!(read(content.as_bytes()), expected, "{content}");
        }
        let endless = [b"unwanted,text\n\"a,b\n".to_vec(), b"cc,d\n".repeat(100_000)].concat();
        let row = only_row(&endless);
        assert!(matches!(&row, Row::Bad { message, .. } if message.contains("from line 2 to line 100003")), "{row:?}");
        let row = only_row(&b"text,".repeat(300_000));
        assert!(matches!(&row, Row::Bad { message, .. } if message.starts_with("no header")), "{row:?}");
    }

    fn only_row(content: &[u8]) -> Row {
        let mut all = rows(content, None, 20, 8192);
        assert_eq!(all.len(), 1);
        all.remove(0).1
    }

    #[test]
    fn a_table_without_texts_is_refused_once() {
        assert_eq!(
            read(b"\nbody,date\na,b\nc,d\n"),
            ["2 missing_column: no column `text`; the columns are: body, date; --text-field names another"]
        );
        assert_eq!(read(b"text,date\na,\n"), [r#"2 {"text":"a"}"#]);
    }

    #[test]
    fn the_header_tells_the_delimiter() {
        let rows = [
            ("id,text", Some(b',')),
            ("id;text", Some(b';')),
            ("id\ttext\r\n", Some(b'\t')),
            ("id|\"text\"", Some(b'|')),
            ("\u{feff}text;id,a,b,c", None),
            ("\u{feff}text;id;a,b,c", Some(b';')),
            ("a, text ,id,b;c;d;e;f", Some(b',')),
            ("title,a;text;id", Some(b';')),
            ("Money, text, fame", None),
            ("text", None),
            ("Text,id", None),
            ("some text, and more", None),
            ("", None),
        ];
        for (header, expected) in rows {
            assert_eq!(looks_delimited(header.as_bytes(), "text", &KNOWN), expected, "{header}");
        }
        assert_eq!(choose_delimiter(b"a|b|c,d", "text"), b'|');
        assert_eq!(choose_delimiter(b"a", "text"), b',');
        assert_eq!(choose_delimiter("\u{feff}text;a,b,c".as_bytes(), "text"), b';');
        assert_eq!(choose_delimiter(b"a, text ,b;c;d;e;f", "text"), b',');
        // The caller knows better.
        assert_eq!(rows_by_tab(b"text\ta,id\nb\tc\n"), r#"{"text":"b","a,id":"c"}"#);
    }

    fn rows_by_tab(content: &[u8]) -> String {
        match &rows(content, Some(b'\t'), 20, 9)[..] {
            [(2, Row::Values { values, .. })] => Value::Object(values.clone()).to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_follows_a_read_error() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("disk"))
            }
        }
        for (head, before) in [("te", 0), ("text\n", 0), ("text\na\nb", 1)] {
            let bytes = BufReader::new(head.as_bytes()).chain(BufReader::new(Failing));
            let mut rows = Delimited::new(bytes, None, 20, columns(|_| true), lossy);
            assert_eq!(rows.by_ref().take_while(|row| row.is_ok()).count(), before, "{head}");
            assert!(rows.next().is_none());
        }
    }

    #[test]
    fn cells_are_decoded_together() {
        let decode: Decode = |bytes| (format!("{}!", String::from_utf8_lossy(&bytes)), Some(bytes.len().to_string()));
        let bytes = &b"text,id\nab,c\n"[..];
        let mut rows = Delimited::new(bytes, None, 20, columns(|name| name.starts_with(['t', 'i'])), decode);
        // The name of the last column, too, has gone through this decoder.
        let Some(Ok((2, Row::Values { values, warnings }))) = rows.next() else { panic!("one row") };
        assert_eq!(
            (Value::Object(values).to_string().as_str(), warnings),
            (r#"{"text":"ab","id!":"c!"}"#, vec!["4".to_owned()])
        );
    }

    proptest! {
        #[test]
        fn records_of_the_csv_crate_come_back(
            records in prop::collection::vec(prop::array::uniform3("[a-c\"',;\t\r\n \u{e9}]{0,6}"), 0..8),
            delimiter in prop::sample::select(&DELIMITERS[..]),
            chunk in 1..40_usize,
            is_crlf in any::<bool>(),
            always_quotes in any::<bool>(),
        ) {
            let mut writer = csv::WriterBuilder::new()
                .delimiter(delimiter)
                .terminator(if is_crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') })
                .quote_style(if always_quotes { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary })
                .from_writer(Vec::new());
            writer.write_record(["id", "text", "date"]).expect("in memory");
            for record in &records {
                writer.write_record(record).expect("in memory");
            }
            let content = writer.into_inner().expect("in memory");
            let back: Vec<Map<String, Value>> = rows(&content, None, 1000, chunk).into_iter().map(|(_, row)| match row {
                Row::Values { values, .. } => values,
                other => panic!("{other:?}"),
            }).collect();
            let filled = records.iter().filter(|record| record.iter().any(|cell| !cell.trim_ascii().is_empty()));
            let expected: Vec<Map<String, Value>> = filled.map(|record| {
                let named = ["id", "text", "date"].into_iter().zip(record).filter(|(_, cell)| !cell.is_empty());
                named.map(|(name, cell)| (name.to_owned(), Value::from(cell.as_str()))).collect()
            }).collect();
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn any_bytes_are_read_within_the_limit(
            bytes in prop::collection::vec(prop_oneof![4 => prop::sample::select(&b"a,;\t\"\r\n \xe9"[..]), 1 => any::<u8>()], 0..200),
            has_header in any::<bool>(),
            chunk in 1..9_usize,
            limit in 0..20_u64,
        ) {
            let content = if has_header { [b"text,a\n", &bytes[..]].concat() } else { bytes };
            let all = rows(&content, None, limit, chunk);
            prop_assert!(all.len() <= content.len());
            prop_assert!(all.is_sorted_by(|(one, _), (next, _)| one < next), "a line has one row");
            for (_, row) in all {
                if let Row::Values { values, .. } = row {
                    let held: usize = values.values().map(|value| value.as_str().expect("a string").len()).sum();
                    prop_assert!(held as u64 <= limit);
                }
            }
            looks_delimited(&content, "text", &KNOWN);
        }
    }
}
