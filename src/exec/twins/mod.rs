//! Every kernel on both executors: one check a kernel, over odd shapes, with poison around what may be written.
//!
//! A case builds a program of states; all states are filled (inputs with numbers of the case's choosing, outputs with
//! poison), both executors run it, and every element of every state is compared, so that a write out of place shows.

mod attention;
mod convolution;
mod cuts;
mod deciding;
mod elementwise;
mod embeddings;
mod halves;
mod norms;
mod products;
mod rows;
mod sampling;

use super::Executor;
use super::cpu::CpuExecutor;
use super::gpu::GpuExecutor;
use super::gpu::device::{Choice, Gpu, Wanted};
use super::gpu::planner::Cut;
use super::gpu::tier::Tier;
use crate::eval::random::RandomWeights;
use crate::kernels::philox::{Stream, draw, uniform};
use crate::kernels::{Access, Slot, StepValues, WeightFormat};
use crate::models::build;
use crate::program::{Builder, Element, Formats, Program, Storage, WeightSpec};
use pollster::block_on;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The device of tests, at WebGPU's default limits: the one that `MIGM_TEST_ADAPTER` names, which must then exist;
/// otherwise any; `None` without one. `MIGM_TEST_TIER` has it compute on another tier than the portable one.
pub(crate) fn test_gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| {
        let name = std::env::var("MIGM_TEST_ADAPTER").ok().filter(|name| !name.is_empty());
        let tier = std::env::var("MIGM_TEST_TIER").ok().filter(|tier| !tier.is_empty());
        let is_wanted = name.is_some() || tier.is_some();
        let tier = tier.map_or_else(Wanted::default, Wanted::Exactly);
        match block_on(Gpu::open(&Choice { name, default_limits: true, tier, tuned: None })) {
            Ok(gpu) => {
                eprintln!("{}, tier {}", gpu.info.name, gpu.tier);
                Some(gpu)
            }
            Err(error) if is_wanted => panic!("MIGM_TEST_ADAPTER or MIGM_TEST_TIER is set: {error}"),
            Err(error) => {
                eprintln!("not compared with a GPU: {error}");
                None
            }
        }
    })
    .clone()
}

/// What a state holds before the run.
#[derive(Clone)]
pub(crate) enum Fill {
    /// Uniform in [-scale, scale].
    Random(f32),
    /// Uniform integers below a bound.
    Below(u32),
    /// Exactly this.
    Words(Vec<u32>),
}

/// A case: what is built, at which step, with which inputs.
pub(crate) struct Case<'a> {
    pub(crate) step: StepValues,
    pub(crate) fills: &'a [(&'a str, Fill)],
    /// Largest absolute difference between the executors' floats.
    pub(crate) tolerance: f32,
    /// How products are cut on the device, where that is not left to the planner.
    pub(crate) cut: Option<Cut>,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { step: StepValues::default(), fills: &[], tolerance: 1e-5, cut: None }
    }
}

/// Formats of kernels whose weights are never quantised.
const PLAIN: [WeightFormat; 2] = [WeightFormat::F32, WeightFormat::F16];
/// All formats.
const FORMATS: [WeightFormat; 5] = [
    WeightFormat::F32,
    WeightFormat::F16,
    WeightFormat::Int8,
    WeightFormat::Int4 { group: 32 },
    WeightFormat::Int4 { group: 64 },
];

const POISON: u32 = 0x7fc0_beef; // a NaN, and a large integer

