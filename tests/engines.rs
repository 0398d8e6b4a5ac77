use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayView2, s};
use safetensors::SafeTensors;
use serde::Deserialize;
use stancewire::batch::Batch;
use stancewire::engine::float::F32Source;
use stancewire::engine::int8::Int8Source;
use stancewire::engine::kernel::Kernel;
use stancewire::engine::model_file::{Model, ModelError};
use stancewire::engine::{EngineError, EngineSource, Hidden};
use stancewire::mention::EntityHead;
use stancewire::stance::{Presence, StanceHead};
use stancewire::text::window::{SentenceRows, Window};
use stancewire::text::wordpiece::TokenType;

use crate::random_models::{ODD_SHAPES, Shape, random_model, random_windows};

/// Largest difference to PyTorch, relative to the largest hidden state of the window. f32 sums of 1,536 terms in another
/// order differ by about 1e-6; this leaves room for six layers.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Reference {
    windows: Vec<ReferenceWindow>,
}

#[derive(Deserialize)]
struct ReferenceWindow {
    ids: Vec<u32>,
    types: Vec<u8>,
    sentences: Vec<[usize; 2]>,
    companies: Vec<Vec<[usize; 2]>>,
}

fn model() -> Arc<Model> {
    Arc::new(Model::embedded().expect("the model inside the binary"))
}

fn window(reference: &ReferenceWindow) -> Window {
    let types = reference.types.iter().map(|&number| TokenType::from_number(number.into())).collect();
    let parts = reference.sentences.iter().enumerate();
    let parts = parts.map(|(sentence, &[start, end])| SentenceRows { sentence, rows: start..end }).collect();
    Window::from_tokens(reference.ids.clone(), types, parts)
}

fn fixture() -> (Reference, Vec<u8>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/reference");
    let json = std::fs::read(folder.join("reference.json")).expect("reference.json");
    let tensors = std::fs::read(folder.join("reference.safetensors")).expect("reference.safetensors");
    (serde_json::from_slice(&json).expect("the reference's form"), tensors)
}

fn tensor(file: &SafeTensors<'_>, name: &str) -> (Vec<f32>, usize) {
    let tensor = file.tensor(name).expect("a tensor of the reference");
    let values = tensor.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    (values, tensor.shape()[1])
}

fn relative_difference<'a>(a: impl IntoIterator<Item = &'a f32>, b: &[f32]) -> f32 {
    let top = b.iter().fold(0.0_f32, |top, v| top.max(v.abs()));
    let (mut worst, mut count) = (0.0_f32, 0);
    for (a, b) in a.into_iter().zip(b) {
        worst = worst.max((a - b).abs());
        count += 1;
    }
    assert_eq!(count, b.len(), "as many numbers on both sides");
    worst / top
}

#[test]
fn hidden_states_and_logits_are_those_of_pytorch() {
    let (reference, bytes) = fixture();
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let model = model();
    let mut engine = F32Source::new(&model).expect("weights").open().expect("an engine");
    let kernel = Kernel::best();
    let entities = EntityHead::read(&model, kernel).expect("the entity head");
    let head = StanceHead::read(&model, kernel).expect("the stance head");
    assert!(reference.windows.len() >= 3);
    for (at, of_window) in reference.windows.iter().enumerate() {
        let window = window(of_window);
        let batch = Batch::new(vec![&window]);
        let mut hidden = Hidden::default();
        engine.run(&batch, &mut hidden).expect("runs");
        let states = hidden.window(&batch, 0);
        let (expected, width) = tensor(&file, &format!("hidden.{at}"));
        assert_eq!(width, model.config().hidden_size);
        let difference = relative_difference(states.iter(), &expected);
        assert!(difference <= TOLERANCE, "hidden states of window {at}: {difference}");

        let (expected, _) = tensor(&file, &format!("entity.{at}"));
        let difference = relative_difference(entities.logits(states).iter(), &expected);
        assert!(difference <= TOLERANCE, "entity logits of window {at}: {difference}");

        let mentions = |of: &Vec<[usize; 2]>| Presence::Named(of.iter().map(|&[a, b]| a..b).collect());
        let companies: Vec<Presence> = of_window.companies.iter().map(mentions).collect();
        let scores: Vec<f32> =
            head.score(&window, states, &companies).into_iter().flatten().flat_map(|score| score.logits).collect();
        let (expected, _) = tensor(&file, &format!("stance.{at}"));
        let difference = relative_difference(&scores, &expected);
        assert!(difference <= TOLERANCE, "stance logits of window {at}: {difference}");
    }
}

