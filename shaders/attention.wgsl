// attention: y = softmax(q . k / sqrt(width)) v for heads of up to 64 columns, one invocation a query, 64 a workgroup.
// Workgroup (x, y, z) is block x of the queries of head y of sequence z.
//
// A query and its accumulator stay in registers: arrays that are only indexed by constants, in lines written out
// because compilers do not unroll loops whose bounds WebGPU must guard. Lines beyond HEAD4 are dead code. Keys and
// values pass through workgroup memory in tiles; the softmax is taken online, four keys at a time.

#import attention_operands

const QUERIES = 64u;
const KEYS = 16u; // a tile: 8 KiB at most for keys and values together, so that several workgroups fit side by side
const LOWEST = -3.0e38;
#ifdef F16_TILES
alias Staged = vec4<f16>; // in half the memory
alias Four = mat4x4<f16>;
#else
alias Staged = vec4<f32>;
alias Four = mat4x4<f32>;
#endif
var<workgroup> key_tile: array<array<Staged, HEAD4>, KEYS>;
var<workgroup> value_tile: array<array<Staged, HEAD4>, KEYS>;

// Columns 4c..4c+4 of four keys, one a column of the matrix: a query times it is four parts of four scores.
fn keys(j: u32, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(Four(key_tile[j][c], key_tile[j + 1u][c], key_tile[j + 2u][c], key_tile[j + 3u][c]));
}
fn values(j: u32, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(Four(value_tile[j][c], value_tile[j + 1u][c], value_tile[j + 2u][c], value_tile[j + 3u][c]));
}

