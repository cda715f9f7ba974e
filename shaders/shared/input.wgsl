// What an input is held in: with F16_X, which tiers that round set, in half the memory.

#ifdef F16_X
alias X = f16;
#else
alias X = f32;
#endif
