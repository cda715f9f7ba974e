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

/// Gumbel draws of all codes at a position: `noise[code]` is lane `code` of the token stream.
///
/// The same numbers as [`draw`] and [`gumbel`] give one by one, sixteen counters at a time: this is most of what
/// sampling costs on the CPU.
pub(crate) fn gumbel_row(seed: [u32; 2], step: u32, position: u32, noise: &mut [f32]) {
    const LANES: usize = 16;
    math::simd(
        #[inline(always)]
        || {
            for (chunk, noise) in noise.chunks_mut(4 * LANES).enumerate() {
                let first = (chunk * LANES) as u32;
                let mut c = [[0_u32; LANES]; 4];
                for lane in 0..LANES {
                    c[0][lane] = first + lane as u32;
                    c[1][lane] = position;
                    c[2][lane] = step;
                    c[3][lane] = Stream::Token as u32;
                }
                let mut k = seed;
                for _ in 0..10 {
                    for lane in 0..LANES {
                        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c[0][lane]);
                        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c[2][lane]);
                        c[0][lane] = (p1 >> 32) as u32 ^ c[1][lane] ^ k[0];
                        c[1][lane] = p1 as u32;
                        c[2][lane] = (p0 >> 32) as u32 ^ c[3][lane] ^ k[1];
                        c[3][lane] = p0 as u32;
                    }
                    k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
                }
                let mut drawn = [[0.0_f32; LANES]; 4];
                for word in 0..4 {
                    for lane in 0..LANES {
                        drawn[word][lane] = gumbel(c[word][lane]);
                    }
                }
                for (i, noise) in noise.iter_mut().enumerate() {
                    *noise = drawn[i % 4][i / 4];
                }
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
    fn a_row_of_draws_is_the_draws_one_by_one() {
        for codes in [1, 4, 63, 64, 65, 1025] {
            let mut row = vec![0.0; codes];
            gumbel_row([5, 6], 7, 8, &mut row);
            for (code, noise) in row.iter().enumerate() {
                let bits = draw([5, 6], 7, 8, Stream::Token, code as u32 / 4);
                assert_eq!(*noise, gumbel(bits[code % 4]), "code {code} of {codes}");
            }
        }
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