#[test]
fn neighbours_in_a_batch_change_no_bit() {
    let (reference, _) = fixture();
    let windows: Vec<Window> = reference.windows.iter().map(window).collect();
    let model = model();
    let mut engine = F32Source::new(&model).expect("weights").open().expect("an engine");
    let mut alone = Vec::new();
    for window in &windows {
        let batch = Batch::new(vec![window]);
        let mut hidden = Hidden::default();
        engine.run(&batch, &mut hidden).expect("runs");
        alone.push(hidden.window(&batch, 0).to_owned());
    }
    for order in [vec![0, 1, 2], vec![2, 0, 1], vec![1, 1, 2, 0, 0, 2]] {
        let batch = Batch::new(order.iter().map(|&at| &windows[at]).collect());
        let mut hidden = Hidden::default();
        engine.run(&batch, &mut hidden).expect("runs");
        for (packed, &at) in order.iter().enumerate() {
            let together: ArrayView2<'_, f32> = hidden.window(&batch, packed);
            let bits = |view: ArrayView2<'_, f32>| view.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(together), bits(alone[at].slice(s![.., ..])), "window {at} in {order:?}");
        }
    }
}

#[test]
fn a_window_or_a_token_beyond_the_model_is_an_error() {
    let model = model();
    let mut engine = F32Source::new(&model).expect("weights").open().expect("an engine");
    let of = |len: usize, id: u32| {
        window(&ReferenceWindow {
            ids: vec![id; len],
            types: vec![0; len],
            sentences: vec![[1, len - 1]],
            companies: Vec::new(),
        })
    };
    let long = of(model.config().max_position_embeddings + 1, 5);
    let error = engine.run(&Batch::new(vec![&long]), &mut Hidden::default());
    assert!(matches!(error, Err(EngineError::TooLong { len: 513, limit: 512 })), "{error:?}");
    let unknown = of(4, 30_522);
    let error = engine.run(&Batch::new(vec![&unknown]), &mut Hidden::default());
    assert!(matches!(error, Err(EngineError::UnknownToken { id: 30_522, .. })), "{error:?}");
}

#[test]
fn a_model_without_a_list_of_names_reads_letter_case_alone() {
    let model = random_model(Shape { names: false, ..ODD_SHAPES[0] }, 5);
    let encoded = model.text().encode("Lenovo has halted exports to Russia, HP said.").expect("encodes");
    let [window] = &encoded.windows[..] else { panic!("one window") };
    let types: Vec<usize> = window.types().iter().map(|t| t.number()).collect();
    assert_eq!(types.iter().filter(|&&t| t == 0).count(), types.len() - 4, "Len-ovo, Russia, HP: {types:?}");
    assert!(types.iter().all(|&t| t < 4), "{types:?}");
    let named = random_windows(&[40], 3);
    for source in [
        &F32Source::new(&model).expect("weights") as &dyn EngineSource,
        &Int8Source::new(&model, Kernel::best()).expect("weights"),
    ] {
        let mut engine = source.open().expect("an engine");
        engine.run(&Batch::new(vec![window]), &mut Hidden::default()).expect("runs");
        let error = engine.run(&Batch::new(named.iter().collect()), &mut Hidden::default());
        assert!(matches!(error, Err(EngineError::UnknownType { size: 4, .. })), "{error:?}");
    }
}

