//! Measures how products are best cut on a device: the shapes that matter, each by at most eight cuts, outputs checked before times are
//! believed. What is found is kept in a file, by adapter, driver and tier, which [`Choice::from_environment`](super::device::Choice)
//! names and every later opening of that device reads.

use super::GpuExecutor;
use super::device::Gpu;
use super::planner::{Cut, Shape};
use super::self_check::is_wrong;
use super::tier::{PRODUCTS, Tier};
use crate::exec::{ExecError, Executor, read_f32};
use crate::kernels::philox::{Stream, draw, uniform};
use crate::kernels::{Access, Product, StepValues};
use crate::program::{Element, Program, Storage, WeightSource};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The same product so often in a row, unless it takes long: a single one may be shorter than a clock's tick.
const REPEATS: usize = 8;
/// The least of so many runs counts,
const RUNS: usize = 7;
/// or of fewer, where they take longer than this together.
const MOST_SECONDS: f64 = 0.1;
/// Shapes are timed until they have so much of all products' work, and no more of them.
const MOST_OF_WORK: f64 = 0.97;
const MOST_SHAPES: usize = 20;
/// So much of the rule's time another cut may take to be preferred: below that it is noise.
const BETTER: f64 = 0.97;

/// A cut that was tried.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Timing {
    /// Which.
    pub cut: Cut,
    /// Of one product. `None` where something else than the product came out.
    pub microseconds: Option<f64>,
}

/// A shape that was timed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Timed {
    /// What the planner finds it by.
    pub shape: Shape,
    /// Rows, length of sums and columns of the product that stood for it.
    pub sizes: [u32; 3],
    /// The first is the rule's.
    pub timings: Vec<Timing>,
}

impl Timed {
    /// The fastest, if it is clearly faster than the rule's.
    pub fn best(&self) -> Option<Timing> {
        let time = |timing: &Timing| timing.microseconds.unwrap_or(f64::INFINITY);
        let first = *self.timings.first()?;
        let least = *self.timings.iter().min_by(|a, b| time(a).total_cmp(&time(b)))?;
        let best = if time(&least) < BETTER * time(&first) { least } else { first };
        best.microseconds.is_some().then_some(best)
    }
}

/// A product of the programs, by where to find it.
struct Found {
    shape: Shape,
    product: Product,
    program: usize,
    op: usize,
    step: StepValues,
    flops: u64,
}

/// The shapes with the most work, each with an operation that has it.
fn that_matter(programs: &[Program], steps: &[StepValues]) -> Vec<Found> {
    let mut found: BTreeMap<Shape, Found> = BTreeMap::new();
    for (at, program) in programs.iter().enumerate() {
        for (op, kernel) in program.ops().iter().map(|op| &op.kernel).enumerate() {
            let permutation = kernel.permutation();
            if !PRODUCTS.contains(&permutation.shader) {
                continue;
            }
            let products = steps
                .iter()
                .flat_map(|step| kernel.products(step).into_iter().map(move |(product, _)| (product, *step)));
            let Some((product, step)) = products.max_by_key(|(product, _)| product.m) else { continue };
            let flops = kernel.cost(&step).flops;
            let shape = Shape::new(&permutation, product);
            let new = || Found { shape: shape.clone(), product, program: at, op, step, flops: 0 };
            found.entry(shape.clone()).or_insert_with(new).flops += flops;
        }
    }
    let mut all: Vec<Found> = found.into_values().filter(|found| found.flops > 0).collect();
    all.sort_by_key(|found| std::cmp::Reverse(found.flops));
    let total: u64 = all.iter().map(|found| found.flops).sum();
    let mut before = 0;
    all.retain(|found| {
        let kept = (before as f64) < MOST_OF_WORK * total as f64;
        before += found.flops;
        kept
    });
    all.truncate(MOST_SHAPES);
    all
}

