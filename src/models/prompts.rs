//! Prompts to token ids, by a model's `tokenizer.json` and its prompt template.
//!
//! Lumina-DiMOO wraps a prompt in a system and a user part (its `prompt_utils`); the unconditional branch has the
//! same wrapping around one special token. No begin- or end-of-sequence token is added.

use std::fmt;

/// The official template of Lumina-DiMOO; `{prompt}` stands for what the person wrote.
pub const DIMOO_TEMPLATE: &str =
    "<system>Generate an image according to the text prompt.</system><user>{prompt}</user>";
/// What stands in place of a prompt in the unconditional branch.
pub const UNCONDITION: &str = "<uncondition>";

/// What can be wrong with a tokenizer or a prompt.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// `tokenizer.json` is not one.
    #[error("{file} is not a tokenizer: {reason}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What the parser said.
        reason: String,
    },
    /// The prompt could not be encoded.
    #[error("the prompt could not be encoded: {0}")]
    Encode(String),
    /// The prompt is too long.
    #[error("the prompt has {found} {unit}, and at most {most} are taken; say it in fewer words")]
    Long {
        /// Its length.
        found: usize,
        /// In what.
        unit: &'static str,
        /// The limit.
        most: usize,
    },
    /// A token id lies outside of the model's vocabulary.
    #[error(
        "{file} gives id {id} to {token:?}, but the model's text vocabulary has {vocabulary} ids; is it from another model?"
    )]
    Vocabulary {
        /// The file.
        file: String,
        /// The token.
        token: String,
        /// Its id.
        id: u32,
        /// Text ids of the model.
        vocabulary: u32,
    },
}

/// A tokenizer with its template.
#[derive(Clone)]
pub struct PromptEncoder {
    tokenizer: tokenizers::Tokenizer,
    template: String,
    trims: bool,
    file: String,
    vocabulary: u32,
}

impl fmt::Debug for PromptEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptEncoder")
            .field("file", &self.file)
            .field("template", &self.template)
            .finish_non_exhaustive()
    }
}

