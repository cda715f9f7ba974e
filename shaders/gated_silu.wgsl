// gated_silu: x = silu(x) * gate, in place; an invocation an element.
#import input
#import math

struct Params { elements: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<X>;
@group(0) @binding(2) var<storage, read_write> x: array<X>;

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
    x[i] = X(silu(f32(x[i])) * f32(gate[i]));
}
