//! Films the studio without a screen: the moving picture of the README.
//!
//! `cargo run --example film -- docs/images/studio.gif`; add `--release` for times that mean something.

use eframe::egui::{self, Theme};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use migm::generate::model::Device;
use migm::generate::picture::{Picture, encode_gif, write_whole};
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::studio::BUNDLED;
use migm::studio::actor::{Actor, Wake};
use migm::studio::app::Studio;
use migm::studio::run::Progress;
use migm::studio::state::{Kept, Tab};
use migm::studio::window::note;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: [f32; 2] = [980.0, 620.0];
const PROMPT: &str = "a fox to the left of a red taxi on a beach at sunset";
const SEED: u64 = 3;
/// Steps to a frame; a frame of a run; a moment to look; the last one.
const EVERY: usize = 2;
const STEP_MS: u32 = 160;
const PAUSE_MS: u32 = 1200;
const END_MS: u32 = 3000;
const PATIENCE: Duration = Duration::from_secs(300);

struct Film {
    window: Harness<'static, Studio>,
    frames: Vec<(Picture, u32)>,
}

impl Film {
    fn new() -> Self {
        let window = Harness::builder()
            .with_size(SIZE)
            .with_theme(Theme::Dark)
            .with_max_steps(16)
            .wgpu()
            .build_eframe(|creation| {
                let context = creation.egui_ctx.clone();
                let wake: Wake = Arc::new(move || context.request_repaint());
                let device = note(&Device::Cpu, "the film is made without a screen");
                Studio::new(
                    &creation.egui_ctx,
                    Actor::start(Device::Cpu, wake),
                    device,
                    Kept::default(),
                    BUNDLED[0],
                    "",
                )
            });
        Self { window, frames: Vec::new() }
    }

    fn shoot(&mut self, milliseconds: u32) -> Result<(), Box<dyn Error>> {
        let image = self.window.render()?;
        let rgb = image.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        self.frames.push((Picture { width: image.width(), height: image.height(), rgb }, milliseconds));
        Ok(())
    }

    /// Steps until something holds, with a frame of every `every`-th step of the run under way; of none for 0.
    fn film(&mut self, every: usize, holds: impl Fn(&Studio) -> bool) -> Result<(), Box<dyn Error>> {
        let (began, mut steps) = (Instant::now(), None);
        while !holds(self.window.state()) {
            if began.elapsed() > PATIENCE {
                return Err("the studio did not get on".into());
            }
            std::thread::sleep(Duration::from_millis(2));
            self.window.step();
            let run = self.window.state().state.runs.last();
            let present = run.map(|run| (run.id, run.steps_done()));
            if present != steps && run.is_some_and(|run| run.is_open() && run.steps_done() > 0) {
                steps = present;
                if present.is_some_and(|(_, done)| done.checked_rem(every) == Some(0)) {
                    self.shoot(STEP_MS)?;
                }
            }
        }
        self.window.step();
        Ok(())
    }

    fn finish_run(&mut self, runs: usize) -> Result<(), Box<dyn Error>> {
        self.film(EVERY, |studio| studio.state.runs.len() >= runs && studio.state.open_run().is_none())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "docs/images/studio.gif".to_owned());
    let mut film = Film::new();
    film.film(0, |studio| studio.state.model.is_some())?;
    {
        let state = &mut film.window.state_mut().state;
        state.seed_locked = true;
        let recipe = state.recipe.as_mut().ok_or("no recipe")?;
        recipe.subject = Subject::Prompt(PROMPT.to_owned());
        (recipe.seed, recipe.refresh) = (SEED, Refresh::Every);
    }
    film.window.run_ok();
    film.shoot(PAUSE_MS)?;
    // Vanilla, then a quarter of its full steps, then side by side.
    film.window.get_by_label_contains("Generate").click();
    film.finish_run(1)?;
    film.shoot(PAUSE_MS)?;
    let steps = film.window.state().state.recipe.as_ref().map_or(4, |recipe| recipe.draw.steps);
    if let Some(recipe) = &mut film.window.state_mut().state.recipe {
        recipe.refresh = Refresh::Uniform((steps / 6).max(1));
    }
    film.window.run_ok();
    film.shoot(PAUSE_MS)?;
    film.window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    film.finish_run(2)?;
    film.shoot(PAUSE_MS)?;
    film.window.key_press_modifiers(egui::Modifiers::COMMAND | egui::Modifiers::SHIFT, egui::Key::Enter);
    film.film(0, |studio| {
        let compared = studio.state.compared();
        compared.len() == 4
            && compared.iter().all(|(_, run)| run.is_some_and(|run| run.progress == Progress::Finished))
    })?;
    film.window.run_ok();
    film.shoot(END_MS)?;
    film.window.state_mut().state.tab = Tab::Why;
    film.window.run_ok();
    film.shoot(END_MS)?;
    let bytes = encode_gif(&film.frames)?;
    write_whole(path.as_ref(), &bytes)?;
    println!("{path}: {} frames, {:.1} MB", film.frames.len(), bytes.len() as f64 / 1e6);
    Ok(())
}