impl Case<'_> {
    /// Runs on the CPU, and on the GPU where there is one, for tests that know what must come out.
    fn states(&self, body: impl Fn(&mut Builder)) -> Vec<HashMap<String, Vec<u32>>> {
        let program = || build("case", Formats::F32, &body).unwrap();
        let mut weights = RandomWeights { seed: 3 };
        let cpu = CpuExecutor::new(vec![program()], &mut weights).unwrap();
        let mut executors: Vec<Box<dyn Executor>> = vec![Box::new(cpu)];
        if let Some(gpu) = test_gpu() {
            executors.push(Box::new(GpuExecutor::new(gpu, vec![program()], &mut weights).unwrap()));
        }
        executors.iter_mut().map(|executor| self.run(executor.as_mut(), &program())).collect()
    }

    /// Runs on both executors and compares all states.
    pub(crate) fn check(&self, format: WeightFormat, body: impl Fn(&mut Builder)) {
        let Some(mut gpu) = test_gpu() else { return };
        if let Some(cut) = self.cut {
            gpu.planner = gpu.planner.always(cut);
        }
        let program = || build("case", formats(format), |b| b.block(&body)).unwrap();
        let reference = program();
        let tolerance = self.tolerance.max(rounded(gpu.tier, format));
        // Weights that f16 can hold, so that both executors multiply by the same numbers.
        let weights = || Rounded(RandomWeights { seed: 3 }, format, gpu.tier);
        let mut cpu = CpuExecutor::new(vec![program()], &mut weights()).unwrap();
        let mut device = GpuExecutor::new(gpu.clone(), vec![program()], &mut weights()).unwrap();
        let cpu = self.run(&mut cpu, &reference);
        let device = self.run(&mut device, &reference);
        for (name, wanted) in &cpu {
            let tensor = reference.tensors().iter().find(|t| t.name == *name).unwrap();
            for (i, (&got, &wanted)) in device[name].iter().zip(wanted).enumerate() {
                let close = match tensor.element {
                    Element::U32 => got == wanted,
                    Element::F32 | Element::F16 if got == wanted => true,
                    Element::F32 | Element::F16 => {
                        let (got, wanted) = (f32::from_bits(got), f32::from_bits(wanted));
                        (got - wanted).abs() <= tolerance * wanted.abs().max(1.0)
                    }
                };
                let op = &reference.ops()[0].kernel;
                assert!(
                    close,
                    "{} {}, step {:?}, cut {:?}: {name}[{}, {}] is {} ({got:#x}) on the GPU, {} ({wanted:#x}) on the CPU",
                    op.permutation(),
                    op.describe(),
                    self.step,
                    self.cut,
                    i / tensor.width as usize,
                    i % tensor.width as usize,
                    f32::from_bits(got),
                    f32::from_bits(wanted)
                );
            }
        }
    }

    fn run(&self, executor: &mut dyn Executor, program: &Program) -> HashMap<String, Vec<u32>> {
        executor.prepare(&[self.step]).unwrap();
        let written = |slot: usize| {
            let of = |op: &crate::program::Op| op.kernel.bindings();
            program
                .ops()
                .iter()
                .flat_map(of)
                .any(|b| b.slot == Slot(slot as u32) && b.access == Access::Write)
        };
        let states: Vec<_> =
            program.tensors().iter().enumerate().filter(|(_, t)| t.storage == Storage::State).collect();
        for (slot, tensor) in &states {
            let len = tensor.elements() as u32;
            let fill = self.fills.iter().find(|(name, _)| *name == tensor.name).map(|(_, fill)| fill.clone());
            let words = match fill {
                _ if written(*slot) => vec![POISON; len as usize],
                Some(Fill::Words(mut words)) => {
                    // What a case does not give must not matter.
                    words.resize(len as usize, POISON);
                    words
                }
                Some(Fill::Below(bound)) => random(*slot, len).map(|bits| bits % bound).collect(),
                Some(Fill::Random(scale)) => floats(*slot, len, scale),
                None if tensor.element == Element::F32 => floats(*slot, len, 1.0),
                None => vec![POISON; len as usize],
            };
            executor.write(&tensor.name, &words).unwrap();
        }
        executor.run(&[0], 0, false).unwrap();
        executor.wait().unwrap();
        let read = |(_, tensor): &(usize, &crate::program::Tensor)| {
            (tensor.name.clone(), block_on(executor.read(&tensor.name, tensor.elements() as usize)).unwrap())
        };
        states.iter().map(read).collect()
    }
}

fn random(slot: usize, len: u32) -> impl Iterator<Item = u32> {
    (0..len).map(move |i| draw([slot as u32, 77], 0, i, Stream::Weights, 0)[0])
}

/// Numbers that f16 can hold, on every tier: those that multiply in f16 then round nothing.
fn floats(slot: usize, len: u32, scale: f32) -> Vec<u32> {
    random(slot, len).map(|bits| to_half((2.0 * uniform(bits) - 1.0) * scale).to_bits()).collect()
}

fn to_half(value: f32) -> f32 {
    half::f16::from_f32(value).to_f32()
}

/// Largest difference, beside a case's own, where a tier multiplies in f16. Operands of cases are numbers that f16 can hold, whose
/// products f32 holds exactly, so that there is nothing to allow for; but steps of quantised weights times their scales are not.
fn rounded(tier: Tier, format: WeightFormat) -> f32 {
    if tier.rounds() && format.quantization().is_some() { 2e-3 } else { 0.0 }
}

fn formats(format: WeightFormat) -> Formats {
    Formats { half: format == WeightFormat::F16, quantize: format.quantization() }
}

struct Rounded(RandomWeights, WeightFormat, Tier);

impl crate::program::WeightSource for Rounded {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, crate::weights::WeightError> {
        let mut data = self.0.load(spec)?;
        if spec.shape.len() == 1 {
            // Norms of 1 and biases of 0 would hide mistakes.
            for (i, value) in data.iter_mut().enumerate() {
                *value += ((i * 7 % 13) as f32 - 6.0) * 0.1;
            }
        }
        if self.1 == WeightFormat::F16 || self.2.rounds() {
            data.iter_mut().for_each(|value| *value = to_half(*value));
        }
        Ok(data)
    }
}
