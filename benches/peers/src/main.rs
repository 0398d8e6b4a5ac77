//! Rivals in Rust for `compare.py`: writes the windows, and runs a rival over them again and again.
//!
//! usage: peers windows ARTICLES.jsonl TOKENS LENGTH|0 OUT.json
//!        peers rival NAME WINDOWS.json ONNX BATCH PART PARTS
//!
//! A rival prints how many tokens it holds and how many it computes, then, for every line on standard input, the
//! seconds of one run over all its windows.

mod rivals;
mod windows;

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use stancewire::text::window::Window;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["windows", articles, tokens, length, out] => {
            let length: usize = length.parse()?;
            windows::write(Path::new(articles), tokens.parse()?, (length > 0).then_some(length), Path::new(out))
        }
        ["rival", name, windows, onnx, batch, part, parts] => {
            let windows = windows::read(Path::new(windows), part.parse()?, parts.parse()?)?;
            serve(rivals::open(name, Path::new(onnx), batch.parse()?)?.as_mut(), &windows)
        }
        _ => anyhow::bail!("see the head of src/main.rs for how to call this"),
    }
}

fn serve(rival: &mut dyn rivals::Rival, windows: &[Window]) -> anyhow::Result<()> {
    let tokens: usize = windows.iter().map(Window::len).sum();
    let mut out = io::stdout().lock();
    writeln!(out, "{tokens} {}", rival.computed(windows))?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        rival.run(windows)?;
        writeln!(out, "{}", start.elapsed().as_secs_f64())?;
        out.flush()?;
    }
    Ok(())
}
