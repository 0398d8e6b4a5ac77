//! Windows that all rivals run: as the pipeline makes them, or all of one length.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stancewire::engine::model_file::Model;
use stancewire::text::window::{SentenceRows, Window};
use stancewire::text::wordpiece::TokenType;

/// One window, special tokens included.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Tokens {
    ids: Vec<u32>,
    types: Vec<u8>,
}

impl Tokens {
    fn of(window: &Window) -> Self {
        Tokens { ids: window.ids().to_vec(), types: window.types().iter().map(|t| t.number() as u8).collect() }
    }

    fn window(&self) -> Window {
        let types = self.types.iter().map(|&number| TokenType::from_number(number.into())).collect();
        let whole = vec![SentenceRows { sentence: 0, rows: 1..self.ids.len() - 1 }];
        Window::from_tokens(self.ids.clone(), types, whole)
    }
}

/// Writes the windows of the texts in a JSON Lines file to `out`, until they hold `budget` tokens: the pipeline's own,
/// or, with `length`, the same tokens in windows of exactly that many.
pub(crate) fn write(articles: &Path, budget: usize, length: Option<usize>, out: &Path) -> anyhow::Result<()> {
    let model = Model::embedded()?;
    let lines = fs::read_to_string(articles).with_context(|| format!("cannot read {}", articles.display()))?;
    let mut windows: Vec<Tokens> = Vec::new();
    let mut count = 0;
    for line in lines.lines() {
        if count >= budget {
            break;
        }
        let document: serde_json::Value = serde_json::from_str(line)?;
        let text = document["text"].as_str().context("a line without `text`")?;
        let encoded = model.text().encode(text).map_err(anyhow::Error::msg)?;
        count += encoded.windows.iter().map(Window::len).sum::<usize>();
        windows.extend(encoded.windows.iter().map(Tokens::of));
    }
    if let Some(length) = length {
        windows = recut(&windows, length);
    }
    fs::write(out, serde_json::to_vec(&windows)?).with_context(|| format!("cannot write {}", out.display()))
}

fn recut(windows: &[Tokens], length: usize) -> Vec<Tokens> {
    let inner = |w: &Tokens| 1..w.ids.len() - 1;
    let ids: Vec<u32> = windows.iter().flat_map(|w| w.ids[inner(w)].iter().copied()).collect();
    let types: Vec<u8> = windows.iter().flat_map(|w| w.types[inner(w)].iter().copied()).collect();
    let (first, last) = (windows[0].ids[0], windows[0].ids[windows[0].ids.len() - 1]);
    let pieces = ids.chunks_exact(length - 2).zip(types.chunks_exact(length - 2));
    pieces
        .map(|(ids, types)| Tokens { ids: [&[first], ids, &[last]].concat(), types: [&[0], types, &[0]].concat() })
        .collect()
}

/// Part `part` of `parts` of the windows in `path`, longest first, dealt out in turn.
pub(crate) fn read(path: &Path, part: usize, parts: usize) -> anyhow::Result<Vec<Window>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut windows: Vec<Tokens> = serde_json::from_slice(&bytes)?;
    windows.sort_by_key(|w| std::cmp::Reverse(w.ids.len()));
    Ok(windows.iter().skip(part).step_by(parts).map(Tokens::window).collect())
}