#[test]
fn models_of_odd_sizes_run_and_neighbours_change_no_bit() {
    for (seed, shape) in ODD_SHAPES.into_iter().enumerate() {
        let model = random_model(shape, seed as u64);
        let windows = random_windows(&[shape.positions, 3, 17, 16], seed as u64);
        let mut engine = F32Source::new(&model).expect("weights").open().expect("an engine");
        let mut run = |windows: Vec<&Window>| {
            let batch = Batch::new(windows);
            let mut hidden = Hidden::default();
            engine.run(&batch, &mut hidden).expect("runs");
            (0..batch.windows().len()).map(|at| hidden.window(&batch, at).to_owned()).collect::<Vec<_>>()
        };
        let together = run(windows.iter().collect());
        for (window, together) in windows.iter().zip(together) {
            assert_eq!(run(vec![window])[0], together, "{shape:?}, {} tokens", window.len());
            assert!(together.iter().all(|v| v.is_finite()) && together.iter().any(|v| v.abs() > 0.1));
        }
    }
}

/// All bits of the windows' hidden states, in a batch and alone.
fn int8_bits(model: &Arc<Model>, kernel: Kernel, windows: &[Window]) -> Vec<Vec<u32>> {
    let mut engine = Int8Source::new(model, kernel).expect("a kernel of this CPU").open().expect("an engine");
    let mut run = |windows: Vec<&Window>| {
        let batch = Batch::new(windows);
        let mut hidden = Hidden::default();
        engine.run(&batch, &mut hidden).expect("runs");
        let bits = |at| hidden.window(&batch, at).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        (0..batch.windows().len()).map(bits).collect::<Vec<_>>()
    };
    let together = run(windows.iter().collect());
    for (window, together) in windows.iter().zip(&together) {
        assert_eq!(run(vec![window])[0], *together, "{kernel}, {} tokens", window.len());
    }
    together
}

#[test]
fn int8_yields_the_same_bits_with_every_kernel_and_batch() {
    for (seed, shape) in ODD_SHAPES.into_iter().enumerate() {
        let model = random_model(shape, seed as u64);
        let windows = random_windows(&[shape.positions, 3, 17, 16], seed as u64);
        let twin = int8_bits(&model, Kernel::Scalar, &windows);
        for kernel in Kernel::ALL.into_iter().filter(|k| k.is_supported()) {
            assert_eq!(int8_bits(&model, kernel, &windows), twin, "{kernel} on {shape:?}");
        }
    }
}

