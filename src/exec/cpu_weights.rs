//! Weights of the CPU executor: widened to f32, and packed for products where the processor has such; rows are kept of what something
//! else reads.

use super::{ExecError, Memory};
use crate::kernels::{Slot, WeightFormat};
use crate::program::{Op, Program, Storage, WeightSource, WeightSpec};
use migm_products::{Multiplied, Packed};
use std::collections::HashMap;

/// What programs do with a weight.
#[derive(Debug, Default)]
struct Uses {
    /// Products that are packed for.
    products: Vec<Multiplied>,
    /// Whether rows are read as they are.
    rows: bool,
}

/// Loads each weight once.
#[derive(Debug)]
pub(super) struct Weights {
    uses: HashMap<WeightSpec, Uses>,
    rows: HashMap<WeightSpec, usize>,
    packed: HashMap<(WeightSpec, Multiplied), usize>,
    bf16: bool,
}

/// Plain formats do not matter here: two programs that want a weight in two of them share its f32.
fn key(spec: &WeightSpec) -> WeightSpec {
    let plain = spec.format.quantization().is_none();
    WeightSpec { format: if plain { WeightFormat::F32 } else { spec.format }, ..spec.clone() }
}

/// The product of an operation that is packed for, and its weight.
fn product(program: &Program, op: &Op) -> Option<(Slot, WeightSpec, Multiplied)> {
    let (slot, part) = op.kernel.multiplies_by().filter(|(_, part)| part.packs())?;
    match &program.tensor(slot).storage {
        Storage::Weight(spec) => Some((slot, key(spec), part)),
        _ => None,
    }
}

impl Weights {
    /// Nothing loaded yet of what these programs use.
    pub(super) fn of(programs: &[Program], bf16: bool) -> Self {
        let mut uses: HashMap<WeightSpec, Uses> = HashMap::new();
        for (program, op) in
            programs.iter().flat_map(|program| program.ops().iter().map(move |op| (program, op)))
        {
            let product = product(program, op);
            if let Some((_, spec, part)) = &product {
                let products = &mut uses.entry(spec.clone()).or_default().products;
                if !products.contains(part) {
                    products.push(*part);
                }
            }
            for binding in op.kernel.bindings() {
                let packed = product.as_ref().is_some_and(|(slot, ..)| *slot == binding.slot);
                if let (false, Storage::Weight(spec)) = (packed, &program.tensor(binding.slot).storage) {
                    uses.entry(key(spec)).or_default().rows = true;
                }
            }
        }
        Self { uses, rows: HashMap::new(), packed: HashMap::new(), bf16 }
    }

