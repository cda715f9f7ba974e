// attention_matrix: y = softmax(q . k / sqrt(width)) v on matrix units, for heads of up to 128 columns: 32 queries a workgroup up to 64
// columns, 16 beyond. Workgroup (x, y, z) is block x of the queries of head y of sequence z.
//
// Queries, keys, values and the exponentials of scores are rounded to f16 in workgroup memory, sums are f32. Of every 32 keys the scores
// are made in blocks, the softmax is taken online by rows (Milakov and Gimelshein 2018), and the outputs, which stay in workgroup memory
// because they are rescaled by rows, go on in blocks. Keys and their values take turns in one place.
#import attention_operands
#import matrix_units

const KEYS = 32u;
const COLUMNS = (4u * HEAD4 + EDGE - 1u) / EDGE * EDGE;
const COLUMNS4 = COLUMNS / 4u;
const PITCH = COLUMNS + 8u;       // of queries, keys and values: rows begin in different groups of banks
const SCORE_PITCH = KEYS + 4u;    // of scores
const WEIGHT_PITCH = KEYS + 8u;   // of their exponentials
const SUM_PITCH = COLUMNS + 4u;   // of outputs
const SUMS_EACH = QUERIES * SUM_PITCH;
const PARTS = INVOCATIONS / QUERIES; // invocations of a row, side by side in a subgroup
const LOWEST = -3.0e38;

var<workgroup> queries: array<f16, QUERIES * PITCH>;
var<workgroup> staged: array<f16, KEYS * PITCH>; // keys, then their values
var<workgroup> scores: array<f32, QUERIES * SCORE_PITCH>;
var<workgroup> weights: array<f16, QUERIES * WEIGHT_PITCH>;
var<workgroup> sums: array<f32, SUMS_EACH>;

fn stage(at: u32, v: vec4<f32>) {
    staged[at] = f16(v.x);
    staged[at + 1u] = f16(v.y);
    staged[at + 2u] = f16(v.z);
    staged[at + 3u] = f16(v.w);
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane_of_subgroup: u32,
) {
    // Rows are shared among invocations that shuffle: the order is the subgroup's.
    let lane = subgroup * LANES + lane_of_subgroup;
    let sequence = group.z;
    let column = group.y * params.head_width;
    let first_token = group.x * QUERIES;
    if first_token >= params.queries {
        return;
    }
    let key_row = (sequence % params.key_sequences) * params.keys;

    for (var i = lane; i < QUERIES * COLUMNS4; i += INVOCATIONS) {
        let token = first_token + i / COLUMNS4;
        let c = i % COLUMNS4;
        var v = vec4(0.0);
        if token < params.queries && c < HEAD4 {
            v = load_query(query_start(sequence * params.queries + token, column), c);
        }
        let at = i / COLUMNS4 * PITCH + 4u * c;
        queries[at] = f16(v.x);
        queries[at + 1u] = f16(v.y);
        queries[at + 2u] = f16(v.z);
        queries[at + 3u] = f16(v.w);
    }
    for (var i = lane; i < SUMS_EACH; i += INVOCATIONS) {
        sums[i] = 0.0;
    }
    // The invocations of a row know the same of it.
    let row = lane / PARTS;
    let part = lane % PARTS;
    var largest = LOWEST;
    var sum = 0.0;

    let pitch = PITCH;
    let score_pitch = SCORE_PITCH;
    let weight_pitch = WEIGHT_PITCH;
    let sum_pitch = SUM_PITCH;
    for (var first = 0u; first < params.keys; first += KEYS) {
        let count = min(KEYS, params.keys - first);
        workgroupBarrier(); // the values before are done with
        for (var i = lane; i < KEYS * COLUMNS4; i += INVOCATIONS) {
            let j = i / COLUMNS4;
            let c = i % COLUMNS4;
            var v = vec4(0.0);
            if j < count && c < HEAD4 {
                v = load_key(key_start(key_row + first + j, column), c);
            }
            stage(j * PITCH + 4u * c, v);
        }
        for (var i = lane; i < QUERIES * SCORE_PITCH; i += INVOCATIONS) {
            scores[i] = 0.0;
        }
        workgroupBarrier();
        for (var block = subgroup; block < QUERIES / EDGE * (KEYS / EDGE); block += SUBGROUPS_OF_TILE) {
            let of_row = block / (KEYS / EDGE) * EDGE;
            let of_key = block % (KEYS / EDGE) * EDGE;
            let to = &scores[of_row * SCORE_PITCH + of_key];
            var made = coopLoadT<Sums>(to, score_pitch);
            for (var c = 0u; c < COLUMNS; c += EDGE) {
                let q = &queries[of_row * PITCH + c];
                let left = coopLoadT<Left>(q, pitch);
                let k = &staged[of_key * PITCH + c];
                let right = coopLoad<Right>(k, pitch);
                made = coopMultiplyAdd(left, right, made);
            }
            let result = made;
            coopStoreT(result, to, score_pitch);
        }
        workgroupBarrier();

        for (var i = lane; i < KEYS * COLUMNS4; i += INVOCATIONS) {
            let j = i / COLUMNS4;
            let c = i % COLUMNS4;
            var v = vec4(0.0);
            if j < count && c < HEAD4 {
                v = load_value(value_start(key_row + first + j, column), c);
            }
            stage(j * PITCH + 4u * c, v);
        }
        var most = largest;
        for (var j = part; j < count; j += PARTS) {
            most = max(most, scores[row * SCORE_PITCH + j] * params.scale);
        }
        for (var other = 1u; other < PARTS; other *= 2u) {
            most = max(most, subgroupShuffleXor(most, other));
        }
        let shrink = exp(largest - most);
        largest = most;
        var added = 0.0;
        for (var j = part; j < KEYS; j += PARTS) {
            var p = 0.0;
            if j < count {
                p = exp(scores[row * SCORE_PITCH + j] * params.scale - most);
            }
            let weight = f16(p);
            weights[row * WEIGHT_PITCH + j] = weight;
            added += f32(weight);
        }
        for (var other = 1u; other < PARTS; other *= 2u) {
            added += subgroupShuffleXor(added, other);
        }
        sum = sum * shrink + added;
        if shrink < 1.0 {
            for (var c = part; c < COLUMNS; c += PARTS) {
                sums[row * SUM_PITCH + c] *= shrink;
            }
        }
        workgroupBarrier();
        for (var block = subgroup; block < QUERIES / EDGE * (COLUMNS / EDGE); block += SUBGROUPS_OF_TILE) {
            let of_row = block / (COLUMNS / EDGE) * EDGE;
            let of_column = block % (COLUMNS / EDGE) * EDGE;
            let to = &sums[of_row * SUM_PITCH + of_column];
            var made = coopLoadT<Sums>(to, sum_pitch);
            for (var k = 0u; k < KEYS; k += EDGE) {
                let p = &weights[of_row * WEIGHT_PITCH + k];
                let left = coopLoadT<Left>(p, weight_pitch);
                let v = &staged[k * PITCH + of_column];
                let right = coopLoadT<Right>(v, pitch);
                made = coopMultiplyAdd(left, right, made);
            }
            let result = made;
            coopStoreT(result, to, sum_pitch);
        }
    }

    workgroupBarrier();
    let token = first_token + row;
    if token >= params.queries {
        return;
    }
    let factor = select(0.0, 1.0 / sum, params.keys > 0u);
    let start = (sequence * params.queries + token) * params.heads * params.head_width + column;
    for (var c = part; c < HEAD4; c += PARTS) {
        let at = row * SUM_PITCH + 4u * c;
        store(start, c, vec4(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]) * factor);
    }
}
