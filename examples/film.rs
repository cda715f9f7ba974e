//! Films the studio without a screen: the moving pictures of the README.
//!
//! `cargo run --example film -- docs/images/studio.gif` has the studio shown, `cargo run --example film -- --edit docs/images/edit.gif` a
//! picture edited; add `--release` for times that mean something.

use eframe::egui::{self, Theme};
use egui_kittest::Harness;
use migm::generate::model::Device;
use migm::generate::picture::{Picture, encode_gif, write_whole};
use migm::generate::recipe::Subject;
use migm::generate::refresh::Refresh;
use migm::generate::region::Region;
use migm::studio::BUNDLED;
use migm::studio::actor::{Actor, Wake};
use migm::studio::app::Studio;
use migm::studio::command::Command;
use migm::studio::editing::Tool;
use migm::studio::looking::Spot;
use migm::studio::state::Kept;
use migm::studio::tour::STOPS;
use migm::studio::window::note;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SIZE: [f32; 2] = [980.0, 620.0];
const PROMPT: &str = "two foxes in the snow";
const SEED: u64 = 1;
/// Steps to a frame; a frame of a run; a moment to look; the last one.
const EVERY: usize = 2;
const STEP_MS: u32 = 160;
const PAUSE_MS: u32 = 1200;
const READ_MS: u32 = 2600;
const END_MS: u32 = 3000;
/// Frames of a pointer that is dragged, and how long each is shown.
const DRAGS: u32 = 4;
const DRAG_MS: u32 = 220;
/// The stop of the tour at which the budget is moved.
const BUDGET: &str = "The refresh budget";
/// The step and the tokens that are looked into.
const LOOKED_AT: usize = 10;
const TOKENS: [usize; 3] = [85, 152, 200];
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

    /// Another budget, by the slider: a quick picture follows, then one of the full settings.
    fn budget(&mut self, budget: u32) -> Result<(), Box<dyn Error>> {
        let refresh = Refresh::Uniform(budget);
        let recipe = self.window.state_mut().state.recipe.as_mut().ok_or("no recipe")?;
        recipe.refresh = refresh.clone();
        self.film(0, |studio| {
            let last = studio.state.runs.last();
            studio.state.open_run().is_none()
                && last.is_some_and(|run| !run.draft && run.recipe.refresh == refresh)
        })?;
        self.window.run_ok();
        self.shoot(PAUSE_MS)
    }

    /// Another prompt.
    fn words(&mut self, prompt: &str) -> Result<(), Box<dyn Error>> {
        let recipe = self.window.state_mut().state.recipe.as_mut().ok_or("no recipe")?;
        recipe.subject = Subject::Prompt(prompt.to_owned());
        self.window.run_ok();
        Ok(())
    }

    /// The same, and the seed that is looked into.
    fn prompt(&mut self, prompt: &str) -> Result<(), Box<dyn Error>> {
        let state = &mut self.window.state_mut().state;
        state.seed_locked = true;
        state.recipe.as_mut().ok_or("no recipe")?.seed = SEED;
        self.words(prompt)
    }

    /// The pointer, pressed in one cell of the picture and let go in another.
    fn drag(&mut self, from: [u32; 2], to: [u32; 2]) -> Result<(), Box<dyn Error>> {
        let state = &self.window.state().state;
        let [rows, columns] = state.editing.as_ref().ok_or("no picture is edited")?.region().grid();
        let [left, top, width, height] = state.picture_at;
        let middle = |[row, column]: [u32; 2]| {
            let part = |at: u32, of: u32| (at as f32 + 0.5) / of as f32;
            egui::pos2(left + width * part(column, columns), top + height * part(row, rows))
        };
        self.window.drag_at(middle(from));
        self.window.step();
        for share in 1..=DRAGS {
            let at = middle(from).lerp(middle(to), share as f32 / DRAGS as f32);
            self.window.event(egui::Event::PointerMoved(at));
            self.window.step();
            self.window.step();
            self.shoot(DRAG_MS)?;
        }
        self.window.drop_at(middle(to));
        self.window.run_ok();
        Ok(())
    }

    fn finish_run(&mut self, runs: usize) -> Result<(), Box<dyn Error>> {
        self.film(EVERY, is_made(runs))
    }
}

/// Whether so many runs were asked for, and none is under way.
fn is_made(runs: usize) -> impl Fn(&Studio) -> bool {
    move |studio| studio.state.runs.len() >= runs && studio.state.open_run().is_none()
}

/// Seeds of the sweep that are waited for.
const SEEDS: usize = 3;

