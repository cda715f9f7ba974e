// group_norm: y = (x - mean) / sqrt(var + eps) * weight + bias, mean and variance of each group of channels of an
// image, then SiLU if asked. Workgroup (x, y) takes share x of image y and combines the statistics for itself.
#import math

struct Params { pixels: u32, channels: u32, groups: u32, chunks: u32, share: u32, eps: f32, unused0: u32, unused1: u32 }
#ifdef VEC4
alias Unit = vec4<f32>; // groups are whole fours of channels
const UNIT = 4u;
#else
alias Unit = f32;
const UNIT = 1u;
#endif
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;                // [images, pixels, channels]
@group(0) @binding(2) var<storage, read> statistics: array<vec2<f32>>; // [images, groups, chunks]: mean, deviations
@group(0) @binding(3) var<storage, read> weight: array<Unit>;           // [channels]
@group(0) @binding(4) var<storage, read> bias: array<Unit>;             // [channels]
@group(0) @binding(5) var<storage, read_write> y: array<Unit>;          // [images, pixels, channels]

const LANES = 256u;
const MAX_GROUPS = 512u;
const HELPERS = 8u; // lanes that read the statistics of one group
var<workgroup> partial: array<vec4<f32>, LANES>; // count, mean, squared deviations
var<workgroup> moments: array<vec2<f32>, MAX_GROUPS>; // mean, 1 / standard deviation

fn combine(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    let count = max(a.x + b.x, 1.0);
    let d = b.y - a.y;
    return vec3(a.x + b.x, a.y + d * b.x / count, a.z + b.z + d * d * a.x * b.x / count);
}

// How many pixels chunk `chunk` of the statistics covers.
fn pixels_of(chunk: u32) -> u32 {
    let share = (params.pixels + params.chunks - 1u) / params.chunks;
    let first = min(chunk * share, params.pixels);
    return min(share, params.pixels - first);
}

fn finish(v: Unit) -> Unit {
#ifdef SILU
#ifdef VEC4
    return vec4(silu(v.x), silu(v.y), silu(v.z), silu(v.w));
#else
    return silu(v);
#endif
#else
    return v;
#endif
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group_width = params.channels / params.groups;
    for (var first = 0u; first < params.groups; first += LANES / HELPERS) {
        let g = first + lane / HELPERS;
        var sum = vec3(0.0);
        if g < params.groups {
            let from_row = (group.y * params.groups + g) * params.chunks;
            for (var chunk = lane % HELPERS; chunk < params.chunks; chunk += HELPERS) {
                let count = f32(pixels_of(chunk) * group_width);
                sum = combine(sum, vec3(count, statistics[from_row + chunk]));
            }
        }
        partial[lane] = vec4(sum, 0.0);
        workgroupBarrier();
        if g < params.groups && lane % HELPERS == 0u {
            for (var i = 1u; i < HELPERS; i++) {
                sum = combine(sum, partial[lane + i].xyz);
            }
            moments[g] = vec2(sum.y, inverseSqrt(sum.z / max(sum.x, 1.0) + params.eps));
        }
        workgroupBarrier();
    }

    let units = params.channels / UNIT;
    let group_units = units / params.groups;
    let image_units = params.pixels * units;
    let end = min((group.x + 1u) * params.share, image_units);
    for (var i = group.x * params.share + lane; i < end; i += LANES) {
        let channel = i % units;
        let moment = moments[channel / group_units];
        let at = group.y * image_units + i;
        y[at] = finish((x[at] - moment.x) * moment.y * weight[channel] + bias[channel]);
    }
}
