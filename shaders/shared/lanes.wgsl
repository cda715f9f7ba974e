// Sums and maxima of a value of each of a workgroup's 128 invocations, for all of them. With SUBGROUPS a subgroup's invocations add up
// among themselves first, which leaves one barrier of eight; the entry point says where an invocation is.

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
