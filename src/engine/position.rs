//! Relative positions → biases of attention's scores, as MPNet has them (Song et al. 2020, after Raffel et al. 2020).
//!
//! What a token makes of another depends on how far to the left or right it stands: near distances each have a bias for
//! every head, farther ones share one by buckets that grow with the logarithm of the distance. All layers share them.

use crate::engine::model_file::{EncoderConfig, ModelError, Tensors};

/// Distances from here on share the last bucket of their side.
const FARTHEST: f32 = 128.0;
/// Values behind a row, so that whole vectors can be read from any key on.
const BEYOND: usize = 16;

/// Biases of all heads for all distances within a window.
#[derive(Clone, Debug)]
pub struct PositionBias {
    /// `[heads, row]`: of distances −(positions − 1) to positions − 1, then [`BEYOND`] times 0.
    values: Vec<f32>,
    row: usize,
    positions: usize,
}

impl PositionBias {
    /// Reads `bert.encoder.relative_attention_bias.weight` `[buckets, heads]`, times `factor`; `None` if the encoder has none.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if the tensor is missing or of another shape.
    pub fn read(config: &EncoderConfig, tensors: &Tensors<'_>, factor: f32) -> Result<Option<Self>, ModelError> {
        let Some(buckets) = config.relative_attention_num_buckets else { return Ok(None) };
        let heads = config.num_attention_heads;
        let weight = tensors.values("bert.encoder.relative_attention_bias.weight", &[buckets, heads])?;
        Ok(Some(PositionBias::new(&weight, heads, config.max_position_embeddings, factor)))
    }

    /// Biases `weight` `[buckets, heads]`, times `factor`, for windows of up to `positions` tokens.
    ///
    /// # Panics
    ///
    /// If `weight` is no whole number of rows of `heads`, or has fewer than 4.
    #[must_use]
    pub fn new(weight: &[f32], heads: usize, positions: usize, factor: f32) -> Self {
        let buckets = weight.len() / heads;
        assert!(weight.len() == buckets * heads && buckets >= 4, "whole rows of a bias for every head");
        let row = 2 * positions - 1 + BEYOND;
        let mut values = vec![0.0; heads * row];
        for (head, values) in values.chunks_exact_mut(row).enumerate() {
            for (at, value) in values[..2 * positions - 1].iter_mut().enumerate() {
                *value = weight[bucket(at, positions - 1, buckets) * heads + head] * factor;
            }
        }
        PositionBias { values, row, positions }
    }

    /// Biases of `head` for the scores of the token at `query` with those at 0, 1, …, up to the longest window, and
    /// 16 values more.
    ///
    /// # Panics
    ///
    /// If there is no such head or position.
    #[must_use]
    pub fn of(&self, head: usize, query: usize) -> &[f32] {
        let from = head * self.row + self.positions - 1 - query;
        &self.values[from..][..self.positions + BEYOND]
    }

    /// Longest window.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.positions
    }
}

/// Bucket of the distance from a token at `query` to one at `key`. The upper half of the buckets is for tokens to the right;
/// the first half of each side is exact.
fn bucket(key: usize, query: usize, buckets: usize) -> usize {
    let (side, distance) = (buckets / 2, key.abs_diff(query));
    let exact = side / 2;
    let near = if distance < exact {
        distance
    } else {
        let share = (distance as f32 / exact as f32).ln() / (FARTHEST / exact as f32).ln();
        (exact + (share * (side - exact) as f32) as usize).min(side - 1)
    };
    if key > query { side + near } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_mpnet() {
        // Computed by transformers 4.46, `MPNetEncoder.relative_position_bucket`, 32 buckets.
        let expected = [
            (0, 0),
            (1, 17),
            (-1, 1),
            (7, 23),
            (-7, 7),
            (8, 24),
            (-8, 8),
            (11, 24),
            (12, 25),
            (16, 26),
            (-23, 11),
            (-32, 12),
            (63, 29),
            (64, 30),
            (91, 31),
            (-90, 14),
            (-91, 15),
            (127, 31),
            (128, 31),
            (-300, 15),
            (300, 31),
        ];
        for (distance, bucket_of) in expected {
            assert_eq!(bucket(1000_usize.saturating_add_signed(distance), 1000, 32), bucket_of, "{distance}");
        }
    }

    #[test]
    fn biases_are_found_by_head_and_distance() {
        let weight: Vec<f32> = (0..8 * 2).map(|n| n as f32).collect();
        let bias = PositionBias::new(&weight, 2, 3, 0.5);
        assert_eq!(bias.of(0, 0)[..3], [0.0, 0.5 * 10.0, 0.5 * 12.0], "itself, one and two to the right");
        assert_eq!(bias.of(1, 2)[..3], [0.5 * 5.0, 0.5 * 3.0, 0.5 * 1.0], "two and one to the left, itself");
        assert_eq!(bias.of(1, 0).len(), 3 + 16);
    }
}
