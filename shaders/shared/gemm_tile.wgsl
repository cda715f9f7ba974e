// A product x wT by tiles: a workgroup makes 64 rows and 64 columns of it. On the portable tier and on f16 there are 128 invocations with
// 8 x 4 sums each in registers; F16_TILES stages operands in half the memory, sums stay f32. MATRIX has `matrix_tile` instead, which
// multiplies on matrix units.
//
// The importer defines what the operands and the result are:
//   params.rows, params.outer, params.inner: the result is [rows, outer], sums run over inner
//   struct Row, find_row(row) -> Row: whatever addressing a row needs, worked out once, out of range included
//   load_x(row: Row, k4) -> vec4<f32>, load_w(column, k4) -> vec4<f32>: elements 4 * k4 .. 4 * k4 + 4 along K;
//     zeros past the ends of rows, columns and K (in one of the two is enough for K, if the other is finite)
//   store_columns(row, column, sums): takes sums of columns column + 16 * i, and ignores what is out of range;
//     `store_each` has one for results that are all kept

const TILE = 64u;

// First row and column of the tile at `index`. Tiles go down eight rows of tiles before the next column, so that
// workgroups that run together share operands in the cache.
fn tile_origin(index: u32, rows_of_tiles: u32, columns_of_tiles: u32) -> vec2<u32> {
    let band = index / (8u * columns_of_tiles);
    let within = index - band * 8u * columns_of_tiles;
    let height = min(8u, rows_of_tiles - 8u * band);
    return TILE * vec2<u32>(8u * band + within % height, within / height);
}

#ifdef MATRIX
#import matrix_tile
#else
const STEP_K4 = 4u; // vec4s along K that are staged at once
// Two more than TILE, so that the eight lanes that write together hit eight different groups of banks.
const STAGED_STRIDE = 66u;
const STAGED = 264u; // STEP_K4 * STAGED_STRIDE

#ifdef F16_TILES
alias Staged = vec4<f16>;
#else
alias Staged = vec4<f32>;
#endif
var<workgroup> x_staged: array<Staged, STAGED>; // [k4][row]
var<workgroup> w_staged: array<Staged, STAGED>; // [k4][column]

fn dot_columns(staged: Staged, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) -> vec4<f32> {
    let a = vec4<f32>(staged);
    return vec4<f32>(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows_of_tiles = (params.rows + TILE - 1u) / TILE;
    let columns_of_tiles = (params.outer + TILE - 1u) / TILE;
    let index = group.x + group.y * groups.x;
    if index >= rows_of_tiles * columns_of_tiles {
        return;
    }
    let origin = tile_origin(index, rows_of_tiles, columns_of_tiles);

    // While staging, a lane holds two rows and two columns at one k4.
    let lane_k4 = lane % STEP_K4;
    let lane_row = lane / STEP_K4;
    let staged = lane_k4 * STAGED_STRIDE + lane_row;
    let row_0 = find_row(origin.x + lane_row);
    let row_1 = find_row(origin.x + lane_row + 32u);
    let column = origin.y + lane_row;

    // While multiplying, it holds rows ty + 8 * i (one vector each) and columns tx + 16 * j (the components).
    let tx = lane % 16u;
    let ty = lane / 16u;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    var sum_4 = vec4<f32>();
    var sum_5 = vec4<f32>();
    var sum_6 = vec4<f32>();
    var sum_7 = vec4<f32>();

    let width = (params.inner + 3u) / 4u;
    var x_0 = load_x(row_0, lane_k4);
    var x_1 = load_x(row_1, lane_k4);
    var w_0 = load_w(column, lane_k4);
    var w_1 = load_w(column + 32u, lane_k4);
    for (var first = 0u; first < width; first += STEP_K4) {
        x_staged[staged] = Staged(x_0);
        x_staged[staged + 32u] = Staged(x_1);
        w_staged[staged] = Staged(w_0);
        w_staged[staged + 32u] = Staged(w_1);
        workgroupBarrier();
        // The next loads are on their way while this round multiplies; past the end of K they are zeros.
        let next = first + STEP_K4 + lane_k4;
        x_0 = load_x(row_0, next);
        x_1 = load_x(row_1, next);
        w_0 = load_w(column, next);
        w_1 = load_w(column + 32u, next);
        for (var k4 = 0u; k4 < STEP_K4; k4++) {
            let w = k4 * STAGED_STRIDE + tx;
            let b0 = vec4<f32>(w_staged[w]);
            let b1 = vec4<f32>(w_staged[w + 16u]);
            let b2 = vec4<f32>(w_staged[w + 32u]);
            let b3 = vec4<f32>(w_staged[w + 48u]);
            let x = k4 * STAGED_STRIDE + ty;
            sum_0 += dot_columns(x_staged[x], b0, b1, b2, b3);
            sum_1 += dot_columns(x_staged[x + 8u], b0, b1, b2, b3);
            sum_2 += dot_columns(x_staged[x + 16u], b0, b1, b2, b3);
            sum_3 += dot_columns(x_staged[x + 24u], b0, b1, b2, b3);
            sum_4 += dot_columns(x_staged[x + 32u], b0, b1, b2, b3);
            sum_5 += dot_columns(x_staged[x + 40u], b0, b1, b2, b3);
            sum_6 += dot_columns(x_staged[x + 48u], b0, b1, b2, b3);
            sum_7 += dot_columns(x_staged[x + 56u], b0, b1, b2, b3);
        }
        workgroupBarrier();
    }

    let row = origin.x + ty;
    store_columns(row, origin.y + tx, sum_0);
    store_columns(row + 8u, origin.y + tx, sum_1);
    store_columns(row + 16u, origin.y + tx, sum_2);
    store_columns(row + 24u, origin.y + tx, sum_3);
    store_columns(row + 32u, origin.y + tx, sum_4);
    store_columns(row + 40u, origin.y + tx, sum_5);
    store_columns(row + 48u, origin.y + tx, sum_6);
    store_columns(row + 56u, origin.y + tx, sum_7);
}
#endif
