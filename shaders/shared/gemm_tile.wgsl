// A product x wT by tiles: a workgroup makes TILE_ROWS rows and 64 columns of it. On the portable tier and on f16 there are 128 invocations
// with 8 x 4 sums each in registers; F16_TILES stages operands in half the memory, sums stay f32. MATRIX has `matrix_tile` instead,
// which multiplies on matrix units.
//
// Tiles have 64 rows. HALF_ROWS makes it 32, with QUARTER_ROWS 16: no work over rows that are not there, and more workgroups. TALL makes
// it 128, by twice the invocations, for fewer loads. Whatever the tile, a result is the same sum in the same order. SPLIT cuts K into as
// many parts as there are workgroups along z, where results are too few to keep a device busy: sums of parts go to `store_columns`.
//
// The importer defines what the operands and the result are:
//   params.rows, params.outer, params.inner: the result is [rows, outer], sums run over inner
//   struct Row, find_row(row) -> Row: whatever addressing a row needs, worked out once, out of range included
//   load_x(row: Row, k4) -> vec4<f32>, load_w(column, k4) -> vec4<f32>: elements 4 * k4 .. 4 * k4 + 4 along K;
//     zeros past the ends of rows, columns and K (in one of the two is enough for K, if the other is finite)
//   store_columns(row, column, sums): takes sums of columns column + 16 * i, and ignores what is out of range;
//     `store_each` has one for results that are all kept

const TILE_COLUMNS = 64u;
#ifdef TALL
const TILE_ROWS = 128u;
#else
#ifdef QUARTER_ROWS
const TILE_ROWS = 16u;
#else
#ifdef HALF_ROWS
const TILE_ROWS = 32u;
#else
const TILE_ROWS = 64u;
#endif
#endif
#endif

// First row and column of the tile at `index`. Tiles go down eight rows of tiles before the next column, so that
// workgroups that run together share operands in the cache.
fn tile_origin(index: u32, rows_of_tiles: u32, columns_of_tiles: u32) -> vec2<u32> {
    let band = index / (8u * columns_of_tiles);
    let within = index - band * 8u * columns_of_tiles;
    let height = min(8u, rows_of_tiles - 8u * band);
    return vec2<u32>(TILE_ROWS * (8u * band + within % height), TILE_COLUMNS * (within / height));
}

const STEP_K4 = 4u; // vec4s along K that are staged at once

// The vec4s along K that a workgroup sums.
struct Stretch { begin: u32, end: u32 }

#ifdef SPLIT
var<private> part: u32; // of K

fn stretch(groups: vec3<u32>) -> Stretch {
    let width = (params.inner + 3u) / 4u;
    let each = STEP_K4 * ((width + STEP_K4 * groups.z - 1u) / (STEP_K4 * groups.z));
    return Stretch(min(width, part * each), min(width, (part + 1u) * each));
}
#else
fn stretch(groups: vec3<u32>) -> Stretch {
    return Stretch(0u, (params.inner + 3u) / 4u);
}
#endif

#ifdef MATRIX
#import matrix_tile
#else
// Two more than rows and columns, so that the eight lanes that write together hit eight different groups of banks.
const X_STRIDE = TILE_ROWS + 2u;
const W_STRIDE = TILE_COLUMNS + 2u;
#ifdef TALL
const INVOCATIONS = 256u;
#else
const INVOCATIONS = 128u;
#endif
const LANE_ROWS = INVOCATIONS / STEP_K4; // rows and columns that all invocations stage at once
const APART = INVOCATIONS / 16u;         // from one row of an invocation's sums to the next

#ifdef F16_TILES
alias Staged = vec4<f16>;
#else
alias Staged = vec4<f32>;
#endif
var<workgroup> x_staged: array<Staged, STEP_K4 * X_STRIDE>; // [k4][row]
var<workgroup> w_staged: array<Staged, STEP_K4 * W_STRIDE>; // [k4][column]

