// The float as an integer of the same order; NaN is the lowest, and both zeros are one.
fn order(score: f32) -> u32 {
    let bits = bitcast<u32>(score);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return 0u;
    }
    if bits == 0x80000000u {
        return 0x80000000u;
    }
    return select(~bits, bits | 0x80000000u, (bits >> 31u) == 0u);
}
