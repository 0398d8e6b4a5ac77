//! Everything that is tested through the crate's public face, in one binary.

/// Hidden states and head outputs against PyTorch's; batches change nothing.
mod engines;
/// Imports point one way; files stay readable.
mod layers;
/// Spans of pieces and windows over every kind of character.
mod offsets;
