//! A byte stream → numbered lines, none of them held beyond a limit.

use std::io::{self, BufRead, Read};

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes.
    Whole(Vec<u8>),
    /// It was longer than the limit and has been passed over.
    TooLong,
}

/// Reads the next line of `bytes`, ended by `\n` or the end; `None` at the end.
///
/// Never holds more than `limit` bytes of it.
pub(super) fn read_line(bytes: &mut impl BufRead, limit: u64) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    if bytes.take(limit.saturating_add(1)).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if line.len() as u64 > limit {
        drop(line);
        bytes.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Whole(line)))
}

/// Adds the next line of `bytes`, with its end, to `head` unless that has become `limit` bytes long; false at the end.
pub(super) fn add_line(bytes: &mut impl BufRead, head: &mut Vec<u8>, limit: u64) -> io::Result<bool> {
    let room = limit.saturating_sub(head.len() as u64);
    Ok(room > 0 && bytes.take(room).read_until(b'\n', head)? > 0)
}

/// The first line of `bytes` that is not blank, with the blank ones before it, up to `limit` bytes of them all.
pub(super) fn first_line(bytes: &mut impl BufRead, limit: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.trim_ascii().is_empty() && add_line(bytes, &mut head, limit)? {}
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_passed_over_whole() {
        let mut bytes = io::BufReader::with_capacity(3, &b"abcd\nabcde\r\nxx\n\nabcdefgh"[..]);
        let mut all = Vec::new();
        while let Some(line) = read_line(&mut bytes, 4).expect("reads") {
            all.push(line);
        }
        let whole = |text: &str| Line::Whole(text.into());
        assert_eq!(all, [whole("abcd"), Line::TooLong, whole("xx"), whole(""), Line::TooLong]);
    }
}
