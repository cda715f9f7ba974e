//! A matrix product in two operations, for results too few to keep a device busy: sums over parts of K, made by `shaders/linear.wgsl` side
//! by side, and `shaders/sum_parts.wgsl`, which adds them up and has the epilogue. Both are on the device what [`Linear`] is alone, but
//! for the order of sums; the executor there chooses, programs do not know.

use super::linear::{Activation, Linear, Params, Sizes, product, tiles};
use super::{
    Binding, Buffers, Cost, Kernel, Product, ROW_ALIGNMENT, Slot, StepValues, padded, shader::Permutation,
    split_workgroups,
};
use gemm::Parallelism;

/// vec4s along K that a workgroup stages at once: parts begin at multiples of it.
const STEP_K4: u32 = 4;

/// The two operations, and the bytes that lie between them at the largest step.
#[derive(Debug)]
pub struct Split {
    /// Sums over parts, then their end.
    pub kernels: [Box<dyn Kernel>; 2],
    /// Of the sums over parts.
    pub bytes: u64,
}

impl Split {
    /// A product cut into `parts`, whose sums go through `sums`.
    pub(crate) fn new(whole: &Linear, parts: u32, sums: Slot) -> Self {
        let bytes = 4 * u64::from(parts) * u64::from(whole.rows.max()) * u64::from(whole.outer);
        let first = LinearParts { whole: whole.clone(), parts, sums };
        Self { kernels: [Box::new(first), Box::new(SumParts { whole: whole.clone(), parts, sums })], bytes }
    }
}

/// `sums[p, r, o] = x[r] . weight[weight_row + o]` over the part p of K.
#[derive(Debug, Clone)]
pub(crate) struct LinearParts {
    pub(crate) whole: Linear,
    pub(crate) parts: u32,
    pub(crate) sums: Slot,
}

/// `y[r, o] = activation(sum over p of sums[p, r, o] + bias[bias_row + o])`, plus the old `y[r, o]` if accumulating.
#[derive(Debug, Clone)]
pub(crate) struct SumParts {
    pub(crate) whole: Linear,
    pub(crate) parts: u32,
    pub(crate) sums: Slot,
}

/// The shader's parameter block; the product's own reads as much of it as it knows.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PartsParams {
    of_product: Params,
    parts: u32,
    unused: [u32; 3],
}

fn parameters(whole: &Linear, parts: u32, step: &StepValues) -> PartsParams {
    PartsParams { of_product: whole.at(step), parts, unused: [0; 3] }
}

/// First element along K of each part, and the end of the last.
fn bounds(inner: u32, parts: u32) -> impl Iterator<Item = std::ops::Range<usize>> {
    let each = 4 * STEP_K4 * inner.div_ceil(4).div_ceil(STEP_K4 * parts);
    (0..parts).map(move |part| (part * each).min(inner) as usize..((part + 1) * each).min(inner) as usize)
}

impl Kernel for LinearParts {
    fn permutation(&self) -> Permutation {
        let mut permutation = self.whole.permutation();
        permutation.flags.retain(|flag| !["BIAS", "ACCUMULATE", "GELU", "SILU"].contains(flag));
        permutation.flag("SPLIT", true)
    }

    fn bindings(&self) -> Vec<Binding> {
        vec![
            Binding::read(1, self.whole.x),
            Binding::read(2, self.whole.weight),
            Binding::write(4, self.sums),
        ]
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_X", vec![1])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&parameters(&self.whole, self.parts, step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        let [x, y, _] = tiles(self.whole.rows.at(step), self.whole.outer);
        [x, y, self.parts]
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let results = u64::from(self.whole.rows.at(step)) * u64::from(self.whole.outer);
        let whole = self.whole.cost(step);
        Cost { bytes: whole.bytes + 4 * results * u64::from(self.parts - 1), ..whole }
    }

    fn products(&self, step: &StepValues) -> Vec<(Product, usize)> {
        self.whole.products(step)
    }

