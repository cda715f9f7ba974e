// The sum of a value of each lane of a workgroup, for all of them.

const LANES = 128u;
var<workgroup> partial: array<f32, LANES>;

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
