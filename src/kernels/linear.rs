//! A matrix product with its epilogue: bias, activation, residual. Twin of `shaders/linear.wgsl`.
//!
//! The product itself, [`product`], serves `masked_logits` and `conv2d` too. The file is long because kernel, twin and the product's
//! checks against plain sums belong side by side.

use super::bf16;
use super::{
    Binding, Buffers, Cost, Extent, Kernel, Product, ROW_ALIGNMENT, Slot, StepValues, WeightFormat, math,
    padded, shader::Permutation, split::Split, split_workgroups,
};
use gemm::Parallelism;
use rayon::prelude::*;

/// What is applied to a product after its bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Activation {
    /// Nothing.
    #[default]
    None,
    /// Exact (erf) GELU.
    Gelu,
    /// SiLU.
    Silu,
}

impl Activation {
    /// Applies the function in place. Twin of `shaders/shared/activation.wgsl`.
    #[inline(always)]
    pub(crate) fn apply(self, values: &mut [f32]) {
        // One loop a function: a branch inside would keep it from being vectorised.
        match self {
            Self::None => {}
            Self::Gelu => values.iter_mut().for_each(|v| *v = math::gelu(*v)),
            Self::Silu => values.iter_mut().for_each(|v| *v = math::silu(*v)),
        }
    }

    /// The shader flag, if there is one.
    pub(crate) fn flag(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gelu => Some("GELU"),
            Self::Silu => Some("SILU"),
        }
    }
}

/// `y[r, o] = activation(x[r] . weight[weight_row + o] + bias[bias_row + o])`, plus the old `y[r, o]` if accumulating.
///
/// Shapes: `x` is `[rows, inner]`, `y` is `[rows, outer]`, `weight` is `[N, padded(inner)]` with `N >= weight_row + outer`,
/// `bias` `[at least bias_row + outer]`: the parts of a packed projection are products of their own. `x` and `y` may be
/// parts of larger tensors, see [`Window`].
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) bias: Option<Slot>,
    pub(crate) y: Slot,
    pub(crate) rows: Extent,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) weight_row: u32,
    pub(crate) bias_row: u32,
    pub(crate) activation: Activation,
    pub(crate) accumulate: bool,
    pub(crate) window: Window,
}

/// Where `x` and `y` stand in their tensors, so that a product can be made in parts: by rows where an activation would be
/// too large for a binding, by columns where a weight is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first row of `x`.
    pub(crate) x_row: u32,
    /// The first row of `y`.
    pub(crate) y_row: u32,
    /// The first column of `y`.
    pub(crate) y_column: u32,
    /// Columns of `y` in all; 0 for as many as the product has.
    pub(crate) y_width: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) weight_row: u32,
    pub(crate) bias_row: u32,
    pub(crate) x_row: u32,
    /// The first element of `y`.
    pub(crate) y_start: u32,
    pub(crate) y_width: u32,
}

impl Linear {
    /// The binding of the result. A later part leaves what the parts before it have written.
    pub(crate) fn result(&self) -> Binding {
        let begun = self.accumulate || self.window.y_row > 0 || self.window.y_column > 0;
        if begun { Binding::update(4, self.y) } else { Binding::write(4, self.y) }
    }

    pub(crate) fn at(&self, step: &StepValues) -> Params {
        let Window { x_row, y_row, y_column, y_width } = self.window;
        let y_width = if y_width == 0 { self.outer } else { y_width };
        Params {
            rows: self.rows.at(step),
            inner: self.inner,
            outer: self.outer,
            weight_row: self.weight_row,
            bias_row: self.bias_row,
            x_row,
            y_start: y_row * y_width + y_column,
            y_width,
        }
    }
}

impl Kernel for Linear {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("linear").flag("VEC4", self.inner.is_multiple_of(4));
        let mut permutation = self
            .format
            .specialise(permutation)
            .flag("BIAS", self.bias.is_some())
            .flag("ACCUMULATE", self.accumulate);
        permutation.flags.extend(self.activation.flag());
        permutation
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.x), Binding::read(2, self.weight)];
        bindings.extend(self.bias.map(|slot| Binding::read(3, slot)));
        bindings.push(self.result());
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_X", vec![1]), ("F16_Y", vec![4])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        tiles(self.rows.at(step), self.outer)
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let [rows, inner, outer] = [self.rows.at(step), self.inner, self.outer].map(u64::from);
        let results = rows * outer * if self.accumulate { 2 } else { 1 };
        let biases = if self.bias.is_some() { outer } else { 0 };
        Cost::new(2 * rows * inner * outer, rows * inner + results + biases)
            + weight_cost(self.format, outer, self.inner)
    }

    fn products(&self, step: &StepValues) -> Vec<(Product, usize)> {
        vec![(Product { m: self.rows.at(step), k: self.inner, n: self.outer }, 1)]
    }

    fn split(&self, parts: u32, sums: Slot) -> Option<Split> {
        Some(Split::new(self, parts, sums))
    }

    fn describe(&self) -> String {
        let mut text = format!("[{}, {}] x [{}, {1}]", self.rows, self.inner, self.outer);
        if self.weight_row > 0 {
            text += &format!(" from row {}", self.weight_row);
        }
        if self.window.y_row > 0 {
            text += &format!(", rows from {} on", self.window.y_row);
        }
        if self.window.y_column > 0 {
            text += &format!(", columns from {} on", self.window.y_column);
        }
        if let Some(flag) = self.activation.flag() {
            text += &format!(", {}", flag.to_lowercase());
        }
        if self.accumulate {
            text += ", added";
        }
        text
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let epilogue = Epilogue { activation: self.activation, accumulate: self.accumulate };
        linear(self.at(step), epilogue, io.f32(1), io.f32(2), io.f32(3), io.f32_mut(4));
    }
}

