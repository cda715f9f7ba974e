// embed_sequence: x[r] = table[id of row r], where the table has it; one workgroup a row. The template (`words`) says what a row is; beyond it, image tokens.

struct Params {
    rows: u32,
    prefix: u32,     // rows of an image that its template tells; row prefix + j is its token j
    width: u32,
    vocabulary: u32,
    first_code: u32, // the id of code 0
    codebook: u32,
    mask: u32,       // the id of what is not a code
    first: u32,      // the id of the first row of the table
    held: u32,       // rows of the table: the other ids' are in other dispatches
    entries: u32,    // rows of an image
    length: u32,     // words of an image's template
    tokens: u32,     // image tokens of an image
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> words: array<u32>;    // [images, length]: an id, or IMAGE + a token of all images
@group(0) @binding(2) var<storage, read> codes: array<u32>;    // [images, tokens]
#import embedding
@group(0) @binding(4) var<storage, read_write> x: array<f32>;  // [rows, width]
#ifdef LISTED
@group(0) @binding(5) var<storage, read> list: array<u32>;     // [rows]: rows of the template
#endif

const LANES = 64u;
const IMAGE = 0x80000000u;

fn id_of(row: u32) -> u32 {
    let image = row / params.entries;
    let at = row % params.entries;
    var word = IMAGE + image * params.tokens + at - params.prefix;
    if at < params.prefix {
        word = words[image * params.length + at];
    }
    if word < IMAGE {
        return word;
    }
    let code = codes[word - IMAGE];
    return select(params.mask, params.first_code + code, code < params.codebook);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.rows {
        return;
    }
#ifdef LISTED
    let id = min(id_of(list[row]), params.vocabulary - 1u);
#else
    let id = min(id_of(row), params.vocabulary - 1u);
#endif
    // What lies before the table wraps around to far beyond it.
    let at = id - params.first;
    if at >= params.held {
        return;
    }
    for (var i = lane; i < params.width; i += LANES) {
        x[row * params.width + i] = table_at(at, params.width, i);
    }
}
