// embed_rows: x[image, j] = table[ids[image, j]] + position[positions[image, j]]; one workgroup a row.

struct Params { images: u32, capacity: u32, entries: u32, width: u32, vocabulary: u32, length: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;       // [images, capacity]
@group(0) @binding(2) var<storage, read> positions: array<u32>; // [images, capacity]
#import embedding
@group(0) @binding(4) var<storage, read> position: array<f32>;  // [length, width]
@group(0) @binding(5) var<storage, read_write> x: array<f32>;   // [images * entries, width]

const LANES = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.images * params.entries {
        return;
    }
    let at = row / params.entries * params.capacity + row % params.entries;
    let id = min(ids[at], params.vocabulary - 1u);
    let t = min(positions[at], params.length - 1u);
    for (var i = lane; i < params.width; i += LANES) {
        x[row * params.width + i] = table_at(id, params.width, i) + position[t * params.width + i];
    }
}