/// Times the products of programs, which `build` makes anew, at the largest of their steps. `progress` is told shapes done and in all.
///
/// # Errors
/// The device failed.
pub async fn tune<E: From<ExecError>>(
    gpu: &Gpu,
    build: &dyn Fn() -> Result<Vec<Program>, E>,
    steps: &[StepValues],
    weights: &mut dyn WeightSource,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Timed>, E> {
    let found = that_matter(&build()?, steps);
    let mut timed = Vec::with_capacity(found.len());
    for (done, of) in found.iter().enumerate() {
        progress(done, found.len());
        let between = build()?[of.program].ops()[of.op]
            .kernel
            .split(1, super::planned::SCRATCH)
            .map(|split| split.bytes);
        let mut timings: Vec<Timing> = Vec::new();
        let mut wanted: Option<Vec<Vec<f32>>> = None;
        for cut in gpu.planner.candidates(of.product, between) {
            let repeat = |_| Ok(build()?.swap_remove(of.program).alone(of.op));
            let programs = (0..REPEATS).map(repeat).collect::<Result<Vec<_>, E>>()?;
            let (results, microseconds) = time(gpu, cut, programs, &of.step, weights).await?;
            let differs = |wanted: &Vec<Vec<f32>>| {
                results.iter().zip(wanted).any(|(got, wanted)| is_wrong(got, wanted))
            };
            let is_right = !wanted.as_ref().is_some_and(differs);
            timings.push(Timing { cut, microseconds: is_right.then_some(microseconds) });
            wanted.get_or_insert(results);
        }
        let sizes = [of.product.m, of.product.k, of.product.n];
        timed.push(Timed { shape: of.shape.clone(), sizes, timings });
    }
    progress(found.len(), found.len());
    Ok(timed)
}

/// What one product makes, and how long it takes.
async fn time(
    gpu: &Gpu,
    cut: Cut,
    programs: Vec<Program>,
    step: &StepValues,
    weights: &mut dyn WeightSource,
) -> Result<(Vec<Vec<f32>>, f64), ExecError> {
    let mut gpu = gpu.clone();
    gpu.planner = gpu.planner.always(cut);
    let list: Vec<usize> = (0..programs.len()).collect();
    let mut device = GpuExecutor::new(gpu, programs, weights)?;
    device.prepare(std::slice::from_ref(step))?;
    let op = &device.programs()[0].ops()[0];
    let written = op.kernel.bindings().into_iter().filter(|binding| binding.access != Access::Read);
    let results: Vec<(String, usize)> = written
        .map(|binding| device.programs()[0].tensor(binding.slot))
        .map(|tensor| (tensor.name.clone(), tensor.elements() as usize))
        .collect();
    let states: Vec<_> = device.programs()[0].tensors().to_vec();
    for (at, tensor) in states.iter().enumerate().filter(|(_, tensor)| tensor.storage == Storage::State) {
        let number = |i| (2.0 * uniform(draw([at as u32, 9], 0, i, Stream::Weights, 0)[0]) - 1.0).to_bits();
        let words: Vec<u32> = match tensor.element {
            Element::F32 | Element::F16 => (0..tensor.elements() as u32).map(number).collect(),
            // Positions: any that there are.
            Element::U32 => (0..tensor.elements() as u32).map(|i| i % tensor.width).collect(),
        };
        device.write(&tensor.name, &words)?;
    }
    device.run(&list[..1], 0, false)?;
    let mut made = Vec::with_capacity(results.len());
    for (name, len) in results {
        made.push(read_f32(&mut device, &name, len).await?);
    }
    // What is compiled at its first use is compiled by now.
    let began = Instant::now();
    device.run(&list[..1], 0, false)?;
    device.wait()?;
    let repeats = MOST_SECONDS / RUNS as f64 / began.elapsed().as_secs_f64();
    let list = &list[..(repeats as usize).clamp(1, list.len())];
    let (mut least, started) = (f64::INFINITY, Instant::now());
    for _ in 0..RUNS {
        if least.is_finite() && started.elapsed().as_secs_f64() > MOST_SECONDS {
            break;
        }
        let began = Instant::now();
        device.run(list, 0, true)?;
        device.wait()?;
        let waited = began.elapsed().as_secs_f64() * 1e3;
        let measured = device.step_times().await?.first().copied().flatten();
        least = least.min(measured.unwrap_or(waited));
    }
    Ok((made, least * 1e3 / list.len() as f64))
}

/// What was measured on one device.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The adapter's name.
    pub adapter: String,
    /// Its driver with its version: another one compiles other code.
    pub driver: String,
    /// The tier.
    pub tier: String,
    /// By shape.
    pub products: Vec<Timed>,
}

impl Record {
    /// One without measurements.
    pub fn of(info: &wgpu::AdapterInfo, tier: Tier) -> Self {
        let driver = format!("{} {} {:?}", info.driver, info.driver_info, info.backend);
        Self { adapter: info.name.clone(), driver, tier: tier.to_string(), products: Vec::new() }
    }

    fn is_of(&self, other: &Self) -> bool {
        (&self.adapter, &self.driver, &self.tier) == (&other.adapter, &other.driver, &other.tier)
    }

    /// What the planner should take.
    pub fn cuts(&self) -> HashMap<Shape, Cut> {
        let best = |timed: &Timed| Some((timed.shape.clone(), timed.best()?.cut));
        self.products.iter().filter_map(best).collect()
    }
}

/// What was measured, of every device.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Records {
    /// Each device once.
    pub devices: Vec<Record>,
}

impl Records {
    /// Reads a file; one that is not there has none.
    ///
    /// # Errors
    /// It cannot be read, or is something else.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// That of a device.
    pub fn find(&self, device: &Record) -> Option<&Record> {
        self.devices.iter().find(|record| record.is_of(device))
    }

    /// Adds what was measured; of a shape that was measured before, the new times count.
    pub fn add(&mut self, new: Record) {
        let Some(known) = self.devices.iter_mut().find(|record| record.is_of(&new)) else {
            return self.devices.push(new);
        };
        known.products.retain(|old| new.products.iter().all(|product| product.shape != old.shape));
        known.products.extend(new.products);
    }
}

