//! Every kernel on both executors: one check a kernel, over odd shapes, with poison around what may be written.
//!
//! A case builds a program of states; all states are filled (inputs with numbers of the case's choosing, outputs with
//! poison), both executors run it, and every element of every state is compared, so that a write out of place shows.

use super::Executor;
use super::cpu::CpuExecutor;
use super::gpu::GpuExecutor;
use super::gpu::device::{Choice, Gpu};
use crate::eval::random::RandomWeights;
use crate::kernels::philox::{Stream, draw, uniform};
use crate::kernels::{Access, Slot, StepValues, WeightFormat};
use crate::models::build;
use crate::program::{Builder, Element, Program, Storage, WeightSpec};
use pollster::block_on;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The device of tests, at WebGPU's default limits: the one that `MIGM_TEST_ADAPTER` names, which must then exist;
/// otherwise any; `None` without one.
pub(crate) fn test_gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    GPU.get_or_init(|| {
        let name = std::env::var("MIGM_TEST_ADAPTER").ok().filter(|name| !name.is_empty());
        match block_on(Gpu::open(&Choice { name: name.clone(), default_limits: true })) {
            Ok(gpu) => Some(gpu),
            Err(error) if name.is_some() => panic!("MIGM_TEST_ADAPTER is set: {error}"),
            Err(error) => {
                eprintln!("not compared with a GPU: {error}");
                None
            }
        }
    })
    .clone()
}

/// What a state holds before the run.
#[derive(Clone)]
pub(crate) enum Fill {
    /// Uniform in [-scale, scale].
    Random(f32),
    /// Uniform integers below a bound.
    Below(u32),
    /// Exactly this.
    Words(Vec<u32>),
}

/// A case: what is built, at which step, with which inputs.
pub(crate) struct Case<'a> {
    pub(crate) step: StepValues,
    pub(crate) fills: &'a [(&'a str, Fill)],
    /// Largest absolute difference between the executors' floats.
    pub(crate) tolerance: f32,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self { step: StepValues::default(), fills: &[], tolerance: 1e-5 }
    }
}

const POISON: u32 = 0x7fc0_beef; // a NaN, and a large integer

impl Case<'_> {
    /// Runs on both executors and compares all states.
    pub(crate) fn check(&self, format: WeightFormat, body: impl Fn(&mut Builder)) {
        let Some(gpu) = test_gpu() else { return };
        let program = || build("case", formats(format), &body).unwrap();
        let reference = program();
        // Weights that f16 can hold, so that both executors multiply by the same numbers.
        let weights = || Rounded(RandomWeights { seed: 3 }, format);
        let mut cpu = CpuExecutor::new(vec![program()], &mut weights()).unwrap();
        let mut device = GpuExecutor::new(gpu, vec![program()], &mut weights()).unwrap();
        let cpu = self.run(&mut cpu, &reference);
        let device = self.run(&mut device, &reference);
        for (name, wanted) in &cpu {
            let tensor = reference.tensors().iter().find(|t| t.name == *name).unwrap();
            for (i, (&got, &wanted)) in device[name].iter().zip(wanted).enumerate() {
                let close = match tensor.element {
                    Element::U32 => got == wanted,
                    Element::F32 if got == wanted => true,
                    Element::F32 => {
                        let (got, wanted) = (f32::from_bits(got), f32::from_bits(wanted));
                        (got - wanted).abs() <= self.tolerance * wanted.abs().max(1.0)
                    }
                };
                let op = &reference.ops()[0].kernel;
                assert!(
                    close,
                    "{} {}, step {:?}: {name}[{}, {}] is {} ({got:#x}) on the GPU, {} ({wanted:#x}) on the CPU",
                    op.permutation(),
                    op.describe(),
                    self.step,
                    i / tensor.width as usize,
                    i % tensor.width as usize,
                    f32::from_bits(got),
                    f32::from_bits(wanted)
                );
            }
        }
    }

    fn run(&self, executor: &mut dyn Executor, program: &Program) -> HashMap<String, Vec<u32>> {
        executor.prepare(&[self.step]).unwrap();
        let written = |slot: usize| {
            let of = |op: &crate::program::Op| op.kernel.bindings();
            program
                .ops()
                .iter()
                .flat_map(of)
                .any(|b| b.slot == Slot(slot as u32) && b.access == Access::Write)
        };
        let states: Vec<_> =
            program.tensors().iter().enumerate().filter(|(_, t)| t.storage == Storage::State).collect();
        for (slot, tensor) in &states {
            let len = tensor.elements() as u32;
            let fill = self.fills.iter().find(|(name, _)| *name == tensor.name).map(|(_, fill)| fill.clone());
            let words = match fill {
                _ if written(*slot) => vec![POISON; len as usize],
                Some(Fill::Words(mut words)) => {
                    // What a case does not give must not matter.
                    words.resize(len as usize, POISON);
                    words
                }
                Some(Fill::Below(bound)) => random(*slot, len).map(|bits| bits % bound).collect(),
                Some(Fill::Random(scale)) => floats(*slot, len, scale),
                None if tensor.element == Element::F32 => floats(*slot, len, 1.0),
                None => vec![POISON; len as usize],
            };
            executor.write(&tensor.name, &words).unwrap();
        }
        executor.run(&[0], 0, false).unwrap();
        executor.wait().unwrap();
        let read = |(_, tensor): &(usize, &crate::program::Tensor)| {
            (tensor.name.clone(), block_on(executor.read(&tensor.name, tensor.elements() as usize)).unwrap())
        };
        states.iter().map(read).collect()
    }
}

