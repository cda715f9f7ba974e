// rank_scores: each masked entry's score becomes what its rank says, the lowest rank the best; an invocation an entry.

struct Params { images: u32, tokens: u32, masked: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranks: array<u32>;         // [tokens]
@group(0) @binding(2) var<storage, read> positions: array<u32>;     // [images, tokens]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;  // [images, tokens]

const LANES = 256u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = group.x * LANES + lane;
    if j >= params.masked {
        return;
    }
    let at = group.y * params.tokens + j;
    scores[at] = -f32(ranks[min(positions[at], params.tokens - 1u)]);
}
