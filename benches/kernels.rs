//! Kernels, layers and stages, each alone, on one thread: `cargo bench`.

use std::sync::{Arc, LazyLock};

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use stancewire::analysis::{Analyzer, Heads};
use stancewire::batch::Batch;
use stancewire::document::{Document, Input};
use stancewire::engine::float::F32Source;
use stancewire::engine::int8::Int8Source;
use stancewire::engine::kernel::Kernel;
use stancewire::engine::kernel::probe::Workload;
use stancewire::engine::model_file::Model;
use stancewire::engine::{EngineSource, Hidden};
use stancewire::text::window::{SentenceRows, Window};
use stancewire::text::wordpiece::TokenType;

const STORY: &str = include_str!("../corpus/samples/chinese-tech-leaves-russia.txt");
/// Tokens that a product is over: a block of the encoder.
const ROWS: usize = 48;

/// Shows what allocates: the int8 encoder must not.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| Arc::new(Model::embedded().expect("the model inside")));

fn main() {
    divan::main();
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported())
}

fn window(len: usize) -> Window {
    let rows = SentenceRows { sentence: 0, rows: 1..len - 1 };
    Window::from_tokens((0..len as u32).map(|id| 2000 + 7 * id).collect(), vec![TokenType::FRAME; len], vec![rows])
}

fn product(bencher: Bencher<'_, '_>, kernel: Kernel, inputs: usize, outputs: usize, gelu: bool) {
    let mut run = Workload::Product { rows: ROWS, inputs, outputs, gelu }.prepare(kernel);
    // A product and a sum are two operations.
    bencher.counter(ItemsCount::new(2 * ROWS * inputs * outputs)).bench_local(&mut run);
}

#[divan::bench(args = kernels())]
fn product_384_to_1536_with_gelu(bencher: Bencher<'_, '_>, kernel: Kernel) {
    product(bencher, kernel, 384, 1536, true);
}

#[divan::bench(args = kernels())]
fn product_384_to_1536(bencher: Bencher<'_, '_>, kernel: Kernel) {
    product(bencher, kernel, 384, 1536, false);
}

#[divan::bench(args = kernels())]
fn product_1536_to_384(bencher: Bencher<'_, '_>, kernel: Kernel) {
    product(bencher, kernel, 1536, 384, false);
}

#[divan::bench(args = kernels())]
fn attention_over_256_tokens(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let mut run = Workload::Attention { tokens: 256, heads: 12, depth: 32 }.prepare(kernel);
    bencher.counter(ItemsCount::new(256_usize)).bench_local(&mut run);
}

#[divan::bench(args = kernels())]
fn layer_normalization_and_quantization(bencher: Bencher<'_, '_>, kernel: Kernel) {
    let mut run = Workload::AddNorm { rows: ROWS, width: 384 }.prepare(kernel);
    bencher.counter(ItemsCount::new(ROWS)).bench_local(&mut run);
}

fn encoder(bencher: Bencher<'_, '_>, source: &dyn EngineSource, tokens: usize) {
    let (window, mut engine) = (window(tokens), source.open().expect("an engine"));
    let (batch, mut hidden) = (Batch::new(vec![&window]), Hidden::default());
    // Buffers grow once.
    engine.run(&batch, &mut hidden).expect("a window of the model's");
    bencher
        .counter(ItemsCount::new(tokens))
        .bench_local(|| engine.run(&batch, &mut hidden).expect("a window of the model's"));
}

#[divan::bench(args = [16, 64, 128, 256])]
fn encoder_in_int8(bencher: Bencher<'_, '_>, tokens: usize) {
    encoder(bencher, &Int8Source::new(&MODEL, Kernel::best()).expect("a kernel of this CPU"), tokens);
}

#[divan::bench(args = [16, 64, 128, 256])]
fn encoder_in_f32(bencher: Bencher<'_, '_>, tokens: usize) {
    encoder(bencher, &F32Source::new(&MODEL).expect("weights"), tokens);
}

#[divan::bench]
fn sentences_word_pieces_windows(bencher: Bencher<'_, '_>) {
    bencher.counter(BytesCount::new(STORY.len())).bench(|| MODEL.text().encode(STORY).expect("encodes"));
}

#[divan::bench]
fn whole_story(bencher: Bencher<'_, '_>) {
    let heads = Arc::new(Heads::read(&MODEL, Kernel::best()).expect("heads"));
    let engine = Int8Source::new(&MODEL, Kernel::best()).and_then(|source| source.open()).expect("an engine");
    let mut analyzer = Analyzer::new(Arc::clone(&MODEL), heads, engine, 2048);
    let input = [Input::text(Document { text: STORY.to_owned(), ..Document::default() })];
    bencher.counter(BytesCount::new(STORY.len())).bench_local(|| analyzer.analyze(&input));
}