fn random(slot: usize, len: u32) -> impl Iterator<Item = u32> {
    (0..len).map(move |i| draw([slot as u32, 77], 0, i, Stream::Weights, 0)[0])
}

fn floats(slot: usize, len: u32, scale: f32) -> Vec<u32> {
    random(slot, len).map(|bits| ((2.0 * uniform(bits) - 1.0) * scale).to_bits()).collect()
}

fn formats(format: WeightFormat) -> fn(&WeightSpec) -> WeightFormat {
    match format {
        WeightFormat::F32 => crate::models::keep_f32,
        WeightFormat::F16 => crate::models::keep_f16,
        WeightFormat::Int8 => |_| WeightFormat::Int8,
        WeightFormat::Int4 { group: 32 } => |_| WeightFormat::Int4 { group: 32 },
        WeightFormat::Int4 { .. } => |_| WeightFormat::Int4 { group: 64 },
    }
}

struct Rounded(RandomWeights, WeightFormat);

impl crate::program::WeightSource for Rounded {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, crate::weights::WeightError> {
        let mut data = self.0.load(spec)?;
        if spec.shape.len() == 1 {
            // Norms of 1 and biases of 0 would hide mistakes.
            for (i, value) in data.iter_mut().enumerate() {
                *value += ((i * 7 % 13) as f32 - 6.0) * 0.1;
            }
        }
        if self.1 == WeightFormat::F16 {
            for value in &mut data {
                *value = half::f16::from_f32(*value).to_f32();
            }
        }
        Ok(data)
    }
}

mod checks {
    use super::{Case, Fill};
    use crate::kernels::attention::{Attention, Operand};
    use crate::kernels::commit::Commit;
    use crate::kernels::conv2d::ConvForm;
    use crate::kernels::copy::Copy;
    use crate::kernels::embed_rows::EmbedRows;
    use crate::kernels::embed_sequence::{EmbedSequence, IMAGE};
    use crate::kernels::embed_tokens::EmbedTokens;
    use crate::kernels::fma_peak::FmaPeak;
    use crate::kernels::gated_silu::GatedSilu;
    use crate::kernels::head_max::HeadMax;
    use crate::kernels::layer_norm::LayerNorm;
    use crate::kernels::linear::{Activation, Linear};
    use crate::kernels::lowest_rows::{LowestRows, RowMax};
    use crate::kernels::masked_logits::MaskedLogits;
    use crate::kernels::nearest_code::NearestCode;
    use crate::kernels::rms_norm::RmsNorm;
    use crate::kernels::rope::{Positions, Rope};
    use crate::kernels::rows::{GatherRows, ScatterRows};
    use crate::kernels::sample::Sample;
    use crate::kernels::time_embedding::TimeEmbedding;
    use crate::kernels::top_k::TopK;
    use crate::kernels::{Extent, ImagePlacement, StepValues, Symbol, WeightFormat::*, padded};
    use crate::program::Element::{F32 as Float, U32 as Integer};
    use crate::program::Layout;

    const PLAIN: [crate::kernels::WeightFormat; 2] = [F32, F16];
    const FORMATS: [crate::kernels::WeightFormat; 5] =
        [F32, F16, Int8, Int4 { group: 32 }, Int4 { group: 64 }];

