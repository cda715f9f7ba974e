//! Memory that ends with a sentence: where the system has none left, the standard library aborts with a backtrace.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator. Where it has nothing left, the process says so and ends with exit code 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spoken;

// SAFETY: every call goes to the system's allocator as it is, and so do its promises; `given` returns what that gave, or
// does not return.
unsafe impl GlobalAlloc for Spoken {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as in `alloc`; `pointer` is from the system's allocator, like all that were given.
        given(unsafe { System.realloc(pointer, layout, bytes) }, bytes)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn given(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() { end(bytes) } else { pointer }
}

#[cold]
fn end(bytes: usize) -> ! {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    if IS_ENDING.swap(true, Ordering::Relaxed) {
        // What runs at the end of a process wanted memory too.
        std::process::abort();
    }
    // No memory is needed to say it: standard error has no buffer.
    let mut out = std::io::stderr();
    let _ = writeln!(
        out,
        "error: too little memory: {bytes} more bytes were asked for, and the system has none left to give\n  \
         fewer pictures at once (--batch 1) take less, and so do smaller weights (--quantize int4)"
    );
    std::process::exit(1)
}
