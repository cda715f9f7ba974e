//! The strip of steps: tall solid bars for full steps, low ones for shortcut steps, in the two colours of the project.

use crate::generate::session::StepKind;

/// The strip as text, coloured if asked: shape carries the meaning, colour repeats it.
pub(super) fn strip(steps: impl IntoIterator<Item = StepKind>, colour: bool) -> String {
    const AMBER: &str = "\x1b[38;5;214m";
    const TEAL: &str = "\x1b[38;5;37m";
    const RESET: &str = "\x1b[0m";
    let mut out = String::new();
    for kind in steps {
        let (paint, bar) = match kind {
            StepKind::Full => (AMBER, '█'),
            StepKind::Predicted => (TEAL, '▂'),
        };
        if colour {
            out.push_str(paint);
        }
        out.push(bar);
    }
    if colour {
        out.push_str(RESET);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_steps_stand_out_without_colour() {
        let steps = [StepKind::Full, StepKind::Predicted, StepKind::Full];
        assert_eq!(strip(steps, false), "█▂█");
        assert!(strip(steps, true).contains("\x1b[0m"));
    }
}
