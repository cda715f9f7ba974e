//! What computes a model: the CPU executor, in f32 or with bf16, or a graphics device.

use super::GenerateError;
use crate::exec::cpu::{CpuExecutor, multiplies_bf16};
use crate::exec::gpu::tier::Tier;
use crate::exec::{Executor, gpu};
use crate::program::{Program, WeightSource};

/// What computes.
#[derive(Clone, Debug, Default)]
pub enum Device {
    /// The CPU executor.
    #[default]
    Cpu,
    /// The same with linear layers and the head in bf16, for processors that multiply it, and attention where they have tiles of it (AMX).
    CpuBf16,
    /// A graphics device.
    Gpu(Box<gpu::device::Gpu>),
}

impl Device {
    /// An executor of `programs` on this device.
    ///
    /// # Errors
    /// A weight cannot be loaded, or the device cannot hold the programs.
    pub fn executor(
        &self,
        programs: Vec<Program>,
        weights: &mut dyn WeightSource,
    ) -> Result<Box<dyn Executor>, GenerateError> {
        Ok(match self {
            Self::Cpu => Box::new(CpuExecutor::new(programs, weights)?),
            Self::CpuBf16 => Box::new(CpuExecutor::in_bf16(programs, weights)?),
            Self::Gpu(gpu) => Box::new(gpu::GpuExecutor::new((**gpu).clone(), programs, weights)?),
        })
    }

    /// The CPU executor in bf16: [`Device::CpuBf16`].
    ///
    /// # Errors
    /// The processor does not multiply it, or who asks wants what is `exact`.
    pub fn cpu_in_bf16(exact: bool) -> Result<Self, GenerateError> {
        let refuse = |message: &str| Err(GenerateError::Setting(message.to_owned()));
        if exact {
            return refuse("bf16 is not exact: compute on the CPU in f32, or without asking for exactness");
        }
        if !multiplies_bf16() {
            return refuse(
                "this processor does not multiply bf16 (x86 with avx512_bf16 does); the CPU computes in f32 as well",
            );
        }
        Ok(Self::CpuBf16)
    }

    /// Whether the CPU executor computes.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu | Self::CpuBf16)
    }

    /// The adapter's name and its tier, if that is not the portable one; or the processor's threads.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => format!("CPU, {} threads", rayon::current_num_threads()),
            Self::CpuBf16 => format!("CPU, {} threads, bf16", rayon::current_num_threads()),
            Self::Gpu(gpu) if gpu.tier == Tier::Portable => gpu.info.name.clone(),
            Self::Gpu(gpu) => format!("{}, {} tier", gpu.info.name, gpu.tier),
        }
    }
}
