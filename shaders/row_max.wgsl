// row_max: y[r] = max of x[r]; one workgroup a row.
#import lanes

struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows]

// f32's lowest, exactly: in decimals it is refused by browsers, which read it as more than f32 holds.
const LOWEST = -0x1.fffffep+127f;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
#ifdef SUBGROUPS
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) lane_of_subgroup: u32,
#endif
) {
#ifdef SUBGROUPS
    subgroup_index = subgroup;
    subgroup_count = subgroups;
    subgroup_lane = lane_of_subgroup;
#endif
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
    var most = LOWEST;
    for (var i = lane; i < params.width; i += LANES) {
        most = max(most, x[row * params.width + i]);
    }
    let of_row = max_over_lanes(lane, most);
    if lane == 0u {
        y[row] = of_row;
    }
}
