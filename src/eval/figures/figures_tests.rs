use super::trace::New;
use super::*;
use crate::eval::motion::NewTokens;
use crate::generate::fixtures::{fixture, text_fixture};
use crate::generate::model::Device;
use crate::generate::recipe::Subject;
use crate::generate::sampling::Sampling;
use crate::kernels::StepValues;
use crate::models::Known;
use crate::program::{Layout, WeightSpec};
use pollster::block_on;

fn class_recipe(model: &Model) -> Recipe {
    let recipe = Recipe::new(model, Subject::Class("fox".to_owned())).with_seed(5);
    Recipe { draw: recipe.draw.with_steps(6), refresh: Refresh::Uniform(2), ..recipe }
}

fn text_recipe(model: &Model) -> Recipe {
    let recipe = Recipe::new(model, Subject::Prompt("w5 w17".to_owned())).with_seed(5);
    Recipe { draw: recipe.draw.with_steps(4), refresh: Refresh::Uniform(2), ..recipe }
}

/// A model of either family with a recipe; the folder is the second's.
fn families() -> (tempfile::TempDir, [(Model, Recipe); 2]) {
    let (class, (folder, text)) = (fixture(), text_fixture());
    let (of_class, of_text) = (class_recipe(&class), text_recipe(&text));
    (folder, [(class, of_class), (text, of_text)])
}

/// A recipe traced, with features of a step held.
fn traced(model: Model, recipe: &Recipe, wanted: &Wanted) -> (Engine, Traced, Batch) {
    let job = recipe.jobs(&model).unwrap().remove(0);
    let settings = model.resolve(recipe.settings()).unwrap();
    let batch = Batch::of(&job.condition, 1, settings.sampling.guided());
    let mut engine = Engine::of(model, Device::Cpu);
    let session = engine.session(&settings, batch, None).unwrap();
    let run = block_on(trace(session, &job, wanted, &mut || ())).unwrap();
    (engine, run, batch)
}

fn probe(engine: &Engine, run: &Traced, batch: Batch) -> Probe {
    let model = engine.model().unwrap();
    let counts: Vec<u32> = run.new.iter().map(|new| new.ids.len() as u32).collect();
    Probe::new(model, model.formats(), engine.device(), batch, &counts).unwrap()
}

#[test]
fn a_traced_run_is_the_run_that_it_would_have_been() {
    let (_folder, families) = families();
    for (model, recipe) in families {
        let jobs = recipe.jobs(&model).unwrap();
        let (mut engine, run, _) = traced(model, &recipe, &Wanted { compares: true, ..Wanted::default() });
        let plain =
            block_on(engine.run(jobs, &recipe.settings(), None, None).unwrap().batch()).unwrap().unwrap();
        assert_eq!(run.tokens, plain.codes);
        assert_eq!(run.features.len(), recipe.draw.steps as usize);
        assert_eq!(run.new.iter().map(|new| new.ids.len()).sum::<usize>(), run.tokens.len());
        for New { ids, positions } in &run.new {
            assert!(positions.is_sorted_by(|a, b| a < b));
            for (id, &position) in ids.iter().zip(positions) {
                assert_eq!(*id, run.tokens[position as usize]);
            }
        }
        let foreseen: Vec<(usize, usize)> = run.refreshed.iter().map(|r| (r.step, r.chain)).collect();
        let half = recipe.draw.steps as usize / 2;
        assert_eq!(foreseen, [(half, half)], "one full step of two comes after others");
        assert!(run.refreshed.iter().all(|r| r.predicted > 0.0 && r.reused > 0.0));
    }
}

#[test]
fn branches_are_one_run_up_to_where_they_part() {
    let recipe = class_recipe(&fixture());
    let (_, run, _) = traced(fixture(), &recipe, &Wanted::default());
    let reseed = Some((3, 77));
    let (_, branch, _) = traced(fixture(), &recipe, &Wanted { reseed, ..Wanted::default() });
    // Step 3 has other draws from the same features.
    assert_eq!(run.features[..=3], branch.features[..=3]);
    assert_ne!(run.features[4], branch.features[4]);
    assert_eq!(run.new[2].ids, branch.new[2].ids);
    assert_ne!(run.tokens, branch.tokens);
    // From the first step on it is the run of the other seed.
    let (_, other, _) = traced(fixture(), &recipe.clone().with_seed(77), &Wanted::default());
    let (_, branch, _) = traced(fixture(), &recipe, &Wanted { reseed: Some((0, 77)), ..Wanted::default() });
    assert_eq!((other.tokens, other.features), (branch.tokens, branch.features));
}

