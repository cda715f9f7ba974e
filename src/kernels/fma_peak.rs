//! The peak rate of multiply-adds of a device, against which kernels are judged. Twin of `shaders/fma_peak.wgsl`.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, shader::Permutation, split_workgroups};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Multiply-adds in registers; `y` is `[invocations]`.
#[derive(Debug, Clone)]
pub(crate) struct FmaPeak {
    pub(crate) y: Slot,
    pub(crate) invocations: u32,
    pub(crate) iterations: u32,
}

/// The shader's parameter block. Every chain is `c = c * factor + term`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) invocations: u32,
    pub(crate) iterations: u32,
    pub(crate) factor: f32,
    pub(crate) term: f32,
}

/// Invocations in a workgroup.
const WORKGROUP: u32 = 128;
/// Chains in an invocation: eight vectors of four.
const CHAINS: u32 = 32;
/// Links that an iteration adds to every chain.
const LINKS: u32 = 4;

/// Invocations that a thread of the CPU takes at once: a multiple of every vector width.
const BLOCK: usize = 64;

impl FmaPeak {
    /// The factor and the term are not constants of the shader, so that no compiler can sum the series; the chains
    /// tend to 1, so that neither infinities nor denormals slow them down.
    fn parameters(&self) -> Params {
        Params { invocations: self.invocations, iterations: self.iterations, factor: 0.999, term: 0.001 }
    }
}

impl Kernel for FmaPeak {
    fn permutation(&self) -> Permutation {
        Permutation::new("fma_peak")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::write(1, self.y)]
    }

    fn params(&self, _step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.parameters()).to_vec()
    }

    fn workgroups(&self, _step: &StepValues) -> [u32; 3] {
        split_workgroups(self.invocations.div_ceil(WORKGROUP))
    }

    fn cost(&self, _step: &StepValues) -> Cost {
        let [invocations, iterations] = [self.invocations, self.iterations].map(u64::from);
        Cost::new(2 * u64::from(CHAINS * LINKS) * invocations * iterations, invocations)
    }

    fn describe(&self) -> String {
        format!("{} invocations of {} iterations", self.invocations, self.iterations)
    }

    fn run(&self, _step: &StepValues, io: &mut Buffers<'_>) {
        fma_peak(self.parameters(), io.f32_mut(1));
    }
}

/// The twin. Invocations lie side by side in the lanes of vectors, some chains at a time in registers.
pub(crate) fn fma_peak(p: Params, y: &mut [f32]) {
    y[..p.invocations as usize].par_chunks_mut(BLOCK).enumerate().for_each(|(block, y)| {
        Arch::new().dispatch(Chains { p, first: block * BLOCK, y });
    });
}

struct Chains<'a> {
    p: Params,
    /// The invocation that `y[0]` belongs to.
    first: usize,
    y: &'a mut [f32],
}

impl WithSimd for Chains<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Two multiply-adds a cycle of latency four need eight chains; more are safer where registers allow.
        if S::REGISTER_COUNT >= 32 { self.chains::<S, 16>(simd) } else { self.chains::<S, 8>(simd) }
    }
}

impl Chains<'_> {
    #[inline(always)]
    fn chains<S: Simd, const AT_ONCE: usize>(self, simd: S) {
        let Self { p, first, y } = self;
        let factor = simd.splat_f32s(p.factor);
        let term = simd.splat_f32s(p.term);
        for (group, y) in y.chunks_mut(S::F32_LANES).enumerate() {
            let indices: [f32; BLOCK] =
                std::array::from_fn(|lane| ((first + group * S::F32_LANES + lane) % 1024) as f32);
            let start = simd.partial_load_f32s(&indices[..S::F32_LANES]);
            let mut sum = simd.splat_f32s(0.0);
            for chain in (0..CHAINS as usize).step_by(AT_ONCE) {
                let mut c: [S::f32s; AT_ONCE] =
                    std::array::from_fn(|i| simd.add_f32s(start, simd.splat_f32s((chain + i) as f32)));
                for _ in 0..p.iterations * LINKS {
                    for c in &mut c {
                        *c = simd.mul_add_f32s(*c, factor, term);
                    }
                }
                for c in c {
                    sum = simd.add_f32s(sum, c);
                }
            }
            simd.partial_store_f32s(y, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::testing::{Contents, agrees_with_shader, validate};

    fn run(invocations: u32, iterations: u32) -> (FmaPeak, Vec<f32>, std::time::Duration) {
        let kernel = FmaPeak { y: Slot(0), invocations, iterations };
        let mut y = vec![0.0; invocations as usize];
        let start = std::time::Instant::now();
        let mut io = Buffers::default();
        io.bind_write(1, &mut y);
        kernel.run(&StepValues::default(), &mut io);
        (kernel, y, start.elapsed())
    }

    #[test]
    fn chains_follow_the_formula() {
        for (invocations, iterations) in [(1, 1), (7, 3), (64, 2), (130, 5), (3000, 1)] {
            let (_, y, _) = run(invocations, iterations);
            for (index, y) in y.iter().enumerate() {
                let wanted: f64 = (0..CHAINS)
                    .map(|chain| {
                        let start = (index % 1024) as f64 + f64::from(chain);
                        (0..iterations * LINKS)
                            .fold(start, |c, _| c * f64::from(0.999_f32) + f64::from(0.001_f32))
                    })
                    .sum();
                assert!((f64::from(*y) - wanted).abs() < 1e-5 * wanted, "{index}: {y}, expected {wanted}");
            }
        }
    }

    #[test]
    fn the_shader_agrees_with_the_twin() {
        for (invocations, iterations) in [(1, 1), (130, 5), (2000, 3)] {
            let k = FmaPeak { y: Slot(0), invocations, iterations };
            let y = Contents::F32(vec![0.0; invocations as usize]);
            agrees_with_shader(&k, StepValues::default(), &[y]);
        }
    }

    #[test]
    fn the_shader_is_valid() {
        validate(&FmaPeak { y: Slot(0), invocations: 1, iterations: 1 });
    }

    /// Run with `cargo test --release -- --ignored --nocapture peak`.
    #[test]
    #[ignore = "a measurement"]
    fn peak_rate_of_this_processor() {
        run(4096, 1000);
        let (kernel, _, time) = run(4096, 50_000);
        let gflop = kernel.cost(&StepValues::default()).flops as f64 * 1e-9;
        println!("{:.1} GFLOP/s on {} threads", gflop / time.as_secs_f64(), rayon::current_num_threads());
    }
}
