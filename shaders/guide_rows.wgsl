// guide_rows: y[i * masked + j] = (1 + guidance) x[row of p in sequence i] - guidance x[row of p in the sequence without condition],
// where p = positions[i, first_masked + j]: features of the masked tokens, guided before the head, which is linear.

struct Params {
    images: u32, tokens: u32, masked: u32,
    first_masked: u32,  // of an image's list, the first of these `masked` positions
    width: u32,         // of a row, in elements: floats or fours of them
    length: u32,        // rows of a sequence with condition, whose position p is row start + p + p / columns
    start: u32,
    columns: u32,
    other_length: u32,  // the same of those without
    other_start: u32,
    other_columns: u32,
    other_first: u32,   // the row where they begin
    guidance: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
#ifdef VEC4
@group(0) @binding(1) var<storage, read> features: array<vec4<f32>>;  // [sequences with condition, then without where OTHERS is not set, width]
@group(0) @binding(2) var<storage, read> positions: array<u32>;       // [images, tokens]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;   // [images * masked, width]
#ifdef OTHERS
@group(0) @binding(4) var<storage, read> others: array<vec4<f32>>;    // [sequences without condition, width]
#endif
#else
@group(0) @binding(1) var<storage, read> features: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#ifdef OTHERS
@group(0) @binding(4) var<storage, read> others: array<f32>;
#endif
#endif

const LANES = 64u;

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
    let entry = image * params.tokens + params.first_masked + row % params.masked;
    let position = min(positions[entry], params.tokens - 1u);
    let with_row = image * params.length + params.start + position + position / params.columns;
    let without_row = params.other_first + image * params.other_length + params.other_start + position
        + position / params.other_columns;
    for (var i = lane; i < params.width; i += LANES) {
        let with_condition = features[with_row * params.width + i];
#ifdef OTHERS
        let without_condition = others[without_row * params.width + i];
#else
        let without_condition = features[without_row * params.width + i];
#endif
        y[row * params.width + i] = (1.0 + params.guidance) * with_condition - params.guidance * without_condition;
    }
}
