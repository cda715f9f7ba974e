//! 3x3 convolutions over channels-last pictures, with the resampling that goes with them. Twin of
//! `shaders/conv2d.wgsl`. A 1x1 convolution is a `Linear`.

use super::linear::{Sizes, Weight, product, tiles, weight_cost};
use super::{
    Binding, Buffers, Cost, Kernel, Product, Slot, StepValues, WeightFormat, math, shader::Permutation,
};
use gemm::Parallelism;
use migm_products::Multiplied;
use rayon::prelude::*;

/// Which pixels a window covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum ConvForm {
    /// Zero padding of one all round: the size stays.
    #[default]
    Same,
    /// Each side doubled by nearest neighbour, then as `Same`.
    Upsample,
    /// Stride two, one row of zeros below and one column right, none above and left: each side halved.
    Downsample,
}

/// `y[p, o] = window(x, p) . weight[o] + bias[o]`, plus the old `y[p, o]` if accumulating.
///
/// Shapes: `x` is `[images, height, width, cin]`, `weight` `[cout, padded(9 * cin)]` in the order (ky, kx, channel),
/// `bias` `[cout]`, `y` `[images, output height, output width, cout]`.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    pub(crate) x: Slot,
    pub(crate) weight: Slot,
    pub(crate) format: WeightFormat,
    pub(crate) bias: Option<Slot>,
    pub(crate) y: Slot,
    pub(crate) images: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) cin: u32,
    pub(crate) cout: u32,
    pub(crate) form: ConvForm,
    pub(crate) accumulate: bool,
}

impl ConvForm {
    /// Height and width of the output.
    pub(crate) fn output_size(self, height: u32, width: u32) -> (u32, u32) {
        match self {
            Self::Same => (height, width),
            Self::Upsample => (2 * height, 2 * width),
            Self::Downsample => (height / 2, width / 2),
        }
    }
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) inner: u32,
    pub(crate) outer: u32,
    pub(crate) cin: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) out_height: u32,
    pub(crate) out_width: u32,
}

impl Conv2d {
    fn output_size(&self) -> (u32, u32) {
        self.form.output_size(self.height, self.width)
    }

    fn parameters(&self) -> Params {
        let (out_height, out_width) = self.output_size();
        Params {
            rows: self.images * out_height * out_width,
            inner: 9 * self.cin,
            outer: self.cout,
            cin: self.cin,
            height: self.height,
            width: self.width,
            out_height,
            out_width,
        }
    }
}

impl Kernel for Conv2d {
    fn permutation(&self) -> Permutation {
        let permutation = Permutation::new("conv2d").flag("VEC4", self.cin.is_multiple_of(4));
        self.format
            .specialise(permutation)
            .flag("BIAS", self.bias.is_some())
            .flag("ACCUMULATE", self.accumulate)
            .flag("UPSAMPLE", self.form == ConvForm::Upsample)
            .flag("DOWNSAMPLE", self.form == ConvForm::Downsample)
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.x), Binding::read(2, self.weight)];
        bindings.extend(self.bias.map(|slot| Binding::read(3, slot)));
        bindings.push(if self.accumulate { Binding::update(4, self.y) } else { Binding::write(4, self.y) });
        bindings
    }

    fn params(&self, _step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.parameters()).to_vec()
    }

    fn workgroups(&self, _step: &StepValues) -> [u32; 3] {
        tiles(self.parameters().rows, self.cout)
    }

    fn cost(&self, _step: &StepValues) -> Cost {
        let p = self.parameters();
        let [rows, inner, outer] = [p.rows, p.inner, p.outer].map(u64::from);
        let pixels = [self.images, self.height, self.width, self.cin].map(u64::from).iter().product::<u64>();
        let results = rows * outer * if self.accumulate { 2 } else { 1 };
        let biases = if self.bias.is_some() { outer } else { 0 };
        Cost::new(2 * rows * inner * outer, pixels + results + biases)
            + weight_cost(self.format, outer, p.inner)
    }

    fn products(&self, _: &StepValues) -> Vec<(Product, usize)> {
        let p = self.parameters();
        vec![(Product { m: p.rows, k: p.inner, n: p.outer }, 1)]
    }

    fn multiplies_by(&self) -> Option<(Slot, Multiplied)> {
        Some((self.weight, Multiplied { row: 0, inner: 9 * self.cin, outer: self.cout, rounds: false }))
    }

    fn describe(&self) -> String {
        let form = match self.form {
            ConvForm::Same => "",
            ConvForm::Upsample => ", upsampled",
            ConvForm::Downsample => ", downsampled",
        };
        let added = if self.accumulate { ", added" } else { "" };
        format!("{}x{}x{} {} -> {}{form}{added}", self.images, self.height, self.width, self.cin, self.cout)
    }

    fn run(&self, _step: &StepValues, io: &mut Buffers<'_>) {
        let weight = Weight::of(io, 2, 0, 9 * self.cin);
        let (x, bias, y) = (io.f32(1), io.f32(3), io.f32_mut(4));
        conv2d(self.parameters(), self.form, self.accumulate, x, weight, bias, y);
    }
}

