//! A program as text, a line an operation, and as a Graphviz graph.

use super::plan::plan;
use super::{Program, Storage};
use crate::kernels::{Access, StepValues};
use std::fmt::Write as _;

impl Program {
    /// A line an operation: scope, kernel, sizes, tensors, work; then the memory plan.
    pub fn to_text(&self, step: &StepValues) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "program {}: {} operations", self.name, self.ops.len());
        for (index, op) in self.ops.iter().enumerate() {
            let cost = op.kernel.cost(step);
            let names = |wanted: &dyn Fn(Access) -> bool| {
                let bindings = op.kernel.bindings();
                let names: Vec<String> = bindings
                    .iter()
                    .filter(|b| wanted(b.access))
                    .map(|b| format!("%{}:{}", b.slot.0, self.tensor(b.slot).name))
                    .collect();
                names.join(", ")
            };
            let _ = writeln!(
                out,
                "{index:4} {:<28} {} {} | {} <- {} | {:.3} MFLOP, {:.3} MB",
                op.scope,
                op.kernel.permutation(),
                op.kernel.describe(),
                names(&|access| access != Access::Read),
                names(&|access| access == Access::Read),
                cost.flops as f64 * 1e-6,
                cost.bytes as f64 * 1e-6,
            );
        }
        let plan = plan(self);
        let total: u64 = plan.buffers.iter().sum();
        let _ = writeln!(
            out,
            "memory: {} buffers, {total} bytes (at least {}, unshared {})",
            plan.buffers.len(),
            plan.live_bytes,
            plan.unshared_bytes
        );
        out
    }

    /// The program as a Graphviz digraph: operations as boxes, edges along tensors.
    pub fn to_graphviz(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n  node [shape=box, fontname=\"monospace\"];\n", self.name);
        let mut writer: Vec<Option<usize>> = vec![None; self.tensors.len()];
        for (index, op) in self.ops.iter().enumerate() {
            let _ =
                writeln!(out, "  op{index} [label=\"{}\\n{}\"];", op.kernel.permutation().shader, op.scope);
            for binding in op.kernel.bindings() {
                let slot = binding.slot.0 as usize;
                let tensor = &self.tensors[slot];
                if matches!(tensor.storage, Storage::Weight(_)) {
                    continue;
                }
                if binding.access != Access::Write {
                    let from = match writer[slot] {
                        Some(op) => format!("op{op}"),
                        None => {
                            let _ = writeln!(out, "  t{slot} [label=\"{}\", shape=ellipse];", tensor.name);
                            format!("t{slot}")
                        }
                    };
                    let _ = writeln!(
                        out,
                        "  {from} -> op{index} [label=\"{} x {}\"];",
                        tensor.rows, tensor.width
                    );
                }
                if binding.access != Access::Read {
                    writer[slot] = Some(index);
                }
            }
        }
        out.push_str("}\n");
        out
    }
}
