// commit: reveals chosen tokens, lists them in raster order, and compacts the masked positions in place.
// One workgroup an image, walking its list in chunks; a prefix sum over the chunk says where each entry goes.
// In place is safe: an entry moves to its own place or an earlier one, after the whole chunk has been read.

struct Params { images: u32, tokens: u32, masked: u32, unused: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> chosen: array<u32>;               // [images, tokens], by place in the list
@group(0) @binding(2) var<storage, read> drawn: array<u32>;                // [images, tokens], by position
@group(0) @binding(3) var<storage, read_write> positions: array<u32>;      // [images, tokens]
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;            // [images, tokens], by position
@group(0) @binding(5) var<storage, read_write> new_ids: array<u32>;        // [images, tokens]
@group(0) @binding(6) var<storage, read_write> new_positions: array<u32>;  // [images, tokens]

const LANES = 256u;
var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.tokens;
    var revealed_before = 0u; // chosen entries in earlier chunks
    for (var base = 0u; base < params.masked; base += LANES) {
        let j = base + lane;
        let live = j < params.masked;
        var flag = 0u;
        var position = 0u;
        if live {
            flag = min(chosen[start + j], 1u);
            position = min(positions[start + j], params.tokens - 1u);
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
        let rank = revealed_before + sums[lane] - flag;
        let total = sums[LANES - 1u];
        storageBarrier();
        if live {
            if flag == 1u {
                let token = drawn[start + position];
                ids[start + position] = token;
                new_ids[start + rank] = token;
                new_positions[start + rank] = position;
            } else {
                positions[start + j - rank] = position;
            }
        }
        revealed_before += total;
        workgroupBarrier();
    }
}