/// Rows of a tensor as its checkpoint has them.
fn rows(model: &Model, name: &str, shape: &[usize]) -> Vec<f32> {
    let format = crate::kernels::WeightFormat::F32;
    let spec = WeightSpec { name: name.to_owned(), shape: shape.to_vec(), layout: Layout::Dense, format };
    model.weights().unwrap().load(&spec).unwrap()
}

#[test]
fn new_tokens_are_embedded_as_their_weights_say() {
    let model = fixture();
    let recipe = class_recipe(&model);
    let table = rows(&model, "maskgit.tok_emb.weight", &[512 + 24 + 2, 256]);
    let places = rows(&model, "maskgit.pos_emb", &[1, 65, 256]);
    let (engine, run, batch) = traced(model, &recipe, &Wanted::default());
    let embedded = block_on(probe(&engine, &run, batch).embed(&run.new)).unwrap();
    for (New { ids, positions }, found) in run.new.iter().zip(&embedded) {
        assert_eq!(&found.positions, positions);
        for ((id, position), row) in ids.iter().zip(positions).zip(found.embeddings.chunks_exact(256)) {
            let [of_code, of_place] =
                [(&table, id), (&places, position)].map(|(table, at)| &table[*at as usize * 256..][..256]);
            let close = |(found, (a, b)): (&f32, (&f32, &f32))| (found - (a + b)).abs() < 1e-6;
            assert!(row.iter().zip(of_code.iter().zip(of_place)).all(close), "code {id} at {position}");
        }
    }

    let (_folder, model) = text_fixture();
    let recipe = text_recipe(&model);
    let Known::Dimoo(family) = &model.config.family else { panic!("a text model") };
    let (t, width) = (family.transformer, family.transformer.d_model as usize);
    let table = rows(&model, "dimoo.model.transformer.wte.weight", &[t.vocabulary() as usize, width]);
    let (engine, run, batch) = traced(model, &recipe, &Wanted::default());
    let embedded: Vec<NewTokens> = block_on(probe(&engine, &run, batch).embed(&run.new)).unwrap();
    for (New { ids, .. }, found) in run.new.iter().zip(&embedded) {
        assert_eq!(found.embeddings.len(), ids.len() * width);
        for (id, row) in ids.iter().zip(found.embeddings.chunks_exact(width)) {
            let wanted = &table[(t.text_vocab + id) as usize * width..][..width];
            assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-3 * b.abs()), "code {id}");
        }
    }
}

/// Where nothing is random the likeliest candidate is drawn, at every token that the step reveals: the head, the guidance and the
/// features are those of sampling.
#[test]
fn the_likeliest_candidate_is_what_is_drawn_without_noise() {
    let (_folder, families) = families();
    for (model, recipe) in families {
        let draw = Sampling { draw_temperature: 0.0, ..recipe.draw };
        let recipe = Recipe { draw, ..recipe };
        let codebook = model.family().codebook() as usize;
        for step in [0, 2] {
            let again = model.path().map(Model::open).unwrap().unwrap();
            let wanted = Wanted { hold: Some(step), ..Wanted::default() };
            let (engine, run, batch) = traced(again, &recipe, &wanted);
            let mut probe = probe(&engine, &run, batch);
            let held = run.held.as_ref().unwrap();
            for (id, &position) in run.new[step].ids.iter().zip(&run.new[step].positions) {
                let logits = block_on(probe.logits(held, position)).unwrap();
                let found = candidates(&logits, codebook, &run.plan[step].values, 3);
                assert_eq!(found[0].code, *id, "step {step}, position {position}: {found:?}");
                assert!(found.is_sorted_by(|a, b| a.probability >= b.probability));
            }
        }
    }
}

/// `x W^T + b` of one row.
fn linear(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let product = |row: &[f32]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| product(row) + bias).collect()
}

