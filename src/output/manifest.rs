//! What a run was asked: kept beside its parts, so that another run does not go on with them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SCHEMA, write_line};
use crate::copies::Fingerprint;
use crate::reader::Source;

const MANIFEST: &str = "manifest.json";
const INPUTS: &str = "inputs.jsonl";
/// Inputs named in a message.
const NAMED: usize = 3;

/// What the records of a run depend on, its inputs aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and version of the program.
    pub program: String,
    /// Version of the record's form.
    pub schema: u32,
    /// Tag of the model.
    pub model: String,
    /// Options that change records, by their names on the command line, and the form of the output.
    pub options: BTreeMap<String, String>,
    /// Which part of the inputs, as `3/16`.
    pub shard: Option<String>,
    /// Whether it joins shards, which is soon done again.
    #[serde(default)]
    pub merges: bool,
}

/// One input, as it was found when the run began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// As in records.
    pub name: String,
    /// Size on disk.
    pub bytes: Option<u64>,
    /// Seconds since 1970 of the last change.
    pub modified: Option<u64>,
}

impl InputFile {
    fn of(source: &Source) -> Self {
        InputFile { name: source.name(), bytes: source.size_bytes(), modified: source.modified() }
    }
}

impl Manifest {
    /// Of this program.
    #[must_use]
    pub fn new(model: String, options: BTreeMap<String, String>, shard: Option<String>) -> Self {
        let program = concat!("stancewire ", env!("CARGO_PKG_VERSION")).to_owned();
        Manifest { program, schema: SCHEMA, model, options, shard, merges: false }
    }

    /// Writes it, and the inputs, into `folder`.
    pub(super) fn write(&self, folder: &Path, sources: &[Source]) -> io::Result<()> {
        let mut inputs = BufWriter::new(File::create(folder.join(INPUTS))?);
        for source in sources {
            write_line(&mut inputs, &InputFile::of(source))?;
        }
        inputs.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        // Last: a folder with a manifest has everything else.
        let unfinished = folder.join("manifest.tmp");
        let mut file = File::create(&unfinished)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.sync_all()?;
        std::fs::rename(unfinished, folder.join(MANIFEST))
    }

    /// Of the names and sizes of the inputs of the run in `folder`; copies of files are the same here.
    pub(super) fn inputs_fingerprint(folder: &Path) -> io::Result<Fingerprint> {
        let mut names = Vec::new();
        for line in BufReader::new(File::open(folder.join(INPUTS))?).lines() {
            let input: InputFile = serde_json::from_str(&line?)?;
            names.push(format!("{} {:?}", input.name, input.bytes).into_bytes());
        }
        Ok(Fingerprint::of(&names.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    /// Removes the one in `folder`, which means nothing from then on.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        match std::fs::remove_file(folder.join(MANIFEST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The one in `folder`; `None` if a run was stopped before it was there.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        match File::open(folder.join(MANIFEST)) {
            Ok(file) => Ok(Some(serde_json::from_reader(BufReader::new(file))?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What differs between this run and `earlier`, for a person; shards of one run differ in nothing else.
    #[must_use]
    pub fn differences(&self, earlier: &Manifest) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, now: &str, then: &str| {
            if now != then {
                found.push(format!("{what}: `{then}` then, `{now}` now"));
            }
        };
        compare("program", &self.program, &earlier.program);
        compare("schema", &self.schema.to_string(), &earlier.schema.to_string());
        compare("model", &self.model, &earlier.model);
        let names: std::collections::BTreeSet<_> = self.options.keys().chain(earlier.options.keys()).collect();
        for name in names {
            let of = |manifest: &Manifest| manifest.options.get(name).cloned().unwrap_or_default();
            compare(name, &of(self), &of(earlier));
        }
        found
    }

    /// What differs between `sources` and the inputs of the run in `folder`, for a person.
    pub(super) fn input_differences(folder: &Path, sources: &[Source]) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut then = BufReader::new(File::open(folder.join(INPUTS))?).lines();
        let mut now = sources.iter().map(InputFile::of);
        loop {
            let earlier: Option<InputFile> =
                then.next().map(|line| Ok::<_, io::Error>(serde_json::from_str(&line?)?)).transpose()?;
            let difference = match (earlier, now.next()) {
                (None, None) => break,
                (Some(then), Some(now)) if then == now => continue,
                (Some(then), Some(now)) if then.name == now.name => format!("input `{}` has changed", now.name),
                (Some(then), Some(now)) => format!("input `{}` then, `{}` now", then.name, now.name),
                (Some(then), None) => format!("input `{}` is no longer among the inputs", then.name),
                (None, Some(now)) => format!("input `{}` is new", now.name),
            };
            found.push(difference);
            if found.len() == NAMED {
                found.push("and perhaps more inputs".to_owned());
                break;
            }
        }
        Ok(found)
    }
}