#[test]
fn heads_yield_the_same_bits_with_every_kernel() {
    let (reference, bytes) = fixture();
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let model = model();
    for (at, of_window) in reference.windows.iter().enumerate() {
        let (hidden, width) = tensor(&file, &format!("hidden.{at}"));
        let states = ArrayView2::from_shape((hidden.len() / width, width), &hidden).expect("a matrix");
        let mentions = |of: &Vec<[usize; 2]>| Presence::Named(of.iter().map(|&[a, b]| a..b).collect());
        let companies: Vec<Presence> = of_window.companies.iter().map(mentions).collect();
        let bits = |kernel| {
            let entities = EntityHead::read(&model, kernel).expect("the entity head").logits(states);
            let scores = StanceHead::read(&model, kernel).expect("the stance head");
            let scores = scores.score(&window(of_window), states, &companies);
            let scores = scores.iter().flatten().flat_map(|score| score.logits);
            entities.into_iter().chain(scores).map(f32::to_bits).collect::<Vec<_>>()
        };
        let twin = bits(Kernel::Scalar);
        assert!(twin.len() > 9 * states.nrows() && !companies.is_empty());
        for kernel in Kernel::ALL.into_iter().filter(|k| k.is_supported()) {
            assert_eq!(bits(kernel), twin, "{kernel}, window {at}");
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is the result")]
fn int8_is_near_f32() {
    let model = model();
    let (reference, _) = fixture();
    let windows: Vec<Window> = reference.windows.iter().map(window).collect();
    let batch = Batch::new(windows.iter().collect());
    let (mut ours, mut twin) = (Hidden::default(), Hidden::default());
    let int8 = Int8Source::new(&model, Kernel::best()).expect("a kernel");
    int8.open().expect("an engine").run(&batch, &mut ours).expect("runs");
    F32Source::new(&model).expect("weights").open().expect("an engine").run(&batch, &mut twin).expect("runs");
    for at in 0..windows.len() {
        let (ours, twin) = (ours.window(&batch, at), twin.window(&batch, at));
        let error: f32 = ours.iter().zip(twin).map(|(a, b)| (a - b) * (a - b)).sum();
        let size: f32 = twin.iter().map(|v| v * v).sum();
        let share = (error / size).sqrt();
        println!("window {at}: hidden states in int8 are off by {:.1} % of their length", 100.0 * share);
        assert!((1e-4..0.1).contains(&share), "window {at} is off by {share} of its length");
    }
}

#[test]
fn a_kernel_of_another_cpu_is_an_error() {
    for kernel in Kernel::ALL.into_iter().filter(|k| !k.is_supported()) {
        let error = Int8Source::new(&model(), kernel).err().expect("an error");
        assert!(error.to_string().contains(kernel.name()), "{error}");
    }
}

#[test]
fn the_embedded_weights_are_the_ones_described() {
    let model = model();
    assert_eq!(model.weights_hash(), model.card().weights_sha256);
    let opened = Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stancewire-small"));
    assert_eq!(opened.expect("the folder").tag(), model.tag());
}

#[test]
fn a_damaged_model_folder_is_told_apart_from_a_missing_one() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stancewire-small");
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Model::open(folder.path());
    assert!(matches!(missing, Err(ModelError::Read { .. })));
    for name in ["model.json", "config.json", "tokenizer.json", "names.tsv", "model.safetensors"] {
        std::fs::copy(source.join(name), folder.path().join(name)).expect("copies");
    }
    let change = |name: &str, from: &str, to: &str| {
        let path = folder.path().join(name);
        let text = std::fs::read_to_string(source.join(name)).expect("text");
        assert!(text.contains(from), "{name} has {from}");
        std::fs::write(&path, text.replace(from, to)).expect("writes");
        let result = Model::open(folder.path()).and_then(|m| F32Source::new(&Arc::new(m)).map(|_| ()));
        std::fs::write(&path, text).expect("writes");
        result.expect_err("a damaged model").to_string()
    };
    assert!(change("config.json", "\"gelu\"", "\"relu\"").contains("`hidden_act` is `relu`"));
    assert!(change("config.json", "1536", "1537").contains("has shape"));
    assert!(change("model.json", "\"none\"", "\"nothing\"").contains("`labels` must be"));
    assert!(change("config.json", "{", "").contains("does not describe"));
    assert!(change("config.json", "\"type_vocab_size\": 36", "\"type_vocab_size\": 4").contains("but the model has a"));
    assert!(change("names.tsv", "C\t", "X\t").contains("`names.tsv` of the model cannot be used"));
    assert!(change("names.tsv", "C\tLenovo", "A\tLenovo").contains("the SHA-256 of `names.tsv`"));
    assert!(change("model.json", "names_sha256", "names").contains("but `model.json` says none"));
    std::fs::remove_file(folder.path().join("names.tsv")).expect("removes");
    let missing = Model::open(folder.path()).err().expect("an error").to_string();
    assert!(missing.contains("but the model has no `names.tsv`"), "{missing}");
    std::fs::copy(source.join("names.tsv"), folder.path().join("names.tsv")).expect("copies");
    assert!(change("config.json", "{", "{\"relative_attention_num_buckets\": 6,").contains("must be a multiple of 4"));
    assert!(change("config.json", "{", "{\"relative_attention_num_buckets\": 8,").contains("lacks a tensor"));
    let mut bytes = std::fs::read(source.join("model.safetensors")).expect("bytes");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("writes");
    assert!(matches!(Model::open(folder.path()), Err(ModelError::Hash { .. })));
}