#[test]
fn where_the_shortcut_looks_is_what_its_weights_say() {
    let model = fixture();
    let recipe = class_recipe(&model);
    let Known::Maskgit(family) = &model.config.family else { panic!("a class model") };
    let shortcut = family.shortcut.unwrap();
    let heads = shortcut.heads as usize;
    let of = |name: &str, shape: &[usize]| rows(&model, &format!("shortcut.{name}"), shape);
    let narrow = [of("proj_in.weight", &[128, 256]), of("proj_in.bias", &[128])];
    let project_new = [of("new_token_proj_in.weight", &[128, 256]), of("new_token_proj_in.bias", &[128])];
    let cross = |part: &str, shape: &[usize]| of(&format!("blocks.0.cross_attn.{part}"), shape);
    let norm = [cross("norm.weight", &[128]), cross("norm.bias", &[128])];
    let packed = [cross("fn.mha.in_proj_weight", &[384, 128]), cross("fn.mha.in_proj_bias", &[384])];

    let (engine, run, batch) = traced(model, &recipe, &Wanted { hold: Some(2), ..Wanted::default() });
    let mut probe = probe(&engine, &run, batch);
    let embedded = block_on(probe.embed(&run.new)).unwrap().remove(1);
    let condition = engine.model().unwrap().condition(&recipe.subject).unwrap();
    let held = run.held_before.as_ref().unwrap();
    for token in [0, 37, 63_u32] {
        let found = block_on(probe.attention(&condition, held, &run.new[1], token)).unwrap().unwrap();
        assert_eq!(found.prompt, 0.0);
        assert_eq!(found.new.iter().map(|(at, _)| *at).collect::<Vec<_>>(), run.new[1].positions);
        // The query is of the normalised features, the keys of new tokens as they are.
        let x = linear(&held[0].1[token as usize * 256..][..256], &narrow[0], &narrow[1]);
        let mean = x.iter().sum::<f32>() / 128.0;
        let scale = (x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 128.0 + 1e-5).sqrt().recip();
        let normal = x.iter().zip(norm[0].iter().zip(&norm[1])).map(|(x, (w, b))| (x - mean) * scale * w + b);
        let query = linear(&normal.collect::<Vec<_>>(), &packed[0][..128 * 128], &packed[1][..128]);
        let key = |row: &[f32]| {
            let row = linear(row, &project_new[0], &project_new[1]);
            linear(&row, &packed[0][128 * 128..2 * 128 * 128], &packed[1][128..256])
        };
        let keys: Vec<Vec<f32>> = embedded.embeddings.chunks_exact(256).map(key).collect();
        let mut wanted = vec![0.0; keys.len()];
        for head in 0..heads {
            let part = head * 128 / heads..(head + 1) * 128 / heads;
            let product = |key: &Vec<f32>| -> f64 {
                let pairs = query[part.clone()].iter().zip(&key[part.clone()]);
                (f64::from(pairs.map(|(q, k)| q * k).sum::<f32>()) / (128.0 / heads as f64).sqrt()).exp()
            };
            let all: Vec<f64> = keys.iter().map(product).collect();
            let sum: f64 = all.iter().sum();
            wanted.iter_mut().zip(all).for_each(|(wanted, of)| *wanted += of / sum / heads as f64);
        }
        for ((at, share), wanted) in found.new.iter().zip(wanted) {
            assert!((share - wanted).abs() < 1e-4, "token {token} at {at}: {share} for {wanted}");
        }
    }
}

#[test]
fn guidance_moves_probabilities_as_its_formula_says() {
    // Softmax of these is 1, 2 and 5 in 8; without a condition all are alike.
    let logits: Vec<f32> = [1.0_f32, 2.0, 5.0].map(f32::ln).into_iter().chain([0.5; 3]).collect();
    let step = StepValues { guidance: 1.0, softmax_temperature: 1.0, ..StepValues::default() };
    let found = candidates(&logits, 3, &step, 2);
    // Twice the logits less a constant: squares, 1, 4 and 25 in 30.
    assert_eq!(found.iter().map(|c| c.code).collect::<Vec<_>>(), [2, 1]);
    for (candidate, (with, without)) in found.iter().zip([(25.0 / 30.0, 5.0 / 8.0), (4.0 / 30.0, 2.0 / 8.0)])
    {
        assert!((candidate.probability - with).abs() < 1e-6, "{candidate:?}");
        assert!((candidate.without_guidance - without).abs() < 1e-6, "{candidate:?}");
    }
    for (step, logits) in [(StepValues { unguided: true, ..step }, &logits[..]), (step, &logits[..3])] {
        let found = candidates(logits, 3, &step, 1);
        assert!((found[0].probability - 5.0 / 8.0).abs() < 1e-6, "no guidance: {found:?}");
    }
    // A softmax temperature of a half takes roots, as an inverse temperature does.
    let step = StepValues { softmax_temperature: 0.5, ..StepValues::default() };
    let found = candidates(&logits[..3], 3, &step, 1);
    let roots = 5_f64.sqrt() / (1.0 + 2_f64.sqrt() + 5_f64.sqrt());
    assert!((found[0].probability - roots).abs() < 1e-6, "{found:?}");
}

