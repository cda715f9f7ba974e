//! What a recording says of itself: the model, and how its runs were made.

use crate::generate::order::Order;
use crate::generate::predict::{MlCache, Predictor};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;
use crate::generate::schedule::Schedule;
use crate::generate::session::Settings;
use crate::models::dimoo::{self, Dimoo};
use crate::models::maskgit::{self, Maskgit, shortcut::Parts};
use crate::models::prompts::DIMOO_TEMPLATE;
use crate::models::tokenizer::{Tokenizer, amused, vqgan};
use crate::models::{Condition, Known};
use serde_json::Value;

/// A recording's model and runs.
pub(super) struct Recording {
    pub(super) family: Known,
    pub(super) has_tokenizer: bool,
    pub(super) traces: Vec<Trace>,
}

/// A whole sampling run.
pub(super) struct Trace {
    /// How it was made, or a sentence on what is missing.
    pub(super) settings: Result<Settings, String>,
    /// What each image is of; a prompt stands apart in the recording.
    pub(super) classes: Option<Vec<Condition>>,
}

#[derive(serde::Deserialize)]
struct OfClasses {
    #[serde(flatten)]
    transformer: maskgit::Config,
    vq: Option<RecordedVq>,
    sc: Option<RecordedShortcut>,
    #[serde(default)]
    traces: Vec<ClassTrace>,
}

/// Either tokenizer; aMUSEd's is as a recording of Lumina-DiMOO has it.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum RecordedVq {
    Taming { z: u32, embed: u32, resolution: u32, ch: u32, mult: Vec<u32>, res: u32, attn: Vec<u32> },
    Amused(amused::Config),
}

impl From<RecordedVq> for Tokenizer {
    fn from(recorded: RecordedVq) -> Self {
        match recorded {
            RecordedVq::Amused(config) => Self::Amused(config),
            RecordedVq::Taming { z, embed, resolution, ch, mult, res, attn } => Self::Taming(vqgan::Config {
                z_channels: z,
                embed_dim: embed,
                ch,
                ch_mult: mult,
                num_res_blocks: res,
                attn_resolutions: attn,
                resolution,
            }),
        }
    }
}

#[derive(serde::Deserialize)]
struct RecordedShortcut {
    blocks: u32,
    ratio: u32,
    heads: u32,
    #[serde(flatten)]
    without: Without,
}

/// The official code's flags of ablations.
#[derive(Clone, Copy, Default, serde::Deserialize)]
#[serde(default)]
struct Without {
    no_embed_t: bool,
    no_ca: bool,
}

impl From<Without> for Parts {
    fn from(without: Without) -> Self {
        Self { embed_t: !without.no_embed_t, cross_attention: !without.no_ca }
    }
}

/// What stands in for the full model and when, in words of the command line, and what else changes a run.
#[derive(Clone, Default, serde::Deserialize)]
struct Accelerated {
    predictor: Option<String>,
    refresh: Option<String>,
    order: Option<Order>,
    guidance_interval: Option<[f32; 2]>,
}

impl Accelerated {
    /// The settings, where a recording says more than older ones do.
    fn over(&self, settings: Settings) -> Result<Settings, String> {
        let predictor = match &self.predictor {
            Some(name) => {
                Predictor::named(name).ok_or_else(|| format!("is by {name:?}, which is no predictor"))?
            }
            None => settings.predictor,
        };
        let refresh = match &self.refresh {
            Some(rule) => rule.parse().map_err(|error| format!("has other full steps: {error}"))?,
            None => settings.refresh,
        };
        let sampling = Sampling {
            order: self.order.unwrap_or(settings.sampling.order),
            guidance_interval: self.guidance_interval.unwrap_or(settings.sampling.guidance_interval),
            ..settings.sampling
        };
        Ok(Settings { sampling, refresh, predictor })
    }
}

#[derive(serde::Deserialize)]
struct ClassTrace {
    steps: u32,
    labels: Vec<u32>,
    sm_temp: f32,
    w: f32,
    r_temp: f32,
    sched: Schedule,
    #[serde(default)]
    budget: u32,
    #[serde(flatten)]
    accelerated: Accelerated,
}

#[derive(serde::Deserialize)]
struct OfPrompts {
    #[serde(flatten)]
    model: dimoo::Config,
    #[serde(flatten)]
    shortcut: Option<dimoo::shortcut::Config>,
    #[serde(flatten)]
    without: Without,
    vq: Option<amused::Config>,
    #[serde(default)]
    traces: Vec<PromptTrace>,
}

