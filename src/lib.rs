//! Turns English news texts into facts about companies: which companies a text names, and whether it reports that their
//! business has halted, is suspended or continues.

pub mod document;
pub mod error;
pub mod record;
