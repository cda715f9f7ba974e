// nearest_code: the row of the codebook with the smallest squared distance to each row of z, the first of equals.
//
// A workgroup takes 16 rows of z: eight groups of 32 lanes, two rows each; of a tile of 64 codes a lane takes two.
// The true distance, sum (z - e)^2, not |e|^2 - 2 z.e: that one cancels when codes lie close together.

struct Params { rows: u32, width: u32, codes: u32, stride: u32 } // stride: floats from code to code
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<f32>;                  // [rows, width]
@group(0) @binding(2) var<storage, read> codebook: array<f32>;           // [codes, stride]
@group(0) @binding(3) var<storage, read_write> codes_out: array<u32>;    // [rows]

const LANES = 32u;
const PAIRS = 8u; // of rows
const CODES = 64u; // a tile
const CHUNK = 32u; // columns staged at once
const CHUNK4 = CHUNK / 4u;
const CODE_ROW = CHUNK4 + 1u; // odd, so that lanes at different codes use different banks
const FAR = 3.4e38;

var<workgroup> code_chunk: array<vec4<f32>, CODES * CODE_ROW>;
var<workgroup> z_chunk: array<vec4<f32>, 2u * PAIRS * CHUNK4>;
var<workgroup> distances: array<vec2<f32>, LANES * PAIRS>;
var<workgroup> choices: array<vec2<u32>, LANES * PAIRS>;

// Columns c..c+4 of a row that starts at `start`; zero beyond the width, in both operands.
fn load_z(start: u32, c: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if c < params.width { v.x = z[start + c]; }
    if c + 1u < params.width { v.y = z[start + c + 1u]; }
    if c + 2u < params.width { v.z = z[start + c + 2u]; }
    if c + 3u < params.width { v.w = z[start + c + 3u]; }
    return v;
}
fn load_code(start: u32, c: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if c < params.width { v.x = codebook[start + c]; }
    if c + 1u < params.width { v.y = codebook[start + c + 1u]; }
    if c + 2u < params.width { v.z = codebook[start + c + 2u]; }
    if c + 3u < params.width { v.w = codebook[start + c + 3u]; }
    return v;
}

fn squared(d: vec4<f32>) -> f32 {
    return dot(d, d);
}

@compute @workgroup_size(LANES, PAIRS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let lane = index % LANES;
    let pair = index / LANES;
    let first_row = (group.x + group.y * groups.x) * 2u * PAIRS;
    var best = vec2(FAR);
    var choice = vec2(0u);

    for (var first = 0u; first < params.codes; first += CODES) {
        var near = vec2(0.0); // distances of the pair to code `first + lane`
        var far = vec2(0.0); // and to code `first + lane + 32`
        for (var chunk = 0u; chunk < params.width; chunk += CHUNK) {
            workgroupBarrier();
            for (var i = index; i < 2u * PAIRS * CHUNK4; i += LANES * PAIRS) {
                let row = first_row + i / CHUNK4;
                var v = vec4(0.0);
                if row < params.rows {
                    v = load_z(row * params.width, chunk + i % CHUNK4 * 4u);
                }
                z_chunk[i] = v;
            }
            for (var i = index; i < CODES * CHUNK4; i += LANES * PAIRS) {
                let code = first + i / CHUNK4;
                var v = vec4(0.0);
                if code < params.codes {
                    v = load_code(code * params.stride, chunk + i % CHUNK4 * 4u);
                }
                code_chunk[i / CHUNK4 * CODE_ROW + i % CHUNK4] = v;
            }
            workgroupBarrier();
            for (var c = 0u; c < CHUNK4; c++) {
                let a = z_chunk[2u * pair * CHUNK4 + c];
                let b = z_chunk[(2u * pair + 1u) * CHUNK4 + c];
                let e = code_chunk[lane * CODE_ROW + c];
                let f = code_chunk[(lane + LANES) * CODE_ROW + c];
                near += vec2(squared(a - e), squared(b - e));
                far += vec2(squared(a - f), squared(b - f));
            }
        }
        // A lane's codes come in ascending order, so that `<` keeps the first of equals.
        let code = first + lane;
        if code < params.codes {
            choice = select(choice, vec2(code), near < best);
            best = min(best, near);
        }
        if code + LANES < params.codes {
            choice = select(choice, vec2(code + LANES), far < best);
            best = min(best, far);
        }
    }

    distances[index] = best;
    choices[index] = choice;
    workgroupBarrier();
    let row = first_row + 2u * pair;
    if lane < 2u && row + lane < params.rows {
        var smallest = FAR;
        var found = 0u;
        for (var i = pair * LANES; i < (pair + 1u) * LANES; i++) {
            let distance = distances[i][lane];
            let code = choices[i][lane];
            if distance < smallest || (distance == smallest && code < found) {
                smallest = distance;
                found = code;
            }
        }
        codes_out[row + lane] = found;
    }
}
