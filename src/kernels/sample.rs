//! Softmax, categorical draw and confidence of every masked position. Twin of `shaders/sample.wgsl`.

use super::philox::{Stream, draw, gumbel, gumbel_at_most, gumbel_bf16, token_bits, uniform};
use super::{
    Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, math, shader::Permutation, split_workgroups,
};
use rayon::prelude::*;

/// Draws a token at each masked position and scores it for the choice of which to keep (sections 1c and 1f).
///
/// With z the logits times the softmax temperature: the token is argmax(z + draw temperature * Gumbel), its
/// confidence softmax(z), and its score log(max(confidence, 1e-20)) + choice temperature * Gumbel. The floor is
/// Lumina-DiMOO's; MaskGIT's code has none, but at its draw temperature of 1 no draw is less likely than 1e-13.
///
/// With m masked positions per image: `logits` is `[images * m, codebook]`, guided already; `positions` `[images, tokens]` lists the masked positions
/// in m entries from `first_masked` on; `drawn` `[images, tokens]` receives the draw at its position; `scores`
/// `[images, tokens]` the score at its place in the list.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) logits: Slot,
    pub(crate) positions: Slot,
    /// `[images, 2]`: low and high word of each image's seed.
    pub(crate) seeds: Slot,
    /// Noise to use instead of drawing it: `[images, tokens, codebook]` for the draw, `[images, tokens]` for the choice.
    pub(crate) recorded: Option<(Slot, Slot)>,
    pub(crate) drawn: Slot,
    pub(crate) scores: Slot,
    /// `[images * tokens, 4]`, for runs that decide while they run: of each place in the list the entropy of softmax(z) in nats,
    /// its largest probability, and the code that has it.
    pub(crate) measured: Option<Slot>,
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    /// Masked positions per image.
    pub(crate) masked: Extent,
    /// Of an image's masked positions, the first that `masked` counts: logits of many positions come in parts.
    pub(crate) first_masked: u32,
    pub(crate) codebook: u32,
}

/// The shader's parameter block.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(crate) struct Params {
    pub(crate) images: u32,
    pub(crate) tokens: u32,
    pub(crate) masked: u32,
    pub(crate) codebook: u32,
    pub(crate) step: u32,
    pub(crate) softmax_temperature: f32,
    pub(crate) choice_temperature: f32,
    pub(crate) random_choice: u32,
    pub(crate) draw_temperature: f32,
    pub(crate) bf16_noise: u32,
    pub(crate) first_masked: u32,
    pub(crate) unused: u32,
}

impl Sample {
    fn at(&self, step: &StepValues) -> Params {
        Params {
            images: self.images,
            tokens: self.tokens,
            masked: self.masked.at(step),
            codebook: self.codebook,
            step: step.step,
            softmax_temperature: step.softmax_temperature,
            choice_temperature: step.choice_temperature,
            random_choice: u32::from(step.random_choice),
            draw_temperature: step.draw_temperature,
            bf16_noise: u32::from(step.bf16_noise),
            first_masked: self.first_masked,
            unused: 0,
        }
    }
}

