//! A model folder ready to generate: its sizes, its classes, its sampling defaults, and its weights, all accounted for.

use super::GenerateError;
use super::sampling::{self, Sampling};
use crate::assets;
use crate::exec::{Executor, cpu::CpuExecutor, gpu};
use crate::kernels::{Quantization, Quantized, RowRange, WeightFormat};
use crate::models::text::distance;
use crate::models::tokenizer::Tokenizer;
use crate::models::{self, Batch, Model as _, maskgit, shortcut};
use crate::program::{Program, WeightSource, WeightSpec};
use crate::weights::{Checkpoint, ModelFolder, WeightError};
use std::collections::HashMap;
use std::path::Path;

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ModelConfig {
    /// `maskgit`.
    pub architecture: String,
    /// Pixels along a side.
    pub image_size: u32,
    /// The transformer's sizes.
    #[serde(flatten)]
    pub transformer: maskgit::Config,
    /// Class names in order of class; empty where classes are only numbered.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The tokenizer's sizes.
    pub tokenizer: Tokenizer,
    /// The shortcut's sizes, where there is one.
    #[serde(default)]
    pub shortcut: Option<shortcut::Config>,
    /// Sampling defaults.
    #[serde(deserialize_with = "sampling::of_maskgit")]
    pub sampling: Sampling,
}

impl ModelConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// A field is missing or of the wrong type, or sizes do not go together.
    pub fn parse(model: &str, config: &serde_json::Value) -> Result<Self, GenerateError> {
        let error = |what: String| GenerateError::Config { model: model.to_owned(), what };
        match config.get("architecture").and_then(serde_json::Value::as_str) {
            Some("maskgit") => {}
            Some(other) => {
                let known = "this version knows \"maskgit\" and \"lumina-dimoo\"";
                return Err(error(format!("architecture {other:?} is not known here; {known}")));
            }
            None => return Err(error("missing field `architecture`".to_owned())),
        }
        let config: Self = serde_json::from_value(config.clone()).map_err(|e| error(e.to_string()))?;
        config.check().map_err(error)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let t = &self.transformer;
        let positive = |name: &str, value: u32, most: u32| match value {
            0 => Err(format!("`{name}` is 0")),
            v if v > most => Err(format!("`{name}` is {v}; at most {most} makes sense")),
            _ => Ok(()),
        };
        positive("grid", t.grid, 256)?;
        positive("hidden", t.hidden, 1 << 16)?;
        positive("depth", t.depth, 1024)?;
        positive("heads", t.heads, 1024)?;
        positive("mlp", t.mlp, 1 << 18)?;
        positive("codebook", t.codebook, 1 << 20)?;
        positive("classes", t.classes, 1 << 20)?;
        if !t.hidden.is_multiple_of(t.heads) {
            return Err(format!("`hidden` {} is not a multiple of `heads` {}", t.hidden, t.heads));
        }
        if t.hidden / t.heads > 1024 {
            return Err(format!("heads of width {} are wider than 1024", t.hidden / t.heads));
        }
        if !self.labels.is_empty() && self.labels.len() != t.classes as usize {
            return Err(format!("{} labels for {} classes", self.labels.len(), t.classes));
        }
        self.tokenizer.check()?;
        let factor = self.tokenizer.factor();
        let pixels = t.grid * factor;
        if pixels != self.image_size {
            return Err(format!(
                "`image_size` is {}, but a grid of {} tokens of {} pixels makes {pixels}",
                self.image_size, t.grid, factor
            ));
        }
        if let Some(s) = &self.shortcut {
            positive("shortcut.n_block", s.blocks, 64)?;
            positive("shortcut.bottleneck_ratio", s.bottleneck_ratio, 64)?;
            positive("shortcut.heads", s.heads, 1024)?;
            if !t.hidden.is_multiple_of(s.bottleneck_ratio) {
                return Err(format!(
                    "`hidden` {} is not a multiple of `shortcut.bottleneck_ratio` {}",
                    t.hidden, s.bottleneck_ratio
                ));
            }
            if !s.width(t).is_multiple_of(s.heads) {
                return Err(format!(
                    "the shortcut's width {} is not a multiple of its {} heads",
                    s.width(t),
                    s.heads
                ));
            }
        }
        Ok(())
    }

    /// The class of a name or number.
    ///
    /// # Errors
    /// There is no such class; the message names the nearest ones.
    pub fn class(&self, wanted: &str) -> Result<u32, GenerateError> {
        let wanted = wanted.trim();
        let error = |hint| GenerateError::Class { wanted: wanted.to_owned(), hint };
        let range = format!("classes are numbered 0 to {}", self.transformer.classes - 1);
        if let Ok(number) = wanted.parse::<u32>() {
            return if number < self.transformer.classes { Ok(number) } else { Err(error(range)) };
        }
        if self.labels.is_empty() {
            return Err(error(format!("this model has no class names; {range}")));
        }
        let lower = wanted.to_lowercase();
        if let Some(class) = self.labels.iter().position(|label| label.to_lowercase() == lower) {
            return Ok(class as u32);
        }
        // A word of a name will do where only one name has it: `cat` for `cat face`.
        let with_word: Vec<usize> = (0..self.labels.len())
            .filter(|&i| self.labels[i].to_lowercase().split_whitespace().any(|word| word == lower))
            .collect();
        if let [class] = with_word[..] {
            return Ok(class as u32);
        }
        let mut near: Vec<&String> = self.labels.iter().collect();
        near.sort_by_key(|label| {
            let label = label.to_lowercase();
            label.split_whitespace().chain([label.as_str()]).map(|word| distance(word, &lower)).min()
        });
        near.truncate(3);
        let near: Vec<&str> = near.into_iter().map(String::as_str).collect();
        Err(error(format!("the nearest are: {}; {range}", near.join(", "))))
    }

    /// The name of a class, or its number.
    pub fn class_name(&self, class: u32) -> String {
        self.labels.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
    }
}

