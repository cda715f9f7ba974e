// Philox 4x32-10 and the draws made of it. Twin of src/kernels/philox.rs.
#import math

const STREAM_TOKEN = 0u;
const STREAM_CHOICE = 1u;
const STREAM_EMBEDDING = 3u;

// WGSL has no 32x32 -> 64 bit product: the high word from four 16-bit products.
fn multiply_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let mid = ah * bl + ((al * bl) >> 16u);
    let low = al * bh + (mid & 0xffffu);
    return ah * bh + (mid >> 16u) + (low >> 16u);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = seed;
    for (var round = 0; round < 10; round++) {
        let h0 = multiply_high(0xD2511F53u, c.x);
        let h1 = multiply_high(0xCD9E8D57u, c.z);
        c = vec4<u32>(h1 ^ c.y ^ k.x, 0xCD9E8D57u * c.z, h0 ^ c.w ^ k.y, 0xD2511F53u * c.x);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

fn uniform_draw(bits: u32) -> f32 {
    return (f32(bits >> 9u) + 0.5) * (1.0 / 8388608.0);
}

fn gumbel(bits: u32) -> f32 {
    return -log_precise(-log_precise(uniform_draw(bits)));
}

// A standard normal draw of a row of embeddings: of each four lanes the first two are of one radius, and the other two.
fn normal_at(lane: u32, position: u32, seed: vec2<u32>) -> f32 {
    let bits = philox(vec4<u32>(lane / 4u, position, 0u, STREAM_EMBEDDING), seed);
    let pair = select(bits.xy, bits.zw, lane % 4u >= 2u);
    let radius = sqrt(-2.0 * log_precise(uniform_draw(pair.x)));
    let angle = 6.2831853 * (uniform_draw(pair.y) - 0.5);
    return radius * select(cos(angle), sin(angle), lane % 2u == 1u);
}

// The same draw as bf16 makes it: see the twin.
fn gumbel_bf16(bits: u32) -> f32 {
    let rounded = round_to_bf16(uniform_draw(bits));
    let u = select(bitcast<f32>(0x1e3d0000u), rounded, rounded < 1.0); // 1e-20 for 0, which stands for 1
    return -round_to_bf16(log_precise(round_to_bf16(-log_precise(u))));
}
