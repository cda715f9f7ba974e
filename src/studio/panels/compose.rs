//! The left side: what is asked for, and how. The refresh budget is the one large control.

use super::budget::{budget, expected_speed_up, slim_budget};
use super::pace;
use crate::generate::pace::Adaptive;
use crate::generate::recipe::{Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::schedule::Schedule;
use crate::kernels::{ChoiceNoise, Quantization};
use crate::studio::command::Command;
use crate::studio::model::ModelInfo;
use crate::studio::panels::{command_button, hover, labelled};
use crate::studio::state::State;
use crate::studio::theme::Palette;
use crate::studio::tour::{Place, Placed};
use eframe::egui::{self, ComboBox, DragValue, RichText, Slider, TextEdit, Ui};

/// Prompts to begin with; those with words that the model does not know are not offered.
const SAMPLES: [&str; 5] = [
    "two sunflowers on a beach at sunset",
    "a fox to the left of a red taxi on a beach at sunset",
    "two foxes in the snow",
    "a rocket on the moon",
    "a blue octopus at sea",
];
/// Numbers of pictures that are offered.
const IMAGES: [u32; 3] = [1, 4, 9];
/// Words offered to complete one.
const COMPLETIONS: usize = 6;
/// The most steps that the slider offers.
const MOST_STEPS: u32 = 64;
/// The most guidance that the slider offers.
const MOST_GUIDANCE: f32 = 10.0;

/// A prompt to begin with: the first sample of which a model knows every word.
pub fn sample(model: &ModelInfo) -> &'static str {
    SAMPLES.into_iter().find(|sample| knows(model, sample)).unwrap_or_default()
}

/// What is said while there is no model.
fn opening(ui: &mut Ui, state: &State) {
    match state.fetching {
        Some((done, total)) => {
            let megabytes = |bytes: u64| bytes as f64 / 1e6;
            ui.label(format!("Fetching the model: {:.1} of {:.1} MB", megabytes(done), megabytes(total)));
            ui.add(egui::ProgressBar::new(done as f32 / total.max(1) as f32));
        }
        None => drop(ui.horizontal(|ui| {
            ui.spinner();
            ui.label("Opening the model");
        })),
    }
}

/// The panel.
pub fn show(ui: &mut Ui, state: &mut State) {
    let button_height = 44.0;
    let scroll_height = (ui.available_height() - button_height).max(120.0);
    egui::ScrollArea::vertical()
        .id_salt("compose")
        .max_height(scroll_height)
        .auto_shrink([false, false])
        .show(ui, |ui| controls(ui, state, true));
    if state.model.is_some() && state.recipe.is_some() {
        ui.add_space(4.0);
        generate(ui, state);
    }
}

/// What a phone has in reach at all times: what to show, how many full steps, and the button.
pub fn reach(ui: &mut Ui, state: &mut State) {
    let (Some(model), Some(mut recipe)) = (state.model.clone(), state.recipe.clone()) else {
        opening(ui, state);
        return;
    };
    match &mut recipe.subject {
        Subject::Prompt(prompt) => {
            let edit = TextEdit::singleline(prompt).desired_width(f32::INFINITY).hint_text("anything");
            let response = ui.add(edit);
            response
                .widget_info(|| egui::WidgetInfo::labeled(egui::accesskit::Role::TextInput, true, "Prompt"));
        }
        Subject::Class(_) => subject(ui, &model, &mut recipe),
    }
    if !model.one_step {
        let speed_up = expected_speed_up(state, &recipe);
        state.budget_slider = slim_budget(ui, &mut recipe, speed_up);
        note_budget(state);
    }
    state.recipe = Some(recipe);
    generate(ui, state);
}

/// The rest of the controls, in a place that scrolls as a whole.
pub fn rest(ui: &mut Ui, state: &mut State) {
    controls(ui, state, false);
}

/// For the tour to point at.
fn note_budget(state: &mut State) {
    let [x, y, width, height] = state.budget_slider;
    let rect = egui::Rect::from_min_size(egui::pos2(x, y), egui::vec2(width, height));
    let rect = rect.expand(4.0);
    state.places.push(Placed { place: Place::Budget, rect, clip: rect });
}

