// rms_norm: y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * weight, then y * (1 + scale) + shift where modulated.
// One workgroup a row, statistics in f32.
#import result
#import lanes

struct Params { rows: u32, width: u32, eps: f32, unused: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<f32>;     // [width]
#ifdef MODULATION
@group(0) @binding(3) var<storage, read> modulation: array<f32>; // [1, 2 * width]: scale, shift
#endif
@group(0) @binding(4) var<storage, read_write> y: array<Y>;      // [rows, width]

fn do_row(row: u32, lane: u32) {
    let start = row * params.width;
    var squares = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        squares += x[start + i] * x[start + i];
    }
    let scale = inverseSqrt(sum_over_lanes(lane, squares) / f32(params.width) + params.eps);
    for (var i = lane; i < params.width; i += LANES) {
        var v = x[start + i] * scale * weight[i];
#ifdef MODULATION
        v = v * (1.0 + modulation[i]) + modulation[params.width + i];
#endif
        y[start + i] = Y(v);
    }
}
