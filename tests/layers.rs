use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from left to right: each may use those before it only.
const ORDER: &[&str] = &[
    "document", "error", "copies", "record", "reader", "language", "prepare", "text", "batch", "engine", "mention",
    "company", "stance", "analysis", "pipeline", "output", "eval", "cli", "command", "main",
];
/// Longest file, in lines of code before its tests.
const MAX_CODE_LINES: usize = 400;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src").map(|e| e.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            found.push(entry);
        }
    }
}

fn code() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let name = |path: &PathBuf| path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file");
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        let telling = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("///");
        code.lines().filter(telling).filter(|line| !line.trim_start().starts_with("// ")).collect::<Vec<_>>().join("\n")
    };
    files.iter().filter(|f| f.file_name().is_none_or(|n| n != "tests.rs")).map(|f| (name(f), code(f))).collect()
}

#[test]
fn imports_point_one_way() {
    let files = code();
    assert!(files.len() > 15, "{} source files found", files.len());
    let mut arrows = Vec::new();
    for (file, text) in files.iter().filter(|(file, _)| *file != "lib.rs") {
        let module = file.split(['/', '.']).next().unwrap_or("");
        let place = ORDER.iter().position(|m| *m == module);
        assert!(place.is_some(), "{file}: `{module}` is missing in ORDER");
        for used in text
            .lines()
            .filter(|l| !l.starts_with("//!"))
            .flat_map(|l| l.split("crate::").skip(1))
            .filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next())
        {
            let other = ORDER.iter().position(|m| *m == used);
            if other > place {
                arrows.push(format!("{file} uses {used}"));
            }
        }
    }
    assert!(arrows.is_empty(), "{arrows:#?}");
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    for (file, text) in code() {
        assert!(text.lines().count() <= MAX_CODE_LINES, "{file} has {} lines of code", text.lines().count());
        assert!(text.starts_with("//!"), "{file} does not say what it is");
    }
}
