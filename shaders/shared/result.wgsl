// What a result is held in: with F16_Y, which tiers that round set, in half the memory.

#ifdef F16_Y
alias Y = f16;
#else
alias Y = f32;
#endif