fn generate(ui: &mut Ui, state: &mut State) {
    let running = state.open_run().is_some();
    let command = if running { Command::Stop } else { Command::Generate };
    let text = RichText::new(format!("{}  {}", command.icon(), command.text())).strong().size(16.0);
    let mut button = egui::Button::new(text).min_size(egui::vec2(ui.available_width(), 36.0));
    if !running {
        button = button.fill(Palette::of(ui).selected);
    }
    if ui.add_enabled(state.allows(command), button).on_hover_text(command.tooltip()).clicked() {
        state.wanted.push(command);
    }
}

/// All controls; where prompt and budget stand elsewhere, the others.
fn controls(ui: &mut Ui, state: &mut State, all: bool) {
    let (Some(model), Some(mut recipe)) = (state.model.clone(), state.recipe.clone()) else {
        if all {
            opening(ui, state);
        }
        return;
    };
    let speed_up = expected_speed_up(state, &recipe);
    let mut wanted = Vec::new();
    match &mut recipe.subject {
        Subject::Prompt(prompt) if !all => help(ui, &model, prompt),
        Subject::Class(_) if !all => {}
        _ => subject(ui, &model, &mut recipe),
    }
    ui.add_space(4.0);
    seed(ui, state, &mut recipe, &mut wanted);
    images(ui, &mut recipe);
    if model.one_step {
        ui.label("This model makes its pictures in one full step, without guidance.");
        state.budget_slider = [0.0; 4];
        ui.collapsing("Advanced", |ui| precision(ui, &model, &mut recipe));
    } else {
        steps(ui, &mut recipe);
        ui.add_space(4.0);
        let place = budget(ui, &model, &mut recipe, speed_up, &mut wanted, all);
        if all {
            state.budget_slider = place;
            note_budget(state);
        }
        ui.add_space(4.0);
        guidance(ui, &mut recipe);
        ui.collapsing("Tokens of a step", |ui| pace::tokens(ui, &mut recipe));
        ui.collapsing("Advanced", |ui| {
            advanced(ui, &mut recipe);
            precision(ui, &model, &mut recipe);
        });
    }
    state.recipe = Some(recipe);
    state.wanted.extend(wanted);
}

fn subject(ui: &mut Ui, model: &ModelInfo, recipe: &mut Recipe) {
    match &mut recipe.subject {
        Subject::Prompt(prompt) => {
            let label = ui.strong("Prompt");
            let edit = TextEdit::multiline(prompt)
                .desired_rows(2)
                .desired_width(f32::INFINITY)
                .hint_text("anything");
            let response = ui.add(edit).labelled_by(label.id);
            response.on_hover_text("What the picture shows; leave it empty for anything");
            help(ui, model, prompt);
        }
        Subject::Class(class) => {
            let label = ui.strong("Class");
            let id = ui.make_persistent_id("class search");
            let mut search = ui.data(|data| data.get_temp::<String>(id)).unwrap_or_default();
            ComboBox::from_id_salt("class")
                .selected_text(class.as_str())
                .width(ui.available_width() - 16.0)
                .show_ui(ui, |ui| {
                    let edit = TextEdit::singleline(&mut search).hint_text("Search");
                    ui.add(edit).labelled_by(label.id);
                    let words = search.to_lowercase();
                    for known in model.labels.iter().filter(|known| known.to_lowercase().contains(&words)) {
                        ui.selectable_value(class, known.clone(), known);
                    }
                })
                .response
                .labelled_by(label.id)
                .on_hover_text("What the picture shows");
            ui.data_mut(|data| data.insert_temp(id, search));
        }
    }
}

/// What helps to write a prompt: words to go on with, those that the model does not know, and samples.
fn help(ui: &mut Ui, model: &ModelInfo, prompt: &mut String) {
    complete(ui, model, prompt);
    unknown(ui, model, prompt);
    ui.horizontal_wrapped(|ui| {
        for sample in SAMPLES.into_iter().filter(|sample| knows(model, sample)) {
            if ui.small_button(sample).on_hover_text("Takes this prompt").clicked() {
                *prompt = sample.to_owned();
            }
        }
    });
}

fn words(prompt: &str) -> impl Iterator<Item = &str> {
    prompt.split_whitespace().map(|word| word.trim_matches(',')).filter(|word| !word.is_empty())
}

