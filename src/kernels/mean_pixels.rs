//! The mean over an image's pixels. Twin of `shaders/mean_pixels.wgsl`.

use super::{Binding, Buffers, Cost, Kernel, Slot, StepValues, math, shader::Permutation};
use rayon::prelude::*;

/// `y[image, channel] = mean over pixels of x[image, pixel, channel]`.
///
/// Shapes: `x` is `[images * pixels, channels]`, `y` `[images, channels]`. At least one pixel, at most 65,535 images.
#[derive(Debug, Clone)]
pub(crate) struct MeanPixels {
    pub(crate) x: Slot,
    pub(crate) y: Slot,
    pub(crate) images: u32,
    pub(crate) pixels: u32,
    pub(crate) channels: u32,
}

/// Channels of a workgroup.
const CHANNELS: u32 = 16;

impl Kernel for MeanPixels {
    fn permutation(&self) -> Permutation {
        Permutation::new("mean_pixels")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![Binding::read(1, self.x), Binding::write(2, self.y)]
    }

    fn params(&self, _: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&[self.pixels, self.channels, 0, 0]).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [self.channels.div_ceil(CHANNELS), self.images, 1]
    }

    fn cost(&self, _: &StepValues) -> Cost {
        let [images, pixels, channels] = [self.images, self.pixels, self.channels].map(u64::from);
        Cost::new(images * pixels * channels, images * (pixels + 1) * channels)
    }

    fn describe(&self) -> String {
        format!("{} x [{}, {}]", self.images, self.pixels, self.channels)
    }

    fn run(&self, _: &StepValues, io: &mut Buffers<'_>) {
        let [pixels, channels] = [self.pixels, self.channels].map(|size| size as usize);
        let images = io.f32(1).par_chunks_exact(pixels * channels).take(self.images as usize);
        images.zip(io.f32_mut(2).par_chunks_exact_mut(channels)).for_each(|(x, y)| {
            math::simd(
                #[inline(always)]
                || {
                    y.fill(0.0);
                    for pixel in x.chunks_exact(channels) {
                        y.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                    }
                    y.iter_mut().for_each(|sum| *sum /= pixels as f32);
                },
            );
        });
    }
}
