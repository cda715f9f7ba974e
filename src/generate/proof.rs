//! Proof that a run is the same again: a fingerprint of its tokens, and a digit for each step, by which the first step that differs
//! is found. A link and a PNG carry one; what opens them runs the recipe and says whether the tokens are the same.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Characters of six bits each that a link carries as they are. A step's digit is one of them, so that a long run still fits into a
/// link; two different steps have the same one once in 64 times, and then the step after tells.
pub(super) const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// FNV-1a of 64 bits. It tells things apart; it does not stand up to someone who looks for two of the same.
pub(crate) fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// FNV-1a of 64 bits over tokens, each as four bytes, the lowest first.
pub fn fingerprint(tokens: impl IntoIterator<Item = u32>) -> u64 {
    fnv1a(tokens.into_iter().flat_map(u32::to_le_bytes))
}

/// What is known of a run's tokens without having them. As text: sixteen hexadecimal digits, and after a dot a character a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Proof {
    /// [`fingerprint`] of the codes `[images, tokens]` in the end.
    pub tokens: u64,
    /// Six bits of the fingerprint of the codes after each step; none where only the end was looked at.
    pub steps: Vec<u8>,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same tokens.
    Same,
    /// Other tokens.
    Differs {
        /// The first step that left others, where steps are known.
        step: Option<usize>,
    },
}

impl Proof {
    /// Of codes in the end.
    pub fn of(codes: &[u32]) -> Self {
        Self { tokens: fingerprint(codes.iter().copied()), steps: Vec::new() }
    }

    /// The same with what each step left, in order: codes of all pictures, one after the other.
    #[must_use]
    pub fn with_steps<I: IntoIterator<Item = u32>>(self, steps: impl IntoIterator<Item = I>) -> Self {
        // The upper bits are those that every byte has reached.
        let digit = |codes| (fingerprint(codes) >> 58) as u8;
        Self { steps: steps.into_iter().map(digit).collect(), ..self }
    }

    /// Holds a run's tokens against these.
    pub fn compare(&self, made: &Self) -> Found {
        if self.tokens == made.tokens {
            return Found::Same;
        }
        let step = self.steps.iter().zip(&made.steps).position(|(ours, theirs)| ours != theirs);
        // One of them may have ended early.
        let shorter = self.steps.len().min(made.steps.len());
        let ended = (self.steps.len() != made.steps.len() && shorter > 0).then_some(shorter);
        Found::Differs { step: step.or(ended) }
    }

    /// The first digits, for people.
    pub fn short(&self) -> String {
        format!("{:08x}", self.tokens >> 32)
    }
}

impl Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.tokens)?;
        if !self.steps.is_empty() {
            f.write_str(".")?;
        }
        self.steps.iter().try_for_each(|&step| write!(f, "{}", DIGITS[usize::from(step & 63)] as char))
    }
}

impl FromStr for Proof {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no fingerprint of tokens: sixteen hexadecimal digits, and a dot and a character a step"
            )
        };
        let (tokens, steps) = text.split_once('.').unwrap_or((text, ""));
        let is_hex = tokens.len() == 16 && tokens.bytes().all(|byte| byte.is_ascii_hexdigit());
        let tokens = u64::from_str_radix(tokens, 16).ok().filter(|_| is_hex).ok_or_else(wrong)?;
        let digit = |byte| DIGITS.iter().position(|known| *known == byte).map(|at| at as u8);
        let steps: Option<Vec<u8>> = steps.bytes().map(digit).collect();
        Ok(Self { tokens, steps: steps.ok_or_else(wrong)? })
    }
}

impl TryFrom<String> for Proof {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Proof> for String {
    fn from(proof: Proof) -> Self {
        proof.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fingerprint_is_the_published_one() {
        assert_eq!(fingerprint([]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint([u32::from_le_bytes(*b"foob")]), 0xdd12_0e79_0c25_12af);
    }

    #[test]
    fn the_first_step_that_differs_is_found() {
        let steps = [vec![9, 9, 9], vec![1, 9, 9], vec![1, 2, 9], vec![1, 2, 3]];
        let made = Proof::of(&[1, 2, 3]).with_steps(steps.clone());
        assert_eq!(made.compare(&made), Found::Same);
        let mut other = steps;
        for step in &mut other[2..] {
            step[1] = 7;
        }
        let other = Proof::of(&[1, 7, 3]).with_steps(other);
        assert_eq!(made.compare(&other), Found::Differs { step: Some(2) });
        assert_eq!(Proof::of(&[1, 2, 3]).compare(&other), Found::Differs { step: None });
        let shorter = Proof { steps: made.steps[..2].to_vec(), tokens: 5 };
        assert_eq!(made.compare(&shorter), Found::Differs { step: Some(2) });
    }

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        for text in
            ["", "12", "zz34567890123456", "+234567890123456", "1234567890123456.!", "12345678901234567"]
        {
            assert!(text.parse::<Proof>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_proof_survives_as_text(tokens: u64, steps in prop::collection::vec(0_u8..64, 0..70)) {
            let proof = Proof { tokens, steps };
            prop_assert_eq!(proof.to_string().parse::<Proof>(), Ok(proof));
        }
    }
}
