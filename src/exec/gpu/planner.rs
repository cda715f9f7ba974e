//! Which tile and which split of K a matrix product takes on a device: by rule, or as `tune` has measured.
//!
//! No interface of a graphics system says how many workgroups keep a device busy, nor what its loads cost. The rule is an estimate from the
//! shaders' text: instructions of an invocation, times rounds of workgroups. Tiles never change a result: its sum is the same, in the same
//! order. Splits do, so that the portable tier, which is what "the same tokens" means, has none.

use super::tier::{PRODUCTS, Tier};
use crate::kernels::{Product, shader::Permutation, split_workgroups};
use std::collections::HashMap;

/// Columns of every tile of `shared/gemm_tile.wgsl`.
const COLUMNS: u32 = 64;
/// What a second dispatch costs, in an invocation's instructions on four numbers each: some 5 microseconds.
const SECOND_DISPATCH: f64 = 2000.0;
/// The least of K that a part is worth.
const LEAST_OF_K: u32 = 64;
/// The most that sums of parts may take, in bytes.
const MOST_BETWEEN: u64 = 64 << 20;

/// How a product is cut into workgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cut {
    /// Rows of a tile: 16, 32, 64 or 128.
    pub rows: u32,
    /// Parts of K.
    pub parts: u32,
}

impl Default for Cut {
    fn default() -> Self {
        Self { rows: 64, parts: 1 }
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {COLUMNS}", self.rows)?;
        if self.parts > 1 { write!(f, " in {} parts", self.parts) } else { Ok(()) }
    }
}

impl Cut {
    /// A product's shader for this tile. `SPLIT` is the kernel's own affair.
    pub(super) fn specialise(self, permutation: Permutation) -> Permutation {
        permutation
            .flag("HALF_ROWS", self.rows <= 32)
            .flag("QUARTER_ROWS", self.rows <= 16)
            .flag("TALL", self.rows == 128)
    }

    /// Workgroups of a product.
    pub(super) fn workgroups(self, product: Product) -> [u32; 3] {
        let [x, y, _] = split_workgroups(self.tiles(product));
        [x, y, self.parts]
    }

    fn tiles(self, product: Product) -> u32 {
        product.m.div_ceil(self.rows) * product.n.div_ceil(COLUMNS)
    }
}

/// A product by what its time depends on: the shader with its formats and epilogue, and sizes. Rows change from step to step, and count by
/// powers of two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// `linear+f16_weights`.
    pub kernel: String,
    /// Rows, rounded up to a power of two; length of sums; columns.
    pub sizes: [u32; 3],
}

impl Shape {
    /// Of a product as kernels declare it. Epilogues do not count.
    pub(super) fn new(permutation: &Permutation, product: Product) -> Self {
        let mut kernel = permutation.shader.to_owned();
        let formats = permutation.flags.iter().filter(|flag| ["F16_WEIGHTS", "INT8", "INT4"].contains(flag));
        formats.for_each(|flag| kernel.push_str(&format!("+{}", flag.to_lowercase())));
        Self { kernel, sizes: [product.m.next_power_of_two(), product.k, product.n] }
    }
}

/// The planner of a device.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    tier: Tier,
    /// Workgroups of 128 invocations that keep the device busy.
    busy: u32,
    /// Whether a processor runs the shaders.
    is_software: bool,
    /// What was measured on this device.
    measured: HashMap<Shape, Cut>,
    /// Taken for every product that can be cut so.
    forced: Option<Cut>,
}

impl Planner {
    /// By rule, for a device of a kind.
    pub fn new(tier: Tier, kind: wgpu::DeviceType) -> Self {
        let busy = match kind {
            wgpu::DeviceType::DiscreteGpu => 160,
            wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::Other => 32,
            wgpu::DeviceType::VirtualGpu => 64,
            wgpu::DeviceType::Cpu => 4,
        };
        let is_software = kind == wgpu::DeviceType::Cpu;
        Self { tier, busy, is_software, measured: HashMap::new(), forced: None }
    }

