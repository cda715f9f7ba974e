//! Scalar functions that both executors compute in the same way. Twin of `shaders/shared/math.wgsl`.
//!
//! WGSL has no `erf`, and its `log` may be off by 2^-21 near 1, which is where the largest Gumbel draws come
//! from; so both are spelled out here, as fits of our own (errors stated), short enough to vectorise.
//! [`simd`] runs a loop with the widest instructions that the processor has.

/// Runs `work` compiled for the widest SIMD instructions at hand. Mark closures inside with `#[inline(always)]`
/// semantics in mind: only what is inlined into `work` is compiled for them.
#[inline(always)]
pub(crate) fn simd<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Work<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Work(work))
}

/// e^x to 2 ulp; 0 below -87, infinite above 88.7.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = (n + f) * ln 2 with f in [-0.5, 0.5]; adding and taking away 1.5 * 2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 89.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The low bits of the shifted number are n itself: cheaper than a saturating cast, and it vectorises.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    // ln 2 in two parts, the first exact in few bits, so that n * ln 2 loses nothing.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let f = r * std::f32::consts::LOG2_E;
    let p = 1.535e-4_f32;
    let p = p * f + 1.339_993e-3;
    let p = p * f + 9.618_489e-3;
    let p = p * f + 5.550_329e-2;
    let p = p * f + 0.240_226_47;
    let p = p * f + std::f32::consts::LN_2;
    let p = p * f + 1.0;
    // 2^n in two factors: n can be 128, which has no exponent of its own.
    let half = exponent >> 1;
    let scale = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = p * scale(half) * scale(exponent - half);
    if x <= -87.3 { 0.0 } else { y }
}

/// The Gauss error function, to 3e-7 absolute: erfc(x) e^(x^2) as a polynomial in 1 / (1 + 0.45 x).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.45 * a);
    let p = 0.092_569_84_f32;
    let p = p * t - 0.494_105_3;
    let p = p * t + 0.857_169_7;
    let p = p * t - 0.375_804_75;
    let p = p * t + 0.460_171_76;
    let p = p * t + 0.201_009_04;
    let p = p * t + 0.258_989_73;
    (1.0 - p * t * exp(-a * a)).copysign(x)
}

/// Exact (erf) GELU: x * Phi(x). The tanh form differs by up to 1e-3, which is visible in features.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// SiLU (swish): x * sigmoid(x).
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// The nearest number that bf16 holds, of two equally near the even one. `x` is finite and below bf16's largest.
#[inline(always)]
pub(crate) fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// Natural logarithm of a positive normal number, with relative precision also near 1.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1).
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let e = (bits as i32) >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 0.116_654_86_f32;
    let p = p * z + 0.142_754;
    let p = p * z + 0.200_000_61;
    let p = p * z + 0.333_333_33;
    2.0 * (s + s * z * p) + e as f32 * std::f32::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(range: std::ops::Range<i32>, f: impl Fn(f32) -> (f64, f64)) -> f64 {
        range.map(|i| f(i as f32 / 1000.0)).map(|(got, wanted)| (got - wanted).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_within_two_ulp_and_has_clean_ends() {
        let error = worst(-87_000..88_000, |x| (f64::from(exp(x)) / f64::from(x).exp(), 1.0));
        assert!(error < 2.5e-7, "relative error {error:e}");
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e9), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn log_is_precise_near_one() {
        let error = worst(1..100_000, |x| (f64::from(log(x)), f64::from(x).ln()));
        assert!(error < 6e-7, "absolute error {error:e}");
        for k in 1..2000 {
            let x = 1.0 - k as f32 * 2f32.powi(-24);
            let relative = f64::from(log(x)) / f64::from(x).ln() - 1.0;
            assert!(relative.abs() < 3e-7, "log({x}): relative error {relative:e}");
        }
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        for bits in (0..0x7f7f_0000_u32).step_by(4_099).chain([0x3f80_8000, 0x3f81_8000, 0x3f7f_ffff]) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                assert_eq!(bf16(x).to_bits(), half::bf16::from_f32(x).to_f32().to_bits(), "{x:e}");
            }
        }
    }

    #[test]
    fn erf_and_gelu_meet_known_values() {
        // Abramowitz and Stegun, table 7.1.
        for (x, wanted) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_8),
            (1.0, 0.842_700_793),
            (2.0, 0.995_322_265),
            (4.0, 0.999_999_985),
        ] {
            assert!((f64::from(erf(x)) - wanted).abs() < 3e-7, "erf({x}) = {}", erf(x));
            assert!((f64::from(erf(-x)) + wanted).abs() < 3e-7);
        }
        assert!((gelu(1.0) - 0.841_344_8).abs() < 3e-7);
        assert_eq!(gelu(-20.0), 0.0);
        assert_eq!(gelu(20.0), 20.0);
    }
}
