//! The canvas that a run begins on: the tokens that are there, and those that are to be made. Nothing there is a canvas too, the one
//! of every new picture; an edit begins on a picture's codes of which a [`Region`] is masked.
//!
//! What is there is context to the model, and is never revealed: no step changes it, and no predictor is told of it as new. Counts of
//! tokens, guidance and noise go along the run as they do along a whole one; the share of masked tokens that models are told of is of
//! the whole picture, as it was in training.

use super::GenerateError;
use super::proof::DIGITS;
use super::region::Region;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Stands for a token that is to be made.
const MASKED: char = '.';
/// Codes that three digits of six bits tell apart.
const CODES: u32 = 1 << 18;

/// Codes in rows from the top, and places without one. As text: three characters a code, and a dot for what is masked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Canvas {
    tokens: Vec<Option<u32>>,
}

impl Canvas {
    /// With everything to be made.
    pub fn blank(tokens: u32) -> Self {
        Self { tokens: vec![None; tokens as usize] }
    }

    /// Of codes, of which the number of codes stands for what is masked, as sessions have it.
    pub fn of_codes(codes: &[u32], mask: u32) -> Self {
        Self { tokens: codes.iter().map(|&code| (code != mask).then_some(code)).collect() }
    }

    /// The same with a region masked.
    ///
    /// # Errors
    /// The region is of another grid.
    pub fn without(&self, region: &Region) -> Result<Self, GenerateError> {
        let cells = region.cells();
        if cells.len() != self.tokens.len() {
            let message =
                format!("a region of {} tokens for a picture of {}", cells.len(), self.tokens.len());
            return Err(GenerateError::Setting(message));
        }
        let kept = self.tokens.iter().zip(cells).map(|(token, forgotten)| token.filter(|_| !forgotten));
        Ok(Self { tokens: kept.collect() })
    }

    /// Codes as sessions have them, `mask` where there is none.
    pub fn codes(&self, mask: u32) -> Vec<u32> {
        self.tokens.iter().map(|token| token.unwrap_or(mask)).collect()
    }

    /// Tokens, there or not.
    pub fn tokens(&self) -> u32 {
        self.tokens.len() as u32
    }

    /// Tokens to be made.
    pub fn masked(&self) -> u32 {
        self.tokens.iter().filter(|token| token.is_none()).count() as u32
    }

    /// Whether each token is to be made.
    pub fn mask(&self) -> Vec<bool> {
        self.tokens.iter().map(Option::is_none).collect()
    }

    /// Whether nothing is there.
    pub fn is_blank(&self) -> bool {
        self.tokens.iter().all(Option::is_none)
    }

    /// Refuses one that a model of so many tokens and codes cannot begin on.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    pub fn check(&self, tokens: u32, codebook: u32) -> Result<(), GenerateError> {
        let refuse = |message: String| Err(GenerateError::Setting(message));
        if self.tokens() != tokens {
            return refuse(format!(
                "a canvas of {} tokens, where the model's pictures have {tokens}; encode the picture with this model",
                self.tokens()
            ));
        }
        if let Some(code) = self.tokens.iter().flatten().find(|code| **code >= codebook) {
            return refuse(format!(
                "code {code} is none of the model's {codebook}; encode the picture with this model"
            ));
        }
        if self.masked() == 0 {
            return refuse("nothing is masked, so there is nothing to make; choose a region".to_owned());
        }
        Ok(())
    }
}

impl Display for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for token in &self.tokens {
            let Some(code) = token else {
                f.write_char(MASKED)?;
                continue;
            };
            for shift in [12, 6, 0] {
                f.write_char(DIGITS[(code >> shift & 63) as usize] as char)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Canvas {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a canvas is three characters a code, and a dot for each masked token".to_owned();
        let digit = |byte: u8| DIGITS.iter().position(|known| *known == byte).map(|at| at as u32);
        let (mut tokens, mut left) = (Vec::new(), text.as_bytes());
        while let Some((&first, rest)) = left.split_first() {
            if first == MASKED as u8 {
                tokens.push(None);
                left = rest;
                continue;
            }
            let (code, rest) = left.split_at_checked(3).ok_or_else(wrong)?;
            let code = code.iter().try_fold(0, |sum, &byte| Some(sum * 64 + digit(byte)?));
            tokens.push(Some(code.ok_or_else(wrong)?));
            left = rest;
        }
        if tokens.is_empty() { Err(wrong()) } else { Ok(Self { tokens }) }
    }
}

impl TryFrom<String> for Canvas {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Canvas> for String {
    fn from(canvas: Canvas) -> Self {
        debug_assert!(canvas.tokens.iter().flatten().all(|code| *code < CODES), "six bits a digit");
        canvas.to_string()
    }
}

#[cfg(test)]
#[path = "canvas_tests.rs"]
mod tests;
