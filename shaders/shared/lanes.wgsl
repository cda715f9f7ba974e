// A workgroup of 128 invocations a row, with sums and maxima of a value of each of them, for all of them. With SUBGROUPS a subgroup's
// invocations add up among themselves first, which leaves one barrier of eight.
//
// The importer defines params.rows and do_row(row, lane), which every invocation of the row's workgroup comes to.

const LANES = 128u;
var<workgroup> partial: array<f32, LANES>;

#ifdef SUBGROUPS
var<private> subgroup_index: u32;
var<private> subgroup_count: u32;
var<private> subgroup_lane: u32;

fn sum_over_lanes(lane: u32, value: f32) -> f32 {
    let of_subgroup = subgroupAdd(value);
    if subgroup_lane == 0u {
        partial[subgroup_index] = of_subgroup;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < subgroup_count; i++) {
        total += partial[i];
    }
    workgroupBarrier(); // the next sum must not overwrite what others still read
    return total;
}

fn max_over_lanes(lane: u32, value: f32) -> f32 {
    let of_subgroup = subgroupMax(value);
    if subgroup_lane == 0u {
        partial[subgroup_index] = of_subgroup;
    }
    workgroupBarrier();
    var most = partial[0];
    for (var i = 1u; i < subgroup_count; i++) {
        most = max(most, partial[i]);
    }
    workgroupBarrier();
    return most;
}
#else
fn sum_over_lanes(lane: u32, value: f32) -> f32 {
    partial[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] += partial[lane + half];
        }
    }
    workgroupBarrier();
    let total = partial[0];
    workgroupBarrier(); // the next sum must not overwrite what others still read
    return total;
}

fn max_over_lanes(lane: u32, value: f32) -> f32 {
    partial[lane] = value;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            partial[lane] = max(partial[lane], partial[lane + half]);
        }
    }
    workgroupBarrier();
    let most = partial[0];
    workgroupBarrier();
    return most;
}
#endif

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
    do_row(row, lane);
}