/// Where measurements are kept: `MIGM_TUNED`, or `migm/tuned.json` among the user's caches.
pub fn file(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(path) = variable("MIGM_TUNED") {
        return Some(path);
    }
    let caches = variable("XDG_CACHE_HOME")
        .or_else(|| variable("LOCALAPPDATA"))
        .or_else(|| Some(home?.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" })));
    Some(caches?.join("migm").join("tuned.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::random::RandomWeights;
    use crate::exec::twins::test_gpu;
    use crate::models::build;
    use crate::program::{Formats, Layout};
    use pollster::block_on;

    fn programs() -> Result<Vec<Program>, ExecError> {
        let program = build("case", Formats::F16, |b| {
            let x = b.state("x", 40, 96, Element::F32);
            let y = b.temporary("y", crate::kernels::Extent::fixed(40), 130);
            let (wide, narrow) = (b.layer("wide", 130, 96), b.layer("narrow", 2, 130));
            b.linear_out(x, wide, y);
            let z = b.state("z", 40, 2, Element::F32);
            b.linear_out(y, narrow, z);
            b.weight("never.read", &[1 << 20, 1 << 10], Layout::Matrix);
        })?;
        Ok(vec![program])
    }

    #[test]
    fn products_are_timed_on_the_device_by_every_candidate_and_what_is_found_is_taken() {
        let Some(gpu) = test_gpu() else { return };
        let mut told = Vec::new();
        let timed = block_on(tune(
            &gpu,
            &programs,
            &[StepValues::default()],
            &mut RandomWeights { seed: 1 },
            &mut |done, all| told.push((done, all)),
        ));
        let timed: Vec<Timed> = timed.unwrap();
        assert_eq!(told, [(0, 1), (1, 1)], "the narrow product has a fiftieth of the work");
        assert_eq!(timed[0].sizes, [40, 96, 130]);
        assert!((3..=8).contains(&timed[0].timings.len()));
        assert!(timed[0].timings.iter().all(|timing| timing.microseconds.is_some_and(|time| time > 0.0)));
        let record = Record { products: timed.clone(), ..Record::of(&gpu.info, gpu.tier) };
        let planner = gpu.planner.with_measured(record.cuts());
        let programs = programs().unwrap();
        let op = &programs[0].ops()[0].kernel;
        let (product, _) = op.products(&StepValues::default())[0];
        let between = op.split(1, crate::exec::gpu::planned::SCRATCH).map(|split| split.bytes);
        assert_eq!(planner.cut(&op.permutation(), product, between), timed[0].best().unwrap().cut);
    }

    fn timed(times: &[Option<f64>]) -> Timed {
        let timings = times.iter().zip([64, 32, 16, 128]);
        Timed {
            shape: Shape { kernel: "linear".to_owned(), sizes: [64, 8, 8] },
            sizes: [40, 8, 8],
            timings: timings
                .map(|(&microseconds, rows)| Timing { cut: Cut { rows, parts: 1 }, microseconds })
                .collect(),
        }
    }

    #[test]
    fn a_cut_is_preferred_to_the_rules_where_it_is_clearly_faster_and_right() {
        let rows = |times: &[Option<f64>]| timed(times).best().map(|best| best.cut.rows);
        assert_eq!(rows(&[Some(10.0), Some(9.9), Some(12.0)]), Some(64), "noise");
        assert_eq!(rows(&[Some(10.0), Some(9.0), Some(8.0)]), Some(16));
        assert_eq!(rows(&[Some(10.0), Some(9.0), None]), Some(32), "the fastest was wrong");
        assert_eq!(rows(&[None, None]), None);
        assert_eq!(rows(&[]), None);
    }

    #[test]
    fn measurements_are_kept_by_adapter_driver_and_tier_and_the_newest_counts() {
        let of = |driver: &str, time| Record {
            adapter: "a card".to_owned(),
            driver: driver.to_owned(),
            tier: "f16".to_owned(),
            products: vec![timed(&[Some(10.0), Some(time)])],
        };
        let mut records = Records::default();
        records.add(of("1", 5.0));
        records.add(of("2", 20.0));
        records.add(of("1", 30.0));
        assert_eq!(records.devices, [of("1", 30.0), of("2", 20.0)]);
        assert_eq!(records.find(&Record { tier: "matrix".to_owned(), ..of("1", 0.0) }), None);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        assert_eq!(Records::read(&path).unwrap(), Records::default());
        std::fs::write(&path, serde_json::to_string(&records).unwrap()).unwrap();
        assert_eq!(Records::read(&path).unwrap(), records);
        std::fs::write(&path, "[1, 2").unwrap();
        assert!(Records::read(&path).is_err());
    }

    #[test]
    fn they_are_kept_among_the_caches_of_the_user() {
        let place = |name: &'static str, value: &'static str| {
            file(&move |asked| (asked == name).then(|| PathBuf::from(value)), Some(PathBuf::from("/home/a")))
        };
        assert_eq!(place("MIGM_TUNED", "/here.json"), Some(PathBuf::from("/here.json")));
        assert_eq!(place("XDG_CACHE_HOME", "/c"), Some(PathBuf::from("/c/migm/tuned.json")));
        assert!(place("", "").unwrap().starts_with("/home/a"));
        assert_eq!(file(&|_| None, None), None);
    }
}
