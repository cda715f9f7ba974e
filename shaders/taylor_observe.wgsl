// taylor_observe: finite differences of x over full steps, d0 = x, d1 and d2 by what they were; an invocation an element.

struct Params { elements: u32, full_before: u32, inverse_span: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> d0: array<f32>;
#ifdef FIRST
@group(0) @binding(3) var<storage, read_write> d1: array<f32>;
#endif
#ifdef SECOND
@group(0) @binding(4) var<storage, read_write> d2: array<f32>;
#endif

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
#ifdef FIRST
    // A difference is known once there were as many full steps before.
    let first = select(0.0, (x[i] - d0[i]) * params.inverse_span, params.full_before > 0u);
#ifdef SECOND
    d2[i] = select(0.0, (first - d1[i]) * params.inverse_span, params.full_before > 1u);
#endif
    d1[i] = first;
#endif
    d0[i] = x[i];
}
