//! Delimited text → records, each with the lines it is on and the cells that are asked for.
//!
//! Quotes are doubled in quoted cells, as in RFC 4180; `\r\n`, `\n` and `\r` end a line.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use memchr::{memchr, memchr2_iter, memchr3};

/// Records of a stream, of which the cells asked for are held.
pub(super) struct Records<R> {
    bytes: R,
    delimiter: u8,
    parser: Reader,
    lines: Lines,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(bytes: R, delimiter: u8) -> Self {
        let parser = ReaderBuilder::new().delimiter(delimiter).build();
        Records { bytes, delimiter, parser, lines: Lines { line: 1, is_after_return: false } }
    }

    /// The next record; at most `limit` bytes of the cells that `is_kept` asks for are held.
    pub(super) fn read(&mut self, limit: u64, is_kept: impl Fn(usize) -> bool) -> io::Result<Option<Record>> {
        if !self.skip_line_ends()? {
            return Ok(None);
        }
        let mut record = Record::starting_on(self.lines.line);
        let mut quotes = Quotes { delimiter: self.delimiter, place: Place::Start, is_broken: false };
        let mut room = limit;
        let (mut output, mut ends) = ([0; 8192], [0; 64]);
        let mut output_start = 0;
        let is_ended = loop {
            let chunk = self.bytes.fill_buf()?;
            if chunk.is_empty() {
                record.end_cell(&is_kept);
                break false;
            }
            let (result, used, written, ended) = self.parser.read_record(chunk, &mut output, &mut ends);
            quotes.pass(&chunk[..used]);
            self.lines.pass(&chunk[..used]);
            self.bytes.consume(used);
            let mut at = 0;
            for end in &ends[..ended] {
                record.push(&output[at..end - output_start], &mut room, &is_kept);
                record.end_cell(&is_kept);
                at = end - output_start;
            }
            if result == ReadRecordResult::Record {
                break true;
            }
            record.push(&output[at..written], &mut room, &is_kept);
            output_start += written;
        };
        record.last_line = self.lines.line - u64::from(is_ended);
        record.is_cut_short = quotes.place == Place::Quoted;
        record.is_misquoted = quotes.is_broken;
        Ok(Some(record))
    }

    /// False at the end of the stream.
    fn skip_line_ends(&mut self) -> io::Result<bool> {
        loop {
            let chunk = self.bytes.fill_buf()?;
            let count = chunk.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            if count == 0 {
                return Ok(!chunk.is_empty());
            }
            self.lines.pass(&chunk[..count]);
            self.bytes.consume(count);
        }
    }
}

/// A record as it is read.
pub(super) struct Record {
    pub(super) first_line: u64,
    pub(super) last_line: u64,
    pub(super) cells: usize,
    /// Cells up to the last that holds anything but white space.
    pub(super) filled_cells: usize,
    /// Those asked for, by index; `None` if they were longer than the limit.
    pub(super) kept: Option<Vec<(usize, Vec<u8>)>>,
    /// The cell that has not ended.
    cell: Vec<u8>,
    /// The stream ended in a quoted cell.
    pub(super) is_cut_short: bool,
    /// Something other than the end of a cell follows its closing quote.
    pub(super) is_misquoted: bool,
}

impl Record {
    fn starting_on(line: u64) -> Self {
        Record {
            first_line: line,
            last_line: line,
            cells: 0,
            filled_cells: 0,
            kept: Some(Vec::new()),
            cell: Vec::new(),
            is_cut_short: false,
            is_misquoted: false,
        }
    }

    /// More of the cell that has not ended; `room` is how much may still be held.
    fn push(&mut self, part: &[u8], room: &mut u64, is_kept: impl Fn(usize) -> bool) {
        if !part.trim_ascii().is_empty() {
            self.filled_cells = self.cells + 1;
        }
        if is_kept(self.cells) && self.kept.is_some() {
            match room.checked_sub(part.len() as u64) {
                Some(left) => {
                    *room = left;
                    self.cell.extend_from_slice(part);
                }
                None => (self.kept, self.cell) = (None, Vec::new()),
            }
        }
    }

    fn end_cell(&mut self, is_kept: impl Fn(usize) -> bool) {
        if is_kept(self.cells)
            && let Some(kept) = &mut self.kept
        {
            kept.push((self.cells, std::mem::take(&mut self.cell)));
        }
        self.cells += 1;
    }
}

/// Follows the quotes of one record, of which the parser says nothing.
struct Quotes {
    delimiter: u8,
    place: Place,
    is_broken: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of a cell.
    Start,
    Bare,
    Quoted,
    /// After a quote in a quoted cell: the first of two, or the closing one.
    AfterQuote,
}

impl Quotes {
    fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            let rest = &bytes[at..];
            let is_end = byte == self.delimiter || byte == b'\r' || byte == b'\n';
            self.place = match self.place {
                Place::Start | Place::AfterQuote if byte == b'"' => Place::Quoted,
                Place::Quoted if byte == b'"' => Place::AfterQuote,
                Place::Quoted => {
                    at += memchr(b'"', rest).unwrap_or(rest.len());
                    Place::Quoted
                }
                _ if is_end => Place::Start,
                place => {
                    self.is_broken |= place == Place::AfterQuote;
                    at += memchr3(self.delimiter, b'\r', b'\n', rest).unwrap_or(rest.len());
                    Place::Bare
                }
            };
        }
    }
}

/// Counts line ends of any kind.
struct Lines {
    /// From 1.
    line: u64,
    /// A `\n` that comes next ends no further line.
    is_after_return: bool,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        for at in memchr2_iter(b'\r', b'\n', bytes) {
            let is_after_return = if at == 0 { self.is_after_return } else { bytes[at - 1] == b'\r' };
            self.line += u64::from(bytes[at] == b'\r' || !is_after_return);
        }
        if let Some(last) = bytes.last() {
            self.is_after_return = *last == b'\r';
        }
    }
}
