//! Stored bytes → the bytes they were compressed from.
//!
//! What the first bytes say counts, not the name: standard input has none, and a file named outright may have any. But
//! a name that promises compression over content without it is damage, such as a download that broke off, not text.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Bytes, peek};

const BUFFER_BYTES: usize = 64 * 1024;

/// `stored` without its gzip or zstd compression, if it has one; `named_so` if its name says that it has.
pub(super) fn decompress(stored: Bytes, named_so: bool) -> io::Result<Bytes> {
    let (magic, stored) = peek(stored, 4)?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(stored))))
    } else if is_zstd(&magic) {
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, ZstdFrames::new(stored))))
    } else if named_so {
        Err(io::Error::new(io::ErrorKind::InvalidData, "named as compressed, but neither gzip nor zstd"))
    } else {
        Ok(stored)
    }
}

/// A frame's magic number, or a skippable frame's (RFC 8878).
fn is_zstd(magic: &[u8]) -> bool {
    matches!(magic, [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// All frames of a zstd stream, one after another; skippable ones are passed over.
struct ZstdFrames<R> {
    input: R,
    decoder: FrameDecoder,
    state: State,
}

enum State {
    BetweenFrames,
    InFrame,
    /// The error is returned once everything before it has been.
    Damaged(Option<io::Error>),
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(input: R) -> Self {
        ZstdFrames { input, decoder: FrameDecoder::new(), state: State::BetweenFrames }
    }

    /// Starts the next frame; false at the end of the stream.
    fn open_frame(&mut self) -> io::Result<bool> {
        while !self.input.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.input) {
                Ok(()) => {
                    self.state = State::InFrame;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let skipped = io::copy(&mut self.input.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < length.into() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(false)
    }

    /// Decodes on; the decoder then has bytes to give, or the frame has ended, or the stream is damaged.
    fn decode(&mut self) {
        let step = BlockDecodingStrategy::UptoBytes(BUFFER_BYTES);
        if let Err(error) = self.decoder.decode_blocks(&mut self.input, step) {
            // The decoder holds back its window, up to 8 MiB of good text, until a last block: an empty one with a
            // checksum that nobody looks at. If it takes none, that text is lost, and the error says so all the same.
            let _ = self.decoder.decode_blocks(&[1, 0, 0, 0, 0, 0, 0][..], BlockDecodingStrategy::All);
            self.state = State::Damaged(Some(damaged(&error)));
        }
    }

    fn check_frame(&mut self) -> io::Result<()> {
        self.state = State::BetweenFrames;
        match self.decoder.get_checksum_from_data() {
            Some(stored) if self.decoder.get_calculated_checksum() != Some(stored) => {
                self.state = State::Damaged(None);
                Err(io::Error::new(io::ErrorKind::InvalidData, "the content does not match its checksum"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let can_give = self.decoder.can_collect() > 0;
            match &mut self.state {
                State::InFrame | State::Damaged(_) if can_give => return self.decoder.read(buffer),
                State::Damaged(error) => return error.take().map_or(Ok(0), Err),
                State::InFrame if self.decoder.is_finished() => self.check_frame()?,
                State::InFrame => self.decode(),
                State::BetweenFrames => {
                    if !self.open_frame()? {
                        return Ok(0);
                    }
                }
            }
        }
    }
}

fn damaged(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::reader::tests::{gzip, zstd};

    /// What comes out before the end or an error, and whether it was an error.
    fn read_all(stored: Vec<u8>, named_so: bool) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        let failed = match decompress(Box::new(Cursor::new(stored)), named_so) {
            Ok(mut bytes) => bytes.read_to_end(&mut content).is_err(),
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
        assert_eq!(read_all(frame([0, 0, 0, 0]), true), (b"abc".to_vec(), true));
        assert_eq!(read_all(frame([0x99, 0x09, 0x77, 0xad]), true), (b"abc".to_vec(), false));
        let mut stored = gzip(b"abc");
        let checksum = stored.len() - 8;
        stored[checksum] ^= 1;
        assert!(read_all(stored, true).1);
    }
}
