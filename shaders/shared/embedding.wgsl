// One element of an embedding table, in any weight format: `weights.wgsl` tells how they lie.

#ifdef F16_WEIGHTS
@group(0) @binding(3) var<storage, read> table: array<u32>;
#else
#ifdef INT8
@group(0) @binding(3) var<storage, read> table: array<u32>;
#else
#ifdef INT4
@group(0) @binding(3) var<storage, read> table: array<u32>;
#else
@group(0) @binding(3) var<storage, read> table: array<f32>;
#endif
#endif
#endif

fn table_at(row: u32, width: u32, i: u32) -> f32 {
#ifdef INT4
    let groups = (width + GROUP - 1u) / GROUP;
    let values = groups * (GROUP / 8u);
    let start = row * (values + (groups + 1u) / 2u);
    let g = i / GROUP;
    let scale = bitcast<f32>((table[start + values + g / 2u] >> (16u * (g % 2u))) << 16u);
    return f32(bitcast<i32>(table[start + i / 8u] << (28u - 4u * (i % 8u))) >> 28u) * scale;
#else
    let stride = (width + 3u) / 4u * 4u;
#ifdef INT8
    let start = row * (stride / 4u + 1u);
    let scale = bitcast<f32>(table[start + stride / 4u]);
    return f32(bitcast<i32>(table[start + i / 4u] << (24u - 8u * (i % 4u))) >> 24u) * scale;
#else
#ifdef F16_WEIGHTS
    return unpack2x16float(table[(row * stride + i) / 2u])[i % 2u];
#else
    return table[row * stride + i];
#endif
#endif
#endif
}
