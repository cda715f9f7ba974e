//! Random weights of the right shapes: what benchmarks and memory tests run on where no checkpoint is at hand.

use crate::kernels::WeightFormat;
use crate::kernels::philox::{Stream, draw, uniform};
use crate::program::{Layout, WeightSource, WeightSpec};
use crate::weights::{Dtype, TensorSpec, WeightError, stream_safetensors};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// Weights drawn from a seed: matrices uniform with variance 1 / fan-in, so that activations keep their size; norms 1,
/// biases 0.
#[derive(Clone, Copy, Debug)]
pub struct RandomWeights {
    /// The seed.
    pub seed: u64,
}

impl WeightSource for RandomWeights {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        let rows = spec.kept_rows();
        let row = spec.row_elements();
        let count = rows.len() * row;
        if spec.shape.len() == 1 {
            return Ok(vec![if spec.name.ends_with("weight") { 1.0 } else { 0.0 }; count]);
        }
        let fan_in = row.max(1);
        // A uniform in [-a, a] has variance a^2 / 3. Embeddings are read row by row: their fan-in is no sum.
        let tables = ["tok_emb.weight", "pos_emb", "embedding.weight", "wte.weight"];
        let embedding = tables.iter().any(|end| spec.name.ends_with(end));
        let scale = if embedding { 0.02 } else { 1.0 / fan_in as f32 }.sqrt() * 3_f32.sqrt();
        let key = crate::kernels::philox::key(self.seed ^ name_hash(&spec.name));
        // A draw makes four numbers; the first row that is asked for may begin within one.
        let (first_block, skipped) = (rows.start * row / 4, rows.start * row % 4);
        let mut data = vec![0.0; skipped + count];
        data.par_chunks_mut(4).with_min_len(4096).enumerate().for_each(|(block, values)| {
            let block = (first_block + block) as u64;
            let bits = draw(key, 0, (block >> 32) as u32, Stream::Weights, block as u32);
            for (value, bits) in values.iter_mut().zip(bits) {
                *value = (2.0 * uniform(bits) - 1.0) * scale;
            }
        });
        data.drain(..skipped);
        Ok(data)
    }
}

/// Writes a checkpoint of random weights: what a test needs where no trained part is at hand. `tensors` are official names and
/// shapes, as programs ask for them without `part` before each.
///
/// # Errors
/// The file cannot be written.
pub fn write_part(
    path: &Path,
    part: &str,
    tensors: &[(String, Vec<usize>)],
    mut weights: RandomWeights,
) -> Result<(), WeightError> {
    let specs: Vec<TensorSpec> =
        tensors.iter().map(|(name, shape)| TensorSpec::new(name, Dtype::F32, shape.clone())).collect();
    stream_safetensors(path, &specs, &BTreeMap::new(), &mut |index| {
        let (name, shape) = &tensors[index];
        let (name, shape) = (format!("{part}.{name}"), shape.clone());
        let spec = WeightSpec { name, shape, layout: Layout::Dense, format: WeightFormat::F32 };
        Ok(Cow::Owned(bytemuck::cast_slice(&weights.load(&spec)?).to_vec()))
    })
}

/// A stable number for a name.
fn name_hash(name: &str) -> u64 {
    crate::generate::proof::fnv1a(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_seed_fix_the_weights_and_their_spread() {
        let spec = |name: &str| WeightSpec {
            name: name.to_owned(),
            shape: vec![64, 100],
            layout: Layout::Matrix,
            format: WeightFormat::F32,
        };
        let load = |seed, name| RandomWeights { seed }.load(&spec(name)).unwrap();
        assert_eq!(load(1, "a.weight"), load(1, "a.weight"));
        assert_ne!(load(1, "a.weight"), load(2, "a.weight"));
        assert_ne!(load(1, "a.weight"), load(1, "b.weight"));
        let values = load(1, "a.weight");
        for (width, first) in [(100, 7), (99, 13)] {
            let whole = WeightSpec { shape: vec![64, width], ..spec("a.weight") };
            let rows = WeightSpec { layout: Layout::Rows { first, count: 5 }, ..whole.clone() };
            let [whole, rows] = [whole, rows].map(|spec| RandomWeights { seed: 1 }.load(&spec).unwrap());
            assert_eq!(rows, whole[first as usize * width..][..5 * width], "rows of {width} from {first}");
        }
        let variance = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
        assert!((variance * 100.0 - 1.0).abs() < 0.05, "variance times fan-in {}", variance * 100.0);
    }
}
