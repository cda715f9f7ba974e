//! A pace and an order of one's own: full steps where most of a picture is decided, and tokens from the middle outwards. Held against
//! the adaptive pace and even spacing. `cargo run --release --example pace`.

use migm::generate::GenerateError;
use migm::generate::engine::{Engine, Job};
use migm::generate::model::{Device, Model};
use migm::generate::order::{Arrange, Order};
use migm::generate::pace::{Adaptive, Outlook, Pace, Reason, Verdict};
use migm::generate::predict::Predictor;
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::generate::sampling::Sampling;
use migm::generate::session::{Settings, StepKind};

/// A full step whenever features have moved so far since the last one, whatever errors were.
#[derive(Debug)]
struct Travelled {
    /// As a share of their size.
    far: f32,
}

impl Pace for Travelled {
    fn spec(&self) -> String {
        format!("travelled:{}", self.far)
    }

    fn decide(&self, outlook: &Outlook<'_>) -> Verdict {
        let since = outlook.past.iter().rev().take_while(|past| past.kind == StepKind::Predicted);
        let estimate: f32 = since.map(|past| past.moved).sum();
        let full = outlook.past.is_empty() || estimate > self.far;
        let reason = if full { Reason::Error } else { Reason::Within };
        Verdict { full, estimate, limit: self.far, reason }
    }
}

/// From the middle of the picture outwards.
#[derive(Debug)]
struct Outwards;

impl Arrange for Outwards {
    fn name(&self) -> &'static str {
        "outwards"
    }

    fn ranks(&self, [rows, columns]: [u32; 2]) -> Vec<u32> {
        let from_middle = |at: u32, size: u32| (2 * at + 1).abs_diff(size).pow(2);
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        places.map(|(row, column)| from_middle(row, rows) + from_middle(column, columns)).collect()
    }
}

static TRAVELLED: Travelled = Travelled { far: 0.2 };
static OUTWARDS: Outwards = Outwards;

fn main() -> Result<(), GenerateError> {
    compare(16)
}

/// Prints which of so many steps each way ran in full, and how many tokens it leaves as they are.
///
/// # Errors
/// As the engine's.
pub fn compare(steps: u32) -> Result<(), GenerateError> {
    let model = Model::bundled_class()?;
    let condition = model.condition(&Subject::Class("fox".to_owned()))?;
    let jobs = vec![Job::new(condition, 0)];
    let usual = model.config.sampling.with_steps(steps);
    let mut engine = Engine::of(model, Device::Cpu);
    let mut made = |refresh, order| {
        let sampling = Sampling { order, ..usual };
        let settings = Settings { sampling, refresh, predictor: Predictor::Shortcut };
        let mut run = engine.run(jobs.clone(), &settings, None, Some(1))?;
        let (mut codes, mut steps) = (Vec::new(), Vec::new());
        while let Some(batch) = pollster::block_on(run.batch())? {
            let full = batch.plan.iter().filter(|step| step.kind == StepKind::Full);
            steps.push(full.map(|step| step.values.step).collect::<Vec<_>>());
            codes.extend(batch.codes);
        }
        Ok::<_, GenerateError>((codes, steps))
    };
    let adaptive = |budget| Refresh::Adaptive(Adaptive { target_error: 0.1, budget });
    for order in [Order::Confidence, Order::Custom(&OUTWARDS)] {
        let (vanilla, _) = made(Refresh::Every, order)?;
        for refresh in [Refresh::Uniform(4), adaptive(Some(4)), adaptive(None), Refresh::Custom(&TRAVELLED)] {
            let name = refresh.to_string();
            let (codes, steps) = made(refresh, order)?;
            let equal = codes.iter().zip(&vanilla).filter(|(a, b)| a == b).count();
            let share = 100.0 * equal as f64 / vanilla.len() as f64;
            println!(
                "{:<10} {name:<15} {share:>5.1} % of tokens as in vanilla, full {steps:?}",
                order.name()
            );
        }
    }
    Ok(())
}
