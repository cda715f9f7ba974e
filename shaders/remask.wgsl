// remask: masks the chosen ones of a list of tokens again, and marks them by position. One workgroup an image.

struct Params { tokens: u32, listed: u32, mask: u32, unused: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> list: array<u32>;           // [images, tokens]
@group(0) @binding(2) var<storage, read> chosen: array<u32>;         // [images, tokens], by place in the list
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;      // [images, tokens]
@group(0) @binding(4) var<storage, read_write> aside: array<u32>;    // [images, tokens], by position

const LANES = 256u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.tokens;
    for (var position = lane; position < params.tokens; position += LANES) {
        aside[start + position] = 0u;
    }
    storageBarrier();
    workgroupBarrier();
    for (var j = lane; j < params.listed; j += LANES) {
        if chosen[start + j] != 0u {
            let position = min(list[start + j], params.tokens - 1u);
            ids[start + position] = params.mask;
            aside[start + position] = 1u;
        }
    }
}
