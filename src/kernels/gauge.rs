//! The little that the host reads of a step before it decides. Twin of `shaders/gauge.wgsl`.

use super::{Binding, Buffers, Cost, Extent, Kernel, Slot, StepValues, shader::Permutation};

/// What the host reads: how far features moved, their size, and how many tokens may be revealed together.
pub(crate) const WORDS: u32 = 4;

/// `gauge = (moved, size, count, 0)` of one image: the sums of `sums`, and of the masked entries, in the order in which they would
/// be chosen, as many as keep the sum of their entropies less the largest within `step.entropy_bound` (Ben-Hamu et al. 2025, arXiv
/// 2505.24857), or those of which one code has at least the probability `step.certainty` and was the likeliest at the last look too
/// (after KLASS, arXiv 2511.05664, whose stability is a divergence of whole distributions).
///
/// Shapes: `sums` is `[tokens, 2]`, `scores` and `positions` `[tokens]`, `measured` `[tokens, 4]` as
/// [`Sample`](super::sample::Sample) leaves it, `likeliest` `[tokens]` by position, `gauge` `[4]`.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    pub(crate) sums: Slot,
    pub(crate) scores: Slot,
    pub(crate) measured: Slot,
    pub(crate) positions: Slot,
    pub(crate) likeliest: Slot,
    pub(crate) gauge: Slot,
    pub(crate) tokens: u32,
    /// Masked positions.
    pub(crate) masked: Extent,
}

impl Kernel for Gauge {
    fn permutation(&self) -> Permutation {
        Permutation::new("gauge")
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.sums),
            Binding::read(2, self.scores),
            Binding::read(3, self.measured),
            Binding::read(4, self.positions),
            Binding::update(5, self.likeliest),
            Binding::write(6, self.gauge),
        ]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        let masked = self.masked.at(step);
        let params = [self.tokens, masked, step.entropy_bound.to_bits(), step.certainty.to_bits()];
        bytemuck::bytes_of(&params).to_vec()
    }

    fn workgroups(&self, _: &StepValues) -> [u32; 3] {
        [1, 1, 1]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let masked = u64::from(self.masked.at(step));
        let pairs = if step.entropy_bound > 0.0 { masked * masked } else { 0 };
        Cost::new(3 * pairs + 4 * masked, 8 * masked)
    }

    fn describe(&self) -> String {
        format!("[{}]", self.masked)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let masked = self.masked.at(step) as usize;
        let (sums, scores, measured, positions) = (io.f32(1), io.f32(2), io.f32(3), io.u32(4));
        let (likeliest, gauge) = (io.u32_mut(5), io.f32_mut(6));
        let total = |part: usize| (0..masked).map(|j| sums[2 * j + part]).sum::<f32>();
        let entropies: Vec<f32> = (0..masked).map(|j| measured[4 * j]).collect();
        let mut count = 0;
        if step.entropy_bound > 0.0 {
            count = within(step.entropy_bound, &scores[..masked], &entropies);
        }
        for j in 0..masked {
            let code = measured[4 * j + 2] as u32 + 1;
            let seen = &mut likeliest[positions[j] as usize];
            if step.certainty > 0.0 && measured[4 * j + 1] >= step.certainty && *seen == code {
                count += 1;
            }
            *seen = code;
        }
        gauge.copy_from_slice(&[total(0), total(1), count as f32, 0.0]);
    }
}

/// How many entries, in the order of their scores, keep the sum of entropies less the largest within a bound.
fn within(bound: f32, scores: &[f32], entropies: &[f32]) -> usize {
    let precedes = |i: usize, j: usize| scores[i] > scores[j] || (scores[i] == scores[j] && i <= j);
    let fits = |j: &usize| {
        let before = (0..scores.len()).filter(|&i| precedes(i, *j)).map(|i| entropies[i]);
        let (total, most) = before.fold((0.0_f32, 0.0_f32), |(sum, most), h| (sum + h, most.max(h)));
        total - most <= bound
    };
    (0..scores.len()).filter(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_token_always_fits_and_certain_ones_cost_nothing() {
        assert_eq!(within(0.01, &[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), 1);
        assert_eq!(within(0.01, &[1.0, 2.0, 3.0], &[5.0, 0.0, 0.0]), 3);
        // The sum less the largest of the first two in order is 0.2, of all three 0.7.
        assert_eq!(within(0.5, &[9.0, 3.0, 6.0], &[0.5, 0.9, 0.2]), 2);
        assert_eq!(within(0.75, &[9.0, 3.0, 6.0], &[0.5, 0.9, 0.2]), 3);
        assert_eq!(within(1.0, &[], &[]), 0);
    }

    proptest! {
        #[test]
        fn what_fits_is_the_longest_prefix(
            entries in prop::collection::vec((-3.0_f32..3.0, 0.0_f32..2.0), 1..40),
            bound in 0.001_f32..8.0,
        ) {
            let (scores, entropies): (Vec<f32>, Vec<f32>) = entries.iter().copied().unzip();
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let (mut total, mut most, mut longest) = (0.0_f64, 0.0_f64, 0);
            let mut close = false;
            for (index, &at) in order.iter().enumerate() {
                let entropy = f64::from(entropies[at]);
                (total, most) = (total + entropy, most.max(entropy));
                close |= (total - most - f64::from(bound)).abs() < 1e-4;
                if total - most <= f64::from(bound) {
                    longest = index + 1;
                }
            }
            prop_assume!(!close);
            prop_assert_eq!(within(bound, &scores, &entropies), longest);
        }
    }
}
