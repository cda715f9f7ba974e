// row_max: y[r] = max of x[r]; one workgroup a row.

struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows]

const LANES = 128u;
// f32's lowest, exactly: in decimals it is refused by browsers, which read it as more than f32 holds.
const LOWEST = -0x1.fffffep+127f;
var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    var most = LOWEST;
    for (var i = lane; i < params.width; i += LANES) {
        most = max(most, x[row * params.width + i]);
    }
    partial[lane] = most;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
    }
    if lane == 0u {
        y[row] = partial[0];
    }
}