    /// With what was measured before the rule.
    #[must_use]
    pub fn with_measured(self, measured: HashMap<Shape, Cut>) -> Self {
        Self { measured, ..self }
    }

    /// One cut for every product that can be cut so, the others by rule.
    #[must_use]
    pub fn always(self, cut: Cut) -> Self {
        Self { forced: Some(cut), ..self }
    }

    /// How many shapes were measured.
    pub fn measured(&self) -> usize {
        self.measured.len()
    }

    /// The cut of a kernel's product. `between` tells the bytes of sums over parts at the kernel's largest step, of one part; `None` if
    /// it cannot be split.
    pub(super) fn cut(&self, permutation: &Permutation, product: Product, between: Option<u64>) -> Cut {
        if !PRODUCTS.contains(&permutation.shader) {
            return Cut::default();
        }
        let possible = self.possible(product, between);
        let asked = self.forced.or_else(|| self.measured.get(&Shape::new(permutation, product)).copied());
        match asked {
            Some(cut) if possible.contains(&cut) => cut,
            _ => self.by_rule(product, &possible),
        }
    }

    /// At most eight cuts worth timing, the one of the rule first.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn candidates(&self, product: Product, between: Option<u64>) -> Vec<Cut> {
        let mut all = self.possible(product, between);
        all.sort_by(|a, b| self.estimate(product, *a).total_cmp(&self.estimate(product, *b)));
        let first = self.by_rule(product, &all);
        all.retain(|cut| *cut != first);
        all.insert(0, first);
        all.truncate(8);
        all
    }

    /// Every cut that computes the product on this tier, the whole tile first.
    fn possible(&self, product: Product, between: Option<u64>) -> Vec<Cut> {
        // On matrix units 128 rows are more sums than a subgroup has registers for.
        let tall = !matches!(self.tier, Tier::Matrix { .. });
        let rows = [64, 32, 16].into_iter().chain(tall.then_some(128));
        let most = match between {
            // Where tokens must be the same everywhere, so must the order of sums be.
            Some(bytes) if self.tier != Tier::Portable => {
                (product.k / LEAST_OF_K).min((MOST_BETWEEN / bytes.max(1)).try_into().unwrap_or(u32::MAX))
            }
            _ => 1,
        };
        rows.flat_map(|rows| [1, 2, 4, 8].map(|parts| Cut { rows, parts }))
            .filter(|cut| cut.parts == 1 || cut.parts <= most)
            .collect()
    }

    /// The least estimate of those that are not left to measuring: 128 rows win on some devices and spill registers on others.
    fn by_rule(&self, product: Product, possible: &[Cut]) -> Cut {
        let sensible = possible.iter().filter(|cut| cut.rows <= 64);
        let least = sensible
            .min_by(|a, b| self.estimate(product, **a).total_cmp(&self.estimate(product, **b)))
            .copied();
        least.unwrap_or_default()
    }

    /// The instructions on four numbers that an invocation has behind it when the product is made.
    fn estimate(&self, product: Product, cut: Cut) -> f64 {
        let rows = f64::from(cut.rows);
        // Of one step of four along K.
        let (instructions, size) = match self.tier {
            // What Mesa's software driver has been measured to take: 64, 32 and 16 rows in 4.7, 3.3 and 2.6.
            _ if self.is_software && cut.rows <= 64 => (rows / 8.0 + 5.5, 1.0),
            Tier::Matrix { .. } => (rows / 8.0 + (rows + 64.0) / 16.0, 1.0),
            // Each row of an invocation is four dot products of four and a load; four loads of different columns, each as long as two,
            // serve all; and what all stage together.
            _ => {
                let invocations = if cut.rows == 128 { 2.0 } else { 1.0 };
                (5.0 * rows / 8.0 / invocations + 8.0 + (rows + 64.0) / 32.0 / invocations, invocations)
            }
        };
        let rounds = |workgroups: f64| (workgroups / f64::from(self.busy)).max(1.0);
        let parts = f64::from(cut.parts);
        let steps = (f64::from(product.k) / 4.0 / parts).ceil();
        let mut all = rounds(f64::from(cut.tiles(product)) * parts * size) * steps * instructions;
        if cut.parts > 1 {
            let results = f64::from(product.m) * f64::from(product.n);
            all += SECOND_DISPATCH + rounds(results / 128.0) * (2.0 * parts + 4.0);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: Tier = Tier::Matrix { edge: 16, lanes: 32 };

    fn card(tier: Tier) -> Planner {
        Planner::new(tier, wgpu::DeviceType::DiscreteGpu)
    }

    fn cut(planner: &Planner, [m, k, n]: [u32; 3]) -> Cut {
        let between = Some(4 * u64::from(m) * u64::from(n));
        planner.cut(&Permutation::new("linear"), Product { m, k, n }, between)
    }

    fn whole(rows: u32) -> Cut {
        Cut { rows, parts: 1 }
    }

    #[test]
    fn a_product_of_few_rows_takes_a_tile_of_few_rows() {
        for kind in [wgpu::DeviceType::DiscreteGpu, wgpu::DeviceType::IntegratedGpu, wgpu::DeviceType::Cpu] {
            for tier in [Tier::Portable, Tier::F16] {
                assert_eq!(cut(&Planner::new(tier, kind), [9, 192, 4096]).rows, 16, "{kind:?}");
            }
        }
    }

    #[test]
    fn the_products_of_maskgit_512_take_the_whole_tile() {
        // Two halves of guidance, 1025 rows each.
        for tier in [Tier::Portable, Tier::Subgroup, Tier::F16, MATRIX] {
            for sizes in [[2050, 768, 2304], [2050, 768, 3072], [2050, 3072, 768]] {
                assert_eq!(cut(&card(tier), sizes), whole(64), "{tier} {sizes:?}");
            }
        }
    }

    #[test]
    fn a_product_that_would_leave_a_card_idle_is_cut_into_lower_tiles() {
        // The bundled text model's projections: three columns of tiles.
        assert_eq!(cut(&card(Tier::Portable), [544, 192, 192]), whole(16));
        assert_eq!(Cut { rows: 64, parts: 1 }.tiles(Product { m: 544, k: 192, n: 192 }), 27);
        assert_eq!(
            cut(&card(Tier::Portable), [544, 192, 192]).tiles(Product { m: 544, k: 192, n: 192 }),
            102
        );
    }

    #[test]
    fn software_has_no_use_for_more_workgroups_than_threads() {
        let software = Planner::new(Tier::Portable, wgpu::DeviceType::Cpu);
        assert_eq!(cut(&software, [544, 192, 192]).rows, 64);
    }

    #[test]
    fn rows_that_are_not_there_are_not_computed_where_a_lower_tile_costs_less() {
        let software = Planner::new(Tier::Portable, wgpu::DeviceType::Cpu);
        assert_eq!(cut(&software, [33, 768, 3072]).rows, 64, "one tile of 64 is faster than two of 32");
        assert_eq!(cut(&software, [32, 768, 3072]).rows, 32);
        assert_eq!(cut(&card(Tier::Portable), [33, 768, 3072]).rows, 16, "a card has 144 workgroups so");
    }

    #[test]
    fn a_long_sum_of_few_results_is_split() {
        // Lumina-DiMOO's feed-forward over the tokens that one step reveals.
        let sizes = [16, 12_288, 512];
        assert_eq!(cut(&card(Tier::F16), sizes), Cut { rows: 16, parts: 8 });
        assert!(cut(&card(MATRIX), sizes).parts > 1);
    }

    #[test]
    fn a_short_sum_is_not_split_as_the_second_dispatch_costs_more() {
        assert_eq!(cut(&card(Tier::F16), [16, 192, 192]).parts, 1);
    }

    #[test]
    fn enough_workgroups_are_not_split() {
        assert_eq!(cut(&card(Tier::F16), [2050, 3072, 768]).parts, 1);
    }

    #[test]
    fn nothing_is_split_where_tokens_must_be_the_same() {
        let portable = card(Tier::Portable);
        assert_eq!(cut(&portable, [16, 12_288, 512]), whole(16));
        assert!(
            portable
                .candidates(Product { m: 16, k: 12_288, n: 512 }, Some(4 * 16 * 512))
                .iter()
                .all(|cut| cut.parts == 1)
        );
    }

    #[test]
    fn a_kernel_that_cannot_be_split_is_not_and_one_without_a_tile_has_no_choice() {
        let product = Product { m: 16, k: 12_288, n: 512 };
        assert_eq!(card(Tier::F16).cut(&Permutation::new("conv2d"), product, None).parts, 1);
        assert_eq!(card(Tier::F16).cut(&Permutation::new("attention"), product, None), Cut::default());
    }

    #[test]
    fn sums_of_parts_stay_within_their_memory() {
        // As many results at the largest step as half of what there may be: two parts, no more.
        let product = Product { m: 16, k: 12_288, n: 512 };
        let most = card(Tier::F16).candidates(product, Some(MOST_BETWEEN / 2));
        assert_eq!(most.iter().map(|cut| cut.parts).max(), Some(2));
    }

    #[test]
    fn what_was_measured_comes_before_the_rule_for_as_many_rows_or_nearly() {
        let linear =
            Permutation::new("linear").flag("VEC4", true).flag("F16_WEIGHTS", true).flag("BIAS", true);
        let product = Product { m: 130, k: 192, n: 192 };
        let measured = HashMap::from([(Shape::new(&linear, product), whole(128))]);
        let planner = card(Tier::F16).with_measured(measured);
        let of = |permutation: &Permutation, m| planner.cut(permutation, Product { m, ..product }, None);
        assert_eq!(of(&linear, 130), whole(128));
        assert_eq!(of(&linear, 250), whole(128), "the same power of two");
        assert_ne!(of(&linear, 300), whole(128));
        assert_ne!(of(&Permutation::new("linear"), 130), whole(128), "of weights in f32");
        assert_eq!(of(&linear.flag("GELU", true), 130), whole(128), "with another epilogue");
    }

    #[test]
    fn what_was_measured_elsewhere_and_cannot_be_done_here_is_passed_over() {
        let linear = Permutation::new("linear");
        let product = Product { m: 16, k: 12_288, n: 512 };
        let measured = HashMap::from([(Shape::new(&linear, product), Cut { rows: 16, parts: 8 })]);
        assert_eq!(card(Tier::Portable).with_measured(measured).cut(&linear, product, Some(1)), whole(16));
    }

    #[test]
    fn at_most_eight_candidates_are_timed_and_the_first_is_the_rules() {
        for sizes in [[16, 12_288, 512], [2050, 768, 3072], [1, 1, 1]] {
            let [m, k, n] = sizes;
            for tier in [Tier::Portable, Tier::F16, MATRIX] {
                let planner = card(tier);
                let candidates = planner.candidates(Product { m, k, n }, Some(4 * u64::from(m * n)));
                assert!((3..=8).contains(&candidates.len()));
                assert_eq!(candidates[0], cut(&planner, sizes));
                let tall = candidates.iter().any(|cut| cut.rows == 128);
                assert!(!(tall && matches!(tier, Tier::Matrix { .. })));
            }
        }
    }

    #[test]
    fn a_tile_is_told_to_the_shader_by_flags() {
        let of = |rows| Cut { rows, parts: 1 }.specialise(Permutation::new("linear")).to_string();
        assert_eq!(of(16), "linear+half_rows+quarter_rows");
        assert_eq!(of(32), "linear+half_rows");
        assert_eq!(of(64), "linear");
        assert_eq!(of(128), "linear+tall");
    }
}
