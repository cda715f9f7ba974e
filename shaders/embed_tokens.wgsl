// embed_tokens: x[s, t] = table[token(s, t)] + position[t], or the rows of a list among these; one workgroup a row. With noise, the
// image's tokens have kept * table[token] + noise * N(0, 1) in place of the table's row.

struct Params { images: u32, rows: u32, tokens: u32, width: u32, vocabulary: u32, kept: f32, noise: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;      // [images, tokens]
@group(0) @binding(2) var<storage, read> labels: array<u32>;   // [sequences]: the token after the image's
#import embedding
@group(0) @binding(4) var<storage, read> position: array<f32>; // [tokens + 1, width]
@group(0) @binding(5) var<storage, read_write> x: array<f32>;  // [rows, width]
#ifdef LISTED
@group(0) @binding(6) var<storage, read> list: array<u32>;     // [rows]: which of all sequences' rows
#endif
#ifdef NOISE
@group(0) @binding(7) var<storage, read> seeds: array<u32>;    // [images, 2]
#import philox
#endif

const LANES = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    let length = params.tokens + 1u;
    if row >= params.rows {
        return;
    }
#ifdef LISTED
    let source = list[row];
#else
    let source = row;
#endif
    let sequence = source / length;
    let t = source % length;
    var id: u32;
    if t < params.tokens {
        id = ids[(sequence % params.images) * params.tokens + t];
    } else {
        id = labels[sequence];
    }
    id = min(id, params.vocabulary - 1u);
#ifdef NOISE
    let image = sequence % params.images;
    let seed = vec2<u32>(seeds[2u * image], seeds[2u * image + 1u]);
#endif
    for (var i = lane; i < params.width; i += LANES) {
        var embedding = table_at(id, params.width, i);
#ifdef NOISE
        if t < params.tokens {
            embedding = params.kept * embedding + params.noise * normal_at(i, t, seed);
        }
#endif
        x[row * params.width + i] = embedding + position[t * params.width + i];
    }
}
