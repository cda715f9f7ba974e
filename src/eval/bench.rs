//! `migm bench`: step times by kind, a profile by operation beside the device's measured peak, products alone, memory.

use crate::exec::Memory;
use crate::generate::GenerateError;
use crate::generate::engine::Job;
use crate::generate::model::Device;
use crate::generate::predict::Predictor;
use crate::generate::published::PROMPT_TOKENS;
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::session::{Session, Settings, StepKind};
use crate::kernels::fma_peak::FmaPeak;
use crate::kernels::{Product, StepValues};
use crate::models::{self, Batch, Condition, Known};
use crate::program::{Element, Formats, Program};
use pollster::block_on;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::time::Instant;

/// Times of the steps of one kind, in milliseconds.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StepTimes {
    /// Steps measured.
    pub count: usize,
    /// The fastest.
    pub least_ms: f64,
    /// The mean of all: what a run costs.
    pub mean_ms: f64,
    /// The median.
    pub median_ms: f64,
    /// Floating-point operations of the median step, in GFLOP.
    pub gflop: f64,
    /// Rate at the median.
    pub gflop_per_s: f64,
}

/// What operations of one shader cost in a full or shortcut step.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OpProfile {
    /// Program.
    pub program: String,
    /// Shader and flags.
    pub shader: String,
    /// Dispatches.
    pub count: usize,
    /// Milliseconds.
    pub ms: f64,
    /// Share of the program's time.
    pub share: f64,
    /// Rate.
    pub gflop_per_s: f64,
    /// Share of the measured peak rate.
    pub share_of_peak: f64,
}

/// A benchmark's findings.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Model or preset.
    pub model: String,
    /// What computed.
    pub device: String,
    /// Images at once.
    pub batch: u32,
    /// Steps.
    pub steps: usize,
    /// Which of them are full.
    pub refresh: String,
    /// The device's peak as a plain FMA loop reaches it.
    pub peak_gflop_per_s: f64,
    /// Full steps, sampling included.
    pub full: StepTimes,
    /// Shortcut steps, head and sampling included.
    pub shortcut: StepTimes,
    /// Full over shortcut, by the means: of shortcut steps, those with few masked tokens are far cheaper than the others.
    pub shortcut_is_cheaper_by: f64,
    /// The whole loop, in milliseconds.
    pub loop_ms: f64,
    /// Decoding the batch, in milliseconds.
    pub decode_ms: f64,
    /// On the CPU: the matrix products of a full step alone, through the `gemm` crate, in milliseconds.
    pub products_alone_ms: Option<f64>,
    /// A full step over its products alone, both the least of three runs in turn.
    pub full_over_products: Option<f64>,
    /// By operation, costliest first.
    pub profile: Vec<OpProfile>,
    /// Memory planned.
    pub planned: Memory,
    /// Peak resident memory of the process, where the system tells.
    pub peak_resident_bytes: Option<u64>,
    /// The same over the plan.
    pub peak_over_planned: Option<f64>,
}

/// Conditions of a benchmark: classes in turn, or prompts of [`PROMPT_TOKENS`]. What a prompt says does not change what it costs.
pub fn conditions(family: &Known, images: u32) -> Vec<Condition> {
    let of = |image: u32| match family {
        Known::Maskgit(model) => Condition::Class(Some(image % model.transformer.classes.max(1))),
        Known::Dimoo(_) => {
            let [ids, without] = PROMPT_TOKENS.map(|tokens| vec![0; tokens as usize]);
            Condition::Prompt { ids, without }
        }
    };
    (0..images).map(of).collect()
}

/// The batch of such a benchmark.
pub fn batch(family: &Known, images: u32, sampling: &Sampling) -> Batch {
    let condition = conditions(family, 1).pop().unwrap_or(Condition::Class(None));
    Batch::of(&condition, images, sampling.guided())
}

