// movement: how far the features of masked image tokens are from those that were held, and holds the new ones. A workgroup a
// token: sums[entry] = (|features - held|, |features|), in L1.

struct Params { images: u32, tokens: u32, masked: u32, width: u32, length: u32, start: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> features: array<f32>;      // [sequences, length, width], the images' conditional ones first
@group(0) @binding(2) var<storage, read> positions: array<u32>;     // [images, tokens]
@group(0) @binding(3) var<storage, read_write> held: array<f32>;    // [images, length, width]
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;    // [images * tokens, 2], by place in the list

const LANES = 64u;
var<workgroup> apart: array<f32, LANES>;
var<workgroup> size: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.images * params.masked {
        return;
    }
    let image = row / params.masked;
    let entry = image * params.tokens + row % params.masked;
    let position = min(positions[entry], params.tokens - 1u);
    let at = (image * params.length + params.start + position + position / params.columns) * params.width;
    var moved = 0.0;
    var total = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let now = features[at + i];
        moved += abs(now - held[at + i]);
        total += abs(now);
        held[at + i] = now;
    }
    apart[lane] = moved;
    size[lane] = total;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            apart[lane] += apart[lane + half];
            size[lane] += size[lane + half];
        }
    }
    if lane == 0u {
        sums[2u * entry] = apart[0];
        sums[2u * entry + 1u] = size[0];
    }
}
