// Functions that WGSL lacks or leaves too coarse. Twin of src/kernels/math.rs, where the errors are stated.

fn erf(x: f32) -> f32 {
    let a = min(abs(x), 9.0); // beyond this the exponential underflows, and the result is 1
    let t = 1.0 / (1.0 + 0.45 * a);
    var p = 0.092569844;
    p = p * t - 0.4941053;
    p = p * t + 0.85716967;
    p = p * t - 0.37580475;
    p = p * t + 0.46017176;
    p = p * t + 0.20100904;
    p = p * t + 0.25898973;
    let y = 1.0 - p * t * exp(-a * a);
    return select(y, -y, x < 0.0);
}

fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

// WGSL promises sin and cos only within [-pi, pi]. 2 pi in two parts, the first exact in few bits.
fn reduced_angle(angle: f32) -> f32 {
    let turns = round(angle / 6.2831853);
    return (angle - turns * 6.28125) - turns * 0.0019353071795;
}

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp(-clamp(x, -80.0, 80.0)));
}

// The nearest bf16, ties to even; finite numbers only.
fn round_to_bf16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
}

// The built-in `log` may be off by 2^-21 near 1; the largest Gumbel draws come from there.
fn log_precise(x: f32) -> f32 {
    let bits = bitcast<u32>(x) - 0x3f3504f3u;
    let e = bitcast<i32>(bits) >> 23u;
    let m = bitcast<f32>((bits & 0x007fffffu) + 0x3f3504f3u);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    var p = 0.11665486;
    p = p * z + 0.142754;
    p = p * z + 0.20000061;
    p = p * z + 0.33333333;
    return 2.0 * (s + s * z * p) + f32(e) * 0.69314718;
}
