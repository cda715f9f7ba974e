//! An operation as this device runs it: how its product is cut, in one dispatch or in two.

use super::device::Gpu;
use super::halves;
use super::planner::Cut;
use super::tier::PRODUCTS;
use crate::kernels::{Kernel, Slot, Split, StepValues, shader::Permutation};
use crate::program::{Op, Program};

/// Between the two dispatches of a product that is split: no tensor of the program.
pub(super) const SCRATCH: Slot = Slot(u32::MAX);

/// Workgroups of an operation's dispatches; those of none have a zero among them.
pub(super) type Groups = [[u32; 3]; 2];

/// What was decided for an operation.
#[derive(Debug)]
pub(super) struct Planned {
    cut: Option<Cut>,
    split: Option<Split>,
    /// Workgroups of the tier for one of the kernel's, along x.
    spread: u32,
}

impl Planned {
    /// Decides for an operation by its product at the largest of the steps that are known.
    pub(super) fn new(gpu: &Gpu, op: &Op, steps: &[StepValues]) -> Self {
        let permutation = op.kernel.permutation();
        let spread = gpu.tier.workgroups_for_one(&permutation);
        let products = steps.iter().flat_map(|step| op.kernel.products(step)).map(|(product, _)| product);
        let largest = products.filter(|_| PRODUCTS.contains(&permutation.shader)).max_by_key(|p| p.m);
        let Some(product) = largest else { return Self { cut: None, split: None, spread } };
        let between = op.kernel.split(1, SCRATCH).map(|split| split.bytes);
        let cut = gpu.planner.cut(&permutation, product, between);
        let split = if cut.parts > 1 { op.kernel.split(cut.parts, SCRATCH) } else { None };
        Self { cut: Some(cut), split, spread }
    }

    /// The kernels that are dispatched, one or two.
    pub(super) fn kernels<'a>(&'a self, op: &'a Op) -> Vec<&'a dyn Kernel> {
        match &self.split {
            Some(split) => split.kernels.iter().map(AsRef::as_ref).collect(),
            None => vec![op.kernel.as_ref()],
        }
    }

    /// The shader of one of the kernels on this device.
    pub(super) fn permutation(&self, gpu: &Gpu, program: &Program, kernel: &dyn Kernel) -> Permutation {
        let mut permutation = gpu.tier.specialise(kernel.permutation());
        permutation.flags.extend(halves::flags(program, kernel));
        match self.cut {
            Some(cut) if PRODUCTS.contains(&permutation.shader) => cut.specialise(permutation),
            _ => permutation,
        }
    }

    /// The parameter block at a step, which the dispatches share.
    pub(super) fn params(&self, op: &Op, step: &StepValues) -> Vec<u8> {
        match &self.split {
            Some(split) => split.kernels[0].params(step),
            None => op.kernel.params(step),
        }
    }

    /// The workgroups of each dispatch at a step.
    pub(super) fn workgroups(&self, op: &Op, step: &StepValues) -> Groups {
        let then = self.split.as_ref().map_or([0; 3], |split| split.kernels[1].workgroups(step));
        let [x, y, z] = op.kernel.workgroups(step);
        let Some(cut) = self.cut else { return [[self.spread * x, y, z], then] };
        let all = op.kernel.products(step).into_iter().map(|(product, _)| cut.workgroups(product));
        [all.map(|[x, y, parts]| [x, y, z * parts]).next().unwrap_or_default(), then]
    }

    /// Bytes of scratch.
    pub(super) fn scratch(&self) -> u64 {
        self.split.as_ref().map_or(0, |split| split.bytes)
    }
}
