//! Work that goes on while stages run which leave a core idle.

use std::thread::{self, JoinHandle};

/// Something that is on its way.
pub(crate) struct Job<T>(JoinHandle<Result<T, String>>);

impl<T: Send + 'static> Job<T> {
    pub(crate) fn begin(work: fn() -> Result<T, String>) -> Self {
        Self(thread::spawn(work))
    }

    /// Waits for it.
    pub(crate) fn finish(self) -> Result<T, String> {
        self.0.join().unwrap_or_else(|_| Err("a preparation broke off".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_finds_or_fails_by_is_told_at_its_end() {
        assert_eq!(Job::begin(|| Ok(3)).finish(), Ok(3));
        assert_eq!(Job::<()>::begin(|| Err("no network".to_owned())).finish(), Err("no network".to_owned()));
        assert!(Job::<()>::begin(|| panic!("on purpose")).finish().is_err());
    }
}
