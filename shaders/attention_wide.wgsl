// attention_wide: y = softmax(q . k / sqrt(width)) v for heads of 65 to 1024 columns, 16 queries a workgroup.
// Workgroup (x, y, z) is block x of the queries of head y of sequence z.
//
// Eight groups of 32 lanes take two queries each. Of a tile of 64 keys a lane scores two; queries and keys pass
// through workgroup memory 32 columns at a time. Then a lane keeps four columns out of every 128 of the output,
// for its two queries, in registers; values pass through workgroup memory 16 keys by 128 columns at a time.
#import attention_operands

const LANES = 32u;
const PAIRS = 8u; // of queries
const KEYS = 64u; // a tile
const CHUNK4 = 8u; // columns of queries and keys that are staged at once, in fours
const KEY_ROW = CHUNK4 + 1u; // an odd row length keeps the lanes, each at another key, on different banks
const VALUES = 16u; // keys whose values are staged at once
const BLOCKS = (HEAD4 + LANES - 1u) / LANES; // of 128 columns
const LOWEST = -3.0e38;

#ifdef F16_TILES
alias Staged = vec4<f16>; // in half the memory
#else
alias Staged = vec4<f32>;
#endif
var<workgroup> staged: array<Staged, KEYS * KEY_ROW>; // keys, then values
var<workgroup> query_chunk: array<vec4<f32>, 2u * PAIRS * CHUNK4>;
var<workgroup> weights: array<vec2<f32>, KEYS * PAIRS>; // the lanes' largest scores, then the exponentials

// The weighted sum of a tile's values in columns `128 * block + 4 * lane ..`, one column of the matrix a query.
fn weigh(block: u32, first: u32, count: u32, key_row: u32, column: u32, index: u32) -> mat2x4<f32> {
    let lane = index % LANES;
    let pair = index / LANES;
    var total = mat2x4<f32>();
    for (var part = 0u; part < count; part += VALUES) {
        workgroupBarrier(); // what was staged before is done with; the weights are written
        for (var i = index; i < VALUES * LANES; i += LANES * PAIRS) {
            let j = part + i / LANES;
            let c = block * LANES + i % LANES;
            var v = vec4(0.0);
            if j < count && c < HEAD4 {
                v = load_value(value_start(key_row + first + j, column), c);
            }
            staged[i] = Staged(v);
        }
        workgroupBarrier();
        for (var j = 0u; j < min(VALUES, count - part); j++) {
            let v = vec4<f32>(staged[j * LANES + lane]);
            let p = weights[(part + j) * PAIRS + pair];
            total += mat2x4(v * p.x, v * p.y);
        }
    }
    return total;
}

fn shrunk(acc: mat2x4<f32>, shrink: vec2<f32>) -> mat2x4<f32> {
    return mat2x4(acc[0] * shrink.x, acc[1] * shrink.y);
}

fn store_pair(block: u32, lane: u32, token: u32, sequence: u32, column: u32, v: mat2x4<f32>) {
    let c = block * LANES + lane;
    if c >= HEAD4 || sequence >= params.sequences {
        return;
    }
    let width = params.heads * params.head_width;
    let start = (sequence * params.queries + token) * width + column;
    if token < params.queries {
        store(start, c, v[0]);
    }
    if token + 1u < params.queries {
        store(start + width, c, v[1]);
    }
}