#[test]
fn every_figure_is_drawn_and_has_its_table() {
    let model = fixture();
    let recipe = class_recipe(&model);
    let mut engine = Engine::of(model, Device::Cpu);
    let token = Some(TokenAt { row: 3, column: 4, step: 2 });
    let ask = Ask { branches: 2, branch_at: 2, token };
    let mut steps = 0;
    let found = block_on(figures(&mut engine, &recipe, &ask, &mut || steps += 1)).unwrap();
    assert_eq!(steps, 3 * 6);
    assert_eq!(found.figures.iter().map(|figure| figure.name).collect::<Vec<_>>(), NAMES);
    let lines = |at: usize| found.figures[at].csv.lines().count();
    // With headings: pairs of six steps; three runs of six; four ratios; one full step; one length; ten candidates.
    assert_eq!([0, 1, 2, 3, 4, 5].map(lines), [1 + 21, 1 + 18, 1 + 4, 1 + 1, 1 + 1, 1 + 10]);
    // The head-line, and a line for each token that step 1 revealed.
    assert!(lines(6) > 2, "{}", found.figures[6].csv);
    for figure in &found.figures {
        assert!(figure.svg.starts_with("<svg ") && figure.svg.ends_with("</svg>\n"), "{}", figure.name);
        assert!(figure.svg.contains("fox") && !figure.svg.contains("NaN") && !figure.svg.contains("inf"));
        let columns = |line: &str| line.split(',').count();
        let first = figure.csv.lines().next().map(columns);
        assert!(figure.csv.lines().all(|line| Some(columns(line)) == first), "{}", figure.csv);
    }
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    if let Some(folder) = std::env::var_os("MIGM_TEST_FIGURES") {
        for figure in &found.figures {
            std::fs::write(std::path::Path::new(&folder).join(format!("{}.svg", figure.name)), &figure.svg)
                .unwrap();
        }
    }

    // Vanilla: the shortcut is held against every step but the first. A run that decides cannot be compared.
    let vanilla = Recipe { refresh: Refresh::Every, ..recipe.clone() };
    let found = block_on(figures(&mut engine, &vanilla, &Ask::default(), &mut || ())).unwrap();
    assert_eq!(found.figures[3].csv.lines().filter(|line| line.starts_with("run,")).count(), 5);
    let decides = Recipe { refresh: "adaptive:0.2".parse().unwrap(), ..recipe.clone() };
    let found = block_on(figures(&mut engine, &decides, &Ask::default(), &mut || ())).unwrap();
    assert_eq!(found.figures.len(), 3);
    assert!(found.notes[0].contains("decides step by step"), "{:?}", found.notes);
    assert!(matches!(found.settings.refresh, Refresh::Decided(_)));
    // As few steps as there can be.
    for steps in [1, 2] {
        let few = Recipe { draw: recipe.draw.with_steps(steps), refresh: Refresh::Every, ..recipe.clone() };
        let found = block_on(figures(&mut engine, &few, &Ask::default(), &mut || ())).unwrap();
        assert!(
            found.figures.iter().all(|figure| !figure.svg.contains("NaN") && !figure.svg.contains("inf"))
        );
    }
}

#[test]
fn what_a_run_does_not_have_is_refused_by_name() {
    let token = |row, column, step| Ask { token: Some(TokenAt { row, column, step }), ..Ask::default() };
    let refused = |ask: Ask| ask.check([8, 9], 6).unwrap_err().to_string();
    assert!(token(7, 8, 5).check([8, 9], 6).is_ok());
    assert!(refused(token(8, 0, 0)).contains("8,0 is outside the grid of 8 rows and 9 columns"));
    assert!(refused(token(0, 9, 0)).contains("outside"));
    assert!(refused(token(0, 0, 6)).contains("step 6 is beyond the last of 6 steps (5)"));
    assert!(refused(Ask { branches: 1, branch_at: 6, token: None }).contains("step 6"));
    assert!(Ask { branches: 0, branch_at: 6, token: None }.check([8, 9], 6).is_ok());
}