#[derive(serde::Deserialize)]
struct PromptTrace {
    steps: u32,
    /// Of both draw and choice.
    temp: f32,
    cfg: f32,
    #[serde(default)]
    budget: u32,
    /// Whether it caches: then the fields of `cache` say how.
    #[serde(default)]
    mlcache: bool,
    #[serde(flatten)]
    cache: Option<Cache>,
    #[serde(flatten)]
    accelerated: Accelerated,
}

#[derive(Clone, Copy, serde::Deserialize)]
struct Cache {
    cache_ratio: f32,
    warmup: f32,
    interval: u32,
}

/// Reads a recording's configuration.
pub(super) fn read(config: Value) -> Result<Recording, String> {
    if config.get("d_model").is_some() {
        let read = serde_json::from_value(config);
        return Ok(of_prompts(read.map_err(|e| format!("not a Lumina-DiMOO recording: {e}"))?));
    }
    let read = serde_json::from_value(config);
    Ok(of_classes(read.map_err(|e| format!("not a MaskGIT recording: {e}"))?))
}

fn of_classes(recorded: OfClasses) -> Recording {
    let OfClasses { transformer, vq, sc, traces } = recorded;
    let has_tokenizer = vq.is_some();
    let official = || Tokenizer::Taming(vqgan::Config::official());
    let tokenizer = vq.map_or_else(official, Tokenizer::from);
    let shortcut = sc.map(|sc| maskgit::shortcut::Config {
        blocks: sc.blocks,
        bottleneck_ratio: sc.ratio,
        heads: sc.heads,
        parts: sc.without.into(),
    });
    let settings = |trace: &ClassTrace| Settings {
        sampling: Sampling {
            steps: trace.steps,
            schedule: trace.sched,
            guidance: trace.w,
            choice_temperature: trace.r_temp,
            softmax_temperature: trace.sm_temp,
            ..Sampling::MASKGIT_512
        },
        refresh: if trace.budget > 0 { Refresh::Uniform(trace.budget) } else { Refresh::Every },
        predictor: Predictor::Shortcut,
    };
    let trace = |trace: ClassTrace| Trace {
        settings: trace.accelerated.over(settings(&trace)),
        classes: Some(trace.labels.iter().map(|&label| Condition::Class(Some(label))).collect()),
    };
    // A grid beyond what is allowed is refused later, and must not overflow here.
    let image_size = transformer.grid.saturating_mul(tokenizer.factor());
    let family = Known::Maskgit(Maskgit {
        image_size,
        transformer,
        labels: Vec::new(),
        tokenizer,
        shortcut,
        one_step: None,
    });
    Recording { family, has_tokenizer, traces: traces.into_iter().map(trace).collect() }
}

fn of_prompts(recorded: OfPrompts) -> Recording {
    let OfPrompts { model, shortcut, without, vq, traces } = recorded;
    let shortcut = shortcut.map(|shortcut| dimoo::shortcut::Config { parts: without.into(), ..shortcut });
    let has_tokenizer = vq.is_some();
    let tokenizer = Tokenizer::Amused(vq.unwrap_or_else(amused::Config::official));
    let settings = |trace: PromptTrace| {
        let (predictor, refresh) = match trace.cache {
            Some(Cache { cache_ratio, warmup, interval }) if trace.mlcache => {
                (Predictor::MlCache(MlCache { cache_ratio }), Refresh::Interval { warmup, interval })
            }
            None if trace.mlcache => return Err("does not say how it caches".to_owned()),
            _ if trace.budget > 0 && shortcut.is_none() => {
                return Err("needs a shortcut, and the recording has none".to_owned());
            }
            _ if trace.budget > 0 => (Predictor::Shortcut, Refresh::Uniform(trace.budget)),
            _ => (Predictor::Shortcut, Refresh::Every),
        };
        let sampling = Sampling {
            steps: trace.steps,
            guidance: trace.cfg,
            choice_temperature: trace.temp,
            draw_temperature: trace.temp,
            ..Sampling::DIMOO
        };
        trace.accelerated.over(Settings { sampling, refresh, predictor })
    };
    let trace = |trace| Trace { settings: settings(trace), classes: None };
    let traces = traces.into_iter().map(trace).collect();
    let prompt_template = DIMOO_TEMPLATE.to_owned();
    let family = Known::Dimoo(Dimoo {
        transformer: model,
        tokenizer,
        shortcut,
        prompt_template,
        words: Vec::new(),
        trim_prompt: true,
    });
    Recording { family, has_tokenizer, traces }
}
