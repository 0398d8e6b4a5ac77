//! The rivals: each runs all of its windows once, in batches of its own making.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rten::{Model as RtenModel, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::NdTensor;
use stancewire::batch::{Batch, plan_batches};
use stancewire::engine::float::F32Source;
use stancewire::engine::int8::Int8Source;
use stancewire::engine::kernel::Kernel;
use stancewire::engine::model_file::Model;
use stancewire::engine::torch::{TorchPrecision, TorchSource, padded_groups};
use stancewire::engine::{Engine, EngineSource, Hidden};
use stancewire::text::window::Window;

/// Something that runs the encoder.
pub(crate) trait Rival {
    /// Tokens computed for `windows`, padding included.
    fn computed(&self, windows: &[Window]) -> usize;

    /// Runs all windows.
    fn run(&mut self, windows: &[Window]) -> anyhow::Result<()>;
}

/// The rival called `name`, on one thread, with batches of `batch` windows (where it pads).
pub(crate) fn open(name: &str, onnx: &Path, batch: usize) -> anyhow::Result<Box<dyn Rival>> {
    let model = Arc::new(Model::embedded()?);
    let ours = |source: &dyn EngineSource| {
        anyhow::Ok(Box::new(Ours { engine: source.open()?, tokens: source.batch_tokens() }) as Box<dyn Rival>)
    };
    match name {
        "stancewire-int8" => ours(&Int8Source::new(&model, Kernel::best())?),
        "stancewire-f32" => ours(&F32Source::new(&model)?),
        "rust-bert-f32" => {
            let engine = TorchSource::new(&model, "cpu", TorchPrecision::F32)?.open()?;
            Ok(Box::new(RustBert { engine, batch }))
        }
        "rten-int8" => Rten::open(onnx, batch).map(|rival| Box::new(rival) as Box<dyn Rival>),
        _ => anyhow::bail!("no rival is called `{name}`"),
    }
}

struct Ours {
    engine: Box<dyn Engine>,
    tokens: usize,
}

impl Rival for Ours {
    fn computed(&self, windows: &[Window]) -> usize {
        windows.iter().map(Window::len).sum()
    }

    fn run(&mut self, windows: &[Window]) -> anyhow::Result<()> {
        let windows: Vec<&Window> = windows.iter().collect();
        let mut hidden = Hidden::default();
        for positions in plan_batches(&windows, self.tokens) {
            self.engine.run(&Batch::new(positions.iter().map(|&at| windows[at]).collect()), &mut hidden)?;
        }
        Ok(())
    }
}

struct RustBert {
    engine: Box<dyn Engine>,
    batch: usize,
}

impl Rival for RustBert {
    fn computed(&self, windows: &[Window]) -> usize {
        let of_batch = |batch: &[Window]| {
            let windows: Vec<&Window> = batch.iter().collect();
            padded_groups(&windows).iter().map(|group| group.len() * windows[group[0]].len()).sum::<usize>()
        };
        windows.chunks(self.batch).map(of_batch).sum()
    }

    fn run(&mut self, windows: &[Window]) -> anyhow::Result<()> {
        let mut hidden = Hidden::default();
        for batch in windows.chunks(self.batch) {
            self.engine.run(&Batch::new(batch.iter().collect()), &mut hidden)?;
        }
        Ok(())
    }
}

struct Rten {
    model: RtenModel,
    pool: Arc<ThreadPool>,
    batch: usize,
}

impl Rten {
    fn open(onnx: &Path, batch: usize) -> anyhow::Result<Self> {
        let model = RtenModel::load_file(onnx).with_context(|| format!("cannot load {}", onnx.display()))?;
        Ok(Rten { model, pool: Arc::new(ThreadPool::with_num_threads(1)), batch })
    }
}

impl Rival for Rten {
    fn computed(&self, windows: &[Window]) -> usize {
        windows.chunks(self.batch).map(|batch| batch.len() * batch[0].len()).sum()
    }

    fn run(&mut self, windows: &[Window]) -> anyhow::Result<()> {
        let node = |name: &str| self.model.node_id(name).map_err(|e| anyhow::anyhow!("{name}: {e:?}"));
        let (ids, mask, types) = (node("input_ids")?, node("attention_mask")?, node("token_type_ids")?);
        let output = node("last_hidden_state")?;
        for batch in windows.chunks(self.batch) {
            let shape = [batch.len(), batch[0].len()];
            let padded = |value: fn(&Window, usize) -> i32| {
                let row = |w| (0..shape[1]).map(move |at| if at < Window::len(w) { value(w, at) } else { 0 });
                ValueOrView::from(NdTensor::<i32, 2>::from_data(shape, batch.iter().flat_map(row).collect::<Vec<_>>()))
            };
            let inputs = vec![
                (ids, padded(|w, at| w.ids()[at].cast_signed())),
                (mask, padded(|_, _| 1)),
                (types, padded(|w, at| w.types()[at].number() as i32)),
            ];
            let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
            self.model.run(inputs, &[output], Some(options)).map_err(|e| anyhow::anyhow!("rten: {e:?}"))?;
        }
        Ok(())
    }
}
