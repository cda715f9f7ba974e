// group_norm_stats: mean and sum of squared deviations of each group over a share of an image's pixels.
// Workgroup (x, y, z) takes share x of image z, and of its groups as many as 256 invocations hold, set y.
//
// A lane follows its channels down the pixels, four at a time, and keeps mean and deviations as it goes (Welford
// 1962, Chan et al. 1979): nothing is squared that still contains the mean. Neighbouring lanes read neighbouring
// channels. How many values stand behind a result follows from the share, so it is not written.

struct Params { pixels: u32, channels: u32, groups: u32, chunks: u32 }
#ifdef VEC4
alias Unit = vec4<f32>; // groups are whole fours of channels
const UNIT = 4u;
#else
alias Unit = f32;
const UNIT = 1u;
#endif
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;                      // [images, pixels, channels]
@group(0) @binding(2) var<storage, read_write> statistics: array<vec2<f32>>; // [images, groups, chunks]

const LANES = 256u;
var<workgroup> partial: array<vec4<f32>, LANES>; // count, mean, squared deviations

// Two sets of values as one: (count, mean, squared deviations).
fn combine(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
    let count = max(a.x + b.x, 1.0);
    let d = b.y - a.y;
    return vec3(a.x + b.x, a.y + d * b.x / count, a.z + b.z + d * d * a.x * b.x / count);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let units = params.channels / UNIT;
    let group_units = units / params.groups;
    let set_groups = max(LANES / group_units, 1u);
    let first_group = group.y * set_groups;
    let count_groups = min(set_groups, params.groups - min(first_group, params.groups));
    let set_units = count_groups * group_units;
    // Lanes across (more than one round if a single group is wider than the workgroup), pixels down.
    let across = clamp(set_units, 1u, LANES);
    let down = LANES / across;
    let share = (params.pixels + params.chunks - 1u) / params.chunks;
    let first_pixel = min(group.x * share, params.pixels);
    let end_pixel = min(first_pixel + share, params.pixels);

    var total = vec3(0.0);
    if lane < across * down {
        for (var unit = lane % across; unit < set_units; unit += across) {
            var i = (group.z * params.pixels + first_pixel + lane / across) * units + first_group * group_units + unit;
            let stride = down * units;
            var count = 0.0;
            var mean = Unit(0.0);
            var squares = Unit(0.0);
            var pixel = first_pixel + lane / across;
            while pixel + 3u * down < end_pixel {
                let a = x[i];
                let b = x[i + stride];
                let c = x[i + 2u * stride];
                let d = x[i + 3u * stride];
                let m = a + ((b - a) + (c - a) + (d - a)) * 0.25;
                let gap = m - mean;
                let weight = 4.0 / (count + 4.0);
                mean += gap * weight;
                squares += gap * gap * (count * weight);
                squares += (a - m) * (a - m) + (b - m) * (b - m) + (c - m) * (c - m) + (d - m) * (d - m);
                count += 4.0;
                i += 4u * stride;
                pixel += 4u * down;
            }
            while pixel < end_pixel {
                let gap = x[i] - mean;
                count += 1.0;
                mean += gap / count;
                squares += gap * gap * ((count - 1.0) / count);
                i += stride;
                pixel += down;
            }
#ifdef VEC4
            let low = combine(vec3(count, mean.x, squares.x), vec3(count, mean.y, squares.y));
            let high = combine(vec3(count, mean.z, squares.z), vec3(count, mean.w, squares.w));
            total = combine(total, combine(low, high));
#else
            total = combine(total, vec3(count, mean, squares));
#endif
        }
    }
    partial[lane] = vec4(total, 0.0);
    workgroupBarrier();

    // A set holds many groups or a single one; either way a lane sums up one group of it.
    if lane < count_groups {
        let first = lane * group_units;
        var sum = vec3(0.0);
        for (var row = 0u; row < down; row++) {
            for (var unit = first; unit < min(first + group_units, across); unit++) {
                sum = combine(sum, partial[row * across + unit].xyz);
            }
        }
        let to = (group.z * params.groups + first_group + lane) * params.chunks + group.x;
        statistics[to] = sum.yz;
    }
}
