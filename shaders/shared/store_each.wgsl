// For importers of gemm_tile that keep every result. They define store(row: Row, column, value), which ignores what is
// out of range.

fn store_columns(row: u32, column: u32, sums: vec4<f32>) {
    let found = find_row(row);
    store(found, column, sums.x);
    store(found, column + 16u, sums.y);
    store(found, column + 32u, sums.z);
    store(found, column + 48u, sums.w);
}
