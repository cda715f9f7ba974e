// mean_pixels: y[image, channel] = mean over the pixels of an image; a workgroup for 16 channels of an image, whose lanes
// share the pixels.

struct Params { pixels: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [images, pixels, channels]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [images, channels]

const CHANNELS = 16u;
const SHARES = 8u;
var<workgroup> partial: array<f32, CHANNELS * SHARES>;

@compute @workgroup_size(CHANNELS * SHARES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let channel = group.x * CHANNELS + lane % CHANNELS;
    var sum = 0.0;
    if channel < params.channels {
        for (var pixel = lane / CHANNELS; pixel < params.pixels; pixel += SHARES) {
            sum += x[(group.y * params.pixels + pixel) * params.channels + channel];
        }
    }
    partial[lane] = sum;
    for (var half = SHARES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half * CHANNELS {
            partial[lane] += partial[lane + half * CHANNELS];
        }
    }
    if lane < CHANNELS && channel < params.channels {
        y[group.y * params.channels + channel] = partial[lane] / f32(params.pixels);
    }
}