@compute @workgroup_size(QUERIES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let sequence = group.z;
    let column = group.y * params.head_width;
    let token = group.x * QUERIES + lane;
    let live = token < params.queries && sequence < params.sequences;
    let row = sequence * params.queries + token;
    let key_row = (sequence % params.key_sequences) * params.keys;

    var q: array<vec4<f32>, 16>;
    var acc: array<vec4<f32>, 16>;
    if live {
        let start = query_start(row, column);
        q[0] = load_query(start, 0u) * params.scale;
        if HEAD4 > 1u { q[1] = load_query(start, 1u) * params.scale; }
        if HEAD4 > 2u { q[2] = load_query(start, 2u) * params.scale; }
        if HEAD4 > 3u { q[3] = load_query(start, 3u) * params.scale; }
        if HEAD4 > 4u { q[4] = load_query(start, 4u) * params.scale; }
        if HEAD4 > 5u { q[5] = load_query(start, 5u) * params.scale; }
        if HEAD4 > 6u { q[6] = load_query(start, 6u) * params.scale; }
        if HEAD4 > 7u { q[7] = load_query(start, 7u) * params.scale; }
        if HEAD4 > 8u { q[8] = load_query(start, 8u) * params.scale; }
        if HEAD4 > 9u { q[9] = load_query(start, 9u) * params.scale; }
        if HEAD4 > 10u { q[10] = load_query(start, 10u) * params.scale; }
        if HEAD4 > 11u { q[11] = load_query(start, 11u) * params.scale; }
        if HEAD4 > 12u { q[12] = load_query(start, 12u) * params.scale; }
        if HEAD4 > 13u { q[13] = load_query(start, 13u) * params.scale; }
        if HEAD4 > 14u { q[14] = load_query(start, 14u) * params.scale; }
        if HEAD4 > 15u { q[15] = load_query(start, 15u) * params.scale; }
    }
    var largest = LOWEST;
    var sum = 0.0;

    for (var first = 0u; first < params.keys; first += KEYS) {
        let count = min(KEYS, params.keys - first);
        workgroupBarrier(); // the tile before is done with
        for (var i = lane; i < KEYS * HEAD4; i += QUERIES) {
            let j = i / HEAD4;
            let c = i % HEAD4;
            var k = vec4(0.0);
            var v = vec4(0.0);
            if j < count {
                let r = key_row + first + j;
                k = load_key(key_start(r, column), c);
                v = load_value(value_start(r, column), c);
            }
            key_tile[j][c] = Staged(k);
            value_tile[j][c] = Staged(v);
        }
        workgroupBarrier();
        for (var j = 0u; j < count; j += 4u) {
            var s = q[0] * keys(j, 0u);
            if HEAD4 > 1u { s += q[1] * keys(j, 1u); }
            if HEAD4 > 2u { s += q[2] * keys(j, 2u); }
            if HEAD4 > 3u { s += q[3] * keys(j, 3u); }
            if HEAD4 > 4u { s += q[4] * keys(j, 4u); }
            if HEAD4 > 5u { s += q[5] * keys(j, 5u); }
            if HEAD4 > 6u { s += q[6] * keys(j, 6u); }
            if HEAD4 > 7u { s += q[7] * keys(j, 7u); }
            if HEAD4 > 8u { s += q[8] * keys(j, 8u); }
            if HEAD4 > 9u { s += q[9] * keys(j, 9u); }
            if HEAD4 > 10u { s += q[10] * keys(j, 10u); }
            if HEAD4 > 11u { s += q[11] * keys(j, 11u); }
            if HEAD4 > 12u { s += q[12] * keys(j, 12u); }
            if HEAD4 > 13u { s += q[13] * keys(j, 13u); }
            if HEAD4 > 14u { s += q[14] * keys(j, 14u); }
            if HEAD4 > 15u { s += q[15] * keys(j, 15u); }

            let present = vec4(j) + vec4(0u, 1u, 2u, 3u) < vec4(count);
            s = select(vec4(LOWEST), s, present);
            let most = max(max(s.x, s.y), max(s.z, s.w));
            if most > largest { // rare after the first tiles
                let shrink = exp(largest - most);
                largest = most;
                sum *= shrink;
                acc[0] *= shrink;
                if HEAD4 > 1u { acc[1] *= shrink; }
                if HEAD4 > 2u { acc[2] *= shrink; }
                if HEAD4 > 3u { acc[3] *= shrink; }
                if HEAD4 > 4u { acc[4] *= shrink; }
                if HEAD4 > 5u { acc[5] *= shrink; }
                if HEAD4 > 6u { acc[6] *= shrink; }
                if HEAD4 > 7u { acc[7] *= shrink; }
                if HEAD4 > 8u { acc[8] *= shrink; }
                if HEAD4 > 9u { acc[9] *= shrink; }
                if HEAD4 > 10u { acc[10] *= shrink; }
                if HEAD4 > 11u { acc[11] *= shrink; }
                if HEAD4 > 12u { acc[12] *= shrink; }
                if HEAD4 > 13u { acc[13] *= shrink; }
                if HEAD4 > 14u { acc[14] *= shrink; }
                if HEAD4 > 15u { acc[15] *= shrink; }
            }
            let p = select(vec4(0.0), exp(s - largest), present);
            sum += p.x + p.y + p.z + p.w;
            acc[0] += values(j, 0u) * p;
            if HEAD4 > 1u { acc[1] += values(j, 1u) * p; }
            if HEAD4 > 2u { acc[2] += values(j, 2u) * p; }
            if HEAD4 > 3u { acc[3] += values(j, 3u) * p; }
            if HEAD4 > 4u { acc[4] += values(j, 4u) * p; }
            if HEAD4 > 5u { acc[5] += values(j, 5u) * p; }
            if HEAD4 > 6u { acc[6] += values(j, 6u) * p; }
            if HEAD4 > 7u { acc[7] += values(j, 7u) * p; }
            if HEAD4 > 8u { acc[8] += values(j, 8u) * p; }
            if HEAD4 > 9u { acc[9] += values(j, 9u) * p; }
            if HEAD4 > 10u { acc[10] += values(j, 10u) * p; }
            if HEAD4 > 11u { acc[11] += values(j, 11u) * p; }
            if HEAD4 > 12u { acc[12] += values(j, 12u) * p; }
            if HEAD4 > 13u { acc[13] += values(j, 13u) * p; }
            if HEAD4 > 14u { acc[14] += values(j, 14u) * p; }
            if HEAD4 > 15u { acc[15] += values(j, 15u) * p; }
        }
    }

    if !live {
        return;
    }
    let factor = select(0.0, 1.0 / sum, params.keys > 0u);
    let start = row * params.heads * params.head_width + column;
    store(start, 0u, acc[0] * factor);
    if HEAD4 > 1u { store(start, 1u, acc[1] * factor); }
    if HEAD4 > 2u { store(start, 2u, acc[2] * factor); }
    if HEAD4 > 3u { store(start, 3u, acc[3] * factor); }
    if HEAD4 > 4u { store(start, 4u, acc[4] * factor); }
    if HEAD4 > 5u { store(start, 5u, acc[5] * factor); }
    if HEAD4 > 6u { store(start, 6u, acc[6] * factor); }
    if HEAD4 > 7u { store(start, 7u, acc[7] * factor); }
    if HEAD4 > 8u { store(start, 8u, acc[8] * factor); }
    if HEAD4 > 9u { store(start, 9u, acc[9] * factor); }
    if HEAD4 > 10u { store(start, 10u, acc[10] * factor); }
    if HEAD4 > 11u { store(start, 11u, acc[11] * factor); }
    if HEAD4 > 12u { store(start, 12u, acc[12] * factor); }
    if HEAD4 > 13u { store(start, 13u, acc[13] * factor); }
    if HEAD4 > 14u { store(start, 14u, acc[14] * factor); }
    if HEAD4 > 15u { store(start, 15u, acc[15] * factor); }
}