    #[test]
    fn linear() {
        for format in FORMATS {
            for (rows, inner, outer, activation, accumulate) in [
                (1, 1, 1, Activation::None, false),
                (1, 256, 91, Activation::Silu, false),
                (3, 91, 32, Activation::None, false),
                (65, 64, 192, Activation::None, false),
                (130, 33, 65, Activation::Gelu, false),
                (67, 181, 7, Activation::None, true),
                (64, 128, 64, Activation::Gelu, true),
            ] {
                Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                    let x = b.state("x", rows, inner, Float);
                    let y = b.state("y", rows, outer, Float);
                    // A packed projection of which the last rows are used.
                    let weight =
                        b.weight("w.weight", &[(outer + 5) as usize, inner as usize], Layout::Matrix);
                    let bias = Some(b.vector("w.bias", outer + 5));
                    let (rows, weight_row) = (Extent::fixed(rows), 5);
                    let format = b.format(weight);
                    b.push(Linear {
                        x,
                        weight,
                        format,
                        bias,
                        y,
                        rows,
                        inner,
                        outer,
                        weight_row,
                        activation,
                        accumulate,
                    });
                });
            }
        }
    }

    #[test]
    fn linear_follows_the_step() {
        for new_tokens in [0, 1, 5, 9] {
            Case {
                step: StepValues { new_tokens, ..StepValues::default() },
                tolerance: 3e-5,
                ..Case::default()
            }
            .check(F32, |b| {
                let x = b.state("x", 18, 24, Float);
                let y = b.state("y", 18, 12, Float);
                let weight = b.weight("w.weight", &[12, 24], Layout::Matrix);
                let format = b.format(weight);
                let rows = Extent::symbolic(2, Symbol::NewTokens, 9);
                b.push(Linear {
                    x,
                    weight,
                    format,
                    bias: None,
                    y,
                    rows,
                    inner: 24,
                    outer: 12,
                    weight_row: 0,
                    activation: Activation::None,
                    accumulate: false,
                });
            });
        }
    }

    #[test]
    fn layer_norm() {
        for (rows, width) in [(1, 4), (3, 768), (1025, 24), (2, 4096), (5, 1), (7, 131)] {
            for modulated in [false, true] {
                Case::default().check(F32, |b| {
                    let x = b.state("x", rows, width, Float);
                    let y = b.state("y", rows, width, Float);
                    let modulation = modulated.then(|| b.state("modulation", 1, 2 * width, Float));
                    let (weight, bias) = (b.vector("n.weight", width), b.vector("n.bias", width));
                    b.push(LayerNorm {
                        x,
                        weight,
                        bias,
                        modulation,
                        y,
                        rows: Extent::fixed(rows),
                        width,
                        eps: 1e-5,
                    });
                });
            }
        }
    }

    #[test]
    fn rms_norm() {
        for (rows, width) in [(1, 4), (3, 64), (1025, 24), (2, 4096), (5, 1), (7, 131)] {
            for modulated in [false, true] {
                Case::default().check(F32, |b| {
                    let x = b.state("x", rows, width, Float);
                    let y = b.state("y", rows, width, Float);
                    let modulation = modulated.then(|| b.state("modulation", 1, 2 * width, Float));
                    let weight = b.vector("n.weight", width);
                    let rows = Extent::fixed(rows);
                    b.push(RmsNorm { x, weight, modulation, y, rows, width, eps: 1e-5 });
                });
            }
        }
    }

    #[test]
    fn rope() {
        for (rows, length, heads, head_width, offset) in [
            (1, 1, 1, 2, 0),
            (65, 65, 4, 16, 0),
            (12, 4, 2, 6, 5),
            (4300, 4300, 1, 128, 0),
            (3, 3, 1, 256, 1),
        ] {
            let stride = heads * head_width + 2 * offset;
            // Angles reach 4,300, of which a unit in the last place is 5e-4.
            let tolerance = 1e-5 + length as f32 * 3e-7;
            Case { tolerance, ..Case::default() }.check(F32, |b| {
                let x = b.state("x", rows, stride, Float);
                let (positions, rows) = (Positions::Absolute { length }, Extent::fixed(rows));
                b.push(Rope { x, positions, rows, stride, offset, heads, head_width, theta: 5e5 });
            });
        }
        for (prefix, new_tokens) in [(0, 0), (7, 0), (0, 5), (7, 48)] {
            let step = StepValues { new_tokens, ..StepValues::default() };
            let image = (0..new_tokens).map(|i| i * 7 % 48).collect();
            Case { step, fills: &[("image", Fill::Words(image))], tolerance: 3e-5 }.check(F32, |b| {
                let x = b.state("x", 48 + prefix, 32, Float);
                let image = b.state("image", 1, 48, Integer);
                let placement = ImagePlacement { start: prefix + 2, columns: 8 };
                let positions = Positions::Listed { image, prefix, placement };
                let rows = Extent::symbolic(1, Symbol::NewTokens, 48).plus(prefix);
                b.push(Rope {
                    x,
                    positions,
                    rows,
                    stride: 32,
                    offset: 0,
                    heads: 4,
                    head_width: 8,
                    theta: 5e5,
                });
            });
        }
    }

    #[test]
    fn gated_silu() {
        for (rows, width) in [(1, 1), (65, 160), (3, 100_001)] {
            Case { fills: &[("x", Fill::Random(30.0))], ..Case::default() }.check(F32, |b| {
                let x = b.state("x", rows, width, Float);
                let gate = b.state("gate", rows, width, Float);
                b.push(GatedSilu { gate, x, rows: Extent::fixed(rows), width });
            });
        }
    }

    #[test]
    fn embed_sequence() {
        // Text, an image token, a code beyond the codebook (masked), an id beyond the vocabulary.
        let template = vec![3, IMAGE + 2, 5, IMAGE, 10_000];
        let fills = [
            ("template", Fill::Words(template)),
            ("codes", Fill::Words(vec![4, 40, 39])),
            ("list", Fill::Words(vec![3, 1, 4, 0, 6, 5, 2, 7])),
        ];
        for format in FORMATS {
            for (width, prefix, new_tokens) in [(1, 5, 0), (30, 5, 3), (200, 0, 2), (64, 0, 0)] {
                let step = StepValues { new_tokens, ..StepValues::default() };
                Case { step, fills: &fills, ..Case::default() }.check(format, |b| {
                    let table = b.weight("t.weight", &[60, width as usize], Layout::Matrix);
                    let kernel = EmbedSequence {
                        template: b.state("template", 1, 5, Integer),
                        codes: b.state("codes", 1, 3, Integer),
                        list: (new_tokens == 3).then(|| b.state("list", 1, 8, Integer)),
                        table,
                        format: b.format(table),
                        x: b.state("x", 8, width, Float),
                        rows: Extent::symbolic(1, Symbol::NewTokens, 3).plus(prefix),
                        prefix,
                        width,
                        vocabulary: 60,
                        first_code: 20,
                        codebook: 40,
                        mask: 17,
                    };
                    b.push(kernel);
                });
            }
        }
    }

    #[test]
    fn attention() {
        // (sequences, key sequences, queries, keys, heads, head width)
        for (sequences, key_sequences, queries, keys, heads, head_width) in [
            (1, 1, 1, 1, 1, 1),
            (2, 2, 65, 65, 4, 16),
            (2, 1, 65, 9, 2, 24),
            (4, 2, 70, 3, 2, 12),
            (1, 1, 130, 257, 2, 48),
            (1, 1, 33, 40, 3, 7),
            (1, 1, 66, 67, 1, 64),
            (1, 1, 17, 67, 1, 65),
            (2, 2, 40, 70, 1, 128),
            (1, 1, 20, 130, 1, 512),
            (1, 1, 18, 19, 2, 200),
        ] {
            let width = heads * head_width;
            for packing in 0..3 {
                Case {
                    tolerance: 3e-5,
                    fills: &[("q", Fill::Random(3.0)), ("kv", Fill::Random(3.0))],
                    ..Case::default()
                }
                .check(F32, |b| {
                    let y = b.state("y", sequences * queries, width, Float);
                    let operand = |slot, offset, stride| Operand { slot, offset, stride };
                    let (query, key, value) = match packing {
                        0 => (
                            operand(b.state("q", sequences * queries, width, Float), 0, width),
                            operand(b.state("k", key_sequences * keys, width, Float), 0, width),
                            operand(b.state("v", key_sequences * keys, width, Float), 0, width),
                        ),
                        1 => {
                            let q = b.state("q", sequences * queries, width, Float);
                            let kv = b.state("kv", key_sequences * keys, 2 * width, Float);
                            (operand(q, 0, width), operand(kv, 0, 2 * width), operand(kv, width, 2 * width))
                        }
                        _ if queries == keys && sequences == key_sequences => {
                            let qkv = b.state("q", sequences * queries, 3 * width, Float);
                            let part = |i| operand(qkv, i * width, 3 * width);
                            (part(0), part(1), part(2))
                        }
                        _ => {
                            // Values before keys, with a column of something else between.
                            let q = b.state("q", sequences * queries, width + 4, Float);
                            let kv = b.state("kv", key_sequences * keys, 2 * width + 1, Float);
                            let stride = 2 * width + 1;
                            (operand(q, 4, width + 4), operand(kv, width + 1, stride), operand(kv, 0, stride))
                        }
                    };
                    b.push(Attention {
                        query,
                        key,
                        value,
                        y,
                        sequences,
                        key_sequences,
                        queries: Extent::fixed(queries),
                        keys: Extent::fixed(keys),
                        heads,
                        head_width,
                    });
                });
            }
        }
    }

    #[test]
    fn attention_over_the_new_tokens_of_a_step() {
        for new_tokens in [0, 1, 33, 40] {
            for head_width in [24, 72] {
                Case { step: StepValues { new_tokens, ..StepValues::default() }, ..Case::default() }.check(
                    F32,
                    |b| {
                        let operand = |slot, stride| Operand { slot, offset: 0, stride };
                        let width = 2 * head_width;
                        let q = b.state("q", 2 * 21, width, Float);
                        let k = b.state("k", 40, width, Float);
                        let v = b.state("v", 40, width, Float);
                        let y = b.state("y", 2 * 21, width, Float);
                        b.push(Attention {
                            query: operand(q, width),
                            key: operand(k, width),
                            value: operand(v, width),
                            y,
                            sequences: 2,
                            key_sequences: 1,
                            queries: Extent::fixed(21),
                            keys: Extent::symbolic(1, Symbol::NewTokens, 40),
                            heads: 2,
                            head_width,
                        });
                    },
                );
            }
        }
    }

    #[test]
    fn convolution() {
        for format in PLAIN {
            for form in [ConvForm::Same, ConvForm::Upsample, ConvForm::Downsample] {
                for (images, height, width, cin, cout) in [
                    (1, 2, 2, 1, 1),
                    (2, 8, 6, 3, 32),
                    (1, 10, 12, 32, 3),
                    (1, 9, 7, 16, 65),
                    (3, 5, 4, 6, 10),
                ] {
                    for accumulate in [false, true] {
                        Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                            let x = b.state("x", images * height * width, cin, Float);
                            let (h, w) = form.output_size(height, width);
                            let y = b.state("y", images * h * w, cout, Float);
                            b.conv3x3_into(x, "c", cout, [images, height, width], form, y, accumulate);
                        });
                    }
                }
            }
        }
    }

    #[test]
    fn group_norm() {
        for (images, pixels, channels, groups) in
            [(1, 1, 32, 32), (2, 64, 64, 32), (1, 900, 96, 32), (3, 5, 12, 4), (1, 4096, 128, 32)]
        {
            for silu in [false, true] {
                Case { fills: &[("x", Fill::Random(20.0))], tolerance: 3e-5, ..Case::default() }.check(
                    F32,
                    |b| {
                        let x = b.state("x", images * pixels, channels, Float);
                        let norm = b.norm("n", channels);
                        let out = b.state("out", images * pixels, channels, Float);
                        let y = b.group_norm(x, norm, images, groups, silu);
                        b.push(Copy {
                            x: y,
                            y: out,
                            rows: Extent::fixed(images * pixels),
                            width: channels,
                            accumulate: false,
                        });
                    },
                );
            }
        }
    }

    #[test]
    fn embeddings() {
        for format in FORMATS {
            for (images, sequences, tokens, width, vocabulary) in
                [(1, 1, 1, 1, 3), (2, 4, 64, 30, 44), (3, 3, 16, 64, 99)]
            {
                // Ids beyond the vocabulary read its last row on both.
                let fills = [("ids", Fill::Below(vocabulary + 3)), ("labels", Fill::Below(vocabulary))];
                Case { fills: &fills, ..Case::default() }.check(format, |b| {
                    let table =
                        b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                    let position =
                        b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                    let ids = b.state("ids", images, tokens, Integer);
                    let labels = b.state("labels", sequences, 1, Integer);
                    let x = b.state("x", sequences * (tokens + 1), width, Float);
                    let format = b.format(table);
                    b.push(EmbedTokens {
                        ids,
                        labels,
                        table,
                        format,
                        position,
                        x,
                        list: None,
                        images,
                        rows: Extent::fixed(sequences * (tokens + 1)),
                        tokens,
                        width,
                        vocabulary,
                    });
                });
                // Some rows in an order of their own, a class token among them.
                let all = sequences * (tokens + 1);
                let listed = all.div_ceil(3);
                let list = (0..listed).map(|r| all - 1 - 2 * r % all).collect();
                let fills = [fills[0].clone(), fills[1].clone(), ("list", Fill::Words(list))];
                Case { fills: &fills, ..Case::default() }.check(format, |b| {
                    let table =
                        b.weight("t.tok_emb.weight", &[vocabulary as usize, width as usize], Layout::Matrix);
                    let position =
                        b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                    let ids = b.state("ids", images, tokens, Integer);
                    let labels = b.state("labels", sequences, 1, Integer);
                    let list = Some(b.state("list", listed, 1, Integer));
                    let x = b.state("x", listed, width, Float);
                    let (format, rows) = (b.format(table), Extent::fixed(listed));
                    b.push(EmbedTokens {
                        ids,
                        labels,
                        table,
                        format,
                        position,
                        x,
                        list,
                        images,
                        rows,
                        tokens,
                        width,
                        vocabulary,
                    });
                });
                for new_tokens in [0, 1, tokens] {
                    let fills = [("ids", Fill::Below(vocabulary)), ("positions", Fill::Below(tokens + 2))];
                    let step = StepValues { new_tokens, ..StepValues::default() };
                    Case { fills: &fills, step, ..Case::default() }.check(format, |b| {
                        let table = b.weight(
                            "t.tok_emb.weight",
                            &[vocabulary as usize, width as usize],
                            Layout::Matrix,
                        );
                        let position =
                            b.weight("t.pos_emb", &[1, tokens as usize + 1, width as usize], Layout::Dense);
                        let ids = b.state("ids", images, tokens, Integer);
                        let positions = b.state("positions", images, tokens, Integer);
                        let x = b.state("x", images * tokens, width, Float);
                        let format = b.format(table);
                        let entries = Extent::symbolic(1, Symbol::NewTokens, tokens);
                        b.push(EmbedRows {
                            ids,
                            positions,
                            table,
                            format,
                            position,
                            x,
                            images,
                            capacity: tokens,
                            entries,
                            width,
                            vocabulary,
                            length: tokens + 1,
                        });
                    });
                }
            }
        }
    }

    #[test]
    fn time_embedding() {
        for mask_ratio in [0.0, 1.0 / 1024.0, 0.106_445, 0.5, 0.999_023, 1.0] {
            for width in [2, 64, 256] {
                // The frequencies come from `exp`, whose last bits devices round in their own ways: at an angle of
                // 1000 that is a few 1e-4.
                let step = StepValues { mask_ratio, ..StepValues::default() };
                Case { step, tolerance: 5e-4, ..Case::default() }.check(F32, |b| {
                    let y = b.state("y", 1, width, Float);
                    b.push(TimeEmbedding { y, width });
                });
            }
        }
    }

    #[test]
    fn masked_logits() {
        for format in FORMATS {
            for (images, sequences, tokens, masked, hidden, codebook) in
                [(1, 1, 1, 1, 4, 3), (2, 4, 64, 17, 64, 32), (1, 2, 100, 100, 30, 65), (3, 3, 16, 0, 8, 8)]
            {
                let positions =
                    (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 7 + i) % tokens)).collect();
                let step = StepValues { masked, ..StepValues::default() };
                Case { step, fills: &[("positions", Fill::Words(positions))], tolerance: 3e-5 }.check(
                    format,
                    |b| {
                        let features = b.state("features", sequences * (tokens + 1), hidden, Float);
                        let positions = b.state("positions", images, tokens, Integer);
                        let logits = b.state("logits", sequences * tokens, codebook, Float);
                        let table =
                            b.weight("t.weight", &[codebook as usize + 4, hidden as usize], Layout::Matrix);
                        let bias = b.weight(
                            "t.bias",
                            &[tokens as usize + 1, codebook as usize + 4],
                            Layout::Corner { rows: tokens, columns: codebook },
                        );
                        let format = b.format(table);
                        let masked = Extent::symbolic(1, Symbol::Masked, tokens);
                        b.push(MaskedLogits {
                            features,
                            positions,
                            table,
                            format,
                            bias: Some(bias),
                            logits,
                            sequences,
                            images,
                            tokens,
                            sequence_length: tokens + 1,
                            placement: ImagePlacement::PLAIN,
                            first_sequence: 0,
                            masked,
                            hidden,
                            codebook,
                        });
                    },
                );
            }
        }
    }

    #[test]
    fn masked_logits_of_two_sequences_of_different_lengths() {
        for masked in [0, 1, 30] {
            let positions = (0..30).map(|i| i * 7 % 30).collect();
            let step = StepValues { masked, ..StepValues::default() };
            Case { step, fills: &[("positions", Fill::Words(positions))], tolerance: 3e-5 }.check(F32, |b| {
                let positions = b.state("positions", 1, 30, Integer);
                let logits = b.state("logits", 2 * 30, 70, Float);
                let table = b.weight("t.weight", &[70, 20], Layout::Matrix);
                let format = b.format(table);
                for (first_sequence, start) in [(0, 9), (1, 2)] {
                    // Five rows of six, and a separator after each.
                    let sequence_length = start + 35;
                    let name = format!("features.{first_sequence}");
                    let kernel = MaskedLogits {
                        features: b.state(&name, sequence_length, 20, Float),
                        positions,
                        table,
                        format,
                        bias: None,
                        logits,
                        sequences: 1,
                        images: 1,
                        tokens: 30,
                        sequence_length,
                        placement: ImagePlacement { start, columns: 6 },
                        first_sequence,
                        masked: Extent::symbolic(1, Symbol::Masked, 30),
                        hidden: 20,
                        codebook: 70,
                    };
                    b.push(kernel);
                }
            });
        }
    }

    #[test]
    fn nearest_code() {
        for (rows, width, codes) in [(1, 1, 1), (64, 16, 32), (130, 7, 513)] {
            Case::default().check(F32, |b| {
                let z = b.state("z", rows, width, Float);
                let codebook =
                    b.weight("c.embedding.weight", &[codes as usize, width as usize], Layout::Table);
                let codes_out = b.state("codes", rows, 1, Integer);
                b.push(NearestCode { z, codebook, codes_out, rows: Extent::fixed(rows), width, codes });
            });
        }
    }

    #[test]
    fn gather_and_scatter() {
        for (rows, width, table_rows) in [(1, 1, 1), (33, 16, 40), (100, 7, 50)] {
            Case { fills: &[("indices", Fill::Below(table_rows + 1))], ..Case::default() }.check(F32, |b| {
                let table = b.state("table", table_rows, padded(width), Float);
                let indices = b.state("indices", rows, 1, Integer);
                let y = b.state("y", rows, width, Float);
                b.push(GatherRows {
                    table,
                    indices,
                    y,
                    rows: Extent::fixed(rows),
                    width,
                    table_stride: padded(width),
                    table_rows,
                });
            });
            // Each index once: two rows to one place would race. The last is out of range and is skipped.
            let indices = (0..rows).map(|r| (r * 7) % rows.max(4)).collect();
            Case { fills: &[("indices", Fill::Words(indices))], ..Case::default() }.check(F32, |b| {
                let x = b.state("x", rows, width, Float);
                let indices = b.state("indices", rows, 1, Integer);
                let y = b.state("y", table_rows, width, Float);
                b.push(ScatterRows { x, indices, y, rows: Extent::fixed(rows), width, y_rows: table_rows });
            });
        }
    }

    #[test]
    fn lowest_rows() {
        for (sequences, rows, width, count) in
            [(1, 1, 1, 1), (2, 65, 40, 13), (3, 300, 513, 1), (1, 1000, 3, 1000)]
        {
            Case::default().check(F32, |b| {
                let x = b.state("x", sequences * rows, width, Float);
                let y = b.state("y", sequences * rows, 1, Float);
                b.push(RowMax { x, y, rows: sequences * rows, width });
            });
            // Few distinct scores: ties everywhere.
            let scores = (0..sequences * rows).map(|i| ((i * 31 % 7) as f32 - 3.0).to_bits()).collect();
            Case { fills: &[("scores", Fill::Words(scores))], ..Case::default() }.check(F32, |b| {
                let scores = b.state("scores", sequences, rows, Float);
                let lowest = b.state("lowest", sequences, count, Integer);
                b.push(LowestRows { scores, lowest, sequences, rows, count });
            });
        }
    }

    #[test]
    fn head_max() {
        for format in FORMATS {
            for (rows, inner, outer, bias_rows) in
                [(1, 1, 1, 0), (65, 64, 40, 0), (130, 33, 64, 13), (66, 30, 200, 33), (3, 8, 65, 3)]
            {
                Case { tolerance: 3e-5, ..Case::default() }.check(format, |b| {
                    let x = b.state("x", rows, inner, Float);
                    let y = b.state("y", rows, HeadMax::width(outer), Float);
                    let weight =
                        b.weight("w.weight", &[(outer + 5) as usize, inner as usize], Layout::Matrix);
                    let bias = (bias_rows > 0).then(|| {
                        let shape = [bias_rows as usize, outer as usize];
                        (b.weight("w.position_bias", &shape, Layout::Dense), bias_rows)
                    });
                    let (format, weight_row) = (b.format(weight), 5);
                    b.push(HeadMax { x, weight, format, bias, y, rows, inner, outer, weight_row });
                });
            }
        }
    }

    #[test]
    fn sample() {
        for (images, tokens, masked, codebook) in
            [(1, 1, 1, 1), (2, 64, 64, 32), (3, 100, 37, 1025), (2, 16, 0, 8)]
        {
            for (guided, recorded, random_choice) in
                [(false, false, false), (true, false, false), (true, true, false), (true, false, true)]
            {
                let positions =
                    (0..images).flat_map(|i| (0..tokens).map(move |t| (t * 3 + i) % tokens)).collect();
                let fills = [
                    ("positions", Fill::Words(positions)),
                    ("seeds", Fill::Below(u32::MAX)),
                    ("logits", Fill::Random(5.0)),
                    ("drawn", Fill::Below(9)),
                    ("noise_token", Fill::Random(4.0)),
                ];
                let step = StepValues {
                    step: 3,
                    masked,
                    guidance: 2.8,
                    softmax_temperature: 1.3,
                    choice_temperature: 4.5,
                    random_choice,
                    ..StepValues::default()
                };
                Case { step, fills: &fills, tolerance: 3e-5 }.check(F32, |b| {
                    let sequences = if guided { 2 * images } else { images };
                    let kernel = Sample {
                        logits: b.state("logits", sequences * tokens, codebook, Float),
                        positions: b.state("positions", images, tokens, Integer),
                        seeds: b.state("seeds", images, 2, Integer),
                        recorded: recorded.then(|| {
                            let token = b.state("noise_token", images * tokens, codebook, Float);
                            (token, b.state("noise_choice", images, tokens, Float))
                        }),
                        drawn: b.state("drawn", images, tokens, Integer),
                        scores: b.state("scores", images, tokens, Float),
                        images,
                        tokens,
                        masked: Extent::symbolic(1, Symbol::Masked, tokens),
                        codebook,
                        guided,
                    };
                    b.push(kernel);
                });
            }
        }
    }

    #[test]
    fn top_k_and_commit() {
        for (images, tokens, masked, reveal) in [
            (1, 1, 1, 1),
            (2, 64, 64, 1),
            (3, 300, 257, 100),
            (1, 1024, 1000, 999),
            (2, 4096, 4096, 300),
            (2, 64, 10, 10),
        ] {
            let step = StepValues { masked, reveal, ..StepValues::default() };
            // Few distinct scores: ties everywhere; and a NaN.
            let scores = (0..images * tokens)
                .map(|i| if i == 5 { f32::NAN } else { (i * 31 % 7) as f32 - 3.0 }.to_bits());
            Case { step, fills: &[("scores", Fill::Words(scores.collect()))], ..Case::default() }.check(
                F32,
                |b| {
                    let scores = b.state("scores", images, tokens, Float);
                    let chosen = b.state("chosen", images, tokens, Integer);
                    b.push(TopK {
                        scores,
                        chosen,
                        images,
                        tokens,
                        masked: Extent::symbolic(1, Symbol::Masked, tokens),
                    });
                },
            );
            let positions = (0..images).flat_map(|_| 0..tokens).collect();
            let fills = [
                ("positions", Fill::Words(positions)),
                ("chosen", Fill::Below(2)),
                ("drawn", Fill::Below(1000)),
                ("ids", Fill::Below(1000)),
                ("new_ids", Fill::Below(1000)),
                ("new_positions", Fill::Below(1000)),
            ];
            Case { step, fills: &fills, ..Case::default() }.check(F32, |b| {
                let kernel = Commit {
                    chosen: b.state("chosen", images, tokens, Integer),
                    drawn: b.state("drawn", images, tokens, Integer),
                    positions: b.state("positions", images, tokens, Integer),
                    ids: b.state("ids", images, tokens, Integer),
                    new_ids: b.state("new_ids", images, tokens, Integer),
                    new_positions: b.state("new_positions", images, tokens, Integer),
                    images,
                    tokens,
                    masked: Extent::symbolic(1, Symbol::Masked, tokens),
                };
                b.push(kernel);
            });
        }
    }

    #[test]
    fn copy_and_fma_peak() {
        for (rows, width, accumulate) in [(1, 1, false), (100, 33, true), (257, 256, false)] {
            Case::default().check(F32, |b| {
                let x = b.state("x", rows, width, Float);
                let y = b.state("y", rows, width, Float);
                b.push(Copy { x, y, rows: Extent::fixed(rows), width, accumulate });
            });
        }
        for (invocations, iterations) in [(1, 1), (1000, 9)] {
            Case { tolerance: 1e-4, ..Case::default() }.check(F32, |b| {
                let y = b.state("y", 1, invocations, Float);
                b.push(FmaPeak { y, invocations, iterations });
            });
        }
    }
}