/// Side of the square of results that a workgroup of `shared/gemm_tile.wgsl` makes.
const TILE: u32 = 64;

/// The workgroups of `shared/gemm_tile.wgsl` for a result of `rows` by `outer`.
pub(crate) fn tiles(rows: u32, outer: u32) -> [u32; 3] {
    split_workgroups(rows.div_ceil(TILE) * outer.div_ceil(TILE))
}

/// The traffic of reading `rows` rows of a weight matrix once.
pub(crate) fn weight_cost(format: WeightFormat, rows: u64, inner: u32) -> Cost {
    Cost { flops: 0, bytes: rows * format.row_bytes(padded(inner)) }
}

/// What becomes of a product's results.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue {
    pub(crate) activation: Activation,
    pub(crate) accumulate: bool,
}

/// The twin. An empty `bias` means none.
pub(crate) fn linear(p: Params, epilogue: Epilogue, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let [rows, inner, outer, width] = [p.rows, p.inner, p.outer, p.y_width].map(|size| size as usize);
    if rows == 0 || outer == 0 {
        return;
    }
    let x = &x[p.x_row as usize * inner..];
    let weight = &weight[p.weight_row as usize * padded(p.inner) as usize..];
    let bias = if bias.is_empty() { bias } else { &bias[p.bias_row as usize..][..outer] };
    // From the first element of the result to its last; between its rows lies what is not ours.
    let y = &mut y[p.y_start as usize..][..(rows - 1) * width + outer];
    let Epilogue { activation, accumulate } = epilogue;
    let sizes = Sizes { rows, inner, outer };
    let multiply = |y: &mut [f32], accumulate| {
        if bf16::rounds(rows) {
            bf16::product(sizes, x, (weight, padded(p.inner) as usize), (y, width), accumulate);
        } else {
            product_into(sizes, x, weight, y, width, accumulate, Parallelism::Rayon(0));
        }
    };
    if accumulate && activation != Activation::None {
        // The old contents must not pass through the activation: they are added from a copy.
        let old = y.to_vec();
        multiply(y, false);
        finish(y, width, outer, bias, activation);
        y.par_chunks_mut(width).zip(old.par_chunks(width)).with_min_len(1 + (1 << 14) / width).for_each(
            |(y, old)| {
                y[..outer].iter_mut().zip(old).for_each(|(y, old)| *y += old);
            },
        );
        return;
    }
    multiply(y, accumulate);
    if !bias.is_empty() || activation != Activation::None {
        finish(y, width, outer, bias, activation);
    }
}

/// Adds the bias (unless empty) and applies the activation to the first `outer` of each `width` elements.
fn finish(y: &mut [f32], width: usize, outer: usize, bias: &[f32], activation: Activation) {
    // Without a bias or gaps, it does not matter where rows begin.
    let (width, outer) = if bias.is_empty() && width == outer { (4096, 4096) } else { (width, outer) };
    y.par_chunks_mut(width).with_min_len(1 + 8192 / width).for_each(|y| {
        let end = outer.min(y.len());
        let y = &mut y[..end];
        math::simd(
            #[inline(always)]
            || {
                if !bias.is_empty() {
                    for (y, bias) in y.iter_mut().zip(bias) {
                        *y += bias;
                    }
                }
                activation.apply(y);
            },
        );
    });
}

/// Sizes of a product: the result is `[rows, outer]`, sums run over `inner`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) outer: usize,
}

/// `y = x weightT`, or `y += x weightT`. Rows of `x` and `y` are dense, rows of `weight` padded to a multiple of four.
pub(crate) fn product(
    sizes: Sizes,
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    accumulate: bool,
    threads: Parallelism,
) {
    product_into(sizes, x, weight, y, sizes.outer, accumulate, threads);
}

