// lowest_rows: of each sequence, the rows of the `count` lowest scores, lowest first; of equal scores the lower row is first.
// An invocation a row, which counts the rows before it: no sort, and a few million comparisons at most.

struct Params { sequences: u32, rows: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<f32>;       // [sequences, rows]
@group(0) @binding(2) var<storage, read_write> lowest: array<u32>; // [sequences, count], rows counted over all sequences

const LANES = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= params.rows {
        return;
    }
    let start = id.y * params.rows;
    let score = scores[start + row];
    var rank = 0u;
    for (var other = 0u; other < params.rows; other++) {
        let s = scores[start + other];
        rank += u32(s < score || (s == score && other < row));
    }
    if rank < params.count {
        lowest[id.y * params.count + rank] = start + row;
    }
}
