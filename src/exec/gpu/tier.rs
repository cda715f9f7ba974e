//! Tiers: what a device computes with beyond WebGPU's defaults, chosen once for a device.
//!
//! Kernels are written once, for the portable tier; on the others `Tier::specialise` has some of them take another part: sums over
//! rows, the tile of products, attention. The portable tier is what "the same tokens" means everywhere. Subgroups add up in another
//! order; the tiers above round the operands of products and of attention to f16 and keep sums, norms, softmax and sampling in f32.

use crate::kernels::attention::{ROWS, matrix_rows};
use crate::kernels::shader::Permutation;

/// What kernels are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// WebGPU's default limits, f32, no subgroups: runs everywhere.
    #[default]
    Portable,
    /// Sums and maxima over rows are made among the invocations of a subgroup first.
    Subgroup,
    /// The adapter has `shader-f16`: operands of products and attention are staged in half the memory.
    F16,
    /// The adapter multiplies matrices of f16 into f32, by a subgroup at once; rows are summed as by [`Tier::Subgroup`].
    Matrix {
        /// Rows and columns of a matrix: 8 or 16.
        edge: u32,
        /// Invocations of every subgroup.
        lanes: u32,
    },
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Subgroup => "subgroup",
            Self::F16 => "f16",
            Self::Matrix { .. } => "matrix",
        })
    }
}

/// Shaders that multiply through `shared/gemm_tile.wgsl`.
pub(super) const PRODUCTS: [&str; 4] = ["conv2d", "head_max", "linear", "masked_logits"];
/// Shaders that reduce through `shared/lanes.wgsl`.
const REDUCTIONS: [&str; 3] = ["layer_norm", "rms_norm", "row_max"];
/// The widest head of `attention_matrix.wgsl`, in fours of columns: 128.
const WIDEST_HEAD4: u32 = 32;
/// Workgroup memory of `attention_matrix.wgsl`: twice WebGPU's default, and what graphics hardware has.
pub(crate) const MATRIX_WORKGROUP_BYTES: u32 = 32 << 10;

impl Tier {
    /// Every tier that an adapter has, the portable one first, each better than those before.
    pub fn offered(adapter: &wgpu::Adapter) -> Vec<Self> {
        let (features, info) = (adapter.features(), adapter.get_info());
        let matrices: Vec<u32> = adapter
            .cooperative_matrix_properties()
            .iter()
            .filter(|matrix| {
                matrix.m_size == matrix.n_size
                    && matrix.n_size == matrix.k_size
                    && matrix.ab_type == wgpu::CooperativeScalarType::F16
                    && matrix.cr_type == wgpu::CooperativeScalarType::F32
            })
            .map(|matrix| matrix.m_size)
            .collect();
        let lanes = (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_min_size);
        Self::of(features, &matrices, lanes, &adapter.limits())
    }

    /// The same from what an adapter says: its square matrices by their edge, its subgroups' size where that is not the compiler's
    /// choice, without which an invocation could not be given its part of a matrix.
    fn of(features: wgpu::Features, edges: &[u32], lanes: Option<u32>, limits: &wgpu::Limits) -> Vec<Self> {
        let mut offered = vec![Self::Portable];
        offered.extend(features.contains(Self::Subgroup.features()).then_some(Self::Subgroup));
        offered.extend(features.contains(Self::F16.features()).then_some(Self::F16));
        // The larger ones first: they need fewer loads for a product.
        let edge = [16, 8].into_iter().find(|edge| edges.contains(edge));
        if let (Some(edge), Some(lanes)) = (edge, lanes) {
            let fits = 64 / edge * lanes <= limits.max_compute_invocations_per_workgroup
                && limits.max_compute_workgroup_storage_size >= MATRIX_WORKGROUP_BYTES;
            let matrix = Self::Matrix { edge, lanes };
            offered.extend((fits && features.contains(matrix.features())).then_some(matrix));
        }
        offered
    }

    /// What a device is asked for.
    pub(super) fn features(self) -> wgpu::Features {
        let f16 = wgpu::Features::SHADER_F16;
        match self {
            Self::Portable => wgpu::Features::empty(),
            Self::Subgroup => wgpu::Features::SUBGROUP,
            Self::F16 => f16,
            Self::Matrix { .. } => {
                f16 | wgpu::Features::SUBGROUP | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            }
        }
    }

    /// The limits that a device is asked for, if others would have been `limits`.
    pub(super) fn limits(self, mut limits: wgpu::Limits) -> wgpu::Limits {
        if let Self::Matrix { .. } = self {
            let bytes = &mut limits.max_compute_workgroup_storage_size;
            *bytes = (*bytes).max(MATRIX_WORKGROUP_BYTES);
        }
        limits
    }

    /// Whether operands of products are rounded to f16.
    pub fn rounds(self) -> bool {
        matches!(self, Self::F16 | Self::Matrix { .. })
    }

