// sum_parts: the rest of a product whose sums were made in parts: y[r, o] = act(sum over p of parts[p, r, o] + bias[bias_row + o]), plus
// the old y[r, o] where accumulating. An invocation makes one result.
#import result
#import activation

struct Params {
    rows: u32,
    inner: u32,
    outer: u32,
    weight_row: u32,
    bias_row: u32,
    x_row: u32,
    y_start: u32, // the first element of y
    y_width: u32, // from one row of y to the next
    parts: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<f32>;      // [parts, rows, outer]
#ifdef BIAS
@group(0) @binding(2) var<storage, read> bias: array<f32>;       // [at least bias_row + outer]
#endif
@group(0) @binding(3) var<storage, read_write> y: array<Y>;      // rows of y_width

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = 64u * (group.x + group.y * groups.x) + lane;
    let results = params.rows * params.outer;
    if index >= results {
        return;
    }
    var value = 0.0;
    for (var part = 0u; part < params.parts; part++) {
        value += parts[part * results + index];
    }
    let column = index % params.outer;
#ifdef BIAS
    value += bias[params.bias_row + column];
#endif
    value = activate(value);
    let at = params.y_start + index / params.outer * params.y_width + column;
#ifdef ACCUMULATE
    value += f32(y[at]);
#endif
    y[at] = Y(value);
}
