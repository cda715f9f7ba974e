// Weight matrices [N, K]. The importer's `params` has `inner` = K.
// Plain rows are padded with zeros to a multiple of four; half precision is two f16 in each u32, read with
// `unpack2x16float`: storage only, all arithmetic is in f32. A quantised row is its values, then its scales
// (`kernels/quantized.rs`): INT8 has four values in a u32 and one f32 scale; INT4 has eight values in a u32, padded to
// whole groups of GROUP, and two bf16 scales in a u32, one a group.

#ifdef F16_WEIGHTS
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>; // [N, padded(inner) / 4]
#else
#ifdef INT8
@group(0) @binding(2) var<storage, read> weight: array<u32>;       // [N, padded(inner) / 4 + 1]
#else
#ifdef INT4
@group(0) @binding(2) var<storage, read> weight: array<u32>;       // [N, groups * GROUP / 8 + (groups + 1) / 2]
#else
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>; // [N, padded(inner) / 4]
#endif
#endif
#endif

// Elements 4 * k4 .. 4 * k4 + 4 of a row; `k4` is below ceil(inner / 4).
fn weight_at(row: u32, k4: u32) -> vec4<f32> {
#ifdef INT4
    let groups = (params.inner + GROUP - 1u) / GROUP;
    let values = groups * (GROUP / 8u);
    let start = row * (values + (groups + 1u) / 2u);
    let g = k4 / (GROUP / 4u);
    // The upper half of an f32 is a bf16.
    let scale = bitcast<f32>((weight[start + values + g / 2u] >> (16u * (g % 2u))) << 16u);
    let packed = weight[start + k4 / 2u] >> (16u * (k4 % 2u));
    // To the top of the word and down again, which copies the sign.
    let wide = bitcast<vec4<i32>>(vec4<u32>(packed) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u);
    return vec4<f32>(wide) * scale;
#else
    let width = (params.inner + 3u) / 4u;
#ifdef INT8
    let start = row * (width + 1u);
    let scale = bitcast<f32>(weight[start + width]);
    let wide = bitcast<vec4<i32>>(vec4<u32>(weight[start + k4]) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
    return vec4<f32>(wide) * scale;
#else
    let at = row * width + k4;
#ifdef F16_WEIGHTS
    let packed = weight[at];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
#else
    return weight[at];
#endif
#endif
#endif
}