/// Measures a session over such [conditions]: one whole run, then profiles.
///
/// # Errors
/// The device failed.
pub fn measure(
    name: &str,
    session: &mut Session,
    settings: &Settings,
    conditions: &[Condition],
    device: &Device,
) -> Result<Report, GenerateError> {
    let seeds: Vec<u64> = (0..conditions.len() as u64).collect();
    // Once to warm up: pipelines, page faults, clocks. Two steps have one of each kind.
    session.configure(settings)?;
    session.start(conditions, &seeds)?;
    for _ in 0..2 {
        session.step()?;
    }
    session.executor().wait()?;

    session.configure(settings)?;
    session.start(conditions, &seeds)?;
    let start = Instant::now();
    session.finish()?;
    let loop_ms = start.elapsed().as_secs_f64() * 1e3;
    let times = block_on(session.step_times())?;
    let plan = session.plan().to_vec();
    let tokens = block_on(session.tokens())?;
    let start = Instant::now();
    block_on(session.decode(&tokens))?;
    let decode_ms = start.elapsed().as_secs_f64() * 1e3;

    // Before the measurements below take memory of their own.
    let peak_resident_bytes = peak_resident_bytes();
    let peak_gflop_per_s = peak_gflop_per_s(device)?;
    let of_step = [StepKind::Full, StepKind::Predicted].map(|kind| session.programs_of(kind).to_vec());
    let [full, predicted] = &of_step;
    let programs = session.executor().programs();
    let flops = |indices: &[usize], step: &StepValues| -> u64 {
        indices.iter().map(|&index| programs[index].cost(step).flops).sum()
    };
    let of_kind = |kind: StepKind| {
        let step_programs = if kind == StepKind::Full { full } else { predicted };
        let mut steps: Vec<(f64, u64)> = plan
            .iter()
            .zip(&times)
            .filter(|(step, _)| step.kind == kind)
            .filter_map(|(step, ms)| ms.map(|ms| (ms, flops(step_programs, &step.values))))
            .collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        let Some(&(median_ms, work)) = steps.get(steps.len() / 2) else { return StepTimes::default() };
        let gflop = work as f64 * 1e-9;
        StepTimes {
            count: steps.len(),
            least_ms: steps[0].0,
            mean_ms: steps.iter().map(|(ms, _)| ms).sum::<f64>() / steps.len() as f64,
            median_ms,
            gflop,
            gflop_per_s: gflop / median_ms * 1e3,
        }
    };
    let (full_times, shortcut_times) = (of_kind(StepKind::Full), of_kind(StepKind::Predicted));
    let middle = plan.get(plan.len() / 2).map(|step| step.values).unwrap_or_default();
    let against_products = match device {
        Device::Cpu => Some(against_products(session, full, plan.len() / 2)?),
        Device::CpuBf16 | Device::Gpu(_) => None,
    };
    let mut profile = Vec::new();
    // The sampling, which ends every step, once.
    let mut ran: Vec<usize> = of_step.concat();
    ran.sort_unstable();
    ran.dedup();
    for program in ran {
        profile.extend(profile_of(session, program, plan.len() / 2, &middle, peak_gflop_per_s)?);
    }
    let planned = session.memory();
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    Ok(Report {
        model: name.to_owned(),
        device: session.describe(),
        batch: conditions.len() as u32,
        steps: plan.len(),
        refresh: settings.refresh.to_string(),
        peak_gflop_per_s,
        shortcut_is_cheaper_by: ratio(full_times.mean_ms, shortcut_times.mean_ms),
        loop_ms,
        decode_ms,
        products_alone_ms: against_products.map(|(_, alone)| alone),
        full_over_products: against_products.map(|(step, alone)| ratio(step, alone)),
        full: full_times,
        shortcut: shortcut_times,
        profile,
        planned,
        peak_resident_bytes,
        peak_over_planned: peak_resident_bytes.map(|bytes| ratio(bytes as f64, planned.total() as f64)),
    })
}