    fn describe(&self) -> String {
        format!("{}: sums of {} parts", self.whole.describe(), self.parts)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let p = self.whole.at(step);
        let (x, weight, sums) = (io.f32(1), io.f32(2), io.f32_mut(4));
        let [rows, inner, outer] = [p.rows, p.inner, p.outer].map(|size| size as usize);
        if rows * outer == 0 {
            return;
        }
        let x = &x[p.x_row as usize * inner..][..rows * inner];
        let weight = &weight[(p.weight_row * padded(p.inner)) as usize..];
        for (range, sums) in bounds(p.inner, self.parts).zip(sums.chunks_exact_mut(rows * outer)) {
            if range.is_empty() {
                sums.fill(0.0);
                continue;
            }
            let sizes = Sizes { rows, inner: range.len(), outer };
            let x: Vec<f32> =
                x.chunks_exact(inner).flat_map(|row| row[range.clone()].iter().copied()).collect();
            let stride = padded(p.inner) as usize;
            let columns = range.start..range.start + range.len().next_multiple_of(ROW_ALIGNMENT as usize);
            let weight: Vec<f32> = weight
                .chunks_exact(stride)
                .take(outer)
                .flat_map(|row| row[columns.clone()].iter().copied())
                .collect();
            product(sizes, &x, &weight, sums, false, Parallelism::Rayon(0));
        }
    }
}

impl Kernel for SumParts {
    fn permutation(&self) -> Permutation {
        let whole = &self.whole;
        let mut permutation = Permutation::new("sum_parts")
            .flag("BIAS", whole.bias.is_some())
            .flag("ACCUMULATE", whole.accumulate);
        permutation.flags.extend(whole.activation.flag());
        permutation
    }

    fn bindings(&self) -> Vec<Binding> {
        let mut bindings = vec![Binding::read(1, self.sums)];
        bindings.extend(self.whole.bias.map(|slot| Binding::read(2, slot)));
        bindings.push(Binding { index: 3, ..self.whole.result() });
        bindings
    }

    fn halves(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("F16_Y", vec![3])]
    }

    fn params(&self, step: &StepValues) -> Vec<u8> {
        bytemuck::bytes_of(&parameters(&self.whole, self.parts, step)).to_vec()
    }

    fn workgroups(&self, step: &StepValues) -> [u32; 3] {
        split_workgroups((self.whole.rows.at(step) * self.whole.outer).div_ceil(64))
    }

    fn cost(&self, step: &StepValues) -> Cost {
        let results = u64::from(self.whole.rows.at(step)) * u64::from(self.whole.outer);
        Cost::new(results * u64::from(self.parts), results * u64::from(self.parts + 1))
    }

    fn describe(&self) -> String {
        format!("{}: {} parts added up", self.whole.describe(), self.parts)
    }

    fn run(&self, step: &StepValues, io: &mut Buffers<'_>) {
        let p = self.whole.at(step);
        let (sums, bias, y) = (io.f32(1), io.f32(2), io.f32_mut(3));
        let [rows, outer] = [p.rows, p.outer].map(|size| size as usize);
        let mut values = vec![0.0; outer];
        for row in 0..rows {
            values.fill(0.0);
            for part in sums.chunks_exact(rows * outer).take(self.parts as usize) {
                values.iter_mut().zip(&part[row * outer..]).for_each(|(value, sum)| *value += sum);
            }
            if !bias.is_empty() {
                let bias = &bias[p.bias_row as usize..];
                values.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
            Activation::apply(self.whole.activation, &mut values);
            let y = &mut y[p.y_start as usize + row * p.y_width as usize..][..outer];
            for (y, value) in y.iter_mut().zip(&values) {
                *y = value + if self.whole.accumulate { *y } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_k_once_and_begin_where_a_workgroup_stages() {
        for (inner, parts) in [(1, 2), (91, 2), (768, 4), (3072, 8), (100, 8)] {
            let all: Vec<_> = bounds(inner, parts).collect();
            assert_eq!(all.len(), parts as usize);
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, inner as usize));
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(all.iter().all(|part| part.is_empty() || part.start % 16 == 0));
        }
    }
}