impl Kernel for Sample {
    fn permutation(&self) -> Permutation {
        Permutation::new("sample")
            .flag("RECORDED", self.recorded.is_some())
            .flag("MEASURED", self.measured.is_some())
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![
            Binding::read(1, self.logits),
            Binding::read(2, self.positions),
            Binding::read(3, self.seeds),
        ];
        if let Some((token, choice)) = self.recorded {
            bindings.extend([Binding::read(4, token), Binding::read(5, choice)]);
        }
        // Only masked positions are written: what was drawn at the others before stays.
        let begun = self.first_masked > 0;
        let list =
            |index, slot| if begun { Binding::update(index, slot) } else { Binding::write(index, slot) };
        bindings.extend([Binding::update(6, self.drawn), list(7, self.scores)]);
        bindings.extend(self.measured.map(|slot| list(8, slot)));
        bindings
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&self.at(step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups(self.images * self.masked.at(step))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let draws = u64::from(self.images * self.masked.at(step)) * u64::from(self.codebook);
        Cost::new(40 * draws, draws)
    }

    fn describe(&self) -> String {
        format!("[{} x {}, {}]", self.images, self.masked, self.codebook)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let recorded = self.recorded.map(|_| (io.f32(4), io.f32(5)));
        sample(
            self.at(step),
            io.f32(1),
            io.u32(2),
            io.u32(3),
            recorded,
            io.u32_mut(6),
            io.f32_mut(7),
            io.f32_mut(8),
        );
    }
}

/// log(1e-20).
const LOG_LEAST_CONFIDENCE: f32 = -46.051_7;

/// The twin.
pub(crate) fn sample(
    p: Params,
    logits: &[f32],
    positions: &[u32],
    seeds: &[u32],
    recorded: Option<(&[f32], &[f32])>,
    drawn: &mut [u32],
    scores: &mut [f32],
    measured: &mut [f32],
) {
    let (tokens, masked, codebook) = (p.tokens as usize, p.masked as usize, p.codebook as usize);
    let (images, first) = (p.images as usize, p.first_masked as usize);
    if masked == 0 {
        return;
    }
    // An image after the other, its rows in parallel; draws are collected first, as their positions are scattered.
    for image in 0..images {
        let seed = [seeds[2 * image], seeds[2 * image + 1]];
        let measures = !measured.is_empty();
        let results: Vec<(u32, f32, [f32; 4])> = (0..masked)
            .into_par_iter()
            .with_min_len(4)
            .map_init(
                || (vec![0.0_f32; codebook], vec![0_u32; codebook]),
                |(z, bits), j| {
                    let position = positions[image * tokens + first + j];
                    let row = image * masked + j;
                    let at = image * tokens + position as usize;
                    let logits = &logits[row * codebook..][..codebook];
                    let noise = match recorded {
                        _ if p.draw_temperature == 0.0 => Noise::None,
                        Some((noise, _)) => Noise::Drawn(&noise[at * codebook..][..codebook]),
                        None => {
                            token_bits(seed, p.step, position, bits);
                            if p.bf16_noise != 0 { Noise::Coarse(bits) } else { Noise::Bits(bits) }
                        }
                    };
                    let (token, log_confidence, measured) = math::simd(
                        #[inline(always)]
                        || {
                            for (z, logit) in z.iter_mut().zip(logits) {
                                *z = logit * p.softmax_temperature;
                            }
                            let likeliest = likeliest(z);
                            let token = match noise {
                                Noise::None => likeliest,
                                Noise::Drawn(noise) => {
                                    argmax(codebook, |code| z[code] + p.draw_temperature * noise[code])
                                }
                                Noise::Coarse(bits) => {
                                    let noisy =
                                        |code: usize| z[code] + p.draw_temperature * gumbel_bf16(bits[code]);
                                    argmax(codebook, noisy)
                                }
                                Noise::Bits(bits) => gumbel_argmax(z, bits, p.draw_temperature, likeliest),
                            };
                            let most = z[likeliest];
                            let sum = super::layer_norm::lanes(z, |z| math::exp(z - most));
                            let log_confidence = z[token] - most - math::log(sum);
                            // Not `max`, which would make a number of NaN.
                            let low = log_confidence < LOG_LEAST_CONFIDENCE;
                            let measured = if measures { certainty(z, likeliest, sum) } else { [0.0; 4] };
                            (token, if low { LOG_LEAST_CONFIDENCE } else { log_confidence }, measured)
                        },
                    );
                    let bits = draw(seed, p.step, position, Stream::Choice, 0)[0];
                    let score = if p.random_choice != 0 {
                        uniform(bits)
                    } else {
                        let noise = match recorded {
                            Some((_, choice)) => choice[at],
                            None if p.bf16_noise != 0 => gumbel_bf16(bits),
                            None => gumbel(bits),
                        };
                        log_confidence + p.choice_temperature * noise
                    };
                    (token as u32, score, measured)
                },
            )
            .collect();
        for (j, (token, score, certainty)) in results.into_iter().enumerate() {
            let entry = image * tokens + first + j;
            drawn[image * tokens + positions[entry] as usize] = token;
            scores[entry] = score;
            if measures {
                measured[4 * entry..][..4].copy_from_slice(&certainty);
            }
        }
    }
}

/// What is added to the logits of a row before the largest is taken.
enum Noise<'a> {
    None,
    Drawn(&'a [f32]),
    /// What it is made from, as Lumina-DiMOO's official code makes it: in bf16.
    Coarse(&'a [u32]),
    /// What it is made from.
    Bits(&'a [u32]),
}

const LANES: usize = 16;

/// The lowest index of the largest `z + temperature * noise`, for a temperature above 0: as [`argmax`] finds it, but noise costs
/// two logarithms, and is made only of codes whose sum with the most that it can be is above the largest so far, which begins with
/// that of the likeliest code.
#[inline(always)]
fn gumbel_argmax(z: &[f32], bits: &[u32], temperature: f32, likeliest: usize) -> usize {
    let noisy = |code: usize| z[code] + temperature * gumbel(bits[code]);
    let mut found = (noisy(likeliest), likeliest);
    let (chunks, rest) = z.as_chunks::<LANES>();
    for (chunk, (z, bits)) in chunks.iter().zip(bits.as_chunks::<LANES>().0).enumerate() {
        let mut above = 0;
        for lane in 0..LANES {
            above |= u32::from(z[lane] + temperature * gumbel_at_most(bits[lane]) >= found.0);
        }
        if above != 0 {
            let mut noisy = [0.0; LANES];
            for lane in 0..LANES {
                noisy[lane] = z[lane] + temperature * gumbel(bits[lane]);
            }
            for (lane, noisy) in noisy.into_iter().enumerate() {
                found = first_of_larger(found, (noisy, chunk * LANES + lane));
            }
        }
    }
    (z.len() - rest.len()..z.len()).fold(found, |found, code| first_of_larger(found, (noisy(code), code))).1
}

#[inline(always)]
fn first_of_larger(found: (f32, usize), other: (f32, usize)) -> (f32, usize) {
    if other.0 > found.0 || (other.0 == found.0 && other.1 < found.1) { other } else { found }
}

/// What `measured` holds of a place: by its logits, where the largest of them is, and the sum of their exponentials below that.
#[inline(always)]
fn certainty(z: &[f32], likeliest: usize, sum: f32) -> [f32; 4] {
    let most = z[likeliest];
    // A logit far below the largest weighs nothing, and infinity times nothing would be no number.
    let weighted: f32 = super::layer_norm::lanes(z, |z| math::exp(z - most) * (z - most).max(-1e4));
    [(math::log(sum) - weighted / sum).max(0.0), 1.0 / sum, likeliest as f32, 0.0]
}

/// The lowest index of the largest logit: as [`argmax`] finds it, but where it is is looked for when it is known, which takes
/// fewer instructions than to carry places along.
#[inline(always)]
fn likeliest(z: &[f32]) -> usize {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = z.as_chunks::<LANES>();
    let mut most = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            most[lane] = larger(most[lane], chunk[lane]);
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, &z| larger(most, z));
    let holds = |chunk: &[f32; LANES]| chunk.iter().fold(0, |any, &z| any | u32::from(z == most)) != 0;
    let first = LANES * chunks.iter().position(holds).unwrap_or(chunks.len());
    z[first..].iter().take(LANES).position(|&z| z == most).map_or(0, |at| first + at)
}

/// The lowest index of the largest value, sixteen candidates at a time.
#[inline(always)]
fn argmax(n: usize, value: impl Fn(usize) -> f32) -> usize {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut chunk_of = [0_u32; LANES];
    let chunks = n / LANES;
    for chunk in 0..chunks {
        for lane in 0..LANES {
            let v = value(chunk * LANES + lane);
            let better = v > best[lane];
            best[lane] = if better { v } else { best[lane] };
            chunk_of[lane] = if better { chunk as u32 } else { chunk_of[lane] };
        }
    }
    let mut found = (f32::NEG_INFINITY, 0);
    for lane in 0..LANES {
        found = first_of_larger(found, (best[lane], chunk_of[lane] as usize * LANES + lane));
    }
    for i in chunks * LANES..n {
        found = first_of_larger(found, (value(i), i));
    }
    found.1
}

#[cfg(test)]
mod tests {
    use super::{argmax, gumbel_argmax, likeliest};
    use crate::kernels::philox::{gumbel, token_bits};

    /// Rows of every sharpness: logits of one size, of a few far above the others, and equal ones.
    #[test]
    fn noise_that_is_left_out_would_not_have_won() {
        for (n, scale, temperature) in [
            (1, 1.0, 1.0),
            (33, 0.0, 1.0),
            (4096, 1.0, 1.0),
            (4096, 8.0, 1.0),
            (1000, 3.0, 0.2),
            (130, 2.0, 30.0),
        ] {
            for row in 0..200_u32 {
                let mut bits = vec![0; n];
                token_bits([9, row], 3, row, &mut bits);
                let mut other = vec![0; n];
                token_bits([7, row], 5, row, &mut other);
                let z: Vec<f32> = other.iter().map(|&bits| scale * gumbel(bits)).collect();
                let noisy = |code: usize| z[code] + temperature * gumbel(bits[code]);
                let likeliest = argmax(n, |code| z[code]);
                let found = gumbel_argmax(&z, &bits, temperature, likeliest);
                assert_eq!(found, argmax(n, noisy), "row {row} of {n}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_values_wins() {
        for n in [1, 15, 16, 17, 33, 100] {
            for at in 0..n {
                assert_eq!(argmax(n, |i| if i >= at && (i - at) % 7 == 0 { 2.0 } else { 1.0 }), at, "of {n}");
            }
        }
        assert_eq!(argmax(40, |_| f32::NEG_INFINITY), 0);
        assert_eq!(argmax(40, |i| if i == 3 { f32::NAN } else { i as f32 }), 39);
    }

    /// Numbers of few values, so that most are equal to others, with some that are none.
    #[test]
    fn the_likeliest_code_is_the_largest_logit() {
        for n in [1, 3, 15, 16, 17, 33, 100, 4096] {
            for row in 0..50_u32 {
                let mut bits = vec![0; n];
                token_bits([3, row], 1, row, &mut bits);
                let value = |bits: u32| match bits % 11 {
                    0 => f32::NAN,
                    1 => f32::NEG_INFINITY,
                    2 => -0.0,
                    other => (other % (2 + row % 8)) as f32 - 3.0,
                };
                let z: Vec<f32> = bits.into_iter().map(value).collect();
                assert_eq!(likeliest(&z), argmax(n, |code| z[code]), "{z:?}");
            }
            for alike in [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, 1.0] {
                assert_eq!(likeliest(&vec![alike; n]), 0, "{alike}");
            }
        }
    }
}
