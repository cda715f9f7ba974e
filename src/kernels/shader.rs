//! WGSL sources and the preprocessor: `#import NAME`, `#ifdef FLAG`, `#ifndef FLAG`, `#else`, `#endif`, and nothing else.
//!
//! A permutation is a shader with some flags set and some constants given; the constants become WGSL `const`
//! declarations before the first line, because naga accepts no `override` as the size of a function's array.

/// A shader specialised by flags and constants; the key of the pipeline cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permutation {
    /// File name without `.wgsl`.
    pub shader: &'static str,
    /// Flags that `#ifdef` sees.
    pub flags: Vec<&'static str>,
    /// `const NAME: u32 = VALUE;` lines.
    pub constants: Vec<(&'static str, u32)>,
}

impl Permutation {
    /// A shader without flags or constants.
    pub(crate) fn new(shader: &'static str) -> Self {
        Self { shader, flags: Vec::new(), constants: Vec::new() }
    }

    /// Sets `flag` if `on`.
    pub(crate) fn flag(mut self, flag: &'static str, on: bool) -> Self {
        if on {
            self.flags.push(flag);
        }
        self
    }

    /// Gives a constant.
    pub(crate) fn constant(mut self, name: &'static str, value: u32) -> Self {
        self.constants.push((name, value));
        self
    }

    /// Whether it computes with f16, which portable shaders only store.
    pub(crate) fn is_half(&self) -> bool {
        const HALF: [&str; 4] = ["F16_TILES", "F16_X", "F16_Y", "F16_OPERANDS"];
        self.has_matrices() || self.flags.iter().any(|flag| HALF.contains(flag))
    }

    /// Whether it multiplies on matrix units.
    pub(crate) fn has_matrices(&self) -> bool {
        self.flags.contains(&"MATRIX") || self.shader == "attention_matrix"
    }

    /// Whether it computes across the invocations of a subgroup.
    #[cfg(any(test, all(feature = "studio", target_arch = "wasm32")))]
    pub(crate) fn has_subgroups(&self) -> bool {
        self.has_matrices() || self.flags.contains(&"SUBGROUPS")
    }

    /// The WGSL text.
    ///
    /// # Errors
    /// A shader or import that does not exist, or conditionals that do not match: mistakes in the package.
    pub fn source(&self) -> Result<String, ShaderError> {
        let text = find(SHADERS, self.shader)?;
        let mut out = String::with_capacity(text.len() * 2);
        if self.is_half() {
            out.push_str("enable f16;\n");
        }
        if self.has_matrices() {
            out.push_str("enable wgpu_cooperative_matrix;\n");
        }
        for (name, value) in &self.constants {
            out.push_str(&format!("const {name}: u32 = {value}u;\n"));
        }
        let mut imported = Vec::new();
        expand(self.shader, text, &self.flags, &mut imported, &mut out)?;
        Ok(out)
    }
}

impl std::fmt::Display for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.shader)?;
        for flag in &self.flags {
            write!(f, "+{}", flag.to_lowercase())?;
        }
        for (name, value) in &self.constants {
            write!(f, " {}={value}", name.to_lowercase())?;
        }
        Ok(())
    }
}

/// What can be wrong with a shader's text before naga sees it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShaderError {
    /// No such file.
    #[error("there is no shader `{0}`")]
    Missing(String),
    /// A conditional without its partner.
    #[error("line {line} of shader `{shader}`: {what}")]
    Conditional {
        /// The shader.
        shader: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

fn find(table: &[(&'static str, &'static str)], name: &str) -> Result<&'static str, ShaderError> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
        .ok_or_else(|| ShaderError::Missing(name.to_owned()))
}

