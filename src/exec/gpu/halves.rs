//! Activations in f16, on tiers that round to it anyway: half of the traffic between kernels.
//!
//! A temporary is held in f16 where every kernel that touches it can: what products, attention, rope and gates read and write, and what
//! norms write. What is added up along a model (residuals, which norms read), states, sums and everything that sampling sees stay f32.

use crate::kernels::{Kernel, Slot};
use crate::program::{Element, Program, Storage};

/// Holds what can be held so in f16.
pub(super) fn halve(program: &mut Program) {
    let mut can: Vec<bool> = program
        .tensors
        .iter()
        .map(|tensor| tensor.storage == Storage::Temporary && tensor.element == Element::F32)
        .collect();
    for op in &program.ops {
        let halves = op.kernel.halves();
        let spoken_for = |index: u32| halves.iter().any(|(_, bindings)| bindings.contains(&index));
        for binding in op.kernel.bindings().iter().filter(|binding| !spoken_for(binding.index)) {
            can[binding.slot.0 as usize] = false;
        }
    }
    // A flag speaks for several bindings at once: all or none, and none of these draws others along.
    loop {
        let before = can.clone();
        for op in &program.ops {
            for slots in groups(op.kernel.as_ref()) {
                if !slots.iter().all(|slot| can[slot.0 as usize]) {
                    slots.iter().for_each(|slot| can[slot.0 as usize] = false);
                }
            }
        }
        if can == before {
            break;
        }
    }
    for (tensor, can) in program.tensors.iter_mut().zip(can) {
        if can {
            tensor.element = Element::F16;
        }
    }
}

/// The tensors that each flag of a kernel speaks for.
fn groups(kernel: &dyn Kernel) -> Vec<Vec<Slot>> {
    let bound = kernel.bindings();
    let of = |(_, bindings): &(&str, Vec<u32>)| {
        bound.iter().filter(|binding| bindings.contains(&binding.index)).map(|binding| binding.slot).collect()
    };
    kernel.halves().iter().map(of).collect()
}

/// The flags by which a kernel's shader is told what is in f16.
pub(super) fn flags(program: &Program, kernel: &dyn Kernel) -> Vec<&'static str> {
    let is_half = |slot: &Slot| {
        program.tensors().get(slot.0 as usize).is_some_and(|tensor| tensor.element == Element::F16)
    };
    let halves = kernel.halves();
    let flags = halves.iter().map(|(flag, _)| *flag).zip(groups(kernel));
    flags.filter(|(_, slots)| slots.iter().any(is_half)).map(|(flag, _)| flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::published;
    use crate::models::{Batch, build};
    use crate::program::Formats;

    fn halved(name: &str) -> Program {
        let config = published::config(name).unwrap();
        let batch = Batch::of_classes(1, true);
        let body = |b: &mut crate::program::Builder| {
            config.family.networks(batch)[0].full(b, crate::models::Keep::Nothing);
        };
        let mut program = build("full", Formats::F16, body).unwrap();
        halve(&mut program);
        program
    }

    #[test]
    fn the_residual_stream_stays_f32_and_what_lies_between_products_does_not() {
        for name in ["maskgit-512", "lumina-dimoo"] {
            let program = halved(name);
            let mut by_shader = std::collections::BTreeMap::new();
            for op in program.ops() {
                let permutation = op.kernel.permutation();
                for flag in flags(&program, op.kernel.as_ref()) {
                    *by_shader.entry((permutation.shader, flag)).or_insert(0) += 1;
                }
                if permutation.flags.contains(&"ACCUMULATE") {
                    assert_eq!(flags(&program, op.kernel.as_ref()), ["F16_X"], "{name}: a residual");
                }
            }
            for wanted in [("linear", "F16_X"), ("linear", "F16_Y"), ("attention", "F16_Y")] {
                let of = |shader: &str| shader.starts_with(wanted.0);
                assert!(
                    by_shader.keys().any(|(shader, flag)| of(shader) && *flag == wanted.1),
                    "{name}: {wanted:?} {by_shader:?}"
                );
            }
            let bytes = |halved: Element| -> u64 {
                let temporaries =
                    program.tensors().iter().filter(|tensor| tensor.storage == Storage::Temporary);
                temporaries.filter(|tensor| tensor.element == halved).map(crate::program::Tensor::bytes).sum()
            };
            assert!(bytes(Element::F16) > bytes(Element::F32), "{name}");
        }
    }

    #[test]
    fn what_one_kernel_must_read_in_f32_draws_all_others_of_its_flag_along() {
        use crate::kernels::Extent;
        use crate::kernels::attention::{Attention, Operand};
        let program = |is_kept: bool| {
            let body = |b: &mut crate::program::Builder| {
                let rows = Extent::fixed(8);
                let x = b.state("x", 8, 16, Element::F32);
                let [q, k, v, y] = ["q", "k", "v", "y"].map(|name| {
                    let slot = b.temporary(name, rows, 16);
                    let layer = b.layer(name, 16, 16);
                    if name != "y" {
                        b.linear_out(x, layer, slot);
                    }
                    slot
                });
                if is_kept {
                    // Something that knows no f16 looks at the keys.
                    let sum = b.temporary("sum", rows, 16);
                    let (weight, bias) = (b.vector("n.weight", 16), b.vector("n.bias", 16));
                    let width = 16;
                    b.push(crate::kernels::layer_norm::LayerNorm {
                        x: k,
                        weight,
                        bias,
                        modulation: None,
                        y: sum,
                        rows,
                        width,
                        eps: 1e-5,
                    });
                }
                let part = |slot| Operand { slot, offset: 0, stride: 16 };
                b.push(Attention {
                    query: part(q),
                    key: part(k),
                    value: part(v),
                    y,
                    sequences: 1,
                    key_sequences: 1,
                    queries: rows,
                    keys: rows,
                    heads: 2,
                    head_width: 8,
                });
                let layer = b.layer("out", 16, 16);
                let out = b.state("out", 8, 16, Element::F32);
                b.linear_out(y, layer, out);
            };
            let mut program = build("case", Formats::F32, |b| b.block(body)).unwrap();
            halve(&mut program);
            let of = |end: &str| program.tensors().iter().find(|t| t.name.ends_with(end)).unwrap().element;
            ["q", "k", "v", "y"].map(of)
        };
        assert_eq!(program(false), [Element::F16; 4]);
        assert_eq!(program(true), [Element::F32, Element::F32, Element::F32, Element::F16]);
    }
}