/// The same, where rows of `y` lie `y_stride` apart.
pub(crate) fn product_into(
    Sizes { rows, inner, outer }: Sizes,
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    y_stride: usize,
    accumulate: bool,
    threads: Parallelism,
) {
    if rows == 0 || outer == 0 {
        return;
    }
    let weight_stride = inner.next_multiple_of(ROW_ALIGNMENT as usize);
    let x = &x[..rows * inner];
    let weight = &weight[..outer * weight_stride];
    assert!(outer <= y_stride, "rows of a product overlap");
    let y = &mut y[..(rows - 1) * y_stride + outer];
    // SAFETY: the three slices above cover every element that these sizes and strides reach.
    unsafe {
        gemm::gemm(
            rows,
            outer,
            inner,
            y.as_mut_ptr(),
            1,
            y_stride as isize,
            accumulate,
            x.as_ptr(),
            1,
            inner as isize,
            weight.as_ptr(),
            weight_stride as isize,
            1,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

/// What the tests of the product kernels share.
#[cfg(test)]
pub(crate) mod testing {
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
            assert!(
                error < 1e-4 * (1.0 + wanted.abs()),
                "{what}: element {index} is {got}, expected {wanted}"
            );
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
            if let (Some(binding), naga::AddressSpace::Storage { access }) =
                (variable.binding, variable.space)
            {
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
                WeightFormat::F16 => {
                    Self::F16(padded.iter().map(|&v| half::f16::from_f32(v).to_f32()).collect())
                }
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
}

#[cfg(test)]
mod tests {
    use super::testing::{
        Contents, agrees_with_shader, assert_close, fastest_ms, padded_rows, validate, values,
    };
    use super::*;
    use proptest::prelude::*;

    fn kernel(rows: u32, inner: u32, outer: u32) -> Linear {
        Linear {
            x: Slot(0),
            weight: Slot(1),
            format: WeightFormat::F32,
            bias: Some(Slot(2)),
            y: Slot(3),
            rows: Extent::fixed(rows),
            inner,
            outer,
            weight_row: 0,
            bias_row: 0,
            window: Window::default(),
            activation: Activation::None,
            accumulate: false,
        }
    }

    fn run(k: &Linear, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        let mut io = Buffers::default();
        io.bind_read(1, x);
        io.bind_read(2, weight);
        if k.bias.is_some() {
            io.bind_read(3, bias);
        }
        io.bind_write(4, y);
        k.run(&StepValues::default(), &mut io);
    }

    fn check(k: &Linear) {
        let p = k.at(&StepValues::default());
        let [rows, inner, outer, first, bias_row] =
            [p.rows, p.inner, p.outer, p.weight_row, p.bias_row].map(|size| size as usize);
        let [x_row, start, width] = [p.x_row, p.y_start, p.y_width].map(|size| size as usize);
        let x = values((x_row + rows) * inner, 1);
        let dense = values((first + outer + 1) * inner, 2);
        let bias = values(bias_row + outer + 1, 3);
        let old = values(start + rows * width + 3, 4);
        let mut y = old.clone();
        run(k, &x, &padded_rows(&dense, inner), &bias, &mut y);
        let wanted = old.iter().enumerate().map(|(at, &old)| {
            let (r, o) = (at.wrapping_sub(start) / width, at.wrapping_sub(start) % width);
            if at < start || r >= rows || o >= outer {
                return f64::from(old); // not a part of the result
            }
            let (x, w) = (&x[(x_row + r) * inner..][..inner], &dense[(first + o) * inner..][..inner]);
            let mut sum: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            if k.bias.is_some() {
                sum += f64::from(bias[bias_row + o]);
            }
            let mut value = [sum as f32];
            k.activation.apply(&mut value);
            f64::from(value[0]) + if k.accumulate { f64::from(old) } else { 0.0 }
        });
        assert_close(&y, wanted, &k.describe());
    }

    const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Gelu, Activation::Silu];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_shape_and_epilogue_agrees_with_the_definition(
            (rows, inner, outer) in (1_u32..70, 1_u32..200, 1_u32..150),
            (weight_row, bias_row) in (0_u32..9, 0_u32..9),
            window in windows(),
            biased: bool,
            activation in prop::sample::select(&ACTIVATIONS[..]),
            accumulate: bool,
        ) {
            let bias = Some(Slot(2)).filter(|_| biased);
            let mut k = kernel(rows, inner, outer);
            k = Linear { weight_row, bias_row, bias, activation, accumulate, window, ..k };
            if k.window.y_width > 0 {
                k.window.y_width += k.window.y_column + outer;
            }
            check(&k);
        }
    }

    /// Parts of larger tensors; `y_width` is 0 or counts from the end of the part.
    fn windows() -> impl Strategy<Value = Window> {
        let part = (0_u32..5, 0_u32..5, 0_u32..9, 1_u32..9)
            .prop_map(|(x_row, y_row, y_column, y_width)| Window { x_row, y_row, y_column, y_width });
        prop_oneof![Just(Window::default()), part]
    }

    #[test]
    fn sizes_of_the_models_agree_with_the_definition() {
        for (rows, inner, outer) in
            [(1, 768, 1536), (2, 91, 181), (130, 181, 91), (1, 1, 1), (300, 3, 7), (65, 256, 768)]
        {
            check(&kernel(rows, inner, outer));
            check(&Linear { activation: Activation::Gelu, ..kernel(rows, inner, outer) });
            check(&Linear { bias: None, accumulate: true, ..kernel(rows, inner, outer) });
        }
    }

    #[test]
    fn the_shader_agrees_with_the_twin() {
        for (rows, inner, outer, weight_row) in [
            (1, 8, 8, 0),
            (70, 91, 181, 3),
            (130, 68, 65, 0),
            (64, 64, 64, 1),
            (600, 3, 5, 0),
            (5, 768, 200, 7),
        ] {
            for (format, activation, accumulate, biased) in [
                (WeightFormat::F32, Activation::None, false, true),
                (WeightFormat::F16, Activation::Gelu, false, true),
                (WeightFormat::F32, Activation::Silu, true, false),
                (WeightFormat::F16, Activation::None, true, true),
            ] {
                let bias = Some(Slot(2)).filter(|_| biased);
                let mut k = kernel(rows, inner, outer);
                k = Linear { format, activation, accumulate, bias, weight_row, ..k };
                if !biased {
                    // A part of a larger result.
                    let y_width = outer + 9;
                    k.window = Window { x_row: 2, y_row: 3, y_column: 5, y_width };
                }
                k.bias_row = weight_row / 2;
                let p = k.at(&StepValues::default());
                let dense = values(((weight_row + outer) * inner) as usize, 2);
                let weight = Contents::weight(format, &padded_rows(&dense, inner as usize));
                let x = values(((p.x_row + rows) * inner) as usize, 1);
                let bias = values((p.bias_row + outer) as usize, 3);
                let y = values((p.y_start + rows * p.y_width) as usize, 4);
                let slots = [Contents::F32(x), weight, Contents::F32(bias), Contents::F32(y)];
                agrees_with_shader(&k, StepValues::default(), &slots);
            }
        }
    }

    #[test]
    fn no_rows_are_no_work() {
        let k = kernel(0, 8, 8);
        assert!(k.workgroups(&StepValues::default()).contains(&0));
        run(&k, &[], &[0.0; 64], &[0.0; 8], &mut []);
    }

    #[test]
    fn every_permutation_is_valid() {
        for inner in [91, 768] {
            for format in [WeightFormat::F32, WeightFormat::F16] {
                for activation in ACTIVATIONS {
                    for accumulate in [false, true] {
                        let k = Linear { format, activation, accumulate, ..kernel(1, inner, 8) };
                        validate(&k);
                        validate(&Linear { bias: None, ..k });
                    }
                }
            }
        }
    }

    /// Run with `cargo test --release -- --ignored --nocapture near_gemm`.
    #[test]
    #[ignore = "a measurement"]
    fn products_run_near_gemm_speed() {
        const ROWS: u32 = 2050;
        let mut totals = [0.0; 2];
        for (inner, outer, activation, accumulate) in [
            (768, 768, Activation::None, false),
            (768, 2304, Activation::None, false),
            (768, 3072, Activation::Gelu, false),
            (3072, 768, Activation::None, true),
        ] {
            let k = Linear { activation, accumulate, ..kernel(ROWS, inner, outer) };
            let sizes = Sizes { rows: ROWS as usize, inner: inner as usize, outer: outer as usize };
            let x = values((ROWS * inner) as usize, 1);
            let weight = values((outer * inner) as usize, 2);
            let bias = values(outer as usize, 3);
            let mut y = vec![0.0; (ROWS * outer) as usize];
            let mut bare_y = y.clone();
            let [bare, whole] = fastest_ms([
                &mut || product(sizes, &x, &weight, &mut bare_y, accumulate, Parallelism::Rayon(0)),
                &mut || run(&k, &x, &weight, &bias, &mut y),
            ]);
            totals = [totals[0] + bare, totals[1] + whole];
            let gflop = k.cost(&StepValues::default()).flops as f64 * 1e-9;
            println!(
                "{}: {whole:.1} ms, {:.0} GFLOP/s; bare {bare:.1} ms",
                k.describe(),
                gflop / whole * 1e3
            );
        }
        println!("all: {:.1} ms, bare {:.1} ms, ratio {:.3}", totals[1], totals[0], totals[1] / totals[0]);
    }
}