fn expand(
    shader: &str,
    text: &str,
    flags: &[&'static str],
    imported: &mut Vec<String>,
    out: &mut String,
) -> Result<(), ShaderError> {
    // One entry an open conditional: whether the present branch is kept (its parents included).
    let mut open: Vec<(bool, bool)> = Vec::new();
    let error = |line, what| ShaderError::Conditional { shader: shader.to_owned(), line, what };
    for (index, line) in text.lines().enumerate() {
        let kept = open.last().is_none_or(|&(kept, _)| kept);
        let mut words = line.split_whitespace();
        match words.next() {
            Some("#ifdef") | Some("#ifndef") => {
                let flag = words.next().ok_or_else(|| error(index + 1, "a conditional without a flag"))?;
                let wanted = line.trim_start().starts_with("#ifdef");
                open.push((kept && flags.contains(&flag) == wanted, kept));
            }
            Some("#else") => {
                let (branch, parent) = open.pop().ok_or_else(|| error(index + 1, "#else without #ifdef"))?;
                open.push((parent && !branch, parent));
            }
            Some("#endif") => {
                open.pop().ok_or_else(|| error(index + 1, "#endif without #ifdef"))?;
            }
            Some("#import") if kept => {
                let name = words.next().unwrap_or_default();
                if !imported.iter().any(|known| known == name) {
                    imported.push(name.to_owned());
                    expand(name, find(SHARED, name)?, flags, imported, out)?;
                }
            }
            _ if kept => {
                out.push_str(line);
                out.push('\n');
            }
            _ => {}
        }
    }
    if open.is_empty() { Ok(()) } else { Err(error(text.lines().count(), "#ifdef without #endif")) }
}

macro_rules! sources {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../shaders/", $folder, $name, ".wgsl")))),*]
    };
}

/// Every shader that can be dispatched.
pub(crate) const SHADERS: &[(&str, &str)] = sources!("":
    "affine_silu", "attention", "attention_matrix", "attention_wide", "combine", "commit", "conv2d", "embed_rows", "embed_sequence", "embed_tokens", "fma_peak",
    "gated_silu", "gather_rows", "gauge", "group_norm", "group_norm_stats", "guide_rows", "head_max", "layer_norm", "linear", "list_tokens",
    "lowest_rows", "masked_logits", "mean_pixels", "movement", "nearest_code", "outside_union", "rank_scores", "remask", "rms_norm",
    "rope", "row_max", "sample", "scatter_rows", "spread_k", "sum_parts", "surprise", "taylor_observe", "taylor_predict", "time_embedding",
    "top_k", "union_rows", "unite", "value_similarity", "wait_scores",
);

/// What `#import` finds.
pub(crate) const SHARED: &[(&str, &str)] = sources!("shared/":
    "activation", "attention_operands", "embedding", "gemm_tile", "input", "lanes", "math", "matrix_tile", "matrix_units", "order", "philox", "result", "store_each",
    "weights",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, flags: &[&'static str]) -> Result<String, ShaderError> {
        let mut out = String::new();
        expand("test", text, flags, &mut Vec::new(), &mut out)?;
        Ok(out)
    }

    #[test]
    fn nested_conditionals_keep_the_right_lines() {
        let text =
            "a\n#ifdef X\nb\n#ifdef Y\nc\n#else\nd\n#endif\n#else\ne\n#ifndef Y\nf\n#endif\n#endif\ng\n";
        assert_eq!(run(text, &[]).unwrap(), "a\ne\nf\ng\n");
        assert_eq!(run(text, &["X"]).unwrap(), "a\nb\nd\ng\n");
        assert_eq!(run(text, &["X", "Y"]).unwrap(), "a\nb\nc\ng\n");
        assert_eq!(run(text, &["Y"]).unwrap(), "a\ne\ng\n");
    }

    #[test]
    fn unmatched_conditionals_are_errors_that_name_the_line() {
        let line = |text| match run(text, &[]) {
            Err(ShaderError::Conditional { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(line("x\n#endif\n"), 2);
        assert_eq!(line("#else\n"), 1);
        assert_eq!(line("#ifdef A\nx\n"), 2);
        assert_eq!(line("#ifdef\n"), 1);
    }

    #[test]
    fn an_import_is_included_once() {
        let text = run("#import math\n#import math\n", &[]).unwrap();
        assert_eq!(text.matches("fn erf(").count(), 1);
    }
}
