//! Published models: their sizes and official sampling, by name. Weights are fetched by `migm pull`, under the same names.

use super::model::Config;
use super::sampling::Sampling;
use crate::models::Known;
use crate::models::dimoo::{self, Dimoo};
use crate::models::maskgit::{self, Maskgit};
use crate::models::prompts::DIMOO_TEMPLATE;
use crate::models::tokenizer::{Tokenizer, amused, vqgan};

/// Their names.
pub const NAMES: [&str; 4] = ["maskgit-512", "maskgit-256", "lumina-dimoo", "dimo-256"];

/// Tokens of the prompts that plans and benchmarks are made for: the template and a sentence or two, and the official
/// unconditional prompt.
pub const PROMPT_TOKENS: [u32; 2] = [64, 14];

/// The sizes and the sampling of one.
pub fn config(name: &str) -> Option<Config> {
    let classes = |transformer: maskgit::Config, sampling| {
        let tokenizer = Tokenizer::Taming(vqgan::Config::official());
        let image_size = transformer.grid * tokenizer.factor();
        let shortcut = Some(maskgit::shortcut::Config::OFFICIAL);
        let family =
            Maskgit { image_size, transformer, labels: Vec::new(), tokenizer, shortcut, one_step: None };
        (family, sampling)
    };
    let class = |(family, sampling)| Config { family: Known::Maskgit(family), sampling };
    let one_step = || {
        let sampling = Sampling { steps: 1, guidance: 0.0, choice_temperature: 0.0, ..Sampling::MASKGIT_256 };
        let (teacher, sampling) = classes(maskgit::Config::OFFICIAL_256, sampling);
        let one_step = Some(maskgit::one_step::Config::OFFICIAL);
        (Maskgit { shortcut: None, one_step, ..teacher }, sampling)
    };
    let text = || {
        let family = Known::Dimoo(Dimoo {
            transformer: dimoo::Config::OFFICIAL,
            tokenizer: Tokenizer::Amused(amused::Config::official()),
            shortcut: Some(dimoo::shortcut::Config::OFFICIAL),
            prompt_template: DIMOO_TEMPLATE.to_owned(),
            words: Vec::new(),
            trim_prompt: true,
        });
        // The official code draws its noise in bf16.
        Config { family, sampling: Sampling { bf16_gumbel: true, ..Sampling::DIMOO } }
    };
    match name {
        "maskgit-512" => Some(class(classes(maskgit::Config::OFFICIAL_512, Sampling::MASKGIT_512))),
        "maskgit-256" => Some(class(classes(maskgit::Config::OFFICIAL_256, Sampling::MASKGIT_256))),
        "lumina-dimoo" => Some(text()),
        "dimo-256" => Some(class(one_step())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_go_together() {
        for name in NAMES {
            let config = config(name).unwrap();
            assert_eq!(config.family.check(), Ok(()), "{name}");
            // As a folder would hold it.
            let read = Config::parse(name, &serde_json::json!(config)).unwrap();
            assert_eq!(read, config, "{name}");
        }
        assert!(config("other").is_none());
    }
}
