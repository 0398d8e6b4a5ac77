use std::fs;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stancewire::engine::model_file::Model;
use stancewire::text::window::{SentenceRows, Window};
use stancewire::text::wordpiece::{LetterCase, TokenType};

/// Shape of a random model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) head_size: usize,
    pub(crate) intermediate: usize,
    pub(crate) positions: usize,
    /// Buckets of relative positions; 0 for none.
    pub(crate) buckets: usize,
    /// With a list of known names, and token types for them.
    pub(crate) names: bool,
}

impl Shape {
    fn width(self) -> usize {
        self.heads * self.head_size
    }

    fn types(self) -> usize {
        if self.names { TokenType::COUNT } else { LetterCase::ALL.len() }
    }
}

/// Shapes that no kernel likes: odd numbers of heads, widths that are no multiple of a register.
pub(crate) const ODD_SHAPES: [Shape; 4] = [
    Shape { layers: 1, heads: 3, head_size: 20, intermediate: 77, positions: 257, buckets: 0, names: true },
    Shape { layers: 2, heads: 1, head_size: 33, intermediate: 130, positions: 64, buckets: 0, names: true },
    Shape { layers: 3, heads: 5, head_size: 16, intermediate: 24, positions: 40, buckets: 0, names: true },
    Shape { layers: 2, heads: 3, head_size: 18, intermediate: 50, positions: 200, buckets: 32, names: true },
];

/// A model of this shape with random weights in f16, read back from a folder as users' models are.
pub(crate) fn random_model(shape: Shape, seed: u64) -> Arc<Model> {
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/stancewire-small");
    let folder = tempfile::tempdir().expect("a folder");
    let weights = random_weights(shape, fastrand::Rng::with_seed(seed));
    let read = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(embedded.join(name)).expect("a model file")).expect("JSON")
    };
    let (mut config, mut card) = (read("config.json"), read("model.json"));
    for (key, value) in [
        ("hidden_size", shape.width()),
        ("num_attention_heads", shape.heads),
        ("num_hidden_layers", shape.layers),
        ("intermediate_size", shape.intermediate),
        ("max_position_embeddings", shape.positions),
        ("type_vocab_size", shape.types()),
    ] {
        config[key] = json!(value);
    }
    if shape.buckets > 0 {
        config["relative_attention_num_buckets"] = json!(shape.buckets);
    }
    card["max_tokens"] = json!(shape.positions);
    card["weights_sha256"] = json!(Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect::<String>());
    if !shape.names {
        card["names_sha256"] = Value::Null;
    }
    fs::write(folder.path().join("config.json"), config.to_string()).expect("writes");
    fs::write(folder.path().join("model.json"), card.to_string()).expect("writes");
    fs::write(folder.path().join("model.safetensors"), weights).expect("writes");
    fs::copy(embedded.join("tokenizer.json"), folder.path().join("tokenizer.json")).expect("copies");
    if shape.names {
        fs::copy(embedded.join("names.tsv"), folder.path().join("names.tsv")).expect("copies");
    }
    Arc::new(Model::open(folder.path()).expect("a model of its own configuration"))
}

/// Tensors in f16, as they are drawn.
struct RandomTensors {
    random: fastrand::Rng,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl RandomTensors {
    fn add(&mut self, name: &str, sizes: &[usize], middle: f32, spread: f32) {
        let mut value = || middle + spread * (self.random.f32() + self.random.f32() + self.random.f32() - 1.5);
        let count: usize = sizes.iter().product();
        let bytes = (0..count).flat_map(|_| f16::from_f32(value()).to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), sizes.to_vec(), bytes));
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(&format!("{name}.weight"), &[width], 1.0, 0.3);
        self.add(&format!("{name}.bias"), &[width], 0.0, 0.2);
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(&format!("{name}.weight"), &[outputs, inputs], 0.0, 1.5 / (inputs as f32).sqrt());
        self.add(&format!("{name}.bias"), &[outputs], 0.0, 0.2);
    }
}

/// The encoder's tensors as a safetensors file.
fn random_weights(shape: Shape, random: fastrand::Rng) -> Vec<u8> {
    let (width, inner) = (shape.width(), shape.intermediate);
    let mut all = RandomTensors { random, tensors: Vec::new() };
    for (name, rows) in [("word", 30_522), ("position", shape.positions), ("token_type", shape.types())] {
        all.add(&format!("bert.embeddings.{name}_embeddings.weight"), &[rows, width], 0.0, 0.5);
    }
    all.norm("bert.embeddings.LayerNorm", width);
    if shape.buckets > 0 {
        let name = "bert.encoder.relative_attention_bias.weight";
        all.add(name, &[shape.buckets, shape.heads], 0.0, 2.0);
    }
    for at in 0..shape.layers {
        let name = |part: &str| format!("bert.encoder.layer.{at}.{part}");
        for part in ["query", "key", "value"] {
            all.linear(&name(&format!("attention.self.{part}")), width, width);
        }
        all.linear(&name("attention.output.dense"), width, width);
        all.norm(&name("attention.output.LayerNorm"), width);
        all.linear(&name("intermediate.dense"), inner, width);
        all.linear(&name("output.dense"), width, inner);
        all.norm(&name("output.LayerNorm"), width);
    }
    let views = all.tensors.iter().map(|(name, sizes, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F16, sizes.clone(), bytes).expect("bytes of the shape"))
    });
    serialize(views, None).expect("safetensors")
}

/// Windows of random tokens with these lengths.
pub(crate) fn random_windows(lengths: &[usize], seed: u64) -> Vec<Window> {
    let mut random = fastrand::Rng::with_seed(seed);
    lengths.iter().map(|&len| random_window(len, &mut random)).collect()
}

fn random_window(len: usize, random: &mut fastrand::Rng) -> Window {
    let mut ids: Vec<u32> = (0..len).map(|_| random.u32(1000..30_522)).collect();
    (ids[0], ids[len - 1]) = (101, 102);
    let types = (0..len).map(|_| TokenType::from_number(random.usize(..TokenType::COUNT))).collect();
    Window::from_tokens(ids, types, vec![SentenceRows { sentence: 0, rows: 1..len - 1 }])
}
