// wait_scores: masked tokens that are set aside come last; an invocation an entry. Among themselves they keep their order.

struct Params { images: u32, tokens: u32, masked: u32, unused: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> aside: array<u32>;         // [images, tokens], by position
@group(0) @binding(2) var<storage, read> positions: array<u32>;     // [images, tokens]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;  // [images, tokens], by place in the list

const LANES = 256u;
const LAST = 1048576.0;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = group.x * LANES + lane;
    if j >= params.masked {
        return;
    }
    let start = group.y * params.tokens;
    if aside[start + min(positions[start + j], params.tokens - 1u)] != 0u {
        scores[start + j] -= LAST;
    }
}
