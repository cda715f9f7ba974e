//! What the tests of the product kernels share.

use super::*;
use crate::exec::cpu::CpuExecutor;
use crate::exec::gpu::{GpuExecutor, device::Choice, device::Gpu};
use crate::exec::{Executor, read_f32};
use crate::program::{Builder, Element, WeightSource, WeightSpec};
use crate::weights::WeightError;
use std::sync::OnceLock;

/// Numbers in [-1, 1), different for every seed.
pub(crate) fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 * 2f32.powi(-31) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A weight matrix as the kernels want it: rows padded with zeros.
pub(crate) fn padded_rows(dense: &[f32], inner: usize) -> Vec<f32> {
    let stride = padded(inner as u32) as usize;
    let mut rows = vec![0.0; dense.len() / inner * stride];
    for (row, dense) in rows.chunks_exact_mut(stride).zip(dense.chunks_exact(inner)) {
        row[..inner].copy_from_slice(dense);
    }
    rows
}

pub(crate) fn assert_close(got: &[f32], wanted: impl Iterator<Item = f64>, what: &str) {
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(*got) - wanted).abs();
        assert!(error < 1e-4 * (1.0 + wanted.abs()), "{what}: element {index} is {got}, expected {wanted}");
    }
}

/// The shader of a kernel is valid, binds what the kernel binds, and can be said in every back end's language.
pub(crate) fn validate(kernel: &impl Kernel) {
    use naga::{back, valid};
    let permutation = kernel.permutation();
    let source = permutation.source().unwrap();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{permutation}: {}", error.emit_to_string(&source)));
    // `unpack2x16float`: wgpu's downlevel flag `SHADER_F16_IN_F32`, which all of WebGPU has.
    let capabilities = valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = valid::Validator::new(valid::ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{permutation}: {}", error.emit_to_string(&source)));
    let mut bound: Vec<(u32, bool)> = Vec::new();
    for (_, variable) in module.global_variables.iter() {
        if let (Some(binding), naga::AddressSpace::Storage { access }) = (variable.binding, variable.space) {
            bound.push((binding.binding, access.contains(naga::StorageAccess::STORE)));
        }
    }
    bound.sort_unstable();
    let wanted: Vec<(u32, bool)> =
        kernel.bindings().iter().map(|b| (b.index, b.access != crate::kernels::Access::Read)).collect();
    assert_eq!(bound, wanted, "{permutation}: bindings");
    let workgroup_bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    assert!(workgroup_bytes <= 16 << 10, "{permutation}: {workgroup_bytes} bytes of workgroup memory");
    back::spv::write_vec(&module, &info, &back::spv::Options::default(), None).unwrap();
    back::msl::write_string(&module, &info, &Default::default(), &Default::default()).unwrap();
    let mut text = String::new();
    let (options, pipeline) = (Default::default(), Default::default());
    back::hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).unwrap();
}

/// The contents of a slot. `F16` is a weight matrix in half precision on the device, widened on the CPU.
#[derive(Clone)]
pub(crate) enum Contents {
    F32(Vec<f32>),
    F16(Vec<f32>),
    U32(Vec<u32>),
}

impl Contents {
    /// A weight matrix in a format, its values exact in both.
    pub(crate) fn weight(format: WeightFormat, padded: &[f32]) -> Self {
        match format {
            WeightFormat::F32 => Self::F32(padded.to_vec()),
            WeightFormat::F16 => Self::F16(padded.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect()),
            WeightFormat::Int8 | WeightFormat::Int4 { .. } => {
                panic!("exec/twins compares quantised weights")
            }
        }
    }

    fn words(&self, on_device: bool) -> Vec<u32> {
        match self {
            Self::F16(values) if on_device => {
                let halves: Vec<u16> = values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
                halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect()
            }
            Self::F32(values) | Self::F16(values) => bytemuck::cast_slice(values).to_vec(),
            Self::U32(values) => values.clone(),
        }
    }
}

/// The device for tests, under WebGPU's default limits; none is not a failure.
fn device() -> Option<Gpu> {
    static DEVICE: OnceLock<Option<Gpu>> = OnceLock::new();
    let open = || {
        let choice = Choice { default_limits: true, ..Choice::from_environment() };
        pollster::block_on(Gpu::open(&choice)).ok()
    };
    DEVICE.get_or_init(open).clone()
}

struct NoWeights;

impl WeightSource for NoWeights {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        panic!("a test asks for the weight {}", spec.name)
    }
}

/// The shader and the twin make the same of `slots`, of which `slots[i]` belongs to `Slot(i)`; the last is the result.
pub(crate) fn agrees_with_shader(
    kernel: &(impl Kernel + Clone + 'static),
    step: StepValues,
    slots: &[Contents],
) {
    let Some(gpu) = device() else {
        return eprintln!("skipped: no graphics device");
    };
    let program = || {
        let mut b = Builder::new("test", crate::program::Formats::F32);
        for (index, contents) in slots.iter().enumerate() {
            // Half a weight matrix is left over on the device.
            b.state(&index.to_string(), contents.words(false).len() as u32, 1, Element::F32);
        }
        b.push(kernel.clone());
        vec![b.finish().unwrap()]
    };
    let last = slots.len() - 1;
    let len = slots[last].words(false).len();
    let run = |executor: &mut dyn Executor, on_device| {
        executor.prepare(&[step]).unwrap();
        for (index, contents) in slots.iter().enumerate() {
            executor.write(&index.to_string(), &contents.words(on_device)).unwrap();
        }
        executor.run(&[0], 0, false).unwrap();
        pollster::block_on(read_f32(executor, &last.to_string(), len)).unwrap()
    };
    let on_device = run(&mut GpuExecutor::new(gpu, program(), &mut NoWeights).unwrap(), true);
    let on_cpu = run(&mut CpuExecutor::new(program(), &mut NoWeights).unwrap(), false);
    let what = format!("{}: {}", kernel.permutation(), kernel.describe());
    assert_close(&on_device, on_cpu.into_iter().map(f64::from), &what);
}

/// The fastest of several runs of each, taken in turn so that a noisy moment meets all of them.
pub(crate) fn fastest_ms<const N: usize>(mut work: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut fastest = [f64::INFINITY; N];
    for _ in 0..12 {
        for (work, fastest) in work.iter_mut().zip(&mut fastest) {
            let start = std::time::Instant::now();
            work();
            *fastest = fastest.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    fastest
}
