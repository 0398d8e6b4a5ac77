use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// Scores the embedded model on the development documents and compares with the floors in its `model.json`.
#[test]
#[ignore = "half a minute of computing; run `cargo test --release -- --ignored quality`"]
fn the_embedded_model_stays_above_its_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let card: Value =
        serde_json::from_slice(&fs::read(root.join("models/stancewire-small/model.json")).expect("model.json"))
            .expect("JSON");
    let mut command = Command::cargo_bin("stancewire").expect("the program");
    let output = command.args(["eval", "--json"]).arg(root.join("corpus/dev.jsonl")).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let floors = card["floors"]["corpus/dev.jsonl"].as_object().expect("floors");
    assert!(floors.len() >= 5);
    for (pointer, floor) in floors {
        let value = figures.pointer(pointer).and_then(Value::as_f64).expect("a figure");
        assert!(value >= floor.as_f64().expect("a number"), "{pointer} is {value}, below {floor}");
    }
}
