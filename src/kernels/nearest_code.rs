//! Vector quantisation: the nearest row of a codebook. Twin of `shaders/nearest_code.wgsl`.

use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, padded, shader::Permutation,
    split_workgroups,
};
use rayon::prelude::*;

/// `codes_out[r]` is the row of `codebook` with the smallest squared distance to `z[r]`, the first of equals.
///
/// The distance is summed as it stands, `sum (z - e)^2`, by shader and twin: the usual `|e|^2 - 2 z.e` cancels when
/// codes lie close together, and this is done once an image. Shapes: `z` is `[rows, width]`; `codebook` is
/// `[codes, padded(width)]`; `codes_out` is `u32`, `[rows]`.
#[derive(Debug, Clone)]
pub(crate) struct NearestCode {
    pub(crate) z: Slot,
    pub(crate) codebook: Slot,
    pub(crate) codes_out: Slot,
    pub(crate) rows: Extent,
    pub(crate) width: u32,
    pub(crate) codes: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) width: u32,
    pub(crate) codes: u32,
    pub(crate) stride: u32,
}

/// Rows of `z` that a workgroup takes.
const ROWS: u32 = 16;

impl NearestCode {
    fn at(&self, step: &StepValues) -> Params {
        let Self { width, codes, .. } = *self;
        Params { rows: self.rows.at(step), width, codes, stride: padded(width) }
    }
}

impl Kernel for NearestCode {
    fn permutation(&self) -> Permutation {
        Permutation::new("nearest_code")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.z), Binding::read(2, self.codebook), Binding::write(3, self.codes_out)]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.rows.at(step).div_ceil(ROWS))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let [rows, width, codes] = [self.rows.at(step), self.width, self.codes].map(u64::from);
        Cost::new(3 * rows * codes * width, rows * (width + 1) + codes * width)
    }

    fn describe(&self) -> String {
        format!("[{}, {}] to {} codes", self.rows, self.width, self.codes)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        nearest_code(self.at(step), io.f32(1), io.f32(2), io.u32_mut(3));
    }
}

/// Rows of `z` that the twin treats together.
const BLOCK: usize = 4;
/// Codes that stand side by side in the twin's vector loops.
const LANES: usize = 16;

/// The twin. Threads take four rows at a time against the whole codebook.
pub(crate) fn nearest_code(p: Params, z: &[f32], codebook: &[f32], codes_out: &mut [u32]) {
    let [rows, width, codes] = [p.rows, p.width, p.codes].map(|v| v as usize);
    let strips = strips_of(p, codebook);
    let z_blocks = z[..rows * width].par_chunks(BLOCK * width);
    z_blocks.zip(codes_out[..rows].par_chunks_mut(BLOCK)).for_each(|(z, codes_out)| {
        math::simd(
            #[inline(always)]
            || {
                // The last block repeats its last row to be whole.
                let count = codes_out.len();
                let z: [&[f32]; BLOCK] = std::array::from_fn(|i| &z[i.min(count - 1) * width..][..width]);
                let mut best = [f32::MAX; BLOCK];
                let mut choice = [0; BLOCK];
                for (first, strip) in (0..codes).step_by(LANES).zip(strips.chunks_exact(width)) {
                    let distances = squared_distances(z, strip);
                    for row in 0..BLOCK {
                        for (code, &distance) in (first..codes).zip(&distances[row]) {
                            if distance < best[row] {
                                (best[row], choice[row]) = (distance, code as u32);
                            }
                        }
                    }
                }
                codes_out.copy_from_slice(&choice[..count]);
            },
        );
    });
}

/// The codebook in strips of sixteen codes, each column by column, so that sums need not cross lanes.
fn strips_of(p: Params, codebook: &[f32]) -> Vec<[f32; LANES]> {
    let [width, codes, stride] = [p.width, p.codes, p.stride].map(|v| v as usize);
    let mut strips = vec![[0.0; LANES]; codes.div_ceil(LANES) * width];
    for (code, e) in codebook[..codes * stride].chunks_exact(stride).enumerate() {
        let strip = &mut strips[code / LANES * width..][..width];
        for (column, &e) in strip.iter_mut().zip(e) {
            column[code % LANES] = e;
        }
    }
    strips
}