    /// The number of a weight's rows among `buffers`, empty where nothing reads them; what is packed of it goes into `packed`.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub(super) fn load(
        &mut self,
        spec: &WeightSpec,
        source: &mut dyn WeightSource,
        (buffers, packed): (&mut Vec<Vec<f32>>, &mut Vec<Packed>),
        memory: &mut Memory,
    ) -> Result<usize, ExecError> {
        let key = key(spec);
        if let Some(&index) = self.rows.get(&key) {
            return Ok(index);
        }
        let stride = spec.extent().1 as usize;
        let data = match spec.format.quantization() {
            Some(scheme) => spec.load_quantized(scheme, source)?.dequantize(stride),
            None => key.arrange(source.load(spec)?),
        };
        let uses = self.uses.remove(&key).unwrap_or_default();
        for part in uses.products {
            let new = Packed::new(&part, &data, stride, self.bf16);
            memory.weights += new.bytes();
            self.packed.insert((key.clone(), part), packed.len());
            packed.push(new);
        }
        let rows = if uses.rows { data } else { Vec::new() };
        memory.weights += rows.len() as u64 * 4;
        buffers.push(rows);
        self.rows.insert(key, buffers.len() - 1);
        Ok(buffers.len() - 1)
    }

    /// By operation: the number of what it multiplies by.
    pub(super) fn packed_of(&self, program: &Program) -> Vec<Option<usize>> {
        let of =
            |op| product(program, op).and_then(|(_, spec, part)| self.packed.get(&(spec, part)).copied());
        program.ops().iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu::CpuExecutor;
    use super::super::{Executor, read_f32};
    use crate::eval::random::RandomWeights;
    use crate::kernels::embed_rows::EmbedRows;
    use crate::kernels::linear::{Activation, Linear, Window};
    use crate::kernels::{Extent, Multiplied, Slot, StepValues};
    use crate::models::build;
    use crate::program::Element::{F32, U32};
    use crate::program::{Builder, Formats, Layout, Program};
    use pollster::block_on;

    fn product(b: &mut Builder, x: Slot, name: &str, rows: usize, [first, outer]: [u32; 2], y: &str) {
        let y = b.state(y, 3, outer, F32);
        let weight = b.weight(name, &[rows, 32], Layout::Matrix);
        let format = b.format(weight);
        b.push(Linear {
            x,
            weight,
            format,
            bias: None,
            y,
            rows: Extent::fixed(3),
            inner: 32,
            outer,
            weight_row: first,
            bias_row: 0,
            activation: Activation::None,
            accumulate: false,
            window: Window::default(),
        });
    }

    /// Two parts of one weight, each packed for itself; a table that is looked up as well; and a product too narrow to be packed.
    fn program() -> Program {
        build("case", Formats::F32, |b| {
            let x = b.state("x", 3, 32, F32);
            product(b, x, "w.weight", 64, [0, 32], "first");
            product(b, x, "w.weight", 64, [32, 32], "second");
            product(b, x, "t.wte.weight", 40, [0, 40], "third");
            product(b, x, "n.weight", 4, [0, 4], "fourth");
            let [ids, positions] = ["ids", "positions"].map(|name| b.state(name, 1, 2, U32));
            let table = b.weight("t.wte.weight", &[40, 32], Layout::Matrix);
            let position = b.weight("t.pos_emb", &[1, 2, 32], Layout::Dense);
            let (format, x) = (b.format(table), b.state("embedded", 2, 32, F32));
            b.push(EmbedRows {
                ids,
                positions,
                table,
                format,
                position,
                x,
                images: 1,
                capacity: 2,
                entries: Extent::fixed(2),
                width: 32,
                vocabulary: 40,
                length: 2,
            });
        })
        .unwrap()
    }

    #[test]
    fn weights_are_packed_once_and_rows_kept_where_something_reads_them() {
        let mut weights = RandomWeights { seed: 5 };
        // The same twice, as both halves of guidance are.
        let mut executor = CpuExecutor::new(vec![program(), program()], &mut weights).unwrap();
        let packs = Multiplied { row: 0, inner: 32, outer: 32, rounds: false }.packs();
        // A table of 40 rows is two panels of 32.
        let wanted = 64 + 40 + 4 + 2 + if packs { 64 } else { 0 };
        assert_eq!(executor.memory().weights, wanted * 32 * 4);
        executor.prepare(&[StepValues::default()]).unwrap();
        let x: Vec<u32> = (0..96).map(|i| ((i % 7) as f32 - 3.0).to_bits()).collect();
        executor.write("x", &x).unwrap();
        executor.write("ids", &[39, 7]).unwrap();
        executor.run(&[0, 1], 0, false).unwrap();
        let mut read = |state: &str, len| block_on(read_f32(&mut executor, state, len)).unwrap();
        let (embedded, third) = (read("embedded", 64), read("third", 120));
        // Both stand at the first position, so that their difference is that of the table's rows.
        let apart: f32 = (0..32).map(|i| f32::from_bits(x[i]) * (embedded[i] - embedded[32 + i])).sum();
        assert!(
            (third[39] - third[7] - apart).abs() < 1e-4,
            "{} and {} differ by {apart}",
            third[39],
            third[7]
        );
        assert!(read("first", 96) != read("second", 96) && read("fourth", 12).iter().any(|v| *v != 0.0));
    }
}