/// Greeting, tour, a token looked into, a sweep.
fn studio(film: &mut Film) -> Result<(), Box<dyn Error>> {
    // It opens moving: a picture makes itself.
    film.film(0, |studio| studio.state.model.is_some())?;
    film.finish_run(1)?;
    film.shoot(PAUSE_MS)?;
    film.film(0, |studio| studio.is_settled())?;
    // The tour, stop by stop; at the budget's the slider goes down.
    film.window.key_press(egui::Key::F1);
    for (at, stop) in STOPS.iter().enumerate() {
        film.film(0, |studio| {
            let tour = &studio.state.tour;
            tour.at == Some(at) && tour.has_begun() && studio.is_settled()
        })?;
        film.window.run_ok();
        film.shoot(READ_MS)?;
        if stop.title == BUDGET {
            for budget in [2, 1, 8] {
                film.budget(budget)?;
            }
        }
        film.window.key_press(egui::Key::PageDown);
    }
    film.film(0, |studio| studio.state.tour.at.is_none())?;
    // Into a step: a token, what it might have become, and where the shortcut looks from it.
    film.prompt(PROMPT)?;
    film.window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    let runs = film.window.state().state.runs.len();
    film.finish_run(runs)?;
    film.shoot(PAUSE_MS)?;
    for token in TOKENS {
        let state = &mut film.window.state_mut().state;
        let Some(run) = state.runs.last().map(|run| run.id) else { return Err("no run".into()) };
        let spot = Spot { run, step: LOOKED_AT, token };
        (state.scrubbed, state.spot) = (Some(LOOKED_AT), Some(spot));
        film.film(0, |studio| studio.state.look.as_ref().is_some_and(|(known, _)| *known == spot))?;
        film.window.run_ok();
        film.shoot(PAUSE_MS)?;
    }
    (film.window.state_mut().state.spot, film.window.state_mut().state.scrubbed) = (None, None);
    // Seeds and methods, judged.
    film.window.state_mut().state.wanted.push(Command::Sweep);
    for seeds in 1..=SEEDS {
        film.film(0, |studio| {
            let points = &studio.state.sweep.points;
            !points.is_empty() && points.iter().all(|point| point.made.len() >= seeds)
        })?;
        film.shoot(PAUSE_MS)?;
    }
    film.window.key_press(egui::Key::Escape);
    film.window.run_ok();
    film.shoot(END_MS)
}

/// What the edited picture shows at first, and what it is to show in turn: the words, and the cells of the token grid that are painted for them.
const BEFORE_EDIT: &str = "two foxes in the snow";
const EDITS: [(&str, [u32; 2], [u32; 2]); 2] = [
    ("a fox to the left of a sunflower in the snow", [4, 8], [14, 15]),
    ("a fox to the left of a sunflower in the snow at night", [0, 0], [3, 15]),
];

/// A picture is made, parts of it are painted and made anew, and before is held against after.
fn edit(film: &mut Film) -> Result<(), Box<dyn Error>> {
    film.film(0, |studio| studio.state.model.is_some())?;
    film.film(0, is_made(1))?;
    film.prompt(BEFORE_EDIT)?;
    film.window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
    film.film(0, is_made(2))?;
    film.film(0, Studio::is_settled)?;
    film.shoot(PAUSE_MS)?;
    film.window.state_mut().state.wanted.push(Command::Edit);
    film.window.run_ok();
    for (at, (prompt, from, to)) in EDITS.into_iter().enumerate() {
        let Some(editing) = film.window.state_mut().state.editing.as_mut() else {
            return Err("no picture is edited".into());
        };
        editing.tool = Tool::Rectangle;
        editing.change(Region::none(editing.region().grid()));
        film.window.run_ok();
        film.drag(from, to)?;
        film.words(prompt)?;
        film.shoot(PAUSE_MS)?;
        film.window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Enter);
        film.film(EVERY, is_made(3 + at))?;
        film.film(0, Studio::is_settled)?;
        film.window.run_ok();
        film.shoot(READ_MS)?;
    }
    for share in [0.25, 0.5, 0.75, 1.0, 0.5, 0.0] {
        film.window.state_mut().state.editing.iter_mut().for_each(|editing| editing.before = share);
        film.window.run_ok();
        film.shoot(DRAG_MS)?;
    }
    film.shoot(END_MS)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let edits = arguments.first().is_some_and(|first| first == "--edit");
    arguments.drain(..usize::from(edits));
    let usual = if edits { "docs/images/edit.gif" } else { "docs/images/studio.gif" };
    let path = arguments.pop().unwrap_or_else(|| usual.to_owned());
    let mut film = Film::new();
    if edits {
        edit(&mut film)?;
    } else {
        studio(&mut film)?;
    }
    let bytes = encode_gif(&film.frames)?;
    write_whole(path.as_ref(), &bytes)?;
    println!("{path}: {} frames, {:.1} MB", film.frames.len(), bytes.len() as f64 / 1e6);
    Ok(())
}
