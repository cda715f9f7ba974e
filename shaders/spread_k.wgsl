// spread_k: marks the `reveal` best of each image's scores that stand apart, one after the other: whoever is within a distance of
// a chosen one is passed over until no other is left. A workgroup an image; the first of equal scores wins.

struct Params { tokens: u32, masked: u32, reveal: u32, columns: u32, square: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;       // [images, tokens]
@group(0) @binding(2) var<storage, read> positions: array<u32>;    // [images, tokens]
@group(0) @binding(3) var<storage, read_write> chosen: array<u32>; // [images, tokens]

const LANES = 256u;
const FREE = 0u;
const CHOSEN = 1u;
const NEAR = 2u;
var<workgroup> best_order: array<u32, LANES>;
var<workgroup> best_at: array<u32, LANES>;
var<workgroup> best: u32;

// The float as an integer of the same order, above 0; NaN is the lowest, and both zeros are one.
fn order(score: f32) -> u32 {
    let bits = bitcast<u32>(score);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return 1u;
    }
    if bits == 0x80000000u {
        return 0x80000000u;
    }
    return max(select(~bits, bits | 0x80000000u, (bits >> 31u) == 0u), 1u);
}

// Whether two positions are within the distance, whose square is the last parameter.
fn is_near(a: u32, b: u32) -> bool {
    let rows = i32(a / params.columns) - i32(b / params.columns);
    let columns = i32(a % params.columns) - i32(b % params.columns);
    return u32(rows * rows + columns * columns) < params.square;
}

// The best entry in a state; `masked` if there is none.
fn find(start: u32, lane: u32, state: u32) -> u32 {
    var mine = 0u;
    var at = params.masked;
    for (var j = lane; j < params.masked; j += LANES) {
        let value = order(scores[start + j]);
        if chosen[start + j] == state && value > mine {
            mine = value;
            at = j;
        }
    }
    best_order[lane] = mine;
    best_at[lane] = at;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let other = lane + half;
            if best_order[other] > best_order[lane]
                || (best_order[other] == best_order[lane] && best_at[other] < best_at[lane]) {
                best_order[lane] = best_order[other];
                best_at[lane] = best_at[other];
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        best = best_at[0];
    }
    return workgroupUniformLoad(&best);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.tokens;
    for (var j = lane; j < params.masked; j += LANES) {
        chosen[start + j] = FREE;
    }
    storageBarrier();
    for (var round = 0u; round < params.reveal; round++) {
        var at = find(start, lane, FREE);
        if at == params.masked {
            at = find(start, lane, NEAR);
        }
        if at == params.masked {
            break;
        }
        let position = positions[start + at];
        for (var j = lane; j < params.masked; j += LANES) {
            if j == at {
                chosen[start + j] = CHOSEN;
            } else if chosen[start + j] == FREE && is_near(positions[start + j], position) {
                chosen[start + j] = NEAR;
            }
        }
        storageBarrier();
    }
    for (var j = lane; j < params.masked; j += LANES) {
        if chosen[start + j] == NEAR {
            chosen[start + j] = FREE;
        }
    }
}