/// What computes.
#[derive(Clone, Debug, Default)]
pub enum Device {
    /// The CPU executor.
    #[default]
    Cpu,
    /// A graphics device.
    Gpu(Box<gpu::device::Gpu>),
}

impl Device {
    /// An executor of `programs` on this device.
    ///
    /// # Errors
    /// A weight cannot be loaded, or the device cannot hold the programs.
    pub fn executor(
        &self,
        programs: Vec<Program>,
        weights: &mut dyn WeightSource,
    ) -> Result<Box<dyn Executor>, GenerateError> {
        Ok(match self {
            Self::Cpu => Box::new(CpuExecutor::new(programs, weights)?),
            Self::Gpu(gpu) => Box::new(gpu::GpuExecutor::new((**gpu).clone(), programs, weights)?),
        })
    }
}

/// A model folder, opened and checked.
#[derive(Debug)]
pub struct Model {
    /// The folder's name, for messages and metadata.
    pub name: String,
    /// What its `config.json` says.
    pub config: ModelConfig,
    folder: ModelFolder,
    /// Whether the transformer's weights are f16, quantised matrices aside.
    half: bool,
    quantize: Option<Quantization>,
}

impl Model {
    /// Opens a folder and accounts for every tensor in it.
    ///
    /// # Errors
    /// A file is missing or malformed, the configuration contradicts itself, or a tensor is missing, surplus or misshapen.
    pub fn open(path: &Path) -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::open(path)?)
    }

    /// The class model inside the executable.
    ///
    /// # Errors
    /// As [`Model::open`]; not for the bundled files.
    pub fn bundled() -> Result<Self, GenerateError> {
        Self::from_folder(ModelFolder::bundled(&assets::CLASS)?)
    }

    /// The model of a folder, on disk or in memory.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_folder(folder: ModelFolder) -> Result<Self, GenerateError> {
        let name = folder.name().to_owned();
        let config = ModelConfig::parse(&name, folder.config())?;
        let (mut half, mut quantize) = (true, None);
        for part in Self::parts(&config) {
            let checkpoint = required(&folder, part)?;
            let expected = part_tensors(&config, part)?;
            crate::weights::account(&checkpoint, &expected, &|_| false)?;
            half &= matrices_are_f16(&checkpoint, "");
            // The transformer decides for all.
            if part == "maskgit" {
                quantize = stored_quantization(&checkpoint, &expected);
            }
        }
        Ok(Self { name, config, folder, half, quantize })
    }

    /// The parts that a configuration asks for.
    fn parts(config: &ModelConfig) -> impl Iterator<Item = &'static str> {
        ["maskgit", config.tokenizer.part()].into_iter().chain(config.shortcut.map(|_| "shortcut"))
    }

    /// The weights.
    ///
    /// # Errors
    /// A file went away since the folder was opened.
    pub fn weights(&self) -> Result<FolderWeights, GenerateError> {
        FolderWeights::open(&self.folder, Self::parts(&self.config))
    }

    /// In which precision weights are kept on a device.
    pub fn formats(&self) -> fn(&WeightSpec) -> WeightFormat {
        models::formats(self.half, self.quantize)
    }

    /// The same where matrices that are not stored quantised are quantised while they are loaded.
    pub fn formats_quantized(&self, quantize: Option<Quantization>) -> fn(&WeightSpec) -> WeightFormat {
        models::formats(self.half, self.quantize.or(quantize))
    }

    /// Whether weights that are not quantised are kept in f16.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// How matrices are quantised, stored so or while loading.
    pub fn quantization(&self) -> Option<Quantization> {
        self.quantize
    }

    /// The same model with its matrices quantised while they are loaded, unless they are stored so; with `None`, as it is stored.
    #[must_use]
    pub fn quantized(self, quantize: Option<Quantization>) -> Self {
        Self { quantize: quantize.or(self.quantize), ..self }
    }
}

