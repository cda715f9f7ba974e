// taylor_predict: y = d0 + t d1 + t^2 / 2 d2, as far as the order goes; an invocation an element.

struct Params { elements: u32, t: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> d0: array<f32>;
#ifdef FIRST
@group(0) @binding(2) var<storage, read> d1: array<f32>;
#endif
#ifdef SECOND
@group(0) @binding(3) var<storage, read> d2: array<f32>;
#endif
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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
    var sum = d0[i];
#ifdef FIRST
    sum += params.t * d1[i];
#endif
#ifdef SECOND
    sum += 0.5 * params.t * params.t * d2[i];
#endif
    y[i] = sum;
}
