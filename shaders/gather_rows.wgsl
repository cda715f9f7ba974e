// gather_rows: y[r] = table[min(indices[r], table_rows - 1)], an invocation an element.

struct Params { rows: u32, width: u32, table_stride: u32, table_rows: u32 } // widths in elements
#ifdef VEC4
alias Element = vec4<f32>;
#else
alias Element = f32;
#endif
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<Element>;   // [table_rows, table_stride]
@group(0) @binding(2) var<storage, read> indices: array<u32>;     // [rows]
@group(0) @binding(3) var<storage, read_write> y: array<Element>; // [rows, width]

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
    let from_row = min(indices[i / params.width], params.table_rows - 1u);
    y[i] = table[from_row * params.table_stride + i % params.width];
}
