//! The self-check of a tier: what its kernels compute on a device against the CPU executor, before anything that they make is believed.
//!
//! One operation of each kind that a tier changes, over sizes that no tile divides; products also with weights that are unpacked, and by
//! every tile that a planner takes without measuring.

use super::GpuExecutor;
use super::device::Gpu;
use super::planner::Cut;
use crate::exec::cpu::CpuExecutor;
use crate::exec::{ExecError, Executor};
use crate::kernels::attention::{Attention, Operand};
use crate::kernels::conv2d::ConvForm;
use crate::kernels::layer_norm::LayerNorm;
use crate::kernels::philox::{Stream, draw, uniform};
use crate::kernels::{Access, Extent, Quantization, Slot, StepValues};
use crate::program::Element::F32 as Float;
use crate::program::{Builder, Formats, Program, ProgramError, WeightSource, WeightSpec};
use crate::weights::WeightError;

/// Rows of the input: an image of 7 x 10, or tokens.
const ROWS: u32 = 70;
/// Columns of each of queries, keys and values, which stand side by side in the input.
const WIDTH: u32 = 96;
/// Largest error, of the root mean square of what is wanted: what rounding of operands to f16 comes to is a tenth of it.
const MOST: f32 = 2e-2;
/// What results hold before the run, a NaN: a kernel that writes nothing is wrong.
const POISON: u32 = 0x7fc0_beef;
/// How products are cut, one after the other.
const CUTS: [Cut; 3] = [Cut { rows: 64, parts: 1 }, Cut { rows: 32, parts: 1 }, Cut { rows: 16, parts: 2 }];

/// Numbers of no meaning, the same everywhere.
struct Numbers;

impl Numbers {
    fn between(count: usize, key: u32, scale: f32) -> impl Iterator<Item = f32> {
        (0..count as u32)
            .map(move |i| (2.0 * uniform(draw([key, 5], 0, i, Stream::Weights, 0)[0]) - 1.0) * scale)
    }
}

impl WeightSource for Numbers {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        let row = spec.row_elements();
        Ok(Self::between(spec.kept_rows().len() * row, 2, (row as f32).sqrt().recip()).collect())
    }
}

fn program(formats: Formats) -> Result<Program, ProgramError> {
    let mut builder = Builder::new("self-check", formats);
    builder.block(|b| {
        let x = b.state("x", ROWS, 3 * WIDTH, Float);
        let rows = Extent::fixed(ROWS);
        let layer = b.layer("product", 91, 3 * WIDTH);
        let y = b.state("product", ROWS, 91, Float);
        b.linear_out(x, layer, y);
        if formats.quantize.is_some() {
            // What follows has no weights that are unpacked.
            return;
        }
        let y = b.state("convolution", ROWS, 40, Float);
        b.conv3x3_into(x, "convolution", 40, [1, 7, 10], ConvForm::Same, y, false);
        let (weight, bias) = (b.vector("norm.weight", 3 * WIDTH), b.vector("norm.bias", 3 * WIDTH));
        let y = b.state("norm", ROWS, 3 * WIDTH, Float);
        b.push(LayerNorm { x, weight, bias, modulation: None, y, rows, width: 3 * WIDTH, eps: 1e-5 });
        for head_width in [24, 48, 96] {
            let y = b.state(&format!("attention {head_width}"), ROWS, WIDTH, Float);
            let part = |i| Operand { slot: x, offset: i * WIDTH, stride: 3 * WIDTH };
            b.push(Attention {
                query: part(0),
                key: part(1),
                value: part(2),
                y,
                sequences: 1,
                key_sequences: 1,
                queries: rows,
                keys: rows,
                heads: WIDTH / head_width,
                head_width,
            });
        }
    });
    builder.finish()
}

