//! Philox 4x32-10: counter-based random numbers (Salmon et al. 2011). Twin of `shaders/shared/philox.wgsl`.
//!
//! A draw is a function of (seed, step, position, stream, lane), so every executor, every batch size and every
//! accelerator sees the same noise for the same seed; that is what makes token agreement mean something.

use super::math;

/// Which of the sampler's random streams a number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Gumbel noise of the categorical draw; the lane is the code.
    Token = 0,
    /// Noise of the choice which tokens to keep; lane 0.
    Choice = 1,
    /// Random weights for benchmarks.
    Weights = 2,
    /// Noise in embeddings; the lane is the column.
    Embedding = 3,
    /// What a generator of one step begins with.
    Begin = 4,
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Ten rounds over one counter.
#[inline(always)]
pub(crate) fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut c = counter;
    let mut k = key;
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// Four numbers of a stream: lanes `4 * block ..` at `position` of `step`.
#[inline(always)]
pub(crate) fn draw(seed: [u32; 2], step: u32, position: u32, stream: Stream, block: u32) -> [u32; 4] {
    philox([block, position, step, stream as u32], seed)
}

/// A uniform in the open interval (0, 1), exactly representable: no draw is 0 or 1.
#[inline(always)]
pub(crate) fn uniform(bits: u32) -> f32 {
    ((bits >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0)
}

/// A standard Gumbel draw, in [-2.8, 16.7].
#[inline(always)]
pub(crate) fn gumbel(bits: u32) -> f32 {
    -math::log(-math::log(uniform(bits)))
}

/// The same draw with the rounding of Lumina-DiMOO's official code, which makes its noise in bf16 on CUDA: in
/// [-3.83, 5.53], and a few hundred values in all.
///
/// That code computes `-log(-log(u + 1e-20) + 1e-20)` of `u = rand_like(logits)`. Rounded to bf16, to nearest even, are:
/// u itself, where a u of 1 becomes 0, as `rand_like` has it; the sum with 1e-20, which alone differs from u where
/// u is 0; both logarithms. The second sum changes nothing. Logits, their sum with the noise, confidence
/// and score stay in f32 here, though they are bf16 there. One value in 3,000, drawn once in a hundred million times, is
/// so near the middle of two that a GPU may round it to the other.
#[inline(always)]
pub(crate) fn gumbel_bf16(bits: u32) -> f32 {
    /// 1e-20 in bf16.
    const TINY: f32 = f32::from_bits(0x1e3d_0000);
    let rounded = math::bf16(uniform(bits));
    let u = if rounded < 1.0 { rounded } else { TINY };
    -math::bf16(math::log(math::bf16(-math::log(u))))
}

/// Standard normal draws of a row of embeddings at a position, by Box and Muller's transform: of each four lanes the first two are
/// of one radius, and the other two.
pub(crate) fn normal_row(seed: [u32; 2], position: u32, noise: &mut [f32]) {
    for (block, noise) in noise.chunks_mut(4).enumerate() {
        let bits = draw(seed, 0, position, Stream::Embedding, block as u32);
        for (lane, noise) in noise.iter_mut().enumerate() {
            let pair = lane / 2 * 2;
            let radius = (-2.0 * math::log(uniform(bits[pair]))).sqrt();
            // From -pi to pi, where WGSL promises sines.
            let angle = std::f32::consts::TAU * (uniform(bits[pair + 1]) - 0.5);
            *noise = radius * if lane == pair { angle.cos() } else { angle.sin() };
        }
    }
}

/// No Gumbel draw of these bits is above this, which needs no logarithm: `-log(-log(u)) <= -log(1 - u)`, and of that the exponent
/// alone. At most ln 2 and a little more above the draw where u is near 1.
#[inline(always)]
pub(crate) fn gumbel_at_most(bits: u32) -> f32 {
    /// Of logarithms as they are computed.
    const ERRORS: f32 = 1e-3;
    let left = 1.0 - uniform(bits);
    let exponent = (left.to_bits() >> 23) as i32 - 127;
    exponent as f32 * -std::f32::consts::LN_2 + ERRORS
}

/// The bits of all codes at a position: `bits[code]` is lane `code` of the token stream.
///
/// The same numbers as [`draw`] gives four by four, sixteen counters at a time. Words are the low halves of 64 bits, whose high ones
/// hold what comes of it: a product reads low halves alone, which is one instruction for eight of them.
pub(crate) fn token_bits(seed: [u32; 2], step: u32, position: u32, bits: &mut [u32]) {
    const LANES: usize = 16;
    let low = |word: u64| word & 0xffff_ffff;
    math::simd(
        #[inline(always)]
        || {
            for (chunk, bits) in bits.chunks_mut(4 * LANES).enumerate() {
                let first = (chunk * LANES) as u64;
                let mut c = [[0_u64; LANES]; 4];
                for lane in 0..LANES {
                    c[0][lane] = first + lane as u64;
                    c[1][lane] = position.into();
                    c[2][lane] = step.into();
                    c[3][lane] = Stream::Token as u64;
                }
                let mut k = seed;
                for _ in 0..10 {
                    let [k0, k1] = k.map(u64::from);
                    for lane in 0..LANES {
                        let p0 = u64::from(MULTIPLIERS[0]) * low(c[0][lane]);
                        let p1 = u64::from(MULTIPLIERS[1]) * low(c[2][lane]);
                        c[0][lane] = (p1 >> 32) ^ c[1][lane] ^ k0;
                        c[1][lane] = p1;
                        c[2][lane] = (p0 >> 32) ^ c[3][lane] ^ k1;
                        c[3][lane] = p0;
                    }
                    k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
                }
                let mut words = [0; 4 * LANES];
                for lane in 0..LANES {
                    for word in 0..4 {
                        words[4 * lane + word] = c[word][lane] as u32;
                    }
                }
                bits.copy_from_slice(&words[..bits.len()]);
            }
        },
    );
}

/// The two key words of a seed.
pub(crate) fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published known-answer vectors of Random123 (kat_vectors, philox 4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_row_of_bits_is_the_draws_one_by_one() {
        for codes in [1, 4, 63, 64, 65, 1025] {
            let mut row = vec![0; codes];
            token_bits([5, 6], 7, 8, &mut row);
            for (code, bits) in row.iter().enumerate() {
                let drawn = draw([5, 6], 7, 8, Stream::Token, code as u32 / 4);
                assert_eq!(*bits, drawn[code % 4], "code {code} of {codes}");
            }
        }
    }

    /// Over all that uniforms can be near their ends, and every 64th between.
    #[test]
    fn no_draw_is_above_what_it_can_be_at_most() {
        let ends = (0..1 << 16).chain((1 << 23) - (1 << 16)..1 << 23);
        for k in ends.chain((0..1 << 23).step_by(64)) {
            let (drawn, most) = (gumbel(k << 9), gumbel_at_most(k << 9));
            assert!(drawn <= most, "{drawn} and {most} of {k}");
            assert!(k < 1 << 22 || most < drawn + 1.1, "{most} is far above {drawn} of {k}");
        }
    }

    /// PyTorch's `rand_like` of a bf16 tensor on CUDA: the range, and 12 values above 3. Every value that a uniform can be rounded to is
    /// compared with logarithms in f64.
    #[test]
    fn bf16_draws_take_the_values_of_the_official_code() {
        let round = |x: f64| f64::from(half::bf16::from_f64(x).to_f32());
        let mut values = std::collections::BTreeSet::new();
        let mut last = None;
        // Close enough together to meet every bf16 number from the smallest uniform to 1.
        for k in (0..1 << 16).chain((1 << 16..1 << 23).step_by(1 << 5)).chain([(1 << 23) - 1]) {
            let u = round(f64::from(uniform(k << 9)));
            if last.replace(u) == Some(u) {
                continue;
            }
            let u = if u == 1.0 { 0.0 } else { u };
            let inner = round(round(u + 1e-20).ln());
            let wanted = -round(round(-inner + 1e-20).ln());
            let got = gumbel_bf16(k << 9);
            assert_eq!(f64::from(got), wanted, "u = {u}");
            values.insert((got * 1024.0) as i32);
        }
        assert_eq!(values.first(), Some(&-3920), "-3.828125");
        assert_eq!(values.last(), Some(&5664), "5.53125");
        assert_eq!(values.iter().filter(|&&value| value > 3 * 1024).count(), 12);
    }

    #[test]
    fn bf16_draws_are_as_frequent_as_those_of_pytorch() {
        let (n, mut most, mut least) = (1 << 20, 0, 0);
        let mut row = vec![0; 8192];
        for position in 0..n / 8192 {
            token_bits([3, 4], 1, position, &mut row);
            let count = |of: f32| row.iter().filter(|&&bits| gumbel_bf16(bits) == of).count();
            most += count(5.53125);
            least += count(-3.828125);
        }
        // 2^-8 and 2^-9, within four standard deviations.
        let [most, least] = [most, least].map(|count| count as f64 / f64::from(n));
        assert!((most - 0.003_906).abs() < 2.5e-4, "{most}");
        assert!((least - 0.001_953).abs() < 1.75e-4, "{least}");
    }

    #[test]
    fn normal_draws_are_normal_and_no_two_lanes_are_alike() {
        let (rows, width) = (2000, 30);
        let mut row = vec![0.0; width];
        let (mut sums, mut squares, mut products) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
        let mut beyond = 0;
        for position in 0..rows {
            normal_row([9, 8], position, &mut row);
            for (i, &value) in row.iter().enumerate() {
                let value = f64::from(value);
                sums[i] += value;
                squares[i] += value * value;
                products[i] += value * f64::from(row[(i + 1) % width]);
                beyond += u32::from(value.abs() > 1.959_964);
            }
        }
        // Within five standard deviations of the mean of 2,000.
        let n = f64::from(rows);
        for (i, sum) in sums.iter().enumerate() {
            assert!((sum / n).abs() < 0.112, "mean of lane {i}: {}", sum / n);
            assert!((squares[i] / n - 1.0).abs() < 0.16, "variance of lane {i}: {}", squares[i] / n);
            assert!((products[i] / n).abs() < 0.112, "lanes {i} and after: {}", products[i] / n);
        }
        let share = f64::from(beyond) / (n * width as f64);
        assert!((share - 0.05).abs() < 0.005, "{share} of draws are beyond the 95 % interval");
    }

    #[test]
    fn gumbel_draws_have_the_right_mean_and_stay_finite() {
        let n = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for block in 0..n / 4 {
            for bits in draw([1, 2], 0, 0, Stream::Token, block) {
                let g = f64::from(gumbel(bits));
                sum += g;
                squares += g * g;
            }
        }
        let mean = sum / f64::from(n);
        let variance = squares / f64::from(n) - mean * mean;
        assert!((mean - 0.577_216).abs() < 0.015, "mean {mean}");
        assert!((variance - 1.644_934).abs() < 0.05, "variance {variance}");
        assert!(gumbel(0).is_finite() && gumbel(u32::MAX) > 16.0 && gumbel(u32::MAX).is_finite());
    }
}
