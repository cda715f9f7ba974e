// linear: y[r, o] = act(x[r] . weight[weight_row + o] + bias[bias_row + o]), plus the old y[r, o] where accumulating.
// SPLIT stops at sums over parts of K, which `sum_parts` goes on from.
#import input
#import result
#import gemm_tile
#import store_each
#import weights
#import activation

struct Params {
    rows: u32,
    inner: u32,
    outer: u32,
    weight_row: u32,
    bias_row: u32,
    x_row: u32,   // the first row of x
    y_start: u32, // the first element of y
    y_width: u32, // from one row of y to the next
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<X>>;      // [at least x_row + rows, inner / 4]
#else
@group(0) @binding(1) var<storage, read> x: array<X>;            // [at least x_row + rows, inner]
#endif
// binding 2: weight, [at least weight_row + outer, padded(inner)]
#ifdef BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;       // [at least bias_row + outer]
#endif
@group(0) @binding(4) var<storage, read_write> y: array<Y>;      // rows of y_width; SPLIT: [parts, rows, outer]

struct Row { index: u32, inside: bool }

fn find_row(row: u32) -> Row {
    return Row(params.x_row + row, row < params.rows);
}

fn load_x(row: Row, k4: u32) -> vec4<f32> {
    var v = vec4<f32>();
    if row.inside {
#ifdef VEC4
        let width = params.inner / 4u;
        if k4 < width {
            v = vec4<f32>(x[row.index * width + k4]);
        }
#else
        let at = row.index * params.inner + 4u * k4;
        let left = params.inner - min(4u * k4, params.inner);
        if left > 0u { v.x = f32(x[at]); }
        if left > 1u { v.y = f32(x[at + 1u]); }
        if left > 2u { v.z = f32(x[at + 2u]); }
        if left > 3u { v.w = f32(x[at + 3u]); }
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

fn store(row: Row, column: u32, sum: f32) {
    if !row.inside || column >= params.outer {
        return;
    }
#ifdef SPLIT
    y[(part * params.rows + row.index - params.x_row) * params.outer + column] = Y(sum);
#else
    var value = sum;
#ifdef BIAS
    value += bias[params.bias_row + column];
#endif
    value = activate(value);
    let at = params.y_start + (row.index - params.x_row) * params.y_width + column;
#ifdef ACCUMULATE
    value += f32(y[at]);
#endif
    y[at] = Y(value);
#endif
}