/// The first kernel whose results on the device are not those of the CPU executor.
///
/// # Errors
/// The device failed, which is as good a reason not to use its tier.
pub async fn first_wrong(gpu: &Gpu) -> Result<Option<String>, ExecError> {
    let int4 = Formats { half: true, quantize: Some(Quantization::Int4 { group: 32 }) };
    for formats in [Formats::F16, int4] {
        let list = || Ok::<_, ProgramError>(vec![program(formats)?]);
        let mut cpu = CpuExecutor::new(list()?, &mut Numbers)?;
        run(&mut cpu)?;
        for cut in CUTS {
            let mut gpu = gpu.clone();
            gpu.planner = gpu.planner.always(cut);
            let mut device = GpuExecutor::new(gpu.clone(), list()?, &mut Numbers)?;
            run(&mut device)?;
            for op in program(formats)?.ops() {
                let written =
                    op.kernel.bindings().into_iter().find(|binding| binding.access == Access::Write);
                let Some(Slot(slot)) = written.map(|binding| binding.slot) else { continue };
                let tensor = &cpu.programs()[0].tensors()[slot as usize];
                let (name, len) = (tensor.name.clone(), tensor.elements() as usize);
                let wanted = crate::exec::read_f32(&mut cpu, &name, len).await?;
                let got = crate::exec::read_f32(&mut device, &name, len).await?;
                if is_wrong(&got, &wanted) {
                    let permutation = gpu.tier.specialise(op.kernel.permutation());
                    return Ok(Some(format!("{permutation}, {}, tiles of {cut}", op.kernel.describe())));
                }
            }
        }
    }
    Ok(None)
}

fn run(executor: &mut dyn Executor) -> Result<(), ExecError> {
    executor.prepare(&[StepValues::default()])?;
    let tensors: Vec<_> = executor.programs()[0].tensors().to_vec();
    for tensor in tensors.iter().filter(|tensor| tensor.storage == crate::program::Storage::State) {
        let len = tensor.elements() as usize;
        let words: Vec<u32> = match tensor.name.as_str() {
            "x" => Numbers::between(len, 1, 2.0).map(f32::to_bits).collect(),
            _ => vec![POISON; len],
        };
        executor.write(&tensor.name, &words)?;
    }
    executor.run(&[0], 0, false)
}

pub(super) fn is_wrong(got: &[f32], wanted: &[f32]) -> bool {
    let size = (wanted.iter().map(|v| v * v).sum::<f32>() / wanted.len().max(1) as f32).sqrt();
    // A NaN is no error that is small enough.
    got.len() != wanted.len() || !got.iter().zip(wanted).all(|(g, w)| (g - w).abs() <= MOST * size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::twins::test_gpu;
    use pollster::block_on;

    #[test]
    fn the_tests_device_passes_on_its_tier() {
        let Some(gpu) = test_gpu() else { return };
        assert_eq!(block_on(first_wrong(&gpu)).unwrap(), None, "{}", gpu.tier);
    }

    #[test]
    fn results_that_are_missing_unwritten_or_off_are_wrong() {
        let wanted = [1.0, -1.0, 1.0, -1.0];
        assert!(!is_wrong(&wanted, &wanted));
        assert!(!is_wrong(&[1.01, -1.0, 1.0, -1.0], &wanted));
        assert!(is_wrong(&[1.05, -1.0, 1.0, -1.0], &wanted));
        assert!(is_wrong(&[1.0, f32::from_bits(POISON), 1.0, -1.0], &wanted));
        assert!(is_wrong(&wanted[..3], &wanted));
    }

    #[test]
    fn every_kind_of_shader_that_a_tier_changes_is_checked() {
        let tier = crate::exec::gpu::tier::Tier::Matrix { edge: 8, lanes: 8 };
        let shaders: Vec<String> = program(Formats::F16)
            .unwrap()
            .ops()
            .iter()
            .map(|op| tier.specialise(op.kernel.permutation()).shader.to_owned())
            .collect();
        let each =
            ["linear", "conv2d", "layer_norm", "attention_matrix", "attention_matrix", "attention_matrix"];
        assert_eq!(shaders, each);
    }
}