fn is_known(model: &ModelInfo, word: &str) -> bool {
    model.words.is_empty() || model.words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn knows(model: &ModelInfo, prompt: &str) -> bool {
    words(prompt).all(|word| is_known(model, word))
}

/// Words of the vocabulary that the last word of a prompt may become.
fn completions<'a>(model: &'a ModelInfo, prompt: &str) -> Vec<&'a str> {
    if prompt.is_empty() || prompt.ends_with(char::is_whitespace) {
        return Vec::new();
    }
    let Some(last) = words(prompt).last().map(str::to_lowercase) else { return Vec::new() };
    let begins = |word: &&String| {
        let word = word.to_lowercase();
        word.starts_with(&last) && word != last
    };
    model.words.iter().filter(begins).map(String::as_str).take(COMPLETIONS).collect()
}

fn complete(ui: &mut Ui, model: &ModelInfo, prompt: &mut String) {
    let found = completions(model, prompt);
    if found.is_empty() {
        return;
    }
    ui.horizontal_wrapped(|ui| {
        for word in found {
            if ui.small_button(word).on_hover_text("Completes the last word").clicked() {
                let keep = prompt.trim_end().rfind(char::is_whitespace).map_or(0, |at| at + 1);
                prompt.truncate(keep);
                prompt.push_str(word);
                prompt.push(' ');
                break;
            }
        }
    });
}

fn unknown(ui: &mut Ui, model: &ModelInfo, prompt: &str) {
    // The last word may still be in the making.
    let ends = prompt.ends_with(char::is_whitespace);
    let count = words(prompt).count();
    for (i, word) in words(prompt).enumerate() {
        let in_the_making = i + 1 == count && !ends && !completions(model, prompt).is_empty();
        if !is_known(model, word) && !in_the_making {
            let text = format!("The model does not know “{word}”");
            ui.colored_label(Palette::of(ui).failure, text);
        }
    }
}

fn seed(ui: &mut Ui, state: &mut State, recipe: &mut Recipe, wanted: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        let label = ui.label("Seed");
        ui.add(DragValue::new(&mut recipe.seed).speed(1.0))
            .labelled_by(label.id)
            .on_hover_text("The same seed with the same settings makes the same picture");
        if command_button(ui, Command::NewSeed, true).clicked() {
            wanted.push(Command::NewSeed);
        }
        let lock = Command::LockSeed;
        ui.toggle_value(&mut state.seed_locked, lock.icon()).on_hover_text(lock.tooltip());
        let live = Command::Live;
        if ui
            .selectable_label(state.live, format!("{} Live", live.icon()))
            .on_hover_text(hover(ui, live))
            .clicked()
        {
            wanted.push(live);
        }
    });
}

fn images(ui: &mut Ui, recipe: &mut Recipe) {
    ui.horizontal(|ui| {
        ui.label("Pictures");
        for count in IMAGES {
            ui.selectable_value(&mut recipe.images, count, count.to_string())
                .on_hover_text("Pictures of one run, with seeds that count up");
        }
    });
}

fn steps(ui: &mut Ui, recipe: &mut Recipe) {
    let mut steps = recipe.draw.steps;
    let most = MOST_STEPS.max(steps);
    labelled(ui, "Steps", |ui| {
        ui.add(Slider::new(&mut steps, 1..=most))
            .on_hover_text("Steps from a masked grid to a picture; each reveals some tokens")
    });
    if steps == recipe.draw.steps {
        return;
    }
    recipe.draw = recipe.draw.with_steps(steps);
    // Steps that are no more cannot be full.
    match &mut recipe.refresh {
        Refresh::Uniform(budget) | Refresh::Optimal(budget) => *budget = (*budget).min(steps),
        Refresh::Adaptive(Adaptive { budget: Some(budget), .. }) => *budget = (*budget).min(steps),
        Refresh::List(list) => list.retain(|step| *step < steps),
        // What a run of other steps decided says nothing of these.
        Refresh::Decided(_) => recipe.refresh = Refresh::Uniform(steps.div_ceil(4)),
        Refresh::Every | Refresh::Interval { .. } | Refresh::Adaptive(_) | Refresh::Custom(_) => {}
    }
}

