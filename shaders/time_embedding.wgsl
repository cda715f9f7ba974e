// time_embedding: y = [cos(t f_k) | sin(t f_k)], t = 1000 * mask_ratio, f_k = exp(-ln(10000) k / half).
#import math

struct Params { width: u32, mask_ratio: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [1, width]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let half = params.width / 2u;
    let k = id.x;
    if k >= half {
        return;
    }
    let frequency = exp(-9.2103404 * f32(k) / f32(half));
    let angle = reduced_angle(params.mask_ratio * 1000.0 * frequency);
    y[k] = cos(angle);
    y[half + k] = sin(angle);
}
