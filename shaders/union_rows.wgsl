// union_rows: the rows of every sequence that a union's step computes, some context first, then its tokens; an invocation a row.

struct Params {
    images: u32,
    tokens: u32,
    length: u32,  // rows of a sequence
    first: u32,   // of which the context begins here
    context: u32, // and has so many
    start: u32,   // row of image token 0
    columns: u32, // image tokens between separators
    count: u32,   // rows to list of a sequence
    rows: u32,    // and of all
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> listed: array<u32>;    // [images, tokens]: tokens
@group(0) @binding(2) var<storage, read_write> y: array<u32>;   // [rows], counted over all sequences

const LANES = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.rows {
        return;
    }
    let sequence = id.x / params.count;
    let at = id.x % params.count;
    var row = params.first + at;
    if at >= params.context {
        let token = listed[sequence % params.images * params.tokens + at - params.context];
        row = params.start + token + token / params.columns;
    }
    y[id.x] = sequence * params.length + row;
}