fn guidance(ui: &mut Ui, recipe: &mut Recipe) {
    labelled(ui, "Guidance", |ui| {
        let value = &mut recipe.draw.guidance;
        let most = MOST_GUIDANCE.max(*value);
        ui.add(Slider::new(value, 0.0..=most).max_decimals(1)).on_hover_text(
            "How far the picture is pushed towards what is asked for; 0 does without and is twice as fast",
        )
    });
}

/// In what precision weights are held, and the tier that computes with them.
fn precision(ui: &mut Ui, model: &ModelInfo, recipe: &mut Recipe) {
    let stored = match (model.stored_quantized, model.stored_half) {
        (Some(scheme), _) => format!("as stored, {scheme}"),
        (None, true) => "as stored, f16".to_owned(),
        (None, false) => "as stored, f32".to_owned(),
    };
    let text =
        |scheme: Option<Quantization>| scheme.map_or_else(|| stored.clone(), |scheme| scheme.to_string());
    let schemes = [Quantization::Int8, Quantization::Int4 { group: 64 }, Quantization::Int4 { group: 32 }];
    labelled(ui, "Weights", |ui| {
        ComboBox::from_id_salt("weights")
            .selected_text(text(recipe.quantize))
            .show_ui(ui, |ui| {
                ui.selectable_value(&mut recipe.quantize, None, text(None));
                // What is stored in few bits cannot be had in others.
                for scheme in schemes.into_iter().filter(|_| model.stored_quantized.is_none()) {
                    ui.selectable_value(&mut recipe.quantize, Some(scheme), text(Some(scheme)));
                }
            })
            .response
            .on_hover_text(
                "Bits a weight takes on the device: fewer need less memory, and change the picture a little",
            )
    });
}

fn advanced(ui: &mut Ui, recipe: &mut Recipe) {
    let sampling = &mut recipe.draw;
    match &recipe.subject {
        Subject::Prompt(_) => {
            labelled(ui, "Draw temperature", |ui| {
                ui.add(Slider::new(&mut sampling.draw_temperature, 0.0..=2.0).max_decimals(2))
                    .on_hover_text("How freely codes are drawn; 0 always takes the likeliest")
            });
            labelled(ui, "Choice temperature", |ui| {
                ui.add(Slider::new(&mut sampling.choice_temperature, 0.0..=10.0).max_decimals(2))
                    .on_hover_text("How freely it is chosen which tokens to keep; 0 keeps the surest")
            });
            ui.checkbox(&mut sampling.bf16_gumbel, "Noise in bf16")
                .on_hover_text("Rounds noise as the official code does on CUDA");
        }
        Subject::Class(_) => {
            labelled(ui, "Draw sharpness", |ui| {
                ui.add(Slider::new(&mut sampling.softmax_temperature, 0.1..=4.0).max_decimals(2))
                    .on_hover_text("Multiplies the logits: an inverse temperature, as in the official code")
            });
            labelled(ui, "Choice temperature", |ui| {
                ui.add(Slider::new(&mut sampling.choice_temperature, 0.0..=20.0).max_decimals(2))
                    .on_hover_text(
                        "How freely it is chosen which tokens to keep; it falls to 0 at the last step",
                    )
            });
            labelled(ui, "Schedule", |ui| {
                ComboBox::from_id_salt("schedule")
                    .selected_text(sampling.schedule.title())
                    .show_ui(ui, |ui| {
                        for schedule in Schedule::ALL {
                            ui.selectable_value(&mut sampling.schedule, schedule, schedule.title());
                        }
                    })
                    .response
                    .on_hover_text("How many tokens each step reveals")
            });
            labelled(ui, "Choice noise", |ui| {
                let text = |noise| match noise {
                    ChoiceNoise::Linear => "falling",
                    ChoiceNoise::Constant => "constant",
                    ChoiceNoise::WarmUp => "random for two steps",
                    ChoiceNoise::Random => "random",
                };
                ComboBox::from_id_salt("choice noise")
                    .selected_text(text(sampling.choice_noise))
                    .show_ui(ui, |ui| {
                        for noise in [
                            ChoiceNoise::Linear,
                            ChoiceNoise::Constant,
                            ChoiceNoise::WarmUp,
                            ChoiceNoise::Random,
                        ] {
                            ui.selectable_value(&mut sampling.choice_noise, noise, text(noise));
                        }
                    })
                    .response
                    .on_hover_text("What the choice of tokens to keep is made by")
            });
        }
    }
}
