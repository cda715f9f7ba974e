// What `gemm_tile` is on matrix units: each subgroup has EDGE columns of the tile in all its rows, as blocks of EDGE x EDGE sums in f32.
// Operands are rounded to f16 as they are staged, whatever they are stored as. Blocks are written out one by one: an array of them,
// indexed, need not stay in registers. Those that a lower tile or a larger edge has no rows for fall to constant conditions.
#import matrix_units

const STAGED_STRIDE = 24u; // f16s from one row to the next: 16 and a gap, so that rows begin in different groups of banks
const BLOCK = EDGE * STAGED_STRIDE;
const X_VECTORS = TILE_ROWS * STEP_K4; // staged at once
const W_VECTORS = TILE_COLUMNS * STEP_K4;

var<workgroup> x_staged: array<f16, TILE_ROWS * STAGED_STRIDE>;    // [row][k]
var<workgroup> w_staged: array<f16, TILE_COLUMNS * STAGED_STRIDE>; // [column][k]
var<workgroup> band: array<f32, 64u * EDGE>; // EDGE rows of the tile, on their way to `store_columns`

fn stage_x(at: u32, v: vec4<f32>) {
    x_staged[at] = f16(v.x);
    x_staged[at + 1u] = f16(v.y);
    x_staged[at + 2u] = f16(v.z);
    x_staged[at + 3u] = f16(v.w);
}

fn stage_w(at: u32, v: vec4<f32>) {
    w_staged[at] = f16(v.x);
    w_staged[at + 1u] = f16(v.y);
    w_staged[at + 2u] = f16(v.z);
    w_staged[at + 3u] = f16(v.w);
}

// EDGE rows of results, the same sums to the same calls as on the other tiers. Every invocation comes here.
fn store_band(row: u32, column: u32, lane: u32) {
    workgroupBarrier();
    for (var i = lane; i < 16u * EDGE; i += INVOCATIONS) {
        let at = 64u * (i / 16u) + i % 16u;
        let sums = vec4<f32>(band[at], band[at + 16u], band[at + 32u], band[at + 48u]);
        store_columns(row + i / 16u, column + i % 16u, sums);
    }
    workgroupBarrier();
}

@compute @workgroup_size(INVOCATIONS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
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

    // Sums begin as zeros that are loaded: not every language has a matrix of zeros.
    for (var i = lane; i < 64u * EDGE; i += INVOCATIONS) {
        band[i] = 0.0;
    }
    workgroupBarrier();
    // naga emits a store at once, and does not find what is not named before it.
    let block = &band[EDGE * subgroup];
    let stride = 64u;
    let pitch = STAGED_STRIDE;
    var sum_0 = coopLoadT<Sums>(block, stride);
    var sum_1 = sum_0;
    var sum_2 = sum_0;
    var sum_3 = sum_0;
    var sum_4 = sum_0;
    var sum_5 = sum_0;
    var sum_6 = sum_0;
    var sum_7 = sum_0;

    let along = stretch(groups);
    for (var first = along.begin; first < along.end; first += STEP_K4) {
        for (var i = lane; i < X_VECTORS; i += INVOCATIONS) {
            let at = i / STEP_K4 * STAGED_STRIDE + 4u * (i % STEP_K4);
            stage_x(at, load_x(find_row(origin.x + i / STEP_K4), first + i % STEP_K4));
        }
        for (var i = lane; i < W_VECTORS; i += INVOCATIONS) {
            let at = i / STEP_K4 * STAGED_STRIDE + 4u * (i % STEP_K4);
            stage_w(at, load_w(origin.y + i / STEP_K4, first + i % STEP_K4));
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k += EDGE) {
            let column = &w_staged[BLOCK * subgroup + k];
            let right = coopLoad<Right>(column, pitch);
            let row_0 = &x_staged[k];
            let left_0 = coopLoadT<Left>(row_0, pitch);
            sum_0 = coopMultiplyAdd(left_0, right, sum_0);
            if TILE_ROWS > EDGE {
                let row_1 = &x_staged[BLOCK + k];
                let left_1 = coopLoadT<Left>(row_1, pitch);
                sum_1 = coopMultiplyAdd(left_1, right, sum_1);
            }
            if TILE_ROWS > 2u * EDGE {
                let row_2 = &x_staged[2u * BLOCK + k];
                let left_2 = coopLoadT<Left>(row_2, pitch);
                sum_2 = coopMultiplyAdd(left_2, right, sum_2);
                let row_3 = &x_staged[3u * BLOCK + k];
                let left_3 = coopLoadT<Left>(row_3, pitch);
                sum_3 = coopMultiplyAdd(left_3, right, sum_3);
            }
            if TILE_ROWS > 4u * EDGE {
                let row_4 = &x_staged[4u * BLOCK + k];
                let left_4 = coopLoadT<Left>(row_4, pitch);
                sum_4 = coopMultiplyAdd(left_4, right, sum_4);
                let row_5 = &x_staged[5u * BLOCK + k];
                let left_5 = coopLoadT<Left>(row_5, pitch);
                sum_5 = coopMultiplyAdd(left_5, right, sum_5);
                let row_6 = &x_staged[6u * BLOCK + k];
                let left_6 = coopLoadT<Left>(row_6, pitch);
                sum_6 = coopMultiplyAdd(left_6, right, sum_6);
                let row_7 = &x_staged[7u * BLOCK + k];
                let left_7 = coopLoadT<Left>(row_7, pitch);
                sum_7 = coopMultiplyAdd(left_7, right, sum_7);
            }
        }
        workgroupBarrier();
    }

    let made_0 = sum_0;
    coopStoreT(made_0, block, stride);
    store_band(origin.x, origin.y, lane);
    if TILE_ROWS > EDGE {
        let made_1 = sum_1;
        coopStoreT(made_1, block, stride);
        store_band(origin.x + EDGE, origin.y, lane);
    }
    if TILE_ROWS > 2u * EDGE {
        let made_2 = sum_2;
        coopStoreT(made_2, block, stride);
        store_band(origin.x + 2u * EDGE, origin.y, lane);
        let made_3 = sum_3;
        coopStoreT(made_3, block, stride);
        store_band(origin.x + 3u * EDGE, origin.y, lane);
    }
    if TILE_ROWS > 4u * EDGE {
        let made_4 = sum_4;
        coopStoreT(made_4, block, stride);
        store_band(origin.x + 4u * EDGE, origin.y, lane);
        let made_5 = sum_5;
        coopStoreT(made_5, block, stride);
        store_band(origin.x + 5u * EDGE, origin.y, lane);
        let made_6 = sum_6;
        coopStoreT(made_6, block, stride);
        store_band(origin.x + 6u * EDGE, origin.y, lane);
        let made_7 = sum_7;
        coopStoreT(made_7, block, stride);
        store_band(origin.x + 7u * EDGE, origin.y, lane);
    }
}
