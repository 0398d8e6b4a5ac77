use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use ndarray::Array2;
use serde_json::Value;
use stancewire::batch::Batch;
use stancewire::engine::float::F32Source;
use stancewire::engine::model_file::Model;
use stancewire::engine::torch::{TorchPrecision, TorchSource};
use stancewire::engine::{EngineError, EngineSource, Hidden};
use stancewire::text::window::Window;

use crate::random_models::{ODD_SHAPES, random_model, random_windows};

/// Largest difference of hidden states between engines, relative to the largest of the window.
const TOLERANCE: f32 = 1e-4;
/// Companies whose two best probabilities are closer than this may change sides.
const NARROW: f64 = 1e-3;
/// How many articles of the file in `STANCEWIRE_ARTICLES` are compared.
const ARTICLES: usize = 500;

fn states(engines: &dyn EngineSource, windows: &[&Window]) -> Vec<Array2<f32>> {
    let batch = Batch::new(windows.to_vec());
    let mut hidden = Hidden::default();
    engines.open().expect("an engine").run(&batch, &mut hidden).expect("runs");
    (0..windows.len()).map(|at| hidden.window(&batch, at).to_owned()).collect()
}

fn difference(a: &Array2<f32>, b: &Array2<f32>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let top = b.iter().fold(0.0_f32, |top, v| top.max(v.abs()));
    a.iter().zip(b).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / top
}

fn torch(model: &Arc<Model>) -> TorchSource {
    TorchSource::new(model, "cpu", TorchPrecision::F32).expect("a CPU")
}