    /// A shader as this tier runs it.
    pub(crate) fn specialise(self, mut permutation: Permutation) -> Permutation {
        let shader = permutation.shader;
        let reduces = REDUCTIONS.contains(&shader);
        match self {
            Self::Subgroup | Self::Matrix { .. } if reduces => permutation.flag("SUBGROUPS", true),
            Self::F16 if PRODUCTS.contains(&shader) || shader.starts_with("attention") => {
                permutation.flag("F16_TILES", true)
            }
            Self::Matrix { edge, lanes } if PRODUCTS.contains(&shader) => {
                permutation.flag("MATRIX", true).flag("EDGE16", edge == 16).constant("LANES", lanes)
            }
            Self::Matrix { edge, lanes } if shader.starts_with("attention") => {
                let head4 = head4(&permutation);
                if head4 > WIDEST_HEAD4 {
                    return permutation.flag("F16_TILES", true);
                }
                permutation.shader = "attention_matrix";
                permutation
                    .flag("EDGE16", edge == 16)
                    .constant("LANES", lanes)
                    .constant("QUERIES", matrix_rows(head4))
            }
            _ => permutation,
        }
    }

    /// Workgroups that take the place of one of the portable tier's, along x.
    pub(super) fn workgroups_for_one(self, permutation: &Permutation) -> u32 {
        match self {
            Self::Matrix { .. } if permutation.shader == "attention" => {
                ROWS / matrix_rows(head4(permutation))
            }
            _ => 1,
        }
    }
}

/// Fours of columns of an attention's head.
fn head4(permutation: &Permutation) -> u32 {
    permutation.constants.iter().find(|(name, _)| *name == "HEAD4").map_or(u32::MAX, |&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::shader::SHADERS;

    fn importing(import: &str) -> Vec<&'static str> {
        let has = |text: &str| text.lines().any(|line| line == format!("#import {import}"));
        SHADERS.iter().filter(|(_, text)| has(text)).map(|(name, _)| *name).collect()
    }

    #[test]
    fn every_shader_with_a_part_of_another_tier_is_specialised_and_no_other() {
        assert_eq!(importing("gemm_tile"), PRODUCTS);
        assert_eq!(importing("lanes"), REDUCTIONS);
        assert_eq!(importing("attention_operands"), ["attention", "attention_matrix", "attention_wide"]);
    }

    #[test]
    fn the_portable_tier_changes_nothing() {
        for shader in ["linear", "rms_norm", "attention"] {
            let permutation = Permutation::new(shader).flag("BIAS", true).constant("HEAD4", 8);
            assert_eq!(Tier::Portable.specialise(permutation.clone()), permutation);
            assert_eq!(Tier::Portable.workgroups_for_one(&permutation), 1);
        }
    }

    #[test]
    fn matrix_units_take_products_attention_and_the_sums_of_rows() {
        let tier = Tier::Matrix { edge: 16, lanes: 32 };
        let of = |permutation| tier.specialise(permutation).to_string();
        let attention = |head4| Permutation::new("attention").constant("HEAD4", head4);
        assert_eq!(of(Permutation::new("linear").flag("BIAS", true)), "linear+bias+matrix+edge16 lanes=32");
        assert_eq!(of(Permutation::new("rms_norm")), "rms_norm+subgroups");
        assert_eq!(of(attention(16)), "attention_matrix+edge16 head4=16 lanes=32 queries=32");
        assert_eq!(tier.workgroups_for_one(&attention(16)), 2);
    }

    #[test]
    fn heads_too_wide_for_workgroup_memory_are_staged_in_f16() {
        let wide = Permutation::new("attention_wide").constant("HEAD4", 33);
        let tier = Tier::Matrix { edge: 8, lanes: 32 };
        assert_eq!(tier.specialise(wide.clone()).to_string(), "attention_wide+f16_tiles head4=33");
        assert_eq!(tier.workgroups_for_one(&wide), 1);
    }

    #[test]
    fn an_adapter_offers_what_it_says_and_what_fits() {
        let all = wgpu::Features::all();
        let limits =
            wgpu::Limits { max_compute_workgroup_storage_size: MATRIX_WORKGROUP_BYTES, ..Default::default() };
        let names = |features, edges: &[u32], lanes, limits: &wgpu::Limits| {
            Tier::of(features, edges, lanes, limits).iter().map(Tier::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(wgpu::Features::empty(), &[16], Some(32), &limits), "portable");
        assert_eq!(names(all, &[], Some(32), &limits), "portable subgroup f16");
        assert_eq!(names(all, &[8], Some(32), &limits), "portable subgroup f16 matrix");
        assert_eq!(names(all, &[8], None, &limits), "portable subgroup f16", "subgroups of varying sizes");
        assert_eq!(names(all, &[8], Some(64), &limits), "portable subgroup f16", "512 invocations");
        assert_eq!(names(all, &[8], Some(32), &wgpu::Limits::default()), "portable subgroup f16", "16 KiB");
        let both = Tier::of(all, &[8, 16], Some(32), &limits);
        assert_eq!(both.last(), Some(&Tier::Matrix { edge: 16, lanes: 32 }));
    }
}
