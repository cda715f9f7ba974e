// scatter_rows: y[indices[r]] = x[r], an invocation an element; rows whose index is out of range are left out.
// Indices must differ, or which of their rows stays is undefined.

struct Params { rows: u32, width: u32, y_rows: u32, unused: u32 } // widths in elements
#ifdef VEC4
alias Element = vec4<f32>;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Element>;       // [rows, width]
@group(0) @binding(2) var<storage, read> indices: array<u32>;     // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<Element>; // [y_rows, width]

const LANES = 256u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * LANES + lane;
    if i >= params.rows * params.width {
        return;
    }
    let to_row = indices[i / params.width];
    if to_row < params.y_rows {
        y[to_row * params.width + i % params.width] = x[i];
    }
}