impl PromptEncoder {
    /// Reads a `tokenizer.json`. `vocabulary` is the number of text ids that the model has embeddings for.
    ///
    /// # Errors
    /// The bytes are no tokenizer, or one with ids that the model lacks.
    pub fn new(file: &str, bytes: &[u8], template: &str, vocabulary: u32) -> Result<Self, TextError> {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| TextError::Tokenizer { file: file.to_owned(), reason: e.to_string() })?;
        // What a checkpoint's file asks for in training would cut or fill prompts here.
        let reset = tokenizer.with_truncation(None).map(|_| ());
        reset.map_err(|e| TextError::Tokenizer { file: file.to_owned(), reason: e.to_string() })?;
        tokenizer.with_padding(None);
        let highest = tokenizer.get_vocab(true).into_iter().max_by_key(|(_, id)| *id);
        if let Some((token, id)) = highest.filter(|(_, id)| *id >= vocabulary) {
            return Err(TextError::Vocabulary { file: file.to_owned(), token, id, vocabulary });
        }
        let (template, file) = (template.to_owned(), file.to_owned());
        Ok(Self { tokenizer, template, trims: true, file, vocabulary })
    }

    /// The same that leaves white space around a prompt as it is, unless there is nothing else.
    #[must_use]
    pub fn untrimmed(self) -> Self {
        Self { trims: false, ..self }
    }

    /// The most tokens of a prompt, its template included: the largest published model was trained on fewer.
    pub const MOST_TOKENS: usize = 1024;
    /// The most bytes of a prompt.
    pub const MOST_BYTES: usize = 1 << 16;

    /// The ids of a prompt within its template; those of the unconditional branch if the prompt is empty.
    ///
    /// # Errors
    /// The tokenizer refuses the text, or it is too long.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>, TextError> {
        let text = self.text(prompt);
        if text.len() > Self::MOST_BYTES {
            return Err(TextError::Long { found: text.len(), unit: "bytes", most: Self::MOST_BYTES });
        }
        let encoding = self.tokenizer.encode(text, false).map_err(|e| TextError::Encode(e.to_string()))?;
        let ids = encoding.get_ids();
        if ids.len() > Self::MOST_TOKENS {
            return Err(TextError::Long { found: ids.len(), unit: "tokens", most: Self::MOST_TOKENS });
        }
        Ok(ids.to_vec())
    }

    /// A prompt within its template.
    fn text(&self, prompt: &str) -> String {
        let trimmed = prompt.trim();
        let prompt = match (trimmed.is_empty(), self.trims) {
            (true, _) => UNCONDITION,
            (false, true) => trimmed,
            (false, false) => prompt,
        };
        self.template.replace("{prompt}", prompt)
    }

    /// The ids of the unconditional branch.
    ///
    /// # Errors
    /// As [`PromptEncoder::encode`].
    pub fn unconditional(&self) -> Result<Vec<u32>, TextError> {
        self.encode("")
    }

    /// Words of a prompt that the tokenizer has no token for, in order; always empty for tokenizers that know every byte.
    pub fn unknown_words<'a>(&self, prompt: &'a str) -> Vec<&'a str> {
        let Some(unknown) = self.unknown_id() else { return Vec::new() };
        let is_unknown = |word: &&str| {
            self.tokenizer.encode(*word, false).is_ok_and(|encoding| encoding.get_ids().contains(&unknown))
        };
        prompt
            .split_whitespace()
            .map(|word| word.trim_matches(','))
            .filter(|w| !w.is_empty())
            .filter(is_unknown)
            .collect()
    }

    /// Words of the vocabulary that one that is not in it may be a slip for, the nearest first and at most `most`: those of which
    /// about a third of the letters differ, or fewer. Upper and lower case are not told apart.
    pub fn nearest_words(&self, word: &str, most: usize) -> Vec<String> {
        let word = word.to_lowercase();
        let is_word = |token: &String| token.chars().all(|c| c.is_alphanumeric() || "-'’".contains(c));
        let known = self.tokenizer.get_vocab(false).into_keys().filter(is_word);
        let mut known: Vec<(usize, String)> =
            known.map(|token| (distance(&token.to_lowercase(), &word), token)).collect();
        known.sort_unstable();
        let slip = word.chars().count().div_ceil(3);
        known.into_iter().take_while(|(apart, _)| *apart <= slip).take(most).map(|(_, token)| token).collect()
    }

    /// The words of a closed vocabulary, in order of the alphabet; none where every text has tokens.
    pub fn words(&self) -> Vec<String> {
        if self.unknown_id().is_none() {
            return Vec::new();
        }
        let is_word = |token: &String| token.chars().all(|c| c.is_alphanumeric() || "-'’".contains(c));
        let mut words: Vec<String> = self.tokenizer.get_vocab(false).into_keys().filter(is_word).collect();
        words.sort_unstable();
        words
    }

    fn unknown_id(&self) -> Option<u32> {
        ["[UNK]", "<unk>"].iter().find_map(|token| self.tokenizer.token_to_id(token))
    }

    /// Text ids of the model.
    pub fn vocabulary(&self) -> u32 {
        self.vocabulary
    }
}

