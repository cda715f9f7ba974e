// outside_union: masked entries that are not marked score lower than all that are; an invocation an entry.

struct Params { images: u32, tokens: u32, masked: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> marked: array<u32>;        // [images, tokens], by position
@group(0) @binding(2) var<storage, read> positions: array<u32>;     // [images, tokens]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>;  // [images, tokens]

const LANES = 256u;
// f32's lowest, exactly: in decimals it is refused by browsers, which read it as more than f32 holds.
const LOWEST = -0x1.fffffep+127f;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = group.x * LANES + lane;
    if j >= params.masked {
        return;
    }
    let start = group.y * params.tokens;
    if marked[start + positions[start + j]] == 0u {
        scores[start + j] = LOWEST;
    }
}
