//! Memory by liveness: temporaries that are never alive together share a buffer.
//!
//! Greedy by size, as inference runtimes do: the largest tensor first, each into the first buffer that is free
//! during its life. Buffers rather than one arena with offsets, because WebGPU refuses a dispatch that reads and
//! writes one buffer, even in parts that do not overlap.

use super::{Program, Storage};
use crate::kernels::{Access, Slot};
use std::collections::{BTreeMap, HashSet};

/// Where a program's temporaries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of each shared buffer, largest first.
    pub buffers: Vec<u64>,
    /// The buffer of each temporary, by slot; `None` for states and weights, and for what no operation touches.
    pub buffer_of: Vec<Option<usize>>,
    /// Bytes alive at the busiest operation: no plan can do with less.
    pub live_bytes: u64,
    /// Bytes if nothing were shared.
    pub unshared_bytes: u64,
}

/// First and last operation that touch a tensor.
type Life = (usize, usize);

/// Plans one program.
pub fn plan(program: &Program) -> Plan {
    let lives = lives(program);
    let bytes: Vec<u64> = program.tensors.iter().map(super::Tensor::bytes).collect();
    let mut order: Vec<(usize, Life)> =
        lives.iter().enumerate().filter_map(|(slot, life)| life.map(|life| (slot, life))).collect();
    order.sort_by_key(|&(slot, life)| (std::cmp::Reverse(bytes[slot]), life));

    // Lives in a buffer do not overlap, so of those that begin before the end of another only the last can meet it.
    let mut buffers: Vec<(u64, BTreeMap<usize, usize>)> = Vec::new();
    let mut buffer_of = vec![None; lives.len()];
    for &(slot, (first, last)) in &order {
        let is_free = |held: &BTreeMap<usize, usize>| {
            held.range(..=last).next_back().is_none_or(|(_, end)| *end < first)
        };
        let index = buffers.iter().position(|(_, held)| is_free(held)).unwrap_or_else(|| {
            buffers.push((bytes[slot], BTreeMap::new()));
            buffers.len() - 1
        });
        buffers[index].1.insert(first, last);
        buffer_of[slot] = Some(index);
    }
    let (mut born, mut dead) = (vec![0_u64; program.ops.len() + 1], vec![0_u64; program.ops.len() + 1]);
    for &(slot, (first, last)) in &order {
        born[first] += bytes[slot];
        dead[last + 1] += bytes[slot];
    }
    let mut alive = 0;
    let at_each = born.iter().zip(&dead).map(|(born, dead)| {
        alive = alive + born - dead;
        alive
    });
    let live_bytes = at_each.max().unwrap_or(0);
    Plan {
        buffers: buffers.into_iter().map(|(bytes, _)| bytes).collect(),
        buffer_of,
        live_bytes,
        unshared_bytes: order.iter().map(|&(slot, _)| bytes[slot]).sum(),
    }
}

/// Buffers for programs that never run at the same time: the largest with the largest, and so on.
pub fn shared_pool(plans: &[Plan]) -> Vec<u64> {
    let longest = plans.iter().map(|plan| plan.buffers.len()).max().unwrap_or(0);
    (0..longest)
        .map(|i| plans.iter().filter_map(|plan| plan.buffers.get(i)).copied().max().unwrap_or(0))
        .collect()
}

/// The states of a program, by name.
#[derive(Debug)]
pub struct States<'a> {
    all: HashSet<&'a str>,
    written: HashSet<&'a str>,
}

impl<'a> States<'a> {
    /// Those of `program`.
    pub fn of(program: &'a Program) -> Self {
        let (mut all, mut written) = (HashSet::new(), HashSet::new());
        for binding in program.ops.iter().flat_map(|op| op.kernel.bindings()) {
            let tensor = &program.tensors[binding.slot.0 as usize];
            if tensor.storage == Storage::State {
                all.insert(tensor.name.as_str());
                if binding.access != Access::Read {
                    written.insert(tensor.name.as_str());
                }
            }
        }
        Self { all, written }
    }

    /// Whether programs of these can run at the same time: neither writes a state that the other has.
    pub fn are_independent_of(&self, other: &Self) -> bool {
        self.written.is_disjoint(&other.all) && other.written.is_disjoint(&self.all)
    }
}