/// The twin: windows are laid out as rows of a matrix, a strip of pixels at a time, and multiplied while in cache.
/// An empty `bias` means none.
pub(crate) fn conv2d(
    p: Params,
    form: ConvForm,
    accumulate: bool,
    x: &[f32],
    weight: Weight<'_>,
    bias: &[f32],
    y: &mut [f32],
) {
    let [rows, inner, outer] = [p.rows, p.inner, p.outer].map(|size| size as usize);
    if rows == 0 || outer == 0 {
        return;
    }
    let strip = match weight {
        Weight::Rows(_) => strip_pixels(inner, outer),
        Weight::Packed(_) => packed_strip_pixels(inner),
    };
    let strip = strip.min(rows.div_ceil(rayon::current_num_threads()));
    y[..rows * outer].par_chunks_mut(strip * outer).enumerate().for_each_init(
        || vec![0.0; strip * inner],
        |windows, (index, y)| {
            let rows = y.len() / outer;
            for (row, window) in windows.chunks_exact_mut(inner).take(rows).enumerate() {
                lay_out_window(&p, form, x, index * strip + row, window);
            }
            match weight {
                Weight::Rows(weight) => {
                    product(Sizes { rows, inner, outer }, windows, weight, y, accumulate, Parallelism::None);
                }
                Weight::Packed(packed) => packed.product_here(rows, windows, (y, outer), accumulate),
            }
            if !bias.is_empty() {
                math::simd(
                    #[inline(always)]
                    || {
                        for y in y.chunks_exact_mut(outer) {
                            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
                        }
                    },
                );
            }
        },
    );
}

/// Output pixels that a thread lays out and multiplies at once. Each strip packs the weights anew, which many pixels
/// make up for; but windows that stay in the second-level cache are cheaper. Measured on 128, 256 and 512 channels.
fn strip_pixels(inner: usize, outer: usize) -> usize {
    // Up to this many results, `gemm` has a kernel along K, four times faster where there are three channels.
    const FEW_RESULTS: usize = 256;
    if outer <= 4 {
        FEW_RESULTS / outer
    } else if inner <= 2048 {
        256
    } else {
        512
    }
}

/// The same where weights are packed: as many as leave half of a second-level cache of 1 MiB to the weights.
fn packed_strip_pixels(inner: usize) -> usize {
    (1 << 17) / inner.max(1) / 12 * 12 + 12
}

