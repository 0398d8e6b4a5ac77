//! Turns English news texts into facts about companies: which companies a text names, and whether it reports that their
//! business has halted, is suspended or continues.
//!
//! Data flows one way, through modules that each yield one kind of value:
//!
//! ```text
//! Input → prepare → text → Window → batch → Batch → engine → hidden states
//!       → mention → company → stance (company × sentence) → analysis → Record → output
//! ```

pub mod analysis;
pub mod batch;
pub mod cli;
pub mod command;
pub mod company;
pub mod copies;
pub mod document;
pub mod engine;
pub mod error;
pub mod eval;
pub mod language;
pub mod mention;
pub mod output;
pub mod pipeline;
pub mod prepare;
pub mod reader;
pub mod record;
pub mod stance;
pub mod text;
