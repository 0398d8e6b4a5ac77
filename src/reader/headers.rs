//! Header lines of WARC records and HTTP messages → names and values.

use std::io::{self, BufRead, Read};

/// Bytes of one header with its continuation lines; more of it is not held.
pub(super) const MAX_HEADER: usize = 64 << 10;

/// How a block of headers ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With an empty line.
    Blank,
    /// With the input.
    Input,
    /// With a line that begins the next record.
    NextRecord(String),
}

/// The value of a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Without white space around it, continuation lines joined by a space.
    Whole(&'a str),
    /// It is longer than [`MAX_HEADER`].
    TooLong,
}

/// One line without its end, not held beyond [`MAX_HEADER`].
pub(super) struct HeaderLine {
    pub text: String,
    pub is_cut: bool,
    /// Bytes of the line with its end.
    pub bytes: u64,
}

/// Reads a line ended by `\r\n`, `\n` or the end; `None` at the end. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn read_header_line(input: &mut impl BufRead) -> io::Result<Option<HeaderLine>> {
    let mut line = Vec::new();
    let mut bytes = input.take(MAX_HEADER as u64).read_until(b'\n', &mut line)? as u64;
    if bytes == 0 {
        return Ok(None);
    }
    let is_cut = line.last() != Some(&b'\n') && bytes == MAX_HEADER as u64;
    if is_cut {
        bytes += input.skip_until(b'\n')? as u64;
    }
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let text = String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)).into_owned();
    Ok(Some(HeaderLine { text, is_cut, bytes }))
}

/// Reads headers up to an empty line and calls `take` with the name in lower case and the value of each.
///
/// Lines without a colon are passed over. `is_next` tells a line that begins the next record.
pub(super) fn read_headers(
    input: &mut impl BufRead,
    is_next: impl Fn(&str) -> bool,
    mut take: impl FnMut(&str, Value<'_>),
) -> io::Result<End> {
    // A value ends only where the next line does not continue it.
    let mut open: Option<HeaderLine> = None;
    loop {
        let line = read_header_line(input)?;
        if let (Some(line), Some(open)) = (&line, &mut open)
            && line.text.starts_with([' ', '\t'])
            && !line.text.trim().is_empty()
        {
            open.is_cut |= line.is_cut || open.text.len() + line.text.len() > MAX_HEADER;
            if !open.is_cut {
                open.text.push(' ');
                open.text.push_str(line.text.trim());
            }
            continue;
        }
        if let Some(whole) = open.take()
            && let Some((name, value)) = whole.text.split_once(':')
        {
            let value = if whole.is_cut { Value::TooLong } else { Value::Whole(value.trim()) };
            take(&name.trim().to_ascii_lowercase(), value);
        }
        match line {
            None => return Ok(End::Input),
            Some(line) if line.text.trim().is_empty() && !line.is_cut => return Ok(End::Blank),
            Some(line) if is_next(&line.text) => return Ok(End::NextRecord(line.text)),
            line => open = line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_up_to_what_ends_them() {
        let long = "x".repeat(MAX_HEADER);
        let fits = "x".repeat(MAX_HEADER - 10);
        let rows = [
            ("A: b\r\nc-D:e \n\r\nrest".to_owned(), vec!["a=b", "c-d=e"], End::Blank, "rest"),
            ("A: b\r\n  c\r\n\td\r\n\r\n".to_owned(), vec!["a=b c d"], End::Blank, ""),
            (" x\r\nA: b\r\n \r\nrest".to_owned(), vec!["a=b"], End::Blank, "rest"),
            ("no colon\nA: b: c\n\n".to_owned(), vec!["a=b: c"], End::Blank, ""),
            ("A: b\nC: d".to_owned(), vec!["a=b", "c=d"], End::Input, ""),
            ("A: b\nNEXT 1\nrest".to_owned(), vec!["a=b"], End::NextRecord("NEXT 1".to_owned()), "rest"),
            (format!("A: {long}\nC: d\n\nrest"), vec!["a", "c=d"], End::Blank, "rest"),
            (format!("A: {fits}\n {fits}\n z\nC: d\n\nrest"), vec!["a", "c=d"], End::Blank, "rest"),
            (format!("A: {}\n b\n\n", " ".repeat(MAX_HEADER)), vec!["a"], End::Blank, ""),
            (String::new(), vec![], End::Input, ""),
        ];
        for (text, expected, end, rest) in rows {
            let mut input = text.as_bytes();
            let mut found = Vec::new();
            let ended = read_headers(
                &mut input,
                |line| line.starts_with("NEXT"),
                |name, value| {
                    found.push(match value {
                        Value::Whole(value) => format!("{name}={value}"),
                        Value::TooLong => name.to_owned(),
                    });
                },
            );
            let name = &text[..text.len().min(40)];
            assert_eq!(found, expected, "{name}");
            assert_eq!((ended.expect("reads"), input), (end, rest.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_long_line_is_counted_and_not_held() {
        let text = format!("{}\r\nnext", "x".repeat(1_000_000));
        let mut input = text.as_bytes();
        let line = read_header_line(&mut input).expect("reads").expect("a line");
        assert_eq!((line.text.len(), line.is_cut, line.bytes), (MAX_HEADER, true, 1_000_002));
        let next = read_header_line(&mut input).expect("reads").expect("a line");
        assert_eq!((next.text.as_str(), next.is_cut), ("next", false));
    }
}
