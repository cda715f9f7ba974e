// combine: y = a x, or y = a x + b y; an invocation an element.

struct Params { elements: u32, a: f32, b: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
#ifdef KEEP
    y[i] = params.a * x[i] + params.b * y[i];
#else
    y[i] = params.a * x[i];
#endif
}