/// How many letters to insert, delete or replace (Levenshtein).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A closed vocabulary, as a small model has it: words and special tokens.
    fn closed() -> Vec<u8> {
        let special = ["[UNK]", "<system>", "</system>", "<user>", "</user>", "<uncondition>"];
        let words = "Generate an image according to the text prompt . a koala on beach".split(' ');
        let mut vocabulary = serde_json::Map::new();
        for token in special.iter().copied().chain(words) {
            let id = vocabulary.len();
            vocabulary.insert(token.to_owned(), id.into());
        }
        let added: Vec<_> = special
            .iter()
            .enumerate()
            .map(|(id, token)| {
                serde_json::json!({ "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true })
            })
            .collect();
        let json = serde_json::json!({
            "version": "1.0", "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
            "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
        });
        serde_json::to_vec(&json).unwrap()
    }

    #[test]
    fn a_prompt_is_wrapped_and_nothing_is_added_or_cut() {
        let encoder = PromptEncoder::new("tokenizer.json", &closed(), DIMOO_TEMPLATE, 100).unwrap();
        let ids = encoder.encode("a koala on a beach").unwrap();
        assert_eq!(ids, [1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 2, 3, 15, 16, 17, 15, 18, 4]);
        assert_eq!(encoder.unconditional().unwrap(), [1, 6, 7, 8, 9, 10, 11, 12, 13, 14, 2, 3, 5, 4]);
        assert_eq!(encoder.encode("  ").unwrap(), encoder.unconditional().unwrap());
    }

    #[test]
    fn a_prompt_has_a_longest_length() {
        let encoder = PromptEncoder::new("tokenizer.json", &closed(), DIMOO_TEMPLATE, 100).unwrap();
        let longest = PromptEncoder::MOST_TOKENS - encoder.encode("koala").unwrap().len() + 1;
        assert_eq!(encoder.encode(&"koala ".repeat(longest)).unwrap().len(), PromptEncoder::MOST_TOKENS);
        for (prompt, words) in [("koala ".repeat(longest + 1), "1025 tokens"), ("x".repeat(1 << 20), "bytes")]
        {
            let error = encoder.encode(&prompt).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("fewer words"), "{error}");
        }
    }

    #[test]
    fn white_space_around_a_prompt_is_kept_where_it_is_asked_for() {
        let encoder = PromptEncoder::new("tokenizer.json", &closed(), "{prompt}|", 100).unwrap();
        assert_eq!(encoder.text(" a koala "), "a koala|");
        let kept = encoder.untrimmed();
        assert_eq!(kept.text(" a koala "), " a koala |");
        assert_eq!(kept.text("  "), format!("{UNCONDITION}|"));
    }

    #[test]
    fn unknown_words_are_named() {
        let encoder = PromptEncoder::new("tokenizer.json", &closed(), DIMOO_TEMPLATE, 100).unwrap();
        assert_eq!(encoder.unknown_words("a zebra, on a beach at noon"), ["zebra", "at", "noon"]);
        assert!(encoder.unknown_words("a koala").is_empty());
        assert!(encoder.unknown_words("  ").is_empty(), "no prompt is no unknown word");
    }

    #[test]
    fn the_nearest_known_words_are_offered() {
        let encoder = PromptEncoder::new("tokenizer.json", &closed(), DIMOO_TEMPLATE, 100).unwrap();
        assert_eq!(encoder.nearest_words("Kaola", 1), ["koala"]);
        assert_eq!(encoder.nearest_words("beech", 1), ["beach"]);
        // Ties by the alphabet; special tokens and marks are no words.
        assert_eq!(encoder.nearest_words("un", 3), ["an", "on"]);
        assert!(encoder.nearest_words("[UNK", 9).is_empty());
        // What is no slip of the pen has nothing near it.
        for word in ["zebra", "user", "red"] {
            assert!(encoder.nearest_words(word, 99).is_empty(), "{word}");
        }
    }

    #[test]
    fn distances_are_levenshtein_s() {
        assert_eq!(
            (distance("kitten", "sitting"), distance("", "abc"), distance("füchse", "fuchs")),
            (3, 3, 2)
        );
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let error =
            PromptEncoder::new("tokenizer.json", &closed(), DIMOO_TEMPLATE, 10).unwrap_err().to_string();
        assert!(error.contains("beach") && error.contains("10 ids"), "{error}");
        let error = PromptEncoder::new("x.json", b"{}", DIMOO_TEMPLATE, 10).unwrap_err().to_string();
        assert!(error.contains("x.json"), "{error}");
    }
}
