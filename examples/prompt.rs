//! A picture of a prompt, watched while it resolves: `cargo run --release --example prompt -- "two foxes in the snow" foxes.png`.

use migm::generate::GenerateError;
use migm::generate::engine::{Engine, Event};
use migm::generate::model::{Device, Model};
use migm::generate::picture::{Pixels, write_png};
use migm::generate::recipe::{Recipe, Subject};
use std::path::Path;

fn main() -> Result<(), GenerateError> {
    let mut arguments = std::env::args().skip(1);
    let prompt = arguments.next().unwrap_or("two foxes in the snow".to_owned());
    let path = arguments.next().unwrap_or("prompt.png".to_owned());
    picture(&prompt, Path::new(&path))
}

/// Makes one and writes it.
///
/// # Errors
/// As the engine's, or the file cannot be written.
pub fn picture(prompt: &str, path: &Path) -> Result<(), GenerateError> {
    let model = Model::bundled_text()?;
    for unknown in model.unknown_words(prompt) {
        println!("note: {unknown}");
    }
    let recipe = Recipe::new(&model, Subject::Prompt(prompt.to_owned())).with_seed(7);
    let (jobs, masked) = (recipe.jobs(&model)?, model.family().codebook());
    let mut engine = Engine::of(model, Device::Cpu);
    let mut run = engine.run(jobs, &recipe.settings(), recipe.quantize, None)?;
    while let Some(event) = pollster::block_on(run.next())? {
        match event {
            Event::Began(batch) => println!("{} steps", batch.steps),
            Event::Stepped(step) => {
                let codes = pollster::block_on(run.glimpse())?.codes;
                let left = codes.iter().filter(|code| **code == masked).count();
                println!("step {:>2}, {:?}: {left} tokens are masked", step.values.step, step.kind);
            }
            Event::Finished(batch) => {
                let pictures = pollster::block_on(run.session()?.pictures(&batch.codes, Pixels::Signed))?;
                // What it was made from travels in the file.
                let size = [pictures[0].width, pictures[0].height];
                write_png(path, &pictures[0], &recipe.texts(&recipe.model, &[recipe.seed], size))?;
            }
        }
    }
    Ok(())
}
