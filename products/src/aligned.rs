//! Numbers that begin with a line of the cache: a vector of sixteen that lies across two takes both.

use std::ops::{Deref, DerefMut};

/// Bytes of a line.
const LINE: usize = 64;

/// A vector of numbers whose first is at the beginning of a line.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    held: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// So many zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut new = Self { held: Vec::new(), first: 0, len: 0 };
        new.reserve(len);
        new
    }

    /// Makes place for so many numbers; what was there before may be anywhere then, or nothing.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.held.len() < len + LINE / size_of::<T>() {
            self.held = vec![T::default(); len + LINE / size_of::<T>()];
            self.first = self.held.as_ptr().align_offset(LINE);
        }
        self.len = len;
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.held[self.first..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.held[self.first..][..self.len]
    }
}
