// time_embedding: y = [cos(t f_k) | sin(t f_k)], t = 1000 * mask_ratio, f_k = exp(-ln(10000) k / half).

struct Params { width: u32, mask_ratio: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [1, width]

const TWO_PI_HIGH = 6.28125;       // 2 pi in two parts, the first exact in few bits:
const TWO_PI_LOW = 0.0019353071795; // WGSL promises sin and cos only within [-pi, pi]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let half = params.width / 2u;
    let k = id.x;
    if k >= half {
        return;
    }
    let frequency = exp(-9.2103404 * f32(k) / f32(half));
    let angle = params.mask_ratio * 1000.0 * frequency;
    let turns = round(angle / 6.2831853);
    let reduced = (angle - turns * TWO_PI_HIGH) - turns * TWO_PI_LOW;
    y[k] = cos(reduced);
    y[half + k] = sin(reduced);
}