/// Squared distances of a block of rows to a strip of codes.
#[inline(always)]
fn squared_distances(z: [&[f32]; BLOCK], strip: &[[f32; LANES]]) -> [[f32; LANES]; BLOCK] {
    let mut sums = [[0.0_f32; LANES]; BLOCK];
    let [a, b, c, d] = z.map(|z| &z[..strip.len()]);
    for (i, e) in strip.iter().enumerate() {
        for lane in 0..LANES {
            let distances = [a[i] - e[lane], b[i] - e[lane], c[i] - e[lane], d[i] - e[lane]];
            for row in 0..BLOCK {
                sums[row][lane] += distances[row] * distances[row];
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::linear::testing::{fastest_ms, padded_rows, validate, values};
    use super::*;

    fn kernel(rows: u32, width: u32, codes: u32) -> NearestCode {
        let [z, codebook, codes_out] = [0, 1, 2].map(Slot);
        NearestCode { z, codebook, codes_out, rows: Extent::fixed(rows), width, codes }
    }

    fn run(k: &NearestCode, z: &[f32], codebook: &[f32]) -> Vec<u32> {
        let mut found = vec![0.0; k.rows.max() as usize];
        let mut io = Buffers::default();
        io.bind_read(1, z);
        io.bind_read(2, codebook);
        io.bind_write(3, &mut found);
        k.run(&StepValues::default(), &mut io);
        found.iter().map(|v| v.to_bits()).collect()
    }

    fn distance(z: &[f32], e: &[f32]) -> f64 {
        z.iter().zip(e).map(|(z, e)| (f64::from(*z) - f64::from(*e)).powi(2)).sum()
    }

    #[test]
    fn twin_finds_the_nearest_of_all_codes() {
        for (rows, width, codes) in [(1, 1, 1), (5, 3, 7), (17, 10, 65), (33, 256, 130), (4, 50, 1000)] {
            let k = kernel(rows, width, codes);
            let width = width as usize;
            let mut z = values(rows as usize * width, 1);
            z.extend([f32::NAN; 40]);
            let dense = values(codes as usize * width, 2);
            let found = run(&k, &z, &padded_rows(&dense, width));
            for (z, &code) in z.chunks_exact(width).zip(&found) {
                let nearest = dense.chunks_exact(width).map(|e| distance(z, e)).fold(f64::INFINITY, f64::min);
                let got = distance(z, &dense[code as usize * width..][..width]);
                assert!(got <= nearest * (1.0 + 1e-6), "{}: {got} is not {nearest}", k.describe());
            }
        }
    }

    #[test]
    fn the_first_of_equal_codes_wins() {
        let dense: Vec<f32> = (0..200).map(|code| [3.0, 1.0, 2.0, 1.0][code % 4]).collect();
        let found = run(&kernel(3, 1, 200), &[1.0, 2.1, 9.0], &padded_rows(&dense, 1));
        assert_eq!(found, [1, 2, 0]);
    }

    #[test]
    fn close_codes_far_from_zero_are_told_apart() {
        let dense: Vec<f32> = (0..64).flat_map(|code| [4096.0 + code as f32 / 1024.0, 4096.0]).collect();
        for code in [0, 13, 63] {
            let z = &dense[2 * code..2 * code + 2];
            assert_eq!(run(&kernel(1, 2, 64), z, &padded_rows(&dense, 2)), [code as u32]);
        }
    }

    #[test]
    fn a_row_of_nan_gets_a_code_that_exists() {
        assert_eq!(run(&kernel(1, 4, 3), &[f32::NAN; 4], &[0.0; 12]), [0]);
    }

    #[test]
    fn the_shader_is_valid() {
        validate(&kernel(5, 256, 1024));
    }

    /// `cargo test --release nearest_code::tests::timings -- --ignored --nocapture`
    #[test]
    #[ignore = "measures"]
    fn timings() {
        let k = kernel(1024, 256, 1024);
        let (z, codebook) = (values(1024 * 256, 1), values(1024 * 256, 2));
        let [ms] = fastest_ms([&mut || drop(run(&k, &z, &codebook))]);
        let flops = k.cost(&StepValues::default()).flops as f64;
        println!("{}: {ms:.2} ms, {:.0} GFLOP/s", k.describe(), flops / ms / 1e6);
    }
}
