//! Stored bytes → the bytes they were compressed from.
//!
//! What the first bytes say counts, not the name: standard input has none, and a file named outright may have any. But
//! a name that promises compression over content without it is damage, such as a download that broke off, not text.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::{Bytes, peek};

const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that any stream may become, however few it was.
const HARMLESS_BYTES: u64 = 64 << 20;

/// A stream that becomes more than it should.
#[derive(Debug, thiserror::Error)]
#[error("{stored} compressed bytes became more than {max_ratio} times as many; --max-ratio raises the limit")]
pub(super) struct TooCompressed {
    stored: u64,
    max_ratio: u64,
}

/// Whether reading failed because a stream became more than it should.
pub(super) fn is_too_compressed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TooCompressed>())
}

/// What a source, with everything that is packed in it, may become.
#[derive(Debug)]
pub(super) struct Budget {
    /// Most times that bytes may become more; 0 for any.
    max_ratio: u64,
    /// Bytes of the source that have been read, or all of them.
    stored: Cell<u64>,
    /// Bytes that everything in it has become so far, at every level.
    given: Cell<u64>,
}

impl Budget {
    pub(super) fn new(max_ratio: u64) -> Rc<Self> {
        Rc::new(Budget { max_ratio, stored: Cell::new(0), given: Cell::new(0) })
    }

    /// The source has so many bytes at least.
    pub(super) fn has_stored(&self, bytes: u64) {
        self.stored.set(self.stored.get().max(bytes));
    }

    fn check(&self, given: u64, stored: u64) -> io::Result<()> {
        let max_ratio = self.max_ratio;
        if given > HARMLESS_BYTES && max_ratio > 0 && given > stored.saturating_mul(max_ratio) {
            return Err(io::Error::other(TooCompressed { stored, max_ratio }));
        }
        Ok(())
    }
}

/// `stored` without its gzip or zstd compression, and whether it had one; `named_so` if its name says that it has.
pub(super) fn decompress<'b>(stored: Bytes<'b>, named_so: bool, budget: &Rc<Budget>) -> io::Result<(Bytes<'b>, bool)> {
    let (magic, stored) = peek(stored, 4)?;
    let taken = Rc::new(Cell::new(0));
    let stored = Counting { inner: stored, count: Rc::clone(&taken) };
    let content: Box<dyn Read> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(stored))
    } else if is_zstd(&magic) {
        Box::new(zstd::Decoder::with_buffer(stored)?)
    } else if named_so {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "named as compressed, but neither gzip nor zstd"));
    } else {
        return Ok((Box::new(stored), false));
    };
    let content = limit_ratio(content, Rc::clone(budget), move || taken.get());
    Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, content)), true))
}

/// A frame's magic number, or a skippable frame's (RFC 8878).
fn is_zstd(magic: &[u8]) -> bool {
    matches!(magic, [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// `inner`, which fails with [`TooCompressed`] once it has given too much for the bytes `stored` for it, or everything in
/// the source together for the bytes of that.
pub(super) fn limit_ratio(inner: impl Read, budget: Rc<Budget>, stored: impl Fn() -> u64) -> impl Read {
    Limited { inner, budget, given: 0, stored }
}

struct Limited<R, F> {
    inner: R,
    budget: Rc<Budget>,
    given: u64,
    stored: F,
}

impl<R: Read, F: Fn() -> u64> Read for Limited<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let budget = &self.budget;
        self.given += count as u64;
        budget.given.set(budget.given.get() + count as u64);
        budget.check(self.given, (self.stored)())?;
        budget.check(budget.given.get(), budget.stored.get())?;
        Ok(count)
    }
}

/// Counts what is taken from `inner`.
struct Counting<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: BufRead> BufRead for Counting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.count.set(self.count.get() + count as u64);
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::reader::tests::{gzip, zstd};

    /// What comes out before the end or an error, and whether it was an error.
    fn read_all(stored: Vec<u8>, named_so: bool) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        let budget = Budget::new(200);
        let failed = match decompress(Box::new(Cursor::new(stored)), named_so, &budget) {
            Ok((mut bytes, _)) => bytes.read_to_end(&mut content).is_err(),
            Err(_) => true,
        };
        (content, failed)
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let skippable = [0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        let rows = [
            ("two gzip members", [gzip(b"one "), gzip(b"two")].concat()),
            ("two zstd frames", [zstd(b"one "), zstd(b"two")].concat()),
            ("skippable first", [&skippable[..], &zstd(b"one "), &zstd(b"two")].concat()),
            ("skippable between", [&zstd(b"one "), &skippable[..], &zstd(b"two")].concat()),
            ("empty ones between", [zstd(b"one "), zstd(b""), zstd(b"two")].concat()),
            ("skippable last", [&zstd(b"one two"), &skippable[..]].concat()),
            ("not compressed", b"one two".to_vec()),
        ];
        for (name, stored) in rows {
            assert_eq!(read_all(stored, false), (b"one two".to_vec(), false), "{name}");
        }
    }

    #[test]
    fn a_name_that_promises_compression_is_held_to_it() {
        assert_eq!(read_all(b"plain".to_vec(), true), (Vec::new(), true));
        assert_eq!(read_all(Vec::new(), true), (Vec::new(), true));
        assert_eq!(read_all(Vec::new(), false), (Vec::new(), false));
        assert_eq!(read_all(gzip(b"x"), true), (b"x".to_vec(), false));
    }

    #[test]
    fn everything_before_a_damaged_end_comes_out() {
        let content: Vec<u8> =
            (0..100_000_u32).flat_map(|n| format!("{} ", n.wrapping_mul(7919)).into_bytes()).collect();
        let stored = zstd(&content);
        for cut in [stored.len() / 3, stored.len() - 5, stored.len() - 1] {
            let (found, failed) = read_all(stored[..cut].to_vec(), true);
            assert!(failed && content.starts_with(&found), "{cut}");
            // At most one block, 128 KiB, is cut.
            assert!(found.len() + 131_072 * 2 >= content.len() * cut / stored.len(), "{} at {cut}", found.len());
        }
        let stored = gzip(&content);
        let (found, failed) = read_all(stored[..stored.len() - 9].to_vec(), true);
        assert!(failed && content.starts_with(&found) && found.len() + 1000 > content.len());
    }

    #[test]
    fn content_that_does_not_match_its_checksum_is_refused() {
        // One raw block, "abc", with a checksum that belongs to another content.
        let frame = |checksum: [u8; 4]| {
            [&[0x28, 0xb5, 0x2f, 0xfd, 0x24, 3, 0x19, 0, 0, b'a', b'b', b'c'][..], &checksum].concat()
        };
        assert!(read_all(frame([0, 0, 0, 0]), true).1);
        assert_eq!(read_all(frame([0x99, 0x09, 0x77, 0xad]), true), (b"abc".to_vec(), false));
        let mut stored = gzip(b"abc");
        let checksum = stored.len() - 8;
        stored[checksum] ^= 1;
        assert!(read_all(stored, true).1);
    }
}