/// How the matrices of a checkpoint are stored: in four bits if any are, whose outer layers are in eight.
pub(super) fn stored_quantization(
    checkpoint: &Checkpoint,
    expected: &[(String, Vec<usize>)],
) -> Option<Quantization> {
    let matrices = expected.iter().filter(|(_, shape)| shape.len() == 2);
    let found = matrices.filter_map(|(name, _)| checkpoint.quantization(name));
    found.reduce(|a, b| if a == Quantization::Int8 { b } else { a })
}

/// Whether no matrix under a prefix is stored in more than f16: then keeping them so on a device loses nothing.
/// Quantised matrices, and the scales beside them, do not count.
pub(crate) fn matrices_are_f16(checkpoint: &Checkpoint, prefix: &str) -> bool {
    use crate::weights::Dtype;
    let matrix = |t: &&crate::weights::TensorInfo| {
        t.name.starts_with(prefix) && t.shape.len() > 1 && !t.name.ends_with(".scale")
    };
    let mut matrices = checkpoint.tensors().filter(matrix);
    matrices.all(|t| !matches!(t.dtype, Dtype::F32 | Dtype::F64 | Dtype::BF16))
}

fn required(folder: &ModelFolder, part: &str) -> Result<Checkpoint, GenerateError> {
    folder.checkpoint(part)?.ok_or_else(|| GenerateError::Config {
        model: folder.name().to_owned(),
        what: format!("it describes a {part}, but the folder has no {part}.safetensors"),
    })
}

/// What the checkpoint of a part must hold, under official names.
///
/// # Errors
/// The configuration makes no program.
pub fn part_tensors(config: &ModelConfig, part: &str) -> Result<Vec<(String, Vec<usize>)>, GenerateError> {
    let batch = Batch { images: 1, guided: false };
    let t = &config.transformer;
    let programs = match part {
        "maskgit" => vec![models::build("maskgit", models::keep_f32, |b| {
            t.features(b, batch);
            t.logits(b, batch, RowRange::all(t.tokens()));
        })?],
        "shortcut" => match &config.shortcut {
            None => Vec::new(),
            Some(shortcut) => {
                vec![models::build("shortcut", models::keep_f32, |b| shortcut.predict(b, t, batch))?]
            }
        },
        _ => vec![
            models::build("decode", models::keep_f32, |b| {
                config.tokenizer.decode(b, t.codebook, 1, t.grid, t.grid);
            })?,
            models::build("encode", models::keep_f32, |b| {
                config.tokenizer.encode(b, t.codebook, 1, config.image_size, config.image_size);
            })?,
        ],
    };
    let prefix = format!("{part}.");
    Ok(models::tensors(&programs)
        .into_iter()
        .filter_map(|(name, shape)| name.strip_prefix(&prefix).map(|name| (name.to_owned(), shape)))
        .collect())
}

/// Weights from one checkpoint a part.
#[derive(Debug)]
pub struct FolderWeights {
    parts: HashMap<String, Checkpoint>,
}