/// Copies the nine pixels under the window of an output pixel, zeros in the padding.
fn lay_out_window(p: &Params, form: ConvForm, x: &[f32], pixel: usize, window: &mut [f32]) {
    let [cin, height, width, out_height, out_width] =
        [p.cin, p.height, p.width, p.out_height, p.out_width].map(|size| size as usize);
    let (line, column) = (pixel / out_width, pixel % out_width);
    let (image, line) = (line / out_height, line % out_height);
    let image = &x[image * height * width * cin..][..height * width * cin];
    // Of output position `at` and tap 0..3, the input position, unless it lies in the padding.
    let source = |at: usize, tap: usize, size: usize| match form {
        ConvForm::Same => (at + tap).checked_sub(1).filter(|&at| at < size),
        ConvForm::Upsample => (at + tap).checked_sub(1).map(|at| at / 2).filter(|&at| at < size),
        ConvForm::Downsample => Some(2 * at + tap).filter(|&at| at < size),
    };
    for (ky, window) in window.chunks_exact_mut(3 * cin).enumerate() {
        let Some(iy) = source(line, ky, height) else {
            window.fill(0.0);
            continue;
        };
        let pixels = &image[iy * width * cin..][..width * cin];
        if form != ConvForm::Upsample
            && let (Some(left), Some(_)) = (source(column, 0, width), source(column, 2, width))
        {
            window.copy_from_slice(&pixels[left * cin..][..3 * cin]);
            continue;
        }
        for (kx, window) in window.chunks_exact_mut(cin).enumerate() {
            match source(column, kx, width) {
                Some(ix) => window.copy_from_slice(&pixels[ix * cin..][..cin]),
                None => window.fill(0.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::testing::{
        Contents, agrees_with_shader, assert_close, fastest_ms, padded_rows, validate, values,
    };
    use crate::kernels::padded;

    const FORMS: [ConvForm; 3] = [ConvForm::Same, ConvForm::Upsample, ConvForm::Downsample];

    fn kernel(images: u32, [height, width]: [u32; 2], [cin, cout]: [u32; 2], form: ConvForm) -> Conv2d {
        Conv2d {
            x: Slot(0),
            weight: Slot(1),
            format: WeightFormat::F32,
            bias: Some(Slot(2)),
            y: Slot(3),
            images,
            height,
            width,
            cin,
            cout,
            form,
            accumulate: false,
        }
    }

    fn run(k: &Conv2d, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        let mut io = Buffers::default();
        io.bind_read(1, x);
        io.bind_read(2, weight);
        if k.bias.is_some() {
            io.bind_read(3, bias);
        }
        io.bind_write(4, y);
        k.run(&StepValues::default(), &mut io);
    }

    /// One output, from the definition: resample, pad, sum.
    fn expected(k: &Conv2d, x: &[f32], weight: &[f32], at: usize) -> f64 {
        let (out_height, out_width) = k.output_size();
        let [cin, cout, height, width] = [k.cin, k.cout, k.height, k.width].map(i64::from);
        let (o, pixel) = (at as i64 % cout, at as i64 / cout);
        let (ox, line) = (pixel % i64::from(out_width), pixel / i64::from(out_width));
        let (oy, image) = (line % i64::from(out_height), line / i64::from(out_height));
        let scale = if k.form == ConvForm::Upsample { 2 } else { 1 };
        let mut sum = 0.0;
        for ky in 0..3 {
            for kx in 0..3 {
                let (iy, ix) = match k.form {
                    ConvForm::Downsample => (2 * oy + ky, 2 * ox + kx),
                    _ => (oy + ky - 1, ox + kx - 1),
                };
                if iy < 0 || ix < 0 || iy >= scale * height || ix >= scale * width {
                    continue;
                }
                for c in 0..cin {
                    let pixel = (image * height + iy / scale) * width + ix / scale;
                    let w = o * i64::from(padded(9 * k.cin)) + (ky * 3 + kx) * cin + c;
                    sum += f64::from(x[(pixel * cin + c) as usize]) * f64::from(weight[w as usize]);
                }
            }
        }
        sum
    }

    #[test]
    fn every_form_agrees_with_the_definition() {
        let sizes = [
            (1, [4, 4], [4, 4]),
            (2, [5, 7], [3, 5]),
            (1, [1, 3], [2, 1]),
            (3, [6, 2], [8, 3]),
            (1, [9, 16], [12, 70]),
            (1, [40, 33], [96, 8]),
        ];
        for (images, size, channels) in sizes {
            for form in FORMS {
                for (biased, accumulate) in [(true, false), (false, true), (true, true)] {
                    let mut k = kernel(images, size, channels, form);
                    k.accumulate = accumulate;
                    k.bias = k.bias.filter(|_| biased);
                    let inner = 9 * channels[0] as usize;
                    let x = values((images * size[0] * size[1] * channels[0]) as usize, 1);
                    let weight = padded_rows(&values(channels[1] as usize * inner, 2), inner);
                    let bias = values(channels[1] as usize, 3);
                    let (out_height, out_width) = k.output_size();
                    let old = values((images * out_height * out_width * channels[1]) as usize, 4);
                    let mut y = old.clone();
                    run(&k, &x, &weight, &bias, &mut y);
                    let wanted = (0..y.len()).map(|at| {
                        let bias = if biased { f64::from(bias[at % bias.len()]) } else { 0.0 };
                        let old = if accumulate { f64::from(old[at]) } else { 0.0 };
                        expected(&k, &x, &weight, at) + bias + old
                    });
                    assert_close(&y, wanted, &format!("{}, bias {biased}", k.describe()));
                }
            }
        }
    }

    #[test]
    fn the_shader_agrees_with_the_twin() {
        let sizes = [(2, [5, 7], [3, 5]), (1, [1, 2], [4, 1]), (1, [9, 16], [12, 70]), (3, [2, 6], [32, 66])];
        for (images, size, channels) in sizes {
            for form in FORMS {
                for (format, accumulate) in [(WeightFormat::F32, false), (WeightFormat::F16, true)] {
                    let k = Conv2d { format, accumulate, ..kernel(images, size, channels, form) };
                    let Params { rows, inner, outer, .. } = k.parameters();
                    if rows == 0 {
                        continue;
                    }
                    let dense = values((inner * outer) as usize, 2);
                    let slots = [
                        Contents::F32(values((images * size[0] * size[1] * channels[0]) as usize, 1)),
                        Contents::weight(format, &padded_rows(&dense, inner as usize)),
                        Contents::F32(values(outer as usize, 3)),
                        Contents::F32(values((rows * outer) as usize, 4)),
                    ];
                    agrees_with_shader(&k, StepValues::default(), &slots);
                }
            }
        }
    }

    #[test]
    fn every_permutation_is_valid() {
        for form in FORMS {
            for cin in [3, 4] {
                for format in [WeightFormat::F32, WeightFormat::F16] {
                    for accumulate in [false, true] {
                        let k = Conv2d { format, accumulate, ..kernel(1, [8, 8], [cin, 8], form) };
                        validate(&k);
                        validate(&Conv2d { bias: None, ..k });
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_picture_fits_a_dispatch() {
        let k = kernel(16, [256, 256], [128, 128], ConvForm::Upsample);
        let [x, y, z] = k.workgroups(&StepValues::default());
        assert!(x <= 65_535 && y <= 65_535 && z == 1);
        assert!(x * y >= 2 * 16 * 512 * 512 / 64);
    }

    /// Run with `cargo test --release -- --ignored --nocapture near_gemm`.
    #[test]
    #[ignore = "a measurement"]
    fn convolutions_run_near_gemm_speed() {
        for (size, channels, form) in [
            (256, [128, 128], ConvForm::Same),
            (128, [128, 128], ConvForm::Upsample),
            (32, [512, 512], ConvForm::Same),
            (256, [128, 3], ConvForm::Same),
            (256, [3, 128], ConvForm::Same),
        ] {
            let k = kernel(1, [size, size], channels, form);
            let Params { rows, inner, outer, .. } = k.parameters();
            let x = values((size * size * channels[0]) as usize, 1);
            let weight = padded_rows(&values((outer * inner) as usize, 2), inner as usize);
            let bias = values(outer as usize, 3);
            let y = vec![0.0; (rows * outer) as usize];
            let windows = vec![0.5; (rows * inner) as usize];
            let sizes = Sizes { rows: rows as usize, inner: inner as usize, outer: outer as usize };
            let [bare, whole] = fastest_ms([
                &mut || product(sizes, &windows, &weight, &mut y.clone(), false, Parallelism::Rayon(0)),
                &mut || run(&k, &x, &weight, &bias, &mut y.clone()),
            ]);
            let gflop = k.cost(&StepValues::default()).flops as f64 * 1e-9;
            println!(
                "{}: {whole:.1} ms, {:.0} GFLOP/s; the bare product {bare:.1} ms, {:.0} GFLOP/s",
                k.describe(),
                gflop / whole * 1e3,
                gflop / bare * 1e3
            );
        }
    }
}