fn dot_columns(staged: Staged, b0: vec4<f32>, b1: vec4<f32>, b2: vec4<f32>, b3: vec4<f32>) -> vec4<f32> {
    let a = vec4<f32>(staged);
    return vec4<f32>(dot(a, b0), dot(a, b1), dot(a, b2), dot(a, b3));
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let rows_of_tiles = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let columns_of_tiles = (params.outer + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let index = group.x + group.y * groups.x;
    if index >= rows_of_tiles * columns_of_tiles {
        return;
    }
#ifdef SPLIT
    part = group.z;
#endif
    let origin = tile_origin(index, rows_of_tiles, columns_of_tiles);

    // While staging, a lane holds up to two rows and two columns at one k4.
    let lane_k4 = lane % STEP_K4;
    let lane_row = lane / STEP_K4;
    let x_at = lane_k4 * X_STRIDE + lane_row;
    let w_at = lane_k4 * W_STRIDE + lane_row;
    let row_0 = find_row(origin.x + lane_row);
#ifndef HALF_ROWS
    let row_1 = find_row(origin.x + lane_row + LANE_ROWS);
#endif
    let column = origin.y + lane_row;

    // While multiplying, it holds rows ty + APART * i (one vector each) and columns tx + 16 * j (the components).
    let tx = lane % 16u;
    let ty = lane / 16u;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
#ifndef QUARTER_ROWS
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
#endif
#ifndef HALF_ROWS
    var sum_4 = vec4<f32>();
    var sum_5 = vec4<f32>();
    var sum_6 = vec4<f32>();
    var sum_7 = vec4<f32>();
#endif

    let along = stretch(groups);
    var x_0 = load_x(row_0, along.begin + lane_k4);
#ifndef HALF_ROWS
    var x_1 = load_x(row_1, along.begin + lane_k4);
#endif
    var w_0 = load_w(column, along.begin + lane_k4);
#ifndef TALL
    var w_1 = load_w(column + LANE_ROWS, along.begin + lane_k4);
#endif
    for (var first = along.begin; first < along.end; first += STEP_K4) {
#ifdef QUARTER_ROWS
        if lane_row < TILE_ROWS {
            x_staged[x_at] = Staged(x_0);
        }
#else
        x_staged[x_at] = Staged(x_0);
#endif
#ifndef HALF_ROWS
        x_staged[x_at + LANE_ROWS] = Staged(x_1);
#endif
        w_staged[w_at] = Staged(w_0);
#ifndef TALL
        w_staged[w_at + LANE_ROWS] = Staged(w_1);
#endif
        workgroupBarrier();
        // The next loads are on their way while this round multiplies; past the end of K they are zeros.
        let next = first + STEP_K4 + lane_k4;
        x_0 = load_x(row_0, next);
#ifndef HALF_ROWS
        x_1 = load_x(row_1, next);
#endif
        w_0 = load_w(column, next);
#ifndef TALL
        w_1 = load_w(column + LANE_ROWS, next);
#endif
        for (var k4 = 0u; k4 < STEP_K4; k4++) {
            let w = k4 * W_STRIDE + tx;
            let b0 = vec4<f32>(w_staged[w]);
            let b1 = vec4<f32>(w_staged[w + 16u]);
            let b2 = vec4<f32>(w_staged[w + 32u]);
            let b3 = vec4<f32>(w_staged[w + 48u]);
            let x = k4 * X_STRIDE + ty;
            sum_0 += dot_columns(x_staged[x], b0, b1, b2, b3);
            sum_1 += dot_columns(x_staged[x + APART], b0, b1, b2, b3);
#ifndef QUARTER_ROWS
            sum_2 += dot_columns(x_staged[x + 2u * APART], b0, b1, b2, b3);
            sum_3 += dot_columns(x_staged[x + 3u * APART], b0, b1, b2, b3);
#endif
#ifndef HALF_ROWS
            sum_4 += dot_columns(x_staged[x + 4u * APART], b0, b1, b2, b3);
            sum_5 += dot_columns(x_staged[x + 5u * APART], b0, b1, b2, b3);
            sum_6 += dot_columns(x_staged[x + 6u * APART], b0, b1, b2, b3);
            sum_7 += dot_columns(x_staged[x + 7u * APART], b0, b1, b2, b3);
#endif
        }
        workgroupBarrier();
    }

    let row = origin.x + ty;
    store_columns(row, origin.y + tx, sum_0);
    store_columns(row + APART, origin.y + tx, sum_1);
#ifndef QUARTER_ROWS
    store_columns(row + 2u * APART, origin.y + tx, sum_2);
    store_columns(row + 3u * APART, origin.y + tx, sum_3);
#endif
#ifndef HALF_ROWS
    store_columns(row + 4u * APART, origin.y + tx, sum_4);
    store_columns(row + 5u * APART, origin.y + tx, sum_5);
    store_columns(row + 6u * APART, origin.y + tx, sum_6);
    store_columns(row + 7u * APART, origin.y + tx, sum_7);
#endif
}
#endif
