// masked_logits: logits[first_row + s * masked + j, column + c] = features[s, row of p] . weight[c] + bias[p, column + c],
// where p = positions[image of s, first_masked + j]: the product with (rows of) the token embedding, for masked positions only.
#import gemm_tile
#import store_each
#import weights

struct Params {
    rows: u32,    // sequences * masked
    inner: u32,   // hidden
    outer: u32,   // codes whose rows the weight has
    masked: u32,  // positions per image that are masked at this step
    images: u32,  // sequence s belongs to image s % images
    tokens: u32,  // positions per image, the row stride of `positions`
    sequence_length: u32,
    start: u32,     // position p is row start + p + p / columns of its sequence
    columns: u32,
    first_row: u32, // of the logits
    column: u32,    // the first code of the weight
    codebook: u32,
    first_masked: u32,
    gathered: u32,  // whether features have a row for each of the logits, in their order
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> features: array<vec4<f32>>;     // [sequences, sequence_length, hidden / 4], or [rows, hidden / 4]
#else
@group(0) @binding(1) var<storage, read> features: array<f32>;           // [sequences, sequence_length, hidden]
#endif
// binding 2: weight, the token embedding, [at least outer, padded(hidden)]
@group(0) @binding(3) var<storage, read> positions: array<u32>;          // [images, tokens]
#ifdef BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;               // [tokens, codebook]
#endif
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;       // [first_row + sequences * masked, codebook]

struct Row { index: u32, inside: bool, position: u32, feature: u32 }

fn find_row(row: u32) -> Row {
    if row >= params.rows {
        return Row(row, false, 0u, 0u);
    }
    let sequence = row / params.masked;
    let at = (sequence % params.images) * params.tokens + params.first_masked + row % params.masked;
    let position = min(positions[at], params.tokens - 1u);
    let feature = params.start + position + position / params.columns;
    let placed = sequence * params.sequence_length + feature;
    return Row(row, true, position, select(placed, row, params.gathered != 0u));
}

fn load_x(row: Row, k4: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if row.inside {
#ifdef VEC4
        let width = params.inner / 4u;
        if k4 < width {
            v = features[row.feature * width + k4];
        }
#else
        let at = row.feature * params.inner + 4u * k4;
        let left = params.inner - min(4u * k4, params.inner);
        if left > 0u { v.x = features[at]; }
        if left > 1u { v.y = features[at + 1u]; }
        if left > 2u { v.z = features[at + 2u]; }
        if left > 3u { v.w = features[at + 3u]; }
#endif
    }
    return v;
}

fn load_w(column: u32, k4: u32) -> vec4<f32> {
    if column < params.outer && 4u * k4 < params.inner {
        return weight_at(column, k4);
    }
    return vec4<f32>();
}

fn store(row: Row, column: u32, sum: f32) {
    if row.inside && column < params.outer {
        var logit = sum;
#ifdef BIAS
        logit += bias[row.position * params.codebook + params.column + column];
#endif
        logits[(params.first_row + row.index) * params.codebook + params.column + column] = logit;
    }
}
