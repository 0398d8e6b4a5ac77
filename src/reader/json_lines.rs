//! JSON Lines → one document a line.

use std::io::BufRead;
use std::ops::ControlFlow;

use super::decode::decode;
use super::lines::{Line, read_line};
use super::{Reading, too_large, unreadable};
use crate::document::Input;

/// Emits the documents of `bytes`; `warning` is what reading them so far has found, and holds for all.
pub(super) fn read(
    reading: &mut Reading<'_>,
    name: &str,
    mut bytes: impl BufRead,
    warning: Option<&str>,
) -> ControlFlow<()> {
    let limit = reading.options.limit();
    for number in 1_u64.. {
        let source = format!("{name}:{number}");
        match read_line(&mut bytes, limit) {
            Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {}
            Ok(Some(Line::Whole(line))) => {
                let input = document(reading, source, line, warning);
                reading.emit(input)?;
            }
            Ok(Some(Line::TooLong)) => reading.emit(too_large(source, limit))?,
            Ok(None) => break,
            Err(error) => return reading.emit(unreadable(source, &error)),
        }
    }
    ControlFlow::Continue(())
}

/// The document that one JSON object describes, in whatever encoding it is.
pub(super) fn document(reading: &Reading<'_>, source: String, json: Vec<u8>, warning: Option<&str>) -> Input {
    let (json, guess) = decode(json);
    if json.len() as u64 > reading.options.limit() {
        return too_large(source, reading.options.limit());
    }
    let warnings = warning.map(str::to_owned).into_iter().chain(guess).collect();
    // Where marked files were joined, a mark can be at the head of any line.
    let json = json.strip_prefix('\u{feff}').unwrap_or(&json);
    reading.options.fields.parse(source, json, warnings)
}
