// One element of an embedding table whose rows are padded to a multiple of four, in either weight format.

#ifdef F16_WEIGHTS
@group(0) @binding(3) var<storage, read> table: array<u32>;
#else
@group(0) @binding(3) var<storage, read> table: array<f32>;
#endif

fn table_at(row: u32, width: u32, i: u32) -> f32 {
    let stride = (width + 3u) / 4u * 4u;
#ifdef F16_WEIGHTS
    return unpack2x16float(table[(row * stride + i) / 2u])[i % 2u];
#else
    return table[row * stride + i];
#endif
}