/// The rate of a plain loop of multiply-adds in registers: what no kernel can exceed.
///
/// # Errors
/// The device failed.
pub fn peak_gflop_per_s(device: &Device) -> Result<f64, GenerateError> {
    // Threads of a CPU need few invocations each; a large GPU needs a million to fill it.
    let invocations = if device.is_cpu() { 4096 } else { 1 << 18 };
    let mut iterations = 16;
    loop {
        let program = models::build("peak", Formats::F32, |b| {
            let y = b.state("peak", 1, invocations, Element::F32);
            b.push(FmaPeak { y, invocations, iterations });
        })?;
        let step = StepValues::default();
        let flops = program.cost(&step).flops as f64;
        let mut executor = device.executor(vec![program], &mut super::random::RandomWeights { seed: 0 })?;
        executor.prepare(&[step])?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            executor.run(&[0], 0, false)?;
            executor.wait()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        // Long enough that the way there and back does not count.
        if best > 0.05 || iterations >= 1 << 20 {
            return Ok(flops / best * 1e-9);
        }
        let factor = (0.08 / best.max(1e-5)).clamp(2.0, 64.0);
        iterations = (f64::from(iterations) * factor) as u32;
    }
}

/// Runs a program alone, an operation at a time, and sums by shader.
fn profile_of(
    session: &mut Session,
    program: usize,
    step: usize,
    values: &StepValues,
    peak_gflop_per_s: f64,
) -> Result<Vec<OpProfile>, GenerateError> {
    let times = block_on(session.executor().profile(program, step)).map_err(GenerateError::from)?;
    let program = &session.executor().programs()[program];
    let mut sums: BTreeMap<String, (usize, f64, u64)> = BTreeMap::new();
    for time in &times {
        let kernel = &program.ops()[time.op].kernel;
        let sum = sums.entry(kernel.permutation().to_string()).or_default();
        sum.0 += 1;
        sum.1 += time.ms;
        sum.2 += kernel.cost(values).flops;
    }
    let total: f64 = times.iter().map(|time| time.ms).sum();
    let mut rows: Vec<OpProfile> = sums
        .into_iter()
        .map(|(shader, (count, ms, flops))| {
            let gflop_per_s = flops as f64 * 1e-6 / ms.max(1e-9);
            OpProfile {
                program: program.name.clone(),
                shader,
                count,
                ms,
                share: ms / total.max(1e-9),
                gflop_per_s,
                share_of_peak: gflop_per_s / peak_gflop_per_s.max(1e-9),
            }
        })
        .collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(rows)
}

/// The matrix products of programs at a step, and how often each occurs.
fn products(programs: &[Program], indices: &[usize], step: &StepValues) -> BTreeMap<Product, usize> {
    let mut all = BTreeMap::new();
    for op in indices.iter().flat_map(|&index| programs[index].ops()) {
        for (product, count) in op.kernel.products(step) {
            *all.entry(product).or_default() += count;
        }
    }
    all
}

/// Matrix products on their own, each as often as the programs have it, on warm memory of its own.
struct ProductsAlone {
    products: BTreeMap<Product, usize>,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
}

impl ProductsAlone {
    fn new(products: BTreeMap<Product, usize>) -> Self {
        let most = |size: fn(&Product) -> u64| products.keys().map(size).max().unwrap_or(0) as usize;
        let together = rayon::current_num_threads();
        Self {
            a: vec![0.5; most(|p| u64::from(p.m) * u64::from(p.k))],
            b: vec![0.25; most(|p| u64::from(p.n) * u64::from(p.k))],
            c: vec![0.0; together * most(|p| u64::from(p.m) * u64::from(p.n))],
            products,
        }
    }

    /// Milliseconds of all of them. Many small ones run side by side, as they do in attention.
    fn run_ms(&mut self) -> f64 {
        let threads = rayon::current_num_threads();
        let (a, b) = (&self.a, &self.b);
        let start = Instant::now();
        for (product, &count) in &self.products {
            let (m, k, n) = (product.m as usize, product.k as usize, product.n as usize);
            let multiply = |c: &mut [f32], parallelism| {
                // SAFETY: the slices hold at least m x k, n x k and m x n elements with these strides, and c
                // overlaps neither of the others.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        c.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        a.as_ptr(),
                        1,
                        k as isize,
                        b.as_ptr(),
                        k as isize,
                        1,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        parallelism,
                    );
                }
            };
            if count >= 2 * threads && m * k * n < 1 << 28 {
                self.c[..threads * m * n].par_chunks_mut(m * n).enumerate().for_each(|(thread, c)| {
                    for _ in (thread..count).step_by(threads) {
                        multiply(c, gemm::Parallelism::None);
                    }
                });
            } else {
                for _ in 0..count {
                    multiply(&mut self.c, gemm::Parallelism::Rayon(0));
                }
            }
        }
        start.elapsed().as_secs_f64() * 1e3
    }
}

