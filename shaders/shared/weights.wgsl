// Weight matrices [N, K], rows padded with zeros to a multiple of four. The importer's `params` has `inner` = K.
// Half precision is two f16 in each u32, read with `unpack2x16float`: storage only, all arithmetic is in f32.

#ifdef F16_WEIGHTS
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>; // [N, padded(inner) / 4]
#else
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>; // [N, padded(inner) / 4]
#endif

// Elements 4 * k4 .. 4 * k4 + 4 of a row; `k4` is below ceil(inner / 4).
fn weight_at(row: u32, k4: u32) -> vec4<f32> {
    let at = row * ((params.inner + 3u) / 4u) + k4;
#ifdef F16_WEIGHTS
    let packed = weight[at];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
#else
    return weight[at];
#endif
}
