//! Lines for a person on standard error, which must not stop the work: whoever reads them may have gone (`2>&1 | head -1`), and
//! the disk that they go to may be full. The standard library's `eprintln!` panics then.

use std::io::Write as _;

/// Writes a line to standard error, or does without.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::say::line(format_args!($($words)*)) };
}

/// Writes a line to standard error, or does without.
pub(super) fn line(words: std::fmt::Arguments<'_>) {
    // Nobody is left to tell that nobody reads.
    let _ = writeln!(std::io::stderr().lock(), "{words}");
}

/// Has panics, which are faults of the program, say so in a sentence for its users. `MIGM_BACKTRACE=1` adds where, for who mends them.
pub(super) fn speak_of_faults() {
    std::panic::set_hook(Box::new(|fault| {
        line(format_args!("{}", of_a_fault(fault.payload_as_str())));
        if std::env::var_os("MIGM_BACKTRACE").is_some() {
            if let Some(place) = fault.location() {
                line(format_args!("  in {place}"));
            }
            line(format_args!("{}", std::backtrace::Backtrace::force_capture()));
        }
    }));
}

fn of_a_fault(message: Option<&str>) -> String {
    let message = message.unwrap_or("it does not say which");
    format!(
        "error: a fault of migm: {message}\n  please report it; with MIGM_BACKTRACE=1 it shows where it is"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_without_its_place() {
        let told = of_a_fault(Some("index 7 of 3"));
        assert!(
            told.starts_with("error: a fault of migm: index 7 of 3\n") && !told.contains(".rs"),
            "{told}"
        );
    }
}
