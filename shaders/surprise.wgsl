// surprise: how unlikely the model finds the tokens that stand in a list, -log softmax(z)[id]. A workgroup a token.
#import math

struct Params {
    images: u32,
    tokens: u32,
    listed: u32,
    codebook: u32,
    softmax_temperature: f32,
    first: u32, // of an image's list, the first that logits are of
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [images * listed, codebook]
@group(0) @binding(2) var<storage, read> list: array<u32>;           // [images, tokens]
@group(0) @binding(3) var<storage, read> ids: array<u32>;            // [images, tokens]
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;   // [images, tokens], by place in the list

const LANES = 64u;
var<workgroup> values: array<f32, LANES>;

fn scaled_logit(row: u32, code: u32) -> f32 {
    return logits[row * params.codebook + code] * params.softmax_temperature;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.images * params.listed {
        return;
    }
    let image = row / params.listed;
    let entry = image * params.tokens + params.first + row % params.listed;
    var most = -3.4e38;
    for (var code = lane; code < params.codebook; code += LANES) {
        most = max(most, scaled_logit(row, code));
    }
    values[lane] = most;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            values[lane] = max(values[lane], values[lane + half]);
        }
    }
    workgroupBarrier();
    most = values[0];
    workgroupBarrier();
    var sum = 0.0;
    for (var code = lane; code < params.codebook; code += LANES) {
        sum += exp(scaled_logit(row, code) - most);
    }
    values[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            values[lane] += values[lane + half];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        let position = min(list[entry], params.tokens - 1u);
        let id = min(ids[image * params.tokens + position], params.codebook - 1u);
        scores[entry] = most + log_precise(values[0]) - scaled_logit(row, id);
    }
}
