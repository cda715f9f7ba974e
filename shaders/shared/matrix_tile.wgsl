// What `gemm_tile` is on matrix units: eight subgroups of LANES invocations, each with 64 rows and 8 columns of the tile, as eight blocks
// of 8 x 8 sums in f32. Operands are rounded to f16 as they are staged, whatever they are stored as. Blocks are written out one by one:
// an array of them, indexed, need not stay in registers.

const STEP_K4 = 4u;        // vec4s along K that are staged at once
const STAGED_STRIDE = 24u; // f16s from one row to the next: 16 and a gap, so that rows begin in different groups of banks
const INVOCATIONS = 8u * LANES;
const VECTORS = 256u;      // TILE * STEP_K4: of an operand, staged at once

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;

var<workgroup> x_staged: array<f16, 1536>; // TILE * STAGED_STRIDE: [row][k]
var<workgroup> w_staged: array<f16, 1536>; // [column][k]
var<workgroup> band: array<f32, 512>;      // eight rows of the tile, on their way to `store_columns`

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

// Eight rows of results, the same sums to the same calls as on the other tiers. Every invocation comes here.
fn store_band(row: u32, column: u32, lane: u32) {
    workgroupBarrier();
    for (var i = lane; i < 128u; i += INVOCATIONS) {
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
    let rows_of_tiles = (params.rows + TILE - 1u) / TILE;
    let columns_of_tiles = (params.outer + TILE - 1u) / TILE;
    let index = group.x + group.y * groups.x;
    if index >= rows_of_tiles * columns_of_tiles {
        return;
    }
    let origin = tile_origin(index, rows_of_tiles, columns_of_tiles);

    // Sums begin as zeros that are loaded: not every language has a matrix of zeros.
    for (var i = lane; i < 512u; i += INVOCATIONS) {
        band[i] = 0.0;
    }
    workgroupBarrier();
    // naga emits a store at once, and does not find what is not named before it.
    let zeros = &band[8u * subgroup];
    let stride = 64u;
    let pitch = STAGED_STRIDE;
    var sum_0 = coopLoadT<Sums>(zeros, stride);
    var sum_1 = sum_0;
    var sum_2 = sum_0;
    var sum_3 = sum_0;
    var sum_4 = sum_0;
    var sum_5 = sum_0;
    var sum_6 = sum_0;
    var sum_7 = sum_0;

    let width = (params.inner + 3u) / 4u;
    for (var first = 0u; first < width; first += STEP_K4) {
        for (var i = lane; i < VECTORS; i += INVOCATIONS) {
            let line = i / STEP_K4;
            let k4 = i % STEP_K4;
            let at = line * STAGED_STRIDE + 4u * k4;
            stage_x(at, load_x(find_row(origin.x + line), first + k4));
            stage_w(at, load_w(origin.y + line, first + k4));
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k += 8u) {
            let column = &w_staged[8u * subgroup * STAGED_STRIDE + k];
            let right = coopLoad<Right>(column, pitch);
            let row_0 = &x_staged[k];
            let left_0 = coopLoadT<Left>(row_0, pitch);
            sum_0 = coopMultiplyAdd(left_0, right, sum_0);
            let row_1 = &x_staged[192u + k];
            let left_1 = coopLoadT<Left>(row_1, pitch);
            sum_1 = coopMultiplyAdd(left_1, right, sum_1);
            let row_2 = &x_staged[384u + k];
            let left_2 = coopLoadT<Left>(row_2, pitch);
            sum_2 = coopMultiplyAdd(left_2, right, sum_2);
            let row_3 = &x_staged[576u + k];
            let left_3 = coopLoadT<Left>(row_3, pitch);
            sum_3 = coopMultiplyAdd(left_3, right, sum_3);
            let row_4 = &x_staged[768u + k];
            let left_4 = coopLoadT<Left>(row_4, pitch);
            sum_4 = coopMultiplyAdd(left_4, right, sum_4);
            let row_5 = &x_staged[960u + k];
            let left_5 = coopLoadT<Left>(row_5, pitch);
            sum_5 = coopMultiplyAdd(left_5, right, sum_5);
            let row_6 = &x_staged[1152u + k];
            let left_6 = coopLoadT<Left>(row_6, pitch);
            sum_6 = coopMultiplyAdd(left_6, right, sum_6);
            let row_7 = &x_staged[1344u + k];
            let left_7 = coopLoadT<Left>(row_7, pitch);
            sum_7 = coopMultiplyAdd(left_7, right, sum_7);
        }
        workgroupBarrier();
    }

    let block = &band[8u * subgroup];
    let made_0 = sum_0;
    coopStoreT(made_0, block, stride);
    store_band(origin.x, origin.y, lane);
    let made_1 = sum_1;
    coopStoreT(made_1, block, stride);
    store_band(origin.x + 8u, origin.y, lane);
    let made_2 = sum_2;
    coopStoreT(made_2, block, stride);
    store_band(origin.x + 16u, origin.y, lane);
    let made_3 = sum_3;
    coopStoreT(made_3, block, stride);
    store_band(origin.x + 24u, origin.y, lane);
    let made_4 = sum_4;
    coopStoreT(made_4, block, stride);
    store_band(origin.x + 32u, origin.y, lane);
    let made_5 = sum_5;
    coopStoreT(made_5, block, stride);
    store_band(origin.x + 40u, origin.y, lane);
    let made_6 = sum_6;
    coopStoreT(made_6, block, stride);
    store_band(origin.x + 48u, origin.y, lane);
    let made_7 = sum_7;
    coopStoreT(made_7, block, stride);
    store_band(origin.x + 56u, origin.y, lane);
}
