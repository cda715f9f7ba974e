//! A predictor of one's own, held against the learned shortcut, reuse and vanilla: features go on as they went between the last
//! two full steps, a little less far each time. `cargo run --release --example predictor`.

use migm::generate::GenerateError;
use migm::generate::engine::{Engine, Job};
use migm::generate::model::{Device, Model};
use migm::generate::predict::{Body, Predict, Predictor};
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::generate::session::Settings;
use migm::kernels::Slot;
use migm::models::Network;
use migm::program::{Builder, Element};

/// Features before a full step and after it tell a direction; predicted steps follow it.
#[derive(Debug)]
struct Momentum {
    /// The share of the last move that the first predicted step makes.
    first: f32,
    /// How much of a move is left for the next one.
    kept: f32,
}

/// States of a network, as large as its features: those of the last full step, and the move to make next.
fn states(b: &mut Builder, network: &dyn Network) -> [Slot; 3] {
    let features = network.features(b);
    let [rows, width] = b.size(features);
    let [last, next] = ["momentum_last", "momentum_next"]
        .map(|name| b.state(&network.name(name), rows, width, Element::F32));
    [features, last, next]
}

impl Predict for Momentum {
    fn name(&self) -> &'static str {
        "momentum"
    }

    /// After a full step: `next = first * (features - last); last = features`.
    fn observe<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let body: Body<'a> = Box::new(|b| {
            let [features, last, next] = states(b, network);
            b.combine(self.first, features, 0.0, next);
            b.combine(-self.first, last, 1.0, next);
            b.combine(1.0, features, 0.0, last);
        });
        Ok(vec![("momentum_observe", body)])
    }

    /// In place of the full model: `features += next; next = kept * next`.
    fn programs<'a>(&'a self, network: &'a dyn Network) -> Result<Vec<(&'a str, Body<'a>)>, GenerateError> {
        let body: Body<'a> = Box::new(|b| {
            let [features, _, next] = states(b, network);
            b.combine(1.0, next, 1.0, features);
            b.combine(0.0, features, self.kept, next);
        });
        Ok(vec![("momentum", body)])
    }
}

static MOMENTUM: Momentum = Momentum { first: 0.1, kept: 0.7 };

fn main() -> Result<(), GenerateError> {
    compare(4)
}

/// Prints what each way costs over so many pictures, and how many tokens it leaves as they are.
///
/// # Errors
/// As the engine's.
pub fn compare(pictures: u64) -> Result<(), GenerateError> {
    let model = Model::bundled_class()?;
    let condition = model.condition(&Subject::Class("fox".to_owned()))?;
    let jobs: Vec<Job> = (0..pictures).map(|seed| Job::new(condition.clone(), seed)).collect();
    let sampling = model.config.sampling;
    let mut engine = Engine::of(model, Device::Cpu);
    let mut made = |predictor, refresh| {
        let settings = Settings { sampling, refresh, predictor };
        let mut run = engine.run(jobs.clone(), &settings, None, None)?;
        let (mut codes, mut ms) = (Vec::new(), 0.0);
        while let Some(batch) = pollster::block_on(run.batch())? {
            codes.extend(batch.codes);
            ms += batch.loop_ms;
        }
        Ok::<_, GenerateError>((codes, ms))
    };
    let (vanilla, vanilla_ms) = made(Predictor::Reuse, Refresh::Every)?;
    println!("{:<9} {vanilla_ms:>7.0} ms", "vanilla");
    for predictor in [Predictor::Shortcut, Predictor::Reuse, Predictor::Custom(&MOMENTUM)] {
        let (codes, ms) = made(predictor, Refresh::Uniform(8))?;
        let equal = codes.iter().zip(&vanilla).filter(|(a, b)| a == b).count();
        let share = 100.0 * equal as f64 / vanilla.len() as f64;
        println!("{:<9} {ms:>7.0} ms, {share:.1} % of tokens as in vanilla", predictor.name());
    }
    Ok(())
}
