// head_max: the largest logits of every row, without the logits. An invocation keeps the largest of its four columns of a tile:
// y[r, 16 * t + i] = max over j of (x[r] . weight[weight_row + c - first] + bias[r % bias_rows, c]), c = 64 * t + i + 16 * j.
#import gemm_tile
#import weights

struct Params {
    rows: u32,
    inner: u32,
    outer: u32, // codes whose rows the weight has
    weight_row: u32,
    bias_rows: u32,
    first: u32, // of these codes; a multiple of TILE_COLUMNS
    codes: u32, // in all
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;    // [rows, inner / 4]
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, inner]
#endif
// binding 2: weight, [at least weight_row + outer, padded(inner)]
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [bias_rows, codes]
#endif
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // [rows, 16 * tiles of codes]

// f32's lowest, exactly: in decimals it is refused by browsers, which read it as more than f32 holds.
const LOWEST = -0x1.fffffep+127f;

struct Row { index: u32, inside: bool }

fn find_row(row: u32) -> Row {
    return Row(row, row < params.rows);
}

fn load_x(row: Row, k4: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if row.inside {
#ifdef VEC4
        let width = params.inner / 4u;
        if k4 < width {
            v = x[row.index * width + k4];
        }
#else
        let at = row.index * params.inner + 4u * k4;
        let left = params.inner - min(4u * k4, params.inner);
        if left > 0u { v.x = x[at]; }
        if left > 1u { v.y = x[at + 1u]; }
        if left > 2u { v.z = x[at + 2u]; }
        if left > 3u { v.w = x[at + 3u]; }
#endif
    }
    return v;
}

fn load_w(column: u32, k4: u32) -> vec4<f32> {
    if column < params.outer && 4u * k4 < params.inner {
        return weight_at(params.weight_row + column, k4);
    }
    return vec4<f32>();
}

fn logit(row: u32, column: u32, sum: f32) -> f32 {
    if column >= params.outer {
        return LOWEST;
    }
#ifdef BIAS
    return sum + bias[row % params.bias_rows * params.codes + params.first + column];
#else
    return sum;
#endif
}

fn store_columns(row: u32, column: u32, sums: vec4<f32>) {
    if row >= params.rows {
        return;
    }
    let first = max(logit(row, column, sums.x), logit(row, column + 16u, sums.y));
    let last = max(logit(row, column + 32u, sums.z), logit(row, column + 48u, sums.w));
    let width = 16u * ((params.codes + TILE_COLUMNS - 1u) / TILE_COLUMNS);
    y[row * width + 16u * ((params.first + column) / TILE_COLUMNS) + column % 16u] = max(first, last);
}
