//! Every shader in every permutation: parsed and validated by naga, within WebGPU's default limits, and translated to
//! SPIR-V, MSL, HLSL and GLSL. Needs no device.

use super::permutations::all as permutations;
use super::shader::Permutation;
use crate::exec::gpu::tier::MATRIX_WORKGROUP_BYTES;
use naga::{back, valid};

#[test]
fn every_permutation_is_valid_and_translates() {
    let all = permutations();
    assert!(all.len() > 100, "only {} permutations found", all.len());
    for permutation in all {
        check(&permutation);
    }
}

/// Browsers refuse a decimal that is more than f32 holds, which naga rounds: 3.4028235e38 is f32's largest only when rounded.
#[test]
fn decimals_are_within_f32() {
    for permutation in permutations() {
        let source = permutation.source().unwrap();
        let code = source.lines().map(|line| line.split("//").next().unwrap_or_default());
        for word in
            code.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || ".+-".contains(c))))
        {
            let number = word.trim_start_matches('-').trim_end_matches('f');
            if number.starts_with(|c: char| c.is_ascii_digit())
                && number.contains('e')
                && !number.starts_with("0x")
            {
                let value: f64 = number.parse().unwrap_or_else(|_| panic!("{permutation}: {word}"));
                assert!(value <= f64::from(f32::MAX), "{permutation}: {word}");
            }
        }
    }
}

fn check(permutation: &Permutation) {
    let source = permutation.source().unwrap();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{permutation}: {}", error.emit_to_string(&source)));
    // `unpack2x16float` needs wgpu's downlevel flag `SHADER_F16_IN_F32`, which all of WebGPU has; nothing else.
    let mut capabilities = valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if permutation.is_half() {
        capabilities |= valid::Capabilities::SHADER_FLOAT16;
    }
    if permutation.has_subgroups() {
        capabilities |= valid::Capabilities::SUBGROUP;
    }
    if permutation.has_matrices() {
        capabilities |= valid::Capabilities::COOPERATIVE_MATRIX;
    }
    let info = valid::Validator::new(valid::ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{permutation}: {}", error.emit_to_string(&source)));

    let of_space = |wanted: fn(&naga::AddressSpace) -> bool| {
        module.global_variables.iter().filter(move |(_, variable)| wanted(&variable.space))
    };
    let storage = of_space(|space| matches!(space, naga::AddressSpace::Storage { .. })).count();
    assert!(storage <= 8, "{permutation}: {storage} storage buffers");
    let workgroup: u32 = of_space(|space| *space == naga::AddressSpace::WorkGroup)
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    let most = if permutation.has_matrices() { MATRIX_WORKGROUP_BYTES } else { 16 << 10 };
    assert!(workgroup <= most, "{permutation}: {workgroup} bytes of workgroup memory");
    let [entry] = &module.entry_points[..] else { panic!("{permutation}: not one entry point") };
    let invocations: u32 = entry.workgroup_size.iter().product();
    assert!(invocations <= 256, "{permutation}: {invocations} invocations");

    back::spv::write_vec(&module, &info, &back::spv::Options::default(), None)
        .unwrap_or_else(|error| panic!("{permutation}: SPIR-V: {error}"));
    let mut options = back::msl::Options::default();
    if permutation.has_subgroups() {
        options.lang_version = (2, 3);
    }
    if permutation.flags.contains(&"EDGE16") {
        // Metal has 8 x 8 alone.
        return;
    }
    back::msl::write_string(&module, &info, &options, &back::msl::PipelineOptions::default())
        .unwrap_or_else(|error| panic!("{permutation}: MSL: {error}"));
    if permutation.has_matrices() {
        // naga writes them for Vulkan and Metal alone, and the tier is offered there alone.
        return;
    }
    let mut hlsl = String::new();
    let mut options = back::hlsl::Options::default();
    if permutation.is_half() || permutation.has_subgroups() {
        options.shader_model = back::hlsl::ShaderModel::V6_2;
    }
    let pipeline = back::hlsl::PipelineOptions::default();
    back::hlsl::Writer::new(&mut hlsl, &options, &pipeline)
        .write(&module, &info, None)
        .unwrap_or_else(|error| panic!("{permutation}: HLSL: {error}"));
    if permutation.is_half() || permutation.has_subgroups() {
        // WebGL, for which GLSL stands, has neither.
        return;
    }
    let mut glsl = String::new();
    let options = back::glsl::Options { version: back::glsl::Version::new_gles(310), ..Default::default() };
    let pipeline = back::glsl::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".to_owned(),
        multiview: None,
    };
    let policies = naga::proc::BoundsCheckPolicies::default();
    back::glsl::Writer::new(&mut glsl, &module, &info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .unwrap_or_else(|error| panic!("{permutation}: GLSL: {error}"));
}
