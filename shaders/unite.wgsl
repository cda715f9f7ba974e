// unite: marks and lists the `unite` best of each image's masked positions, the best first; the first of equal scores is better.
// Each entry counts those before it, as in top_k.

struct Params { images: u32, tokens: u32, masked: u32, unite: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;          // [images, tokens]
@group(0) @binding(2) var<storage, read> positions: array<u32>;       // [images, tokens]
@group(0) @binding(3) var<storage, read_write> marked: array<u32>;    // [images, tokens], by position
@group(0) @binding(4) var<storage, read_write> listed: array<u32>;    // [images, tokens]: positions

const LANES = 256u;
var<workgroup> others: array<u32, LANES>;

#import order

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.y * params.tokens;
    let j = group.x * LANES + lane;
    var mine = 0u;
    if j < params.masked {
        mine = order(scores[start + j]);
    }
    var better = 0u;
    for (var base = 0u; base < params.masked; base += LANES) {
        workgroupBarrier();
        others[lane] = 0u;
        if base + lane < params.masked {
            others[lane] = order(scores[start + base + lane]);
        }
        workgroupBarrier();
        let count = min(LANES, params.masked - base);
        for (var i = 0u; i < count; i++) {
            let other = others[i];
            better += select(0u, 1u, other > mine || (other == mine && base + i < j));
        }
    }
    if j < params.masked {
        let position = positions[start + j];
        marked[start + position] = select(0u, 1u, better < params.unite);
        if better < params.unite {
            listed[start + better] = position;
        }
    }
}
