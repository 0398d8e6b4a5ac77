//! Everything that is tested through the crate's public face, in one binary.

/// Every format in and out; damaged inputs.
mod archives;
/// The command line: exit status, messages, pipes, files.
mod cli;
/// Hidden states and head outputs against PyTorch's; batches change nothing.
mod engines;
/// Runs that are killed, stopped, or meet a full disk, and go on.
mod interruptions;
/// Imports point one way; files stay readable.
mod layers;
/// Spans of pieces and windows over every kind of character.
mod offsets;
/// The embedded model against its floors; slow, ignored by default.
mod quality;
/// Models of any shape with random weights, and windows for them.
mod random_models;
/// Records of the sample stories: the contract, the right answer, no unwanted change.
mod records;
/// The embedded engine against rust-bert on libtorch.
#[cfg(feature = "torch")]
mod torch;