fn lives(program: &Program) -> Vec<Option<Life>> {
    let mut lives: Vec<Option<Life>> = vec![None; program.tensors.len()];
    for (index, op) in program.ops.iter().enumerate() {
        for binding in op.kernel.bindings() {
            let Slot(slot) = binding.slot;
            if program.tensors[slot as usize].storage == Storage::Temporary {
                let life = lives[slot as usize].get_or_insert((index, index));
                life.1 = index;
            }
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Binding, Buffers, Cost, Extent, Kernel, StepValues, shader::Permutation};
    use crate::program::{Element, Op, Tensor};
    use proptest::prelude::*;

    fn overlap(a: Life, b: Life) -> bool {
        a.0 <= b.1 && b.0 <= a.1
    }

    #[derive(Debug)]
    struct Touch(Vec<Binding>);

    impl Kernel for Touch {
        fn permutation(&self) -> Permutation {
            Permutation::new("touch")
        }
        fn bindings(&self) -> Vec<Binding> {
            self.0.clone()
        }
        fn params(&self, _: &StepValues) -> Vec<u8> {
            Vec::new()
        }
        fn workgroups(&self, _: &StepValues) -> [u32; 3] {
            [1; 3]
        }
        fn cost(&self, _: &StepValues) -> Cost {
            Cost::default()
        }
        fn describe(&self) -> String {
            String::new()
        }
        fn run(&self, _: &StepValues, _: &mut Buffers<'_>) {}
    }

    /// Random programs: each operation reads up to three earlier tensors and writes a new one.
    fn programs() -> impl Strategy<Value = Program> {
        prop::collection::vec((1_u32..5000, prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 1..40)
            .prop_map(|ops| {
                let mut program = Program { name: "test".into(), tensors: Vec::new(), ops: Vec::new() };
                for (width, reads) in ops {
                    let before = program.tensors.len();
                    let mut slots: Vec<u32> = match before {
                        0 => Vec::new(),
                        _ => reads.iter().map(|i| i.index(before) as u32).collect(),
                    };
                    slots.sort_unstable();
                    slots.dedup();
                    let mut bindings: Vec<_> = slots.iter().map(|&s| Binding::read(1, Slot(s))).collect();
                    bindings.push(Binding::write(2, Slot(before as u32)));
                    program.tensors.push(Tensor {
                        name: format!("t{before}"),
                        rows: Extent::fixed(1),
                        width,
                        element: Element::F32,
                        storage: Storage::Temporary,
                    });
                    program.ops.push(Op { kernel: Box::new(Touch(bindings)), scope: String::new() });
                }
                program
            })
    }

    /// Reads some states and writes one.
    fn over_states(reads: &[&str], write: &str) -> Program {
        let names = reads.iter().chain([&write]);
        let tensors: Vec<Tensor> = names
            .map(|name| Tensor {
                name: (*name).to_owned(),
                rows: Extent::fixed(1),
                width: 4,
                element: Element::F32,
                storage: Storage::State,
            })
            .collect();
        let last = reads.len() as u32;
        let mut bindings: Vec<_> = (0..last).map(|slot| Binding::read(slot, Slot(slot))).collect();
        bindings.push(Binding::write(last, Slot(last)));
        let ops = vec![Op { kernel: Box::new(Touch(bindings)), scope: String::new() }];
        Program { name: "test".to_owned(), tensors, ops }
    }

    #[test]
    fn programs_that_only_read_together_are_independent() {
        let are = |a: &Program, b: &Program| States::of(a).are_independent_of(&States::of(b));
        let conditional = over_states(&["ids"], "features");
        assert!(are(&conditional, &over_states(&["ids"], "features_uncond")));
        assert!(!are(&conditional, &over_states(&["features"], "logits")), "it reads what was written");
        assert!(!are(&over_states(&["features"], "logits"), &conditional), "whichever is named first");
        assert!(!are(&conditional, &over_states(&["prompt"], "features")), "both write");
    }

    proptest! {
        #[test]
        fn tensors_alive_together_never_share_a_buffer(program in programs()) {
            let plan = plan(&program);
            let lives = lives(&program);
            for (a, life_a) in lives.iter().enumerate() {
                prop_assert_eq!(plan.buffer_of[a].is_some(), life_a.is_some());
                let (Some(life_a), Some(buffer)) = (life_a, plan.buffer_of[a]) else { continue };
                prop_assert!(plan.buffers[buffer] >= program.tensors[a].bytes());
                for (b, life_b) in lives.iter().enumerate().skip(a + 1) {
                    let Some(life_b) = life_b else { continue };
                    prop_assert!(!overlap(*life_a, *life_b) || plan.buffer_of[b] != Some(buffer), "{} and {}", a, b);
                }
            }
            let total: u64 = plan.buffers.iter().sum();
            prop_assert!(plan.live_bytes <= total && total <= plan.unshared_bytes);
            prop_assert!(plan.buffers.is_sorted_by(|a, b| a >= b));
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let mut program = Program { name: "chain".into(), tensors: Vec::new(), ops: Vec::new() };
        for i in 0..10_u32 {
            let mut bindings = vec![Binding::write(2, Slot(i))];
            if i > 0 {
                bindings.push(Binding::read(1, Slot(i - 1)));
            }
            program.tensors.push(Tensor {
                name: format!("t{i}"),
                rows: Extent::fixed(8),
                width: 8,
                element: Element::F32,
                storage: Storage::Temporary,
            });
            program.ops.push(Op { kernel: Box::new(Touch(bindings)), scope: String::new() });
        }
        let plan = plan(&program);
        assert_eq!(plan.buffers, [256, 256]);
        assert_eq!(plan.live_bytes, 512);
        assert_eq!(plan.unshared_bytes, 2560);
    }
}
