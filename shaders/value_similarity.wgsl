// value_similarity: scores[r] falls with the cosine of value[r] and kept[r], which then is value[r]; one workgroup a row.
// The score is minus the squared distance of the two at length 1, twice the cosine less 2: rows that are the same to the bit score 0
// to the bit, so that rounding does not rank them.

struct Params {
    rows: u32,
    width: u32,
    length: u32, // rows of a sequence
    first: u32,  // of which the prompt begins here
    count: u32,  // and has so many
    prompt: u32, // what becomes of the prompt's rows
    image: u32,  // and of the others
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> value: array<f32>;        // [rows, width]
@group(0) @binding(2) var<storage, read_write> kept: array<f32>;   // [rows, width]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>; // [rows]

const LANES = 64u;
const KEPT = 0u;     // stay as they are, and score highest
const COMPARED = 1u;
const RENEWED = 2u;  // score lowest
const LEAST = 1e-8;
var<workgroup> sums: array<vec2<f32>, LANES>;

fn reduced(lane: u32, mine: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    sums[lane] = mine;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            sums[lane] += sums[lane + half];
        }
    }
    workgroupBarrier();
    return sums[0];
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    let start = min(row, params.rows - 1u) * params.width;
    let at = row % params.length;
    let mode = select(params.image, params.prompt, at >= params.first && at < params.first + params.count);
    var mine = vec2(0.0);
    for (var i = lane; i < params.width; i += LANES) {
        mine += vec2(value[start + i], kept[start + i]) * vec2(value[start + i], kept[start + i]);
    }
    let scale = 1.0 / max(sqrt(reduced(lane, mine)), vec2(LEAST));
    mine = vec2(0.0);
    for (var i = lane; i < params.width; i += LANES) {
        let apart = value[start + i] * scale.x - kept[start + i] * scale.y;
        mine.x += apart * apart;
        if mode != KEPT && row < params.rows {
            kept[start + i] = value[start + i];
        }
    }
    let distance = reduced(lane, mine).x;
    if lane == 0u && row < params.rows {
        scores[row] = select(select(1.0, -9.0, mode == RENEWED), -distance, mode == COMPARED);
    }
}
