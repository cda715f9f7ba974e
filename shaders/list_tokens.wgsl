// list_tokens: the positions that are masked, or those that are not, in ascending order. One workgroup an image, walking it in
// chunks; a prefix sum over the chunk says where each position goes.

struct Params { tokens: u32, mask: u32, wants_masked: u32, unused: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;          // [images, tokens]
@group(0) @binding(2) var<storage, read_write> list: array<u32>;   // [images, tokens]

const LANES = 256u;
var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.tokens;
    var before = 0u; // listed in earlier chunks
    for (var base = 0u; base < params.tokens; base += LANES) {
        let position = base + lane;
        var flag = 0u;
        if position < params.tokens {
            let is_masked = select(0u, 1u, ids[start + position] == params.mask);
            flag = select(0u, 1u, is_masked == params.wants_masked);
        }
        sums[lane] = flag;
        for (var reach = 1u; reach < LANES; reach *= 2u) {
            workgroupBarrier();
            var sum = sums[lane];
            if lane >= reach {
                sum += sums[lane - reach];
            }
            workgroupBarrier();
            sums[lane] = sum;
        }
        workgroupBarrier();
        if flag == 1u {
            list[start + before + sums[lane] - 1u] = position;
        }
        before += sums[LANES - 1u];
        workgroupBarrier();
    }
}
