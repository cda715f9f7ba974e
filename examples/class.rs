//! A picture of a class: `cargo run --release --example class -- fox fox.png`.

use migm::generate::GenerateError;
use migm::generate::engine::{Engine, Job};
use migm::generate::model::{Device, Model};
use migm::generate::picture::{Pixels, write_png};
use migm::generate::predict::Predictor;
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::generate::session::Settings;
use std::path::Path;

fn main() -> Result<(), GenerateError> {
    let mut arguments = std::env::args().skip(1);
    let class = arguments.next().unwrap_or("fox".to_owned());
    let path = arguments.next().unwrap_or("class.png".to_owned());
    picture(&class, Path::new(&path))
}

/// Makes one and writes it.
///
/// # Errors
/// As the engine's, or the file cannot be written.
pub fn picture(class: &str, path: &Path) -> Result<(), GenerateError> {
    let model = Model::bundled_class()?;
    let condition = model.condition(&Subject::Class(class.to_owned()))?;
    // Four of the model's 32 steps run in full; the learned shortcut stands in at the others.
    let settings = Settings {
        sampling: model.config.sampling,
        refresh: Refresh::Uniform(4),
        predictor: Predictor::Shortcut,
    };
    let mut engine = Engine::of(model, Device::Cpu);
    let mut run = engine.run(vec![Job::new(condition, 7)], &settings, None, None)?;
    while let Some(batch) = pollster::block_on(run.batch())? {
        let pictures = pollster::block_on(run.session()?.pictures(&batch.codes, Pixels::Signed))?;
        println!("{} codes in {:.0} ms", batch.codes.len(), batch.loop_ms);
        write_png(path, &pictures[0], &[])?;
    }
    Ok(())
}
