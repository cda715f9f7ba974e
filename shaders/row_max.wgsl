// row_max: y[r] = max of x[r]; one workgroup a row.
#import lanes

struct Params { rows: u32, width: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, width]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [rows]

// f32's lowest, exactly: in decimals it is refused by browsers, which read it as more than f32 holds.
const LOWEST = -0x1.fffffep+127f;

fn do_row(row: u32, lane: u32) {
    var most = LOWEST;
    for (var i = lane; i < params.width; i += LANES) {
        most = max(most, x[row * params.width + i]);
    }
    let of_row = max_over_lanes(lane, most);
    if lane == 0u {
        y[row] = of_row;
    }
}