impl FolderWeights {
    pub(crate) fn open(
        folder: &ModelFolder,
        parts: impl Iterator<Item = &'static str>,
    ) -> Result<Self, GenerateError> {
        let parts = parts.map(|part| Ok((part.to_owned(), required(folder, part)?)));
        Ok(Self { parts: parts.collect::<Result<_, GenerateError>>()? })
    }
}

impl WeightSource for FolderWeights {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        let (part, name) = spec.name.split_once('.').unwrap_or(("", &spec.name));
        match self.parts.get(part) {
            Some(checkpoint) => checkpoint.read_shaped_rows(name, &spec.shape, spec.kept_rows()),
            None => Err(WeightError::missing(&spec.name, &spec.shape, part)),
        }
    }

    fn load_quantized(
        &mut self,
        spec: &WeightSpec,
        scheme: Quantization,
    ) -> Result<Option<Quantized>, WeightError> {
        let (part, name) = spec.name.split_once('.').unwrap_or(("", &spec.name));
        match self.parts.get(part) {
            Some(checkpoint) if checkpoint.quantization(name) == Some(scheme) => {
                checkpoint.read_quantized(name, &spec.shape, spec.kept_rows())
            }
            _ => Ok(None),
        }
    }
}

/// A small trained model for tests, which stays as it is when others are trained anew.
#[cfg(test)]
pub(crate) const FIXTURE: &str = "tests/fixtures/scenes-v0";

