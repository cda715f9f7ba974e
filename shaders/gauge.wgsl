// gauge: the little that the host reads of a step before it decides. One workgroup: the sums of what moved, and how many tokens
// may be revealed together, which is where the entropy bound holds (Ben-Hamu et al. 2025) or how many are certain.

struct Params { tokens: u32, masked: u32, entropy_bound: f32, certainty: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;               // [tokens, 2]
@group(0) @binding(2) var<storage, read> scores: array<f32>;             // [tokens], by place in the list
@group(0) @binding(3) var<storage, read> measured: array<vec4<f32>>;     // [tokens]: entropy, largest probability, its code
@group(0) @binding(4) var<storage, read> positions: array<u32>;          // [tokens]
@group(0) @binding(5) var<storage, read_write> likeliest: array<u32>;    // [tokens], by position: the likeliest code and 1 at the last look
@group(0) @binding(6) var<storage, read_write> gauge: array<f32>;        // [4]: moved, size, count, 0

const LANES = 256u;
var<workgroup> parts: array<vec3<f32>, LANES>;

// Whether the entry at `i` is chosen before the one at `j`.
fn precedes(i: u32, j: u32) -> bool {
    return scores[i] > scores[j] || (scores[i] == scores[j] && i <= j);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var part = vec3<f32>();
    for (var j = lane; j < params.masked; j += LANES) {
        part += vec3<f32>(sums[2u * j], sums[2u * j + 1u], 0.0);
        if params.entropy_bound > 0.0 {
            // Of all that are chosen no later: the sum of entropies less the largest bounds what parallel draws can miss.
            var total = 0.0;
            var most = 0.0;
            for (var i = 0u; i < params.masked; i++) {
                if precedes(i, j) {
                    total += measured[i].x;
                    most = max(most, measured[i].x);
                }
            }
            part.z += select(0.0, 1.0, total - most <= params.entropy_bound);
        }
        let position = min(positions[j], params.tokens - 1u);
        let code = u32(measured[j].z) + 1u;
        if params.certainty > 0.0 && measured[j].y >= params.certainty && likeliest[position] == code {
            part.z += 1.0;
        }
        likeliest[position] = code;
    }
    parts[lane] = part;
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            parts[lane] += parts[lane + half];
        }
    }
    if lane == 0u {
        gauge[0] = parts[0].x;
        gauge[1] = parts[0].y;
        gauge[2] = parts[0].z;
        gauge[3] = 0.0;
    }
}
