// The activation of an epilogue, chosen by flag. Twin: `Activation::apply` in src/kernels/linear.rs.
#import math

fn activate(x: f32) -> f32 {
#ifdef GELU
    return gelu(x);
#else
#ifdef SILU
    return silu(x);
#else
    return x;
#endif
#endif
}
