//! Pictures that follow the controls: a quick one shortly after the last change, which a newer change overtakes, and one by the full
//! settings when nothing changes any more.

use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;

/// Seconds after a change before the quick picture begins: long enough for a key or a drag to go on.
const AFTER: f64 = 0.12;
/// Seconds without a change before the full settings run.
const IDLE: f64 = 1.0;
/// Steps of a quick picture, and full ones among them.
const STEPS: u32 = 12;
const FULL: u32 = 2;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Follow {
    /// Nothing has changed.
    Rest,
    /// Look again in so many seconds.
    Wait(f64),
    /// Make a quick picture.
    Draft,
    /// Make the picture by the full settings.
    Refine,
}

/// What was seen of the controls.
#[derive(Clone, Debug, Default)]
pub struct Follower {
    seen: Option<Recipe>,
    /// When they changed last, in seconds, and whether the quick picture was made since.
    changed: Option<(f64, bool)>,
}

impl Follower {
    /// A run of these settings was started by other means: they are no change.
    pub fn settled(&mut self, recipe: &Recipe) {
        *self = Self { seen: Some(recipe.clone()), changed: None };
    }

    /// Looks at the controls at a time.
    pub fn look(&mut self, recipe: &Recipe, now: f64) -> Follow {
        if self.seen.as_ref() != Some(recipe) {
            let is_first = self.seen.is_none();
            self.seen = Some(recipe.clone());
            if is_first {
                return Follow::Rest;
            }
            self.changed = Some((now, false));
        }
        match self.changed {
            None => Follow::Rest,
            Some((at, false)) if now - at >= AFTER => {
                self.changed = Some((at, true));
                Follow::Draft
            }
            Some((at, false)) => Follow::Wait(AFTER - (now - at)),
            Some((at, true)) if now - at >= IDLE => {
                self.changed = None;
                Follow::Refine
            }
            Some((at, true)) => Follow::Wait(IDLE - (now - at)),
        }
    }
}

/// The same in a few steps, few of them full; what already is as quick stays as it is.
pub fn quick(recipe: &Recipe) -> Recipe {
    let steps = recipe.draw.steps.min(STEPS);
    let full = recipe.full_steps().map_or(FULL, |full| (full as u32).min(FULL));
    let draw = recipe.draw.with_steps(steps);
    Recipe { draw, refresh: Refresh::Uniform(full.min(steps)), images: 1, ..recipe.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::predict::Predictor;
    use crate::generate::recipe::Subject;
    use crate::generate::sampling::Sampling;

    fn recipe(prompt: &str) -> Recipe {
        Recipe {
            model: "m".to_owned(),
            subject: Subject::Prompt(prompt.to_owned()),
            seed: 0,
            images: 4,
            draw: Sampling { steps: 32, ..Sampling::DIMOO },
            refresh: Refresh::Uniform(8),
            predictor: Predictor::Shortcut,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }

    #[test]
    fn a_quick_picture_follows_the_last_change_and_the_full_settings_follow_it() {
        let mut follower = Follower::default();
        assert_eq!(follower.look(&recipe("a"), 0.0), Follow::Rest, "what is there is no change");
        // Typing: every key begins the wait anew.
        for (at, text) in [(1.0, "a f"), (1.1, "a fo"), (1.2, "a fox")] {
            assert!(matches!(follower.look(&recipe(text), at), Follow::Wait(_)), "{text}");
        }
        let Follow::Wait(left) = follower.look(&recipe("a fox"), 1.25) else { panic!("too early") };
        assert!(left > 0.0 && left < 0.15, "{left}");
        assert_eq!(follower.look(&recipe("a fox"), 1.33), Follow::Draft);
        assert!(matches!(follower.look(&recipe("a fox"), 1.5), Follow::Wait(_)), "once is enough");
        assert_eq!(follower.look(&recipe("a fox"), 2.21), Follow::Refine);
        assert_eq!(follower.look(&recipe("a fox"), 9.0), Follow::Rest);
        // What a button started is followed by nothing.
        follower.settled(&recipe("two foxes"));
        assert_eq!(follower.look(&recipe("two foxes"), 10.0), Follow::Rest);
    }

    #[test]
    fn a_quick_picture_is_quick() {
        let found = quick(&recipe("a"));
        assert_eq!((found.draw.steps, found.full_steps(), found.images), (12, Some(2), 1));
        let short = Recipe {
            draw: Sampling { steps: 3, ..Sampling::DIMOO },
            refresh: Refresh::Uniform(1),
            ..recipe("a")
        };
        assert_eq!((quick(&short).draw.steps, quick(&short).full_steps()), (3, Some(1)));
    }
}