fn texts() -> Vec<String> {
    let dev = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dev.jsonl")).expect("dev");
    let text =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["text"].as_str().expect("text").to_owned();
    dev.lines().take(24).map(text).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure is the result")]
fn hidden_states_are_those_of_rust_bert_and_neighbours_do_not_matter() {
    let model = Arc::new(Model::embedded().expect("the model inside the binary"));
    let encoded: Vec<_> = texts().iter().map(|text| model.text().encode(text).expect("encodes")).collect();
    let windows: Vec<&Window> = encoded.iter().flat_map(|e| &e.windows).collect();
    let lengths: BTreeSet<usize> = windows.iter().map(|w| w.len()).collect();
    assert!(windows.len() >= 24 && lengths.len() > 10, "windows of many lengths are padded together: {lengths:?}");
    let (float, torch) = (F32Source::new(&model).expect("weights"), torch(&model));
    let together = states(&torch, &windows);
    let own = states(&float, &windows);
    let mut worst = 0.0_f32;
    for (at, window) in windows.iter().enumerate() {
        worst = worst.max(difference(&own[at], &together[at]));
        let alone = &states(&torch, &[window])[0];
        assert!(difference(alone, &together[at]) <= TOLERANCE, "window {at} alone and in a batch");
    }
    println!("{} windows: largest difference to rust-bert {worst:.1e} of the window's largest state", windows.len());
    assert!(worst <= TOLERANCE, "{worst}");
}

#[test]
fn models_of_odd_sizes_agree() {
    for (seed, shape) in ODD_SHAPES.into_iter().enumerate() {
        let model = random_model(shape, seed as u64);
        let longest = shape.positions;
        let windows = random_windows(&[3, longest, 17, longest - 1, 16, 5], 7 + seed as u64);
        let windows: Vec<&Window> = windows.iter().collect();
        let own = states(&F32Source::new(&model).expect("weights"), &windows);
        for (at, theirs) in states(&torch(&model), &windows).iter().enumerate() {
            let difference = difference(&own[at], theirs);
            assert!(difference <= TOLERANCE, "{shape:?}, window {at}: {difference}");
        }
    }
}

#[test]
fn bf16_is_near_f32() {
    let model = Arc::new(Model::embedded().expect("the model inside the binary"));
    let windows = random_windows(&[40, 9], 3);
    let windows: Vec<&Window> = windows.iter().collect();
    let bf16 = TorchSource::new(&model, "cpu", TorchPrecision::Bf16).expect("a CPU");
    let own = states(&F32Source::new(&model).expect("weights"), &windows);
    for (own, theirs) in own.iter().zip(states(&bf16, &windows)) {
        let difference = difference(own, &theirs);
        assert!((1e-5..0.15).contains(&difference), "bf16 has 8 bits of precision: {difference}");
    }
}

#[test]
fn devices_that_are_not_there_and_windows_that_are_too_long_are_errors() {
    let model = Arc::new(Model::embedded().expect("the model inside the binary"));
    for device in ["gpu", "cuda:", "cuda:99"] {
        let error = TorchSource::new(&model, device, TorchPrecision::F32).err();
        assert!(matches!(&error, Some(EngineError::Device { device: d, .. }) if d == device), "{device}: {error:?}");
    }
    let long = random_windows(&[model.config().max_position_embeddings + 1], 1);
    let mut engine = torch(&model).open().expect("an engine");
    let error = engine.run(&Batch::new(long.iter().collect()), &mut Hidden::default());
    assert!(matches!(error, Err(EngineError::TooLong { len: 513, limit: 512 })), "{error:?}");
}

fn records(input: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::cargo_bin("stancewire").expect("the program");
    let output = command.arg("extract").arg(input).args(["--format", "jsonl"]).args(arguments).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A company without what may differ between engines: its confidences, and evidence that hangs on them.
fn outline(company: &Value) -> (String, String, String) {
    let field = |name: &str| company[name].to_string();
    (field("key"), field("stance"), field("mentions"))
}

fn margin(company: &Value) -> f64 {
    let mut values: Vec<f64> =
        company["probabilities"].as_object().expect("four").values().filter_map(Value::as_f64).collect();
    values.sort_by(f64::total_cmp);
    values[3] - values[2]
}

/// Compares both engines' records; returns documents, companies, and those that differ because they are narrow.
fn compare(input: &Path) -> (usize, usize, Vec<String>) {
    let own = records(input, &["--precision", "f32"]);
    let theirs = records(input, &["--engine", "torch", "--device", "cpu"]);
    assert_eq!(own.len(), theirs.len());
    let (mut companies, mut narrow) = (0, Vec::new());
    for (own, theirs) in own.iter().zip(&theirs) {
        assert!(theirs["model"].as_str().is_some_and(|m| m.ends_with("+torch")), "{}", theirs["model"]);
        let (a, b) = (own["companies"].as_array().expect("a list"), theirs["companies"].as_array().expect("a list"));
        assert_eq!(a.len(), b.len(), "companies of {}", own["id"]);
        for (a, b) in a.iter().zip(b) {
            companies += 1;
            if outline(a) != outline(b) {
                assert!(margin(a) < NARROW, "{}: {a} and {b}", own["id"]);
                narrow.push(format!("{}: {} {} or {}", own["id"], a["name"], a["stance"], b["stance"]));
            }
        }
    }
    (own.len(), companies, narrow)
}

#[test]
fn samples_have_the_same_companies_offsets_and_stances() {
    let (documents, companies, narrow) = compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/samples"));
    assert!(documents == 6 && companies > 15, "{documents} documents, {companies} companies");
    assert!(narrow.is_empty(), "{narrow:?}");
}

/// `STANCEWIRE_ARTICLES=articles.jsonl cargo test --release --features torch -- --ignored articles --nocapture`
#[test]
#[expect(clippy::print_stdout, reason = "the figures are the result")]
#[ignore = "minutes; needs articles of one's own"]
fn articles_have_the_same_companies_offsets_and_stances() {
    let file = PathBuf::from(std::env::var_os("STANCEWIRE_ARTICLES").expect("STANCEWIRE_ARTICLES names JSON Lines"));
    let lines = fs::read_to_string(file).expect("articles");
    let folder = tempfile::tempdir().expect("a folder");
    let some = folder.path().join("articles.jsonl");
    fs::write(&some, lines.lines().take(ARTICLES).map(|l| format!("{l}\n")).collect::<String>()).expect("writes");
    let (documents, companies, narrow) = compare(&some);
    println!("{documents} articles, {companies} companies, {} narrow ones differ: {narrow:#?}", narrow.len());
}
