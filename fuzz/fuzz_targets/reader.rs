//! Any bytes as any kind of input: no panic, no document over the limit, the same documents twice.
//!
//! The first byte chooses the kind, so that one corpus feeds every hand-written parser: lines, JSON values, delimited text,
//! WARC and HTTP, archives of these.

#![no_main]

use std::ops::ControlFlow;

use clap::ValueEnum;
use libfuzzer_sys::fuzz_target;
use stancewire::document::Input;
use stancewire::reader::{Kind, ReadOptions, read_bytes};

const LIMIT: u64 = 4096;

fn read(kind: Option<Kind>, bytes: &[u8]) -> Vec<Input> {
    let options = ReadOptions { max_bytes: LIMIT, kind, ..ReadOptions::default() };
    let mut inputs = Vec::new();
    read_bytes("fuzz", bytes, &options, &mut |input| {
        inputs.push(input);
        ControlFlow::Continue(())
    });
    inputs
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let kind = Kind::value_variants().get(usize::from(*first)).copied();
    let inputs = read(kind, bytes);
    for input in &inputs {
        // A title may stand before a text of the longest kind.
        assert!(input.document.text.len() as u64 <= 2 * LIMIT + 2, "{} bytes of text", input.document.text.len());
    }
    assert_eq!(inputs, read(kind, bytes));
});