/// A full step and its products alone, in turn, three times: the least of each, as other work on the machine can
/// only add.
fn against_products(
    session: &mut Session,
    programs: &[usize],
    step: usize,
) -> Result<(f64, f64), GenerateError> {
    let values = session.plan()[step].values;
    let mut alone = ProductsAlone::new(products(session.executor().programs(), programs, &values));
    let (mut least_step, mut least_alone) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        least_alone = least_alone.min(alone.run_ms());
        let start = Instant::now();
        session.executor().run(programs, step, false)?;
        least_step = least_step.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok((least_step, least_alone))
}

/// The process's peak resident memory, on Linux.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// One row of the comparison of budgets.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BudgetRow {
    /// The rule.
    pub refresh: String,
    /// Predictor, where there are steps for it.
    pub predictor: Option<Predictor>,
    /// Milliseconds an image, decoding excluded.
    pub ms_per_image: f64,
    /// Vanilla's time over this one's.
    pub speed_up: f64,
    /// Share of tokens equal to vanilla's at the same seeds.
    pub token_agreement: f64,
}

/// Runs every budget under the same noise and compares it with vanilla. The session's shape must have the predictor.
///
/// # Errors
/// The device failed.
pub fn budgets(
    session: &mut Session,
    sampling: Sampling,
    budgets: &[u32],
    predictor: Predictor,
    jobs: &[Job],
) -> Result<Vec<BudgetRow>, GenerateError> {
    let mut vanilla: Option<(Vec<u32>, f64)> = None;
    let rules = std::iter::once(Refresh::Every).chain(budgets.iter().map(|&budget| Refresh::Uniform(budget)));
    let mut rows = Vec::new();
    for refresh in rules {
        let settings = Settings { sampling, refresh, predictor };
        // The first run warms up; the faster of the two next ones counts.
        run_jobs(session, &settings, &jobs[..session.shape().batch.images as usize])?;
        let (tokens, first) = run_jobs(session, &settings, jobs)?;
        let (_, second) = run_jobs(session, &settings, jobs)?;
        let ms = first.min(second);
        let (vanilla_tokens, vanilla_ms) = vanilla.get_or_insert_with(|| (tokens.clone(), ms));
        let equal = tokens.iter().zip(vanilla_tokens.iter()).filter(|(a, b)| a == b).count();
        rows.push(BudgetRow {
            predictor: settings.predicts().then_some(predictor),
            refresh: settings.refresh.to_string(),
            ms_per_image: ms / jobs.len() as f64,
            speed_up: *vanilla_ms / ms,
            token_agreement: equal as f64 / tokens.len().max(1) as f64,
        });
    }
    Ok(rows)
}

/// All jobs, a batch at a time (their number must be a multiple of it): tokens, and milliseconds of the loops.
fn run_jobs(
    session: &mut Session,
    settings: &Settings,
    jobs: &[Job],
) -> Result<(Vec<u32>, f64), GenerateError> {
    let batch = session.shape().batch.images as usize;
    let (mut tokens, mut ms) = (Vec::new(), 0.0);
    session.configure(settings)?;
    for jobs in jobs.chunks_exact(batch) {
        let conditions: Vec<Condition> = jobs.iter().map(|job| job.condition.clone()).collect();
        let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
        session.start(&conditions, &seeds)?;
        session.executor().wait()?;
        let start = Instant::now();
        session.finish()?;
        ms += start.elapsed().as_secs_f64() * 1e3;
        tokens.extend(block_on(session.tokens())?);
    }
    Ok((tokens, ms))
}