@compute @workgroup_size(LANES, PAIRS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = index % LANES;
    let pair = index / LANES;
    let sequence = group.z;
    let column = group.y * params.head_width;
    let first_token = group.x * 2u * PAIRS;
    let key_row = (sequence % params.key_sequences) * params.keys;

    // Written out, not an array: see attention.wgsl.
    var acc0 = mat2x4<f32>();
    var acc1 = mat2x4<f32>();
    var acc2 = mat2x4<f32>();
    var acc3 = mat2x4<f32>();
    var acc4 = mat2x4<f32>();
    var acc5 = mat2x4<f32>();
    var acc6 = mat2x4<f32>();
    var acc7 = mat2x4<f32>();
    var largest = vec2(LOWEST);
    var sum = vec2(0.0); // of this lane's keys

    for (var first = 0u; first < params.keys; first += KEYS) {
        let count = min(KEYS, params.keys - first);
        var near = vec2(0.0); // scores of the pair with key `first + lane`
        var far = vec2(0.0); // and with key `first + lane + 32`
        for (var chunk = 0u; chunk < HEAD4; chunk += CHUNK4) {
            workgroupBarrier();
            for (var i = index; i < 2u * PAIRS * CHUNK4; i += LANES * PAIRS) {
                let token = first_token + i / CHUNK4;
                let c = chunk + i % CHUNK4;
                var v = vec4(0.0);
                if token < params.queries && sequence < params.sequences && c < HEAD4 {
                    v = load_query(query_start(sequence * params.queries + token, column), c) * params.scale;
                }
                query_chunk[i] = v;
            }
            for (var i = index; i < KEYS * CHUNK4; i += LANES * PAIRS) {
                let j = i / CHUNK4;
                let c = chunk + i % CHUNK4;
                var v = vec4(0.0);
                if j < count && c < HEAD4 {
                    v = load_key(key_start(key_row + first + j, column), c);
                }
                staged[j * KEY_ROW + i % CHUNK4] = Staged(v);
            }
            workgroupBarrier();
            for (var c = 0u; c < CHUNK4; c++) {
                let a = query_chunk[2u * pair * CHUNK4 + c];
                let b = query_chunk[(2u * pair + 1u) * CHUNK4 + c];
                let k = vec4<f32>(staged[lane * KEY_ROW + c]);
                let l = vec4<f32>(staged[(lane + LANES) * KEY_ROW + c]);
                near += vec2(dot(a, k), dot(b, k));
                far += vec2(dot(a, l), dot(b, l));
            }
        }

        let near_present = lane < count;
        let far_present = lane + LANES < count;
        near = select(vec2(LOWEST), near, near_present);
        far = select(vec2(LOWEST), far, far_present);
        weights[lane * PAIRS + pair] = max(near, far); // the weights before were last read before a barrier above
        workgroupBarrier();
        var most = largest;
        for (var j = 0u; j < LANES; j++) {
            most = max(most, weights[j * PAIRS + pair]);
        }
        workgroupBarrier();
        let shrink = exp(largest - most);
        largest = most;
        near = select(vec2(0.0), exp(near - most), near_present);
        far = select(vec2(0.0), exp(far - most), far_present);
        sum = sum * shrink + near + far;
        weights[lane * PAIRS + pair] = near;
        weights[(lane + LANES) * PAIRS + pair] = far;
        acc0 = shrunk(acc0, shrink) + weigh(0u, first, count, key_row, column, index);
        if BLOCKS > 1u { acc1 = shrunk(acc1, shrink) + weigh(1u, first, count, key_row, column, index); }
        if BLOCKS > 2u { acc2 = shrunk(acc2, shrink) + weigh(2u, first, count, key_row, column, index); }
        if BLOCKS > 3u { acc3 = shrunk(acc3, shrink) + weigh(3u, first, count, key_row, column, index); }
        if BLOCKS > 4u { acc4 = shrunk(acc4, shrink) + weigh(4u, first, count, key_row, column, index); }
        if BLOCKS > 5u { acc5 = shrunk(acc5, shrink) + weigh(5u, first, count, key_row, column, index); }
        if BLOCKS > 6u { acc6 = shrunk(acc6, shrink) + weigh(6u, first, count, key_row, column, index); }
        if BLOCKS > 7u { acc7 = shrunk(acc7, shrink) + weigh(7u, first, count, key_row, column, index); }
    }

    workgroupBarrier();
    weights[lane * PAIRS + pair] = sum;
    workgroupBarrier();
    var total = vec2(0.0);
    for (var j = 0u; j < LANES; j++) {
        total += weights[j * PAIRS + pair];
    }
    let factor = select(vec2(0.0), 1.0 / total, params.keys > 0u);
    let token = first_token + 2u * pair;
    store_pair(0u, lane, token, sequence, column, shrunk(acc0, factor));
    if BLOCKS > 1u { store_pair(1u, lane, token, sequence, column, shrunk(acc1, factor)); }
    if BLOCKS > 2u { store_pair(2u, lane, token, sequence, column, shrunk(acc2, factor)); }
    if BLOCKS > 3u { store_pair(3u, lane, token, sequence, column, shrunk(acc3, factor)); }
    if BLOCKS > 4u { store_pair(4u, lane, token, sequence, column, shrunk(acc4, factor)); }
    if BLOCKS > 5u { store_pair(5u, lane, token, sequence, column, shrunk(acc5, factor)); }
    if BLOCKS > 6u { store_pair(6u, lane, token, sequence, column, shrunk(acc6, factor)); }
    if BLOCKS > 7u { store_pair(7u, lane, token, sequence, column, shrunk(acc7, factor)); }
}
