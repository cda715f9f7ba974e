//! Tiers: what a device computes products with beyond WebGPU's defaults, chosen once for a device.
//!
//! Kernels are written once, for the portable tier; on the others `Tier::specialise` has the shaders that multiply through
//! `shared/gemm_tile.wgsl` take another tile. The portable tier is what "the same tokens" means everywhere; the others round the
//! operands of products to f16 and keep sums, norms, softmax and sampling in f32.

use crate::kernels::shader::Permutation;

/// What products are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// WebGPU's default limits, f32, no subgroups: runs everywhere.
    #[default]
    Portable,
    /// The adapter has `shader-f16`: operands of products are staged in half the memory.
    F16,
    /// The adapter multiplies 8 x 8 matrices of f16 into f32, by a subgroup of so many lanes at once.
    Matrix {
        /// Lanes of every subgroup.
        lanes: u32,
    },
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::F16 => "f16",
            Self::Matrix { .. } => "matrix",
        })
    }
}

/// Subgroups of a workgroup of `shared/matrix_tile.wgsl`.
const SUBGROUPS: u32 = 8;
/// Shaders that multiply through `shared/gemm_tile.wgsl`.
const PRODUCTS: [&str; 4] = ["conv2d", "head_max", "linear", "masked_logits"];

impl Tier {
    /// Every tier that an adapter has, the portable one first.
    pub fn offered(adapter: &wgpu::Adapter) -> Vec<Self> {
        let (features, info) = (adapter.features(), adapter.get_info());
        let mut offered = vec![Self::Portable];
        if !features.contains(wgpu::Features::SHADER_F16) {
            return offered;
        }
        offered.push(Self::F16);
        let has_matrices = adapter.cooperative_matrix_properties().iter().any(|matrix| {
            [matrix.m_size, matrix.n_size, matrix.k_size] == [8; 3]
                && matrix.ab_type == wgpu::CooperativeScalarType::F16
                && matrix.cr_type == wgpu::CooperativeScalarType::F32
        });
        // A subgroup whose size is the compiler's choice could not be given its part.
        let lanes = info.subgroup_min_size;
        let fits = lanes == info.subgroup_max_size
            && SUBGROUPS * lanes <= adapter.limits().max_compute_invocations_per_workgroup;
        if has_matrices && fits && features.contains(Self::Matrix { lanes }.features()) {
            offered.push(Self::Matrix { lanes });
        }
        offered
    }

    /// What a device is asked for.
    pub(super) fn features(self) -> wgpu::Features {
        let f16 = wgpu::Features::SHADER_F16;
        match self {
            Self::Portable => wgpu::Features::empty(),
            Self::F16 => f16,
            Self::Matrix { .. } => {
                f16 | wgpu::Features::SUBGROUP | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
            }
        }
    }

    /// A shader as this tier runs it.
    pub(crate) fn specialise(self, permutation: Permutation) -> Permutation {
        if !PRODUCTS.contains(&permutation.shader) {
            return permutation;
        }
        match self {
            Self::Portable => permutation,
            Self::F16 => permutation.flag("F16_TILES", true),
            Self::Matrix { lanes } => permutation.flag("MATRIX", true).constant("LANES", lanes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::shader::SHADERS;

    #[test]
    fn every_shader_with_the_tile_is_specialised_and_no_other() {
        let with_tile: Vec<&str> = SHADERS
            .iter()
            .filter(|(_, text)| text.lines().any(|line| line == "#import gemm_tile"))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(with_tile, PRODUCTS);
    }

    #[test]
    fn the_portable_tier_changes_nothing() {
        let linear = Permutation::new("linear").flag("BIAS", true);
        assert_eq!(Tier::Portable.specialise(linear.clone()), linear);
        assert_eq!(Tier::Matrix { lanes: 8 }.specialise(linear).to_string(), "linear+bias+matrix lanes=8");
    }
}
