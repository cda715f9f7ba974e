//! Tiles of bf16, where the processor has them (Intel's AMX): eight registers of 16 rows of 64 bytes each, and an instruction that
//! multiplies two of them into a third.
//!
//! The standard library has these instructions on nightly compilers alone, so that they stand here as assembly. Panels are as
//! `avx512_bf16` takes them: a tile of weights is 16 pairs along K of 16 outputs. Unlike there, numbers too small for a normal f32 are zeros.

use super::{TILE_ROWS, WIDE};
use std::arch::asm;
use std::sync::OnceLock;

/// Whether the processor has tiles and the system lets this process use them.
pub(super) fn available() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
        let most = std::arch::x86_64::__cpuid(0).eax;
        most >= 7
            && std::arch::x86_64::__cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES
            && permitted()
    })
}

/// Linux keeps the tiles of a process only if that has asked: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let answer: i64;
    // SAFETY: the call changes what the process may do, and no memory.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// How other systems are asked was not tried.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// What `ldtilecfg` takes.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static SHAPES: Shapes = {
    let (mut bytes, mut rows, mut tile) = ([0; 16], [0; 16], 0);
    while tile < 8 {
        (bytes[tile], rows[tile], tile) = (64, 16, tile + 1);
    }
    Shapes { palette: 1, start: 0, reserved: [0; 14], bytes, rows }
};

/// The sums of [`TILE_ROWS`] rows.
#[repr(C, align(64))]
pub(super) struct Sums(pub [[f32; WIDE]; TILE_ROWS]);

impl Sums {
    pub(super) const ZEROS: Self = Self([[0.0; WIDE]; TILE_ROWS]);
}

/// This thread's tiles, all of 16 rows of 64 bytes, until it is dropped.
pub(super) struct Tiles(std::marker::PhantomData<*const ()>);

impl Tiles {
    /// # Safety
    /// Tiles are [`available`]; this thread has no others.
    pub(super) unsafe fn new() -> Self {
        // SAFETY: `SHAPES` is as the instruction takes it, and the compiler has no use for tiles.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly)) };
        Self(std::marker::PhantomData)
    }

    /// [`TILE_ROWS`] rows of `pairs` pairs each, one after the other at `x`, by a panel, to rows of [`WIDE`] sums at `y`, so far apart.
    ///
    /// # Safety
    /// `TILE_ROWS * pairs` pairs are at `x` and `pairs * WIDE` at `weights`; `pairs` is a multiple of 16, and not 0. [`TILE_ROWS`] rows can
    /// be written.
    pub(super) unsafe fn product_to(
        &self,
        pairs: usize,
        x: *const u32,
        weights: *const u32,
        (y, stride): (*mut f32, usize),
    ) {
        // SAFETY: the tiles are this thread's, and of 16 rows. Each turn of the loop reads 64 bytes of each of 32 rows of `x`, and 16 rows of
        // 128 bytes of the panel, which are there; then 128 bytes of each of 32 rows are written.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {row}]",
                "tileloadd tmm6, [{weights} + {width}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{weights} + {width} + 64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{lower} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {weights}, 2048",
                "dec {left}",
                "jnz 2b",
                "tilestored [{first} + {apart}], tmm0",
                "tilestored [{first} + {apart} + 64], tmm1",
                "tilestored [{second} + {apart}], tmm2",
                "tilestored [{second} + {apart} + 64], tmm3",
                upper = inout(reg) x => _,
                lower = inout(reg) x.add(16 * pairs) => _,
                weights = inout(reg) weights => _,
                left = inout(reg) pairs / 16 => _,
                row = in(reg) 4 * pairs,
                width = in(reg) 4 * WIDE,
                first = in(reg) y,
                second = in(reg) y.add(16 * stride),
                apart = in(reg) 4 * stride,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: it gives back what `new` took.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
