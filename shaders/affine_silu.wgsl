// affine_silu: y = silu(x * weight + bias), a weight and a bias for each channel; an invocation an element.
#import math

struct Params { elements: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // [rows, channels]
@group(0) @binding(2) var<storage, read> weight: array<f32>;  // [channels]
@group(0) @binding(3) var<storage, read> bias: array<f32>;    // [channels]
@group(0) @binding(4) var<storage, read_write> y: array<f32>; // [rows, channels]

const LANES = 256u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * LANES + lane;
    if i >= params.elements {
        return;
    }
    let channel = i % params.channels;
    y[i] = silu(x[i] * weight[channel] + bias[channel]);
}
