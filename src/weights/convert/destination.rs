//! What a conversion will write, checked before it writes gigabytes.

use std::path::Path;

use super::find::TEXT_TOKENIZER;
use super::part::Part;
use crate::output::{self, Format, Output};
use crate::weights::WeightError;
use crate::weights::folder::CONFIG;

/// The model folder and the files in it that will be replaced can be written.
pub(super) fn check<'a>(
    folder: &Path,
    parts: impl Iterator<Item = &'a Part>,
    has_text_tokenizer: bool,
) -> Result<(), WeightError> {
    let file = |name: &str, format| Output::file("the destination's", &folder.join(name), format);
    let mut outputs = vec![Output::folder("the destination", folder), file(CONFIG, Format::Json)];
    outputs.extend(parts.map(|part| file(&format!("{part}.safetensors"), Format::Safetensors)));
    if has_text_tokenizer {
        outputs.push(file(TEXT_TOKENIZER, Format::Json));
    }
    output::check(&outputs).map_err(|error| WeightError::convert(error.to_string()))
}