/// [`FIXTURE`], opened.
#[cfg(test)]
pub(crate) fn fixture() -> Model {
    Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)).expect("it is in the repository")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{amused_vq, parameters, vqgan};

    fn official(grid: u32, blocks: u32) -> ModelConfig {
        ModelConfig {
            architecture: "maskgit".to_owned(),
            image_size: grid * 16,
            transformer: maskgit::Config { grid, ..maskgit::Config::OFFICIAL_512 },
            labels: Vec::new(),
            tokenizer: Tokenizer::Taming(vqgan::Config::official()),
            shortcut: Some(shortcut::Config { blocks, ..shortcut::Config::OFFICIAL }),
            sampling: Sampling::MASKGIT_512,
        }
    }

    /// Specification section 5b: what the official checkpoints hold, from configurations alone.
    #[test]
    fn official_parameter_counts() {
        let count = |config: &ModelConfig, part| parameters(&part_tensors(config, part).unwrap());
        assert_eq!(count(&official(32, 1), "maskgit"), 176_306_666);
        assert_eq!(count(&official(16, 1), "maskgit"), 174_160_874);
        assert_eq!(count(&official(32, 1), "vqgan"), 72_141_699);
        assert_eq!(count(&official(32, 1), "shortcut"), 5_081_914);
        assert_eq!(count(&official(32, 2), "shortcut"), 8_630_842);
        let mut wide = official(32, 1);
        wide.shortcut = Some(shortcut::Config { bottleneck_ratio: 1, ..shortcut::Config::OFFICIAL });
        assert_eq!(count(&wide, "shortcut"), 16_405_435);
    }

    #[test]
    fn official_names_and_shapes() {
        let shape = |part, name: &str| {
            let tensors = part_tensors(&official(32, 1), part).unwrap();
            tensors.into_iter().find(|(known, _)| known == name).map(|(_, shape)| shape)
        };
        assert_eq!(shape("maskgit", "bias"), Some(vec![1025, 2026]));
        assert_eq!(shape("maskgit", "pos_emb"), Some(vec![1, 1025, 768]));
        assert_eq!(shape("maskgit", "transformer.layers.23.0.fn.mha.in_proj_weight"), Some(vec![2304, 768]));
        assert_eq!(shape("shortcut", "time_embedder.mlp.0.weight"), Some(vec![314, 256]));
        assert_eq!(shape("vqgan", "decoder.up.3.block.0.nin_shortcut.weight"), Some(vec![256, 512, 1, 1]));
        assert_eq!(shape("vqgan", "encoder.down.4.attn.1.q.weight"), Some(vec![512, 512, 1, 1]));
        assert_eq!(shape("vqgan", "encoder.down.4.downsample.conv.weight"), None);
    }

    /// Programs know matrices by their layout, `migm convert` by their names: both must mean the same ones.
    #[test]
    fn what_is_stored_quantised_is_what_programs_quantise() {
        use crate::weights::{ConvertOptions, Part, convert};
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE);
        for quantize in
            [Quantization::Int8, Quantization::Int4 { group: 64 }, Quantization::Int4 { group: 32 }]
        {
            let options = ConvertOptions { quantize: Some(quantize), ..ConvertOptions::default() };
            convert(std::slice::from_ref(&source), folder.path(), &options, &mut |_| {}).unwrap();
            let model = Model::open(folder.path()).unwrap();
            assert_eq!((model.quantize, model.half), (Some(quantize), fixture().half));
            let (mut stored, mut plain) = (model.weights().unwrap(), fixture().weights().unwrap());
            let (t, batch) = (&model.config.transformer, Batch { images: 1, guided: false });
            let build = |body: &dyn Fn(&mut crate::program::Builder)| {
                models::build("test", model.formats(), body).unwrap()
            };
            let programs = [
                build(&|b| t.features(b, batch)),
                build(&|b| _ = t.logits(b, batch, RowRange::all(t.tokens()))),
                build(&|b| model.config.shortcut.unwrap().predict(b, t, batch)),
                build(&|b| model.config.tokenizer.decode(b, t.codebook, 1, t.grid, t.grid)),
            ];
            let mut quantised = 0;
            for spec in programs.iter().flat_map(Program::weights) {
                match spec.format.quantization() {
                    Some(scheme) => {
                        quantised += 1;
                        let found = stored.load_quantized(spec, scheme).unwrap().expect(&spec.name);
                        // Without expanding, and the same as if quantised while loading.
                        assert_eq!(found, spec.load_quantized(scheme, &mut plain).unwrap(), "{}", spec.name);
                        assert_eq!(found.words().len() as u64 * 4, spec.bytes(), "{}", spec.name);
                        let wide = found.dequantize(spec.shape[1]);
                        assert_eq!(stored.load(spec).unwrap(), wide, "{}", spec.name);
                    }
                    None => {
                        assert_eq!(stored.load(spec).unwrap(), plain.load(spec).unwrap(), "{}", spec.name);
                    }
                }
            }
            assert!(quantised > 20, "{quantised} matrices");
            // Again, and onto itself.
            let again = convert(&[folder.path().to_owned()], folder.path(), &options, &mut |_| {});
            assert!(again.unwrap_err().to_string().contains("is quantised already"), "{quantize}");
            let kept = ConvertOptions::default();
            let report = convert(&[folder.path().to_owned()], folder.path(), &kept, &mut |_| {}).unwrap();
            let maskgit = report.files.iter().find(|file| file.part == Some(Part::Maskgit)).unwrap();
            assert_eq!(maskgit.parameters, 6_706_842);
            assert_eq!(Model::open(folder.path()).unwrap().config, model.config);
        }
    }

    #[test]
    fn a_quantised_matrix_needs_its_scales() {
        use crate::weights::{Dtype, TensorSpec, account, encode_safetensors};
        let expected = [("w".to_owned(), vec![2, 33])];
        let check = |values: (Dtype, Vec<usize>), scales: Option<(&str, Dtype, Vec<usize>)>| {
            let bytes = |dtype: Dtype, shape: &[usize]| {
                vec![0_u8; shape.iter().product::<usize>() * dtype.bitsize() / 8]
            };
            let mut tensors =
                vec![(TensorSpec::new("w", values.0, values.1.clone()), bytes(values.0, &values.1))];
            if let Some((name, dtype, shape)) = scales {
                tensors.push((TensorSpec::new(name, dtype, shape.clone()), bytes(dtype, &shape)));
            }
            let tensors: Vec<_> = tensors.iter().map(|(spec, data)| (spec.clone(), &data[..])).collect();
            let file = encode_safetensors(&tensors, &Default::default()).unwrap();
            let checkpoint = Checkpoint::from_bytes("test.safetensors", file.into()).unwrap();
            let accounted = account(&checkpoint, &expected, &|_| false);
            let read = checkpoint.read_shaped("w", &[2, 33]);
            accounted.and(read.map(drop)).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let scales = |dtype, shape: &[usize]| Some(("w.scale", dtype, shape.to_vec()));
        let (eight, four) = ((Dtype::I8, vec![2, 33]), (Dtype::U8, vec![2, 32]));
        assert_eq!(check(eight.clone(), scales(Dtype::F32, &[2])), "");
        assert_eq!(check(four.clone(), scales(Dtype::BF16, &[2, 1])), "");
        assert_eq!(check(four.clone(), scales(Dtype::BF16, &[2, 2])), "");
        for (values, scales, wanted) in [
            (eight.clone(), scales(Dtype::F32, &[2, 1]), "expected [2]"),
            (eight.clone(), scales(Dtype::F16, &[2]), "expected F32"),
            ((Dtype::I8, vec![2, 36]), scales(Dtype::F32, &[2]), "expected [2, 33]"),
            (four.clone(), scales(Dtype::F32, &[2, 1]), "expected BF16"),
            (four, scales(Dtype::BF16, &[2, 3]), "expected [2, 1]"),
            ((Dtype::U8, vec![2, 33]), scales(Dtype::BF16, &[2, 1]), "expected [2, 32]"),
        ] {
            let message = check(values, scales);
            assert!(message.contains(wanted), "{message:?} does not say {wanted:?}");
        }
        let message = check(eight, None);
        assert!(message.contains("has element type I8"), "{message}");
        let message = check((Dtype::F32, vec![2, 33]), scales(Dtype::F32, &[2]));
        assert!(message.contains("surplus"), "{message}");
    }

    #[test]
    fn contradictions_in_a_configuration_are_named() {
        let refuse = |change: fn(&mut ModelConfig)| {
            let mut config = official(32, 1);
            change(&mut config);
            let value = serde_json::to_value(&config).unwrap();
            ModelConfig::parse("test", &value).unwrap_err().to_string()
        };
        assert!(refuse(|c| c.transformer.heads = 7).contains("`hidden` 768 is not a multiple of `heads` 7"));
        assert!(refuse(|c| c.image_size = 500).contains("makes 512"));
        assert!(refuse(|c| c.labels = vec!["a".to_owned()]).contains("1 labels for 1000 classes"));
        assert!(refuse(|c| c.transformer.depth = 0).contains("`depth` is 0"));
        assert!(refuse(|c| c.architecture = "gan".to_owned()).contains("gan"));
        fn taming(change: fn(&mut vqgan::Config)) -> Tokenizer {
            let mut config = vqgan::Config::official();
            change(&mut config);
            Tokenizer::Taming(config)
        }
        fn amused(channels: &[u32], groups: u32) -> Tokenizer {
            let channels = channels.to_vec();
            Tokenizer::Amused(amused_vq::Config { channels, groups, ..amused_vq::Config::official() })
        }
        assert!(refuse(|c| c.tokenizer = taming(|v| v.ch = 40)).contains("32 groups"));
        assert!(refuse(|c| c.tokenizer = taming(|v| v.ch_mult.clear())).contains("ch_mult"));
        assert!(refuse(|c| c.tokenizer = amused(&[48], 32)).contains("`tokenizer.ch` 48"));
        assert!(refuse(|c| c.tokenizer = amused(&[32; 4], 32)).contains("makes 256"));
        let other = serde_json::json!({ "architecture": "diffusion", "layers": 3 });
        let error = ModelConfig::parse("test", &other).unwrap_err().to_string();
        assert!(error.contains("\"diffusion\" is not known"), "{error}");
        let missing = serde_json::json!({ "architecture": "maskgit" });
        assert!(ModelConfig::parse("test", &missing).unwrap_err().to_string().contains("missing field"));
    }

    #[test]
    fn classes_are_found_by_number_name_or_word() {
        let model = fixture();
        let class = |wanted: &str| model.config.class(wanted);
        assert_eq!(class("2").unwrap(), 2);
        assert_eq!(class("Fox").unwrap(), 2);
        assert_eq!(class("cat").unwrap(), 0);
        assert_eq!(class("lady beetle").unwrap(), 11);
        let error = class("pengin").unwrap_err().to_string();
        assert!(error.contains("penguin"), "{error}");
        // "face" is a word of three names.
        assert!(class("face").is_err());
        assert!(class("24").unwrap_err().to_string().contains("0 to 23"));
    }
}
