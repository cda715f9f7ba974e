// sample: softmax, Gumbel-max draw and score of every masked position; one workgroup a position.
#import philox

struct Params {
    images: u32, tokens: u32, masked: u32, codebook: u32,
    step: u32, softmax_temperature: f32, choice_temperature: f32,
    random_choice: u32, draw_temperature: f32, bf16_noise: u32,
    first_masked: u32, // of an image's masked positions, the first of these `masked` ones
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;          // [images * masked, codebook]
@group(0) @binding(2) var<storage, read> positions: array<u32>;       // [images, tokens], `masked` of a row from `first_masked` on
@group(0) @binding(3) var<storage, read> seeds: array<u32>;           // [images, 2]
#ifdef RECORDED
@group(0) @binding(4) var<storage, read> recorded_token: array<f32>;  // [images, tokens, codebook]
@group(0) @binding(5) var<storage, read> recorded_choice: array<f32>; // [images, tokens]
#endif
@group(0) @binding(6) var<storage, read_write> drawn: array<u32>;     // [images, tokens], by position
@group(0) @binding(7) var<storage, read_write> scores: array<f32>;    // [images, tokens], by place in the list
#ifdef MEASURED
@group(0) @binding(8) var<storage, read_write> measured: array<vec4<f32>>; // [images, tokens], by place: entropy, largest probability, its code
#endif

const LANES = 64u;
const LOWEST = -3.4e38;
const LOG_LEAST_CONFIDENCE = -46.0517; // log(1e-20)
var<workgroup> values: array<f32, LANES>;
var<workgroup> indices: array<u32, LANES>;

fn scaled_logit(row: u32, code: u32) -> f32 {
    return logits[row * params.codebook + code] * params.softmax_temperature;
}

fn noise_of(bits: u32) -> f32 {
    if params.bf16_noise != 0u {
        return gumbel_bf16(bits);
    }
    return gumbel(bits);
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x + group.y * groups.x;
    if row >= params.images * params.masked {
        return;
    }
    let image = row / params.masked;
    let entry = image * params.tokens + params.first_masked + row % params.masked;
    let position = min(positions[entry], params.tokens - 1u);
    let at = image * params.tokens + position;
    let seed = vec2<u32>(seeds[2u * image], seeds[2u * image + 1u]);

    // Each lane takes blocks of four codes: one Philox call draws for four.
    var most = LOWEST;
    var best = LOWEST;
    var token = 0u;
#ifdef MEASURED
    var likeliest = 0u;
#endif
    for (var block = lane; block * 4u < params.codebook; block += LANES) {
#ifndef RECORDED
        let bits = philox(vec4<u32>(block, position, params.step, STREAM_TOKEN), seed);
#endif
        for (var i = 0u; i < 4u; i++) {
            let code = block * 4u + i;
            if code < params.codebook {
                let z = scaled_logit(row, code);
#ifdef MEASURED
                likeliest = select(likeliest, code, z > most);
#endif
                most = max(most, z);
#ifdef RECORDED
                let noise = recorded_token[at * params.codebook + code];
#else
                let noise = noise_of(bits[i]);
#endif
                let noisy = select(z, z + params.draw_temperature * noise, params.draw_temperature != 0.0);
                if noisy > best {
                    best = noisy;
                    token = code;
                }
            }
        }
    }
    values[lane] = best;
    indices[lane] = token;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = lane + half;
            if values[other] > values[lane] || (values[other] == values[lane] && indices[other] < indices[lane]) {
                values[lane] = values[other];
                indices[lane] = indices[other];
            }
        }
    }
    workgroupBarrier();
    token = indices[0];
    workgroupBarrier();
    values[lane] = most;
#ifdef MEASURED
    indices[lane] = likeliest;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let other = lane + half;
            if values[other] > values[lane] || (values[other] == values[lane] && indices[other] < indices[lane]) {
                values[lane] = values[other];
                indices[lane] = indices[other];
            }
        }
    }
    workgroupBarrier();
    likeliest = indices[0];
#else
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            values[lane] = max(values[lane], values[lane + half]);
        }
    }
    workgroupBarrier();
#endif
    most = values[0];
    workgroupBarrier();
    var sum = 0.0;
#ifdef MEASURED
    var weighted = 0.0;
#endif
    for (var code = lane; code < params.codebook; code += LANES) {
        let below = scaled_logit(row, code) - most;
        let weight = exp(below);
        sum += weight;
#ifdef MEASURED
        weighted += weight * max(below, -1e4);
#endif
    }
    values[lane] = sum;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            values[lane] += values[lane + half];
        }
    }
    workgroupBarrier();
    sum = values[0];
#ifdef MEASURED
    workgroupBarrier();
    values[lane] = weighted;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            values[lane] += values[lane + half];
        }
    }
    workgroupBarrier();
    if lane == 0u {
        let entropy = max(log_precise(sum) - values[0] / sum, 0.0);
        measured[entry] = vec4<f32>(entropy, 1.0 / sum, f32(likeliest), 0.0);
    }
#endif
    if lane == 0u {
        let exact = scaled_logit(row, token) - most - log_precise(sum);
        let log_confidence = select(exact, LOG_LEAST_CONFIDENCE, exact < LOG_LEAST_CONFIDENCE);
        let bits = philox(vec4<u32>(0u, position, params.step, STREAM_CHOICE), seed).x;
#ifdef RECORDED
        let noise = recorded_choice[at];
#else
        let noise = noise_of(bits);
#endif
        drawn[at] = token;
        scores[entry] = select(log_confidence + params.choice_temperature * noise, uniform_draw(bits), params.random_choice != 0u);
    }
}
