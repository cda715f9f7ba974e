// rope: rotary position embedding in place; columns k and k + half of a head turn by position * frequency[k].
#import input
#import math

struct Params {
    rows: u32,
    stride: u32,  // columns of a row, of which heads * 2 * half from `offset` on are turned
    offset: u32,
    heads: u32,
    half: u32,    // half of a head's width
    length: u32,  // rows of a sequence
    prefix: u32,  // rows of an image whose position is their index; beyond them it is looked up in `image`
    start: u32,   // position of image token 0
    columns: u32, // image tokens between separators
    entries: u32, // rows of an image
    tokens: u32,  // of an image in `image`
    unused: u32,
    frequencies: array<vec4<f32>, 32>,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef LISTED
@group(0) @binding(1) var<storage, read> image: array<u32>;   // [images, tokens]: image tokens, or [rows]: rows of all sequences
#endif
@group(0) @binding(2) var<storage, read_write> x: array<X>;   // [rows, stride]

const LANES = 128u;

fn position_of(row: u32) -> u32 {
#ifdef LISTED
    let at = row % params.entries;
    if at >= params.prefix {
        let token = image[row / params.entries * params.tokens + at - params.prefix];
        return (params.start + token + token / params.columns) % params.length;
    }
    return at;
#else
    return row % params.length;
#endif
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * LANES + lane;
    let pairs = params.heads * params.half;
    if i >= params.rows * pairs {
        return;
    }
    let row = i / pairs;
    let head = i % pairs / params.half;
    let k = i % params.half;
    let angle = reduced_angle(f32(position_of(row)) * params.frequencies[k / 4u][k % 4u]);
    let first = row * params.stride + params.offset + head * 2u * params.half + k;
    let a = f32(x[first]);
    let b = f32(x[first + params.half]);
    x[first] = X(a * cos(angle) - b * sin(angle));
    x[first + params.half] = X(b * cos(angle) + a * sin(angle));
}
