//! Group normalisation of channels-last images, in two steps. Twins of `shaders/group_norm_stats.wgsl` and
//! `shaders/group_norm.wgsl`.
//!
//! Images are too large for one workgroup, so the statistics are taken over chunks of pixels and combined by
//! whoever applies them (Chan, Golub and LeVeque 1979), which also keeps them exact when means are far from zero. Both kernels
//! are in one file, a little long, as each is the half of one operation.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, math, shader::Permutation};
use rayon::prelude::*;

/// The mean and the sum of squared deviations of each group over each chunk of pixels.
///
/// Shapes: `x` is `[images, pixels, channels]`; `statistics` is `[images, groups, chunks, 2]`. Chunk `k` starts at
/// pixel `k * ceil(pixels / chunks)`; how many values it has follows from that. `groups` divides `channels`.
#[derive(Debug, Clone)]
pub(crate) struct GroupNormStats {
    pub(crate) x: Slot,
    pub(crate) statistics: Slot,
    pub(crate) images: u32,
    pub(crate) pixels: u32,
    pub(crate) channels: u32,
    pub(crate) groups: u32,
    pub(crate) chunks: u32,
}

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` with the moments of [`GroupNormStats`], then SiLU if asked.
///
/// Shapes: as there; `weight` and `bias` are `[channels]`. At most [`GroupNorm::MAX_GROUPS`] groups.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    pub(crate) x: Slot,
    pub(crate) statistics: Slot,
    pub(crate) weight: Slot,
    pub(crate) bias: Slot,
    pub(crate) y: Slot,
    pub(crate) images: u32,
    pub(crate) pixels: u32,
    pub(crate) channels: u32,
    pub(crate) groups: u32,
    pub(crate) chunks: u32,
    pub(crate) eps: f32,
    pub(crate) silu: bool,
}

/// The parameter block of `group_norm_stats`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct StatsParams {
    pub(crate) pixels: u32,
    pub(crate) channels: u32,
    pub(crate) groups: u32,
    pub(crate) chunks: u32,
}

/// The parameter block of `group_norm`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) pixels: u32,
    pub(crate) channels: u32,
    pub(crate) groups: u32,
    pub(crate) chunks: u32,
    /// Elements of the shader, of one or four floats, that a workgroup normalises.
    pub(crate) share: u32,
    pub(crate) eps: f32,
    pub(crate) unused: [u32; 2],
}

const LANES: u32 = 256;

/// Whether groups are whole fours of channels, so that a four belongs to one group.
fn fours(channels: u32, groups: u32) -> bool {
    (channels / groups).is_multiple_of(4)
}

fn units(channels: u32, groups: u32) -> u32 {
    if fours(channels, groups) { channels / 4 } else { channels }
}

/// Groups whose channels one workgroup of `group_norm_stats` holds side by side.
fn groups_per_set(channels: u32, groups: u32) -> u32 {
    (LANES / (units(channels, groups) / groups)).max(1)
}

impl GroupNormStats {
    /// Chunks that are worth a workgroup each, few enough to be combined by every workgroup that needs them.
    pub(crate) fn chunks_for(pixels: u32, channels: u32, groups: u32) -> u32 {
        const FLOATS: u64 = 32_768;
        let sets = groups.div_ceil(groups_per_set(channels, groups));
        let floats = u64::from(pixels) * u64::from(channels) / u64::from(sets);
        (floats.div_ceil(FLOATS).min(128) as u32).clamp(1, pixels.max(1))
    }

    fn params(&self) -> StatsParams {
        let Self { pixels, channels, groups, chunks, .. } = *self;
        StatsParams { pixels, channels, groups, chunks }
    }
}

impl Kernel for GroupNormStats {
    fn permutation(&self) -> Permutation {
        Permutation::new("group_norm_stats").flag("VEC4", fours(self.channels, self.groups))
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.x), Binding::write(2, self.statistics)]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&Self::params(self)).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.chunks, self.groups.div_ceil(groups_per_set(self.channels, self.groups)), self.images]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let elements = [self.images, self.pixels, self.channels].map(u64::from).iter().product::<u64>();
        Cost::new(4 * elements, elements)
    }

    fn describe(&self) -> String {
        let Self { images, pixels, channels, groups, chunks, .. } = self;
        format!("[{images}, {pixels}, {channels}] in {groups} groups, {chunks} chunks")
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        group_norm_stats(self.params(), self.images, io.f32(1), io.f32_mut(2));
    }
}

impl GroupNorm {
    /// The shader keeps the moments of all groups of an image in workgroup memory.
    pub(crate) const MAX_GROUPS: u32 = 512;

    fn params(&self) -> Params {
        let Self { pixels, channels, groups, chunks, eps, .. } = *self;
        Params { pixels, channels, groups, chunks, share: self.share(), eps, unused: [0; 2] }
    }

    fn image_units(&self) -> u32 {
        self.pixels * units(self.channels, self.groups)
    }

    /// A thousand workgroups fill any GPU; beyond that, larger shares save reading statistics.
    fn share(&self) -> u32 {
        self.image_units().div_ceil(1024).next_multiple_of(LANES).max(2 * LANES)
    }
}

impl Kernel for GroupNorm {
    fn permutation(&self) -> Permutation {
        debug_assert!(self.groups <= Self::MAX_GROUPS, "{}", self.describe());
        Permutation::new("group_norm").flag("VEC4", fours(self.channels, self.groups)).flag("SILU", self.silu)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.x),
            Binding::read(2, self.statistics),
            Binding::read(3, self.weight),
            Binding::read(4, self.bias),
            Binding::write(5, self.y),
        ]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&Self::params(self)).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.image_units().div_ceil(self.share()), self.images, 1]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let elements = [self.images, self.pixels, self.channels].map(u64::from).iter().product::<u64>();
        let flops = if self.silu { 8 } else { 4 };
        Cost::new(flops * elements, 2 * elements + 2 * u64::from(self.channels))
    }

    fn describe(&self) -> String {
        let Self { images, pixels, channels, groups, eps, .. } = self;
        let silu = if self.silu { ", SiLU" } else { "" };
        format!("[{images}, {pixels}, {channels}] in {groups} groups, eps {eps:e}{silu}")
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        let (x, statistics, weight, bias) = (io.f32(1), io.f32(2), io.f32(3), io.f32(4));
        group_norm(self.params(), self.images, self.silu, x, statistics, weight, bias, io.f32_mut(5));
    }
}

/// How many values there are, their mean, and the sum of their squared deviations from it.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f32,
    mean: f32,
    squares: f32,
}

impl Moments {
    /// Two sets of values as one.
    #[inline(always)]
    fn combine(self, other: Self) -> Self {
        let count = (self.count + other.count).max(1.0);
        let gap = other.mean - self.mean;
        Self {
            count: self.count + other.count,
            mean: self.mean + gap * other.count / count,
            squares: self.squares + other.squares + gap * gap * self.count * other.count / count,
        }
    }
}

/// The twin of `group_norm_stats`.
pub(crate) fn group_norm_stats(p: StatsParams, images: u32, x: &[f32], statistics: &mut [f32]) {
    let [pixels, channels, groups, chunks] = [p.pixels, p.channels, p.groups, p.chunks].map(|v| v as usize);
    let share = pixels.div_ceil(chunks);
    let chunk = |image: usize, chunk: usize| {
        let first = (chunk * share).min(pixels);
        let end = (first + share).min(pixels);
        let x = &x[image * pixels * channels..][first * channels..end * channels];
        fold_groups(&channel_moments(x, channels), channels / groups)
    };
    let images = images as usize;
    let moments: Vec<Vec<Moments>> =
        (0..images * chunks).into_par_iter().map(|i| chunk(i / chunks, i % chunks)).collect();
    let written = &mut statistics[..images * groups * chunks * 2];
    for (i, to) in written.chunks_exact_mut(2).enumerate() {
        let (image, group, chunk) = (i / chunks / groups, i / chunks % groups, i % chunks);
        let Moments { mean, squares, .. } = moments[image * chunks + chunk][group];
        to.copy_from_slice(&[mean, squares]);
    }
}

/// The moments of each channel of consecutive pixels.
fn channel_moments(x: &[f32], channels: usize) -> Vec<Moments> {
    /// Pixels that are read twice while they are in the first-level cache: for their mean, then for the deviations.
    const BLOCK: usize = 16;
    let mut means = vec![0.0_f32; channels];
    let mut squares = vec![0.0_f32; channels];
    let mut block_means = vec![0.0_f32; channels];
    let mut count = 0.0;
    math::simd(
        #[inline(always)]
        || {
            for block in x.chunks(BLOCK * channels) {
                let n = (block.len() / channels) as f32;
                // Summed from the first pixel, so that a large mean does not cost digits.
                let origin = &block[..channels];
                block_means.fill(0.0);
                for pixel in block.chunks_exact(channels) {
                    for ((sum, v), origin) in block_means.iter_mut().zip(pixel).zip(origin) {
                        *sum += v - origin;
                    }
                }
                for (mean, origin) in block_means.iter_mut().zip(origin) {
                    *mean = *mean * n.recip() + origin;
                }
                for pixel in block.chunks_exact(channels) {
                    for ((squares, v), mean) in squares.iter_mut().zip(pixel).zip(&block_means) {
                        *squares += (v - mean) * (v - mean);
                    }
                }
                let weight = n / (count + n);
                for ((mean, squares), block_mean) in means.iter_mut().zip(&mut squares).zip(&block_means) {
                    let gap = block_mean - *mean;
                    *mean += gap * weight;
                    *squares += gap * gap * (count * weight);
                }
                count += n;
            }
        },
    );
    means.iter().zip(&squares).map(|(&mean, &squares)| Moments { count, mean, squares }).collect()
}

fn fold_groups(channels: &[Moments], width: usize) -> Vec<Moments> {
    channels
        .chunks(width)
        .map(|group| group.iter().copied().fold(Moments::default(), Moments::combine))
        .collect()
}

/// The twin of `group_norm`.
pub(crate) fn group_norm(
    p: Params,
    images: u32,
    silu: bool,
    x: &[f32],
    statistics: &[f32],
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    /// Floats that a thread takes at once: enough to outweigh the cost of handing them out.
    const BLOCK: usize = 1 << 15;
    let [pixels, channels, groups, chunks] = [p.pixels, p.channels, p.groups, p.chunks].map(|v| v as usize);
    let (weight, bias) = (&weight[..channels], &bias[..channels]);
    let (image, width, share) = (pixels * channels, channels / groups, pixels.div_ceil(chunks));
    let block = BLOCK.div_ceil(channels) * channels;
    for i in 0..images as usize {
        let mut means = vec![0.0; channels];
        let mut scales = vec![0.0; channels];
        for group in 0..groups {
            let partials = &statistics[(i * groups + group) * chunks * 2..][..chunks * 2];
            let total =
                partials.chunks_exact(2).enumerate().fold(Moments::default(), |total, (chunk, partial)| {
                    let pixels = share.min(pixels.saturating_sub(chunk * share));
                    total.combine(Moments {
                        count: (pixels * width) as f32,
                        mean: partial[0],
                        squares: partial[1],
                    })
                });
            let scale = (total.squares / total.count.max(1.0) + p.eps).sqrt().recip();
            for c in group * width..(group + 1) * width {
                means[c] = total.mean;
                scales[c] = scale * weight[c];
            }
        }
        let (x, y) = (&x[i * image..(i + 1) * image], &mut y[i * image..(i + 1) * image]);
        x.par_chunks(block).zip(y.par_chunks_mut(block)).for_each(|(x, y)| {
            math::simd(
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                        let affine = means.iter().zip(&scales).zip(bias);
                        for ((y, x), ((mean, scale), bias)) in y.iter_mut().zip(x).zip(affine) {
                            *y = (x - mean) * scale + bias;
                        }
                        if silu {
                            y.iter_mut().for_each(|y| *y = math::silu(*y));
                        }
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::testing::{fastest_ms, validate, values};
    use super::*;

    fn kernels(
        images: u32,
        pixels: u32,
        channels: u32,
        groups: u32,
        chunks: u32,
        silu: bool,
    ) -> (GroupNormStats, GroupNorm) {
        let [x, statistics, weight, bias, y] = [0, 1, 2, 3, 4].map(Slot);
        (
            GroupNormStats { x, statistics, images, pixels, channels, groups, chunks },
            GroupNorm {
                x,
                statistics,
                weight,
                bias,
                y,
                images,
                pixels,
                channels,
                groups,
                chunks,
                eps: 1e-6,
                silu,
            },
        )
    }

    struct Case {
        stats: GroupNormStats,
        norm: GroupNorm,
        x: Vec<f32>,
        weight: Vec<f32>,
        bias: Vec<f32>,
        statistics: Vec<f32>,
        y: Vec<f32>,
    }

    impl Case {
        fn new(images: u32, pixels: u32, channels: u32, groups: u32, chunks: u32, silu: bool) -> Self {
            let (stats, norm) = kernels(images, pixels, channels, groups, chunks, silu);
            let len = (images * pixels * channels) as usize;
            Self {
                stats,
                norm,
                x: values(len, 1),
                weight: values(channels as usize, 2),
                bias: values(channels as usize, 3),
                statistics: vec![f32::NAN; (images * groups * chunks * 2) as usize],
                y: vec![f32::NAN; len],
            }
        }

        fn run(&mut self) {
            let mut io = Buffers::default();
            io.bind_read(1, &self.x);
            io.bind_write(2, &mut self.statistics);
            self.stats.run(&StepValues::default(), &mut io);
            let mut io = Buffers::default();
            for (index, data) in [(1, &self.x), (2, &self.statistics), (3, &self.weight), (4, &self.bias)] {
                io.bind_read(index, data);
            }
            io.bind_write(5, &mut self.y);
            self.norm.run(&StepValues::default(), &mut io);
        }

        fn check(&mut self, tolerance: f64) {
            self.run();
            let [pixels, channels, groups] =
                [self.norm.pixels, self.norm.channels, self.norm.groups].map(|v| v as usize);
            let width = channels / groups;
            for image in 0..self.norm.images as usize {
                for group in 0..groups {
                    let place =
                        |i: usize| (image * pixels + i / width) * channels + group * width + i % width;
                    let value = |i| f64::from(self.x[place(i)]);
                    let count = pixels * width;
                    let mean = (0..count).map(value).sum::<f64>() / count as f64;
                    let variance = (0..count).map(|i| (value(i) - mean).powi(2)).sum::<f64>() / count as f64;
                    for i in 0..count {
                        let c = place(i) % channels;
                        let v = (value(i) - mean) / (variance + 1e-6).sqrt();
                        let v = v * f64::from(self.weight[c]) + f64::from(self.bias[c]);
                        let wanted = if self.norm.silu { v / (1.0 + (-v).exp()) } else { v };
                        let got = self.y[place(i)];
                        let error = (f64::from(got) - wanted).abs();
                        assert!(error < tolerance, "{}: {got}, not {wanted}", self.norm.describe());
                    }
                }
            }
        }
    }

    #[test]
    fn twin_agrees_with_a_plain_loop() {
        for (images, pixels, channels, groups, chunks) in [
            (1, 1, 4, 1, 1),
            (2, 7, 12, 3, 2),
            (2, 100, 64, 32, 7),
            (1, 257, 96, 32, 128),
            (3, 64, 128, 32, 1),
            (1, 1000, 2, 2, 3),
            (1, 30, 1500, 1, 4),
        ] {
            for silu in [false, true] {
                Case::new(images, pixels, channels, groups, chunks, silu).check(1e-5);
            }
        }
    }

    #[test]
    fn a_mean_far_from_zero_costs_no_digits() {
        let mut case = Case::new(2, 1000, 16, 4, 5, false);
        // At 1000, f32 has 6e-5 between neighbours; the reference sees the same rounded numbers.
        case.x.iter_mut().for_each(|v| *v += 1000.0);
        case.check(2e-4);
    }

    #[test]
    fn a_constant_image_becomes_the_bias() {
        let mut case = Case::new(1, 77, 8, 2, 3, false);
        case.x.fill(123.456);
        case.run();
        for pixel in case.y.chunks_exact(8) {
            assert_eq!(pixel, case.bias);
        }
    }

    #[test]
    fn chunks_are_few_for_small_images_and_bounded_for_large_ones() {
        assert_eq!(GroupNormStats::chunks_for(1, 512, 32), 1);
        assert_eq!(GroupNormStats::chunks_for(256, 512, 32), 4);
        assert_eq!(GroupNormStats::chunks_for(512 * 512, 128, 32), 128);
        assert_eq!(GroupNormStats::chunks_for(3, 65_536, 1), 3);
    }

    #[test]
    fn shaders_are_valid() {
        for (channels, groups) in [(128, 32), (96, 32), (1500, 1), (64, 64), (2048, 512)] {
            for silu in [false, true] {
                let (stats, norm) = kernels(2, 100, channels, groups, 3, silu);
                validate(&stats);
                validate(&norm);
            }
        }
    }

    /// `cargo test --release group_norm::tests::timings -- --ignored --nocapture`
    #[test]
    #[ignore = "measures"]
    fn timings() {
        for (pixels, channels) in [(512 * 512, 128), (256 * 256, 128), (64 * 64, 256), (32 * 32, 512)] {
            for silu in [false, true] {
                let chunks = GroupNormStats::chunks_for(pixels, channels, 32);
                let mut case = Case::new(1, pixels, channels, 32, chunks, silu);
                let [ms] = fastest_ms([&mut || case.run()]);
                let bytes = 3.0 * 4.0 * f64::from(pixels * channels);
                println!("{}: {ms:.2} ms, {:.1} GB/s", case.norm.describe(), bytes / ms / 1e6);
            }
        }
    }
}
