// Blocks of EDGE x EDGE that a subgroup of LANES invocations multiplies at once: f16 times f16, summed in f32. The edge is 8 on Metal and
// on Mesa's software driver, 16 on graphics hardware under Vulkan. `T` in the names of loads and stores means that rows follow one
// another in memory.

#ifdef EDGE16
const EDGE = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
#else
const EDGE = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
#endif
const SUBGROUPS_OF_TILE = 64u / EDGE;
const INVOCATIONS = SUBGROUPS_OF_TILE * LANES;
