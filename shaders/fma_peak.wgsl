// fma_peak: fused multiply-adds in registers and nothing else, to measure the rate that no kernel can exceed.
// Eight independent chains of vec4 an invocation hide the latency of the multiply-adds.

struct Params { invocations: u32, iterations: u32, factor: f32, term: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [invocations]: keeps the loop from being dropped

// Four links of a chain: the loop around them must cost little beside them.
fn four(start: vec4<f32>) -> vec4<f32> {
    let factor = vec4<f32>(params.factor);
    let term = vec4<f32>(params.term);
    var c = fma(start, factor, term);
    c = fma(c, factor, term);
    c = fma(c, factor, term);
    return fma(c, factor, term);
}

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.x + group.y * groups.x) * 128u + lane;
    var c0 = vec4<f32>(0.0, 1.0, 2.0, 3.0) + f32(index % 1024u);
    var c1 = c0 + 4.0;
    var c2 = c0 + 8.0;
    var c3 = c0 + 12.0;
    var c4 = c0 + 16.0;
    var c5 = c0 + 20.0;
    var c6 = c0 + 24.0;
    var c7 = c0 + 28.0;
    for (var i = 0u; i < params.iterations; i++) {
        c0 = four(c0);
        c1 = four(c1);
        c2 = four(c2);
        c3 = four(c3);
        c4 = four(c4);
        c5 = four(c5);
        c6 = four(c6);
        c7 = four(c7);
    }
    if index < params.invocations {
        y[index] = dot(((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7)), vec4<f32>(1.0));
    }
}
