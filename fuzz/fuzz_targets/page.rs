//! Any markup as a page: no panic, no overflow of the stack.

#![no_main]

use libfuzzer_sys::fuzz_target;
use stancewire::document::Document;
use stancewire::reader::find_text;

fuzz_target!(|markup: &str| {
    let mut document = Document { text: markup.to_owned(), ..Document::default() };
    let _ = find_text(&mut document);
});
