//! A run as a link: `?model=..&prompt=..&seed=..&steps=..&budget=..`, and back.

use crate::generate::metadata::{BEGUN, CANVAS};
use crate::generate::predict::Predictor;
use crate::generate::proof::Proof;
use crate::generate::recipe::{Begun, Recipe, Subject};
use crate::generate::refresh::Refresh;
use crate::generate::sampling::Sampling;

/// What says which tokens there were.
const PROOF: &str = "tokens";

fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            // Commas, colons and slashes stand for themselves in a query, and lists of steps are full of them.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' | b':' | b'/' => {
                out.push(byte as char);
            }
            b' ' => out.push('+'),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How tokens are drawn, by the names of the command line.
fn drawing(draw: &Sampling) -> Vec<(&'static str, String)> {
    let [low, high] = draw.guidance_interval;
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    vec![
        ("guidance", draw.guidance.to_string()),
        ("guidance-interval", format!("{low},{high}")),
        ("schedule", word(serde_json::json!(draw.schedule))),
        ("temperature", draw.draw_temperature.to_string()),
        ("softmax-temperature", draw.softmax_temperature.to_string()),
        ("choice-temperature", draw.choice_temperature.to_string()),
        ("choice-noise", word(serde_json::json!(draw.choice_noise))),
        ("bf16-gumbel", draw.bf16_gumbel.to_string()),
        ("order", draw.order.name().to_owned()),
        ("spread", draw.spread.to_string()),
        ("reveal", draw.reveal.to_string()),
        ("corrector", draw.corrector.to_string()),
    ]
}

/// Takes one of these; `None` if it makes no sense.
fn take_drawing(key: &str, value: &str, draw: &mut Sampling) -> Option<()> {
    let number = || value.parse::<f32>().ok().filter(|number| number.is_finite());
    let mut changed = *draw;
    match key {
        "guidance" => changed.guidance = number()?,
        "guidance-interval" => {
            let (low, high) = value.split_once(',')?;
            changed.guidance_interval = [low.parse().ok()?, high.parse().ok()?];
        }
        "schedule" => changed.schedule = serde_json::from_value(value.into()).ok()?,
        "temperature" => changed.draw_temperature = number()?,
        "softmax-temperature" => changed.softmax_temperature = number()?,
        "choice-temperature" => changed.choice_temperature = number()?,
        "choice-noise" => changed.choice_noise = serde_json::from_value(value.into()).ok()?,
        "bf16-gumbel" => changed.bf16_gumbel = value.parse().ok()?,
        "order" => changed.order = serde_json::from_value(value.into()).ok()?,
        "spread" => changed.spread = number()?,
        "reveal" => changed.reveal = value.parse().ok()?,
        "corrector" => changed.corrector = number()?,
        _ => return None,
    }
    // What is out of range is refused here, not when a run begins.
    changed.check().ok()?;
    *draw = changed;
    Some(())
}

/// The query of a recipe; of how tokens are drawn, what is not as its model has it. With a proof, what opens it can say whether
/// the tokens are the same.
pub fn query(recipe: &Recipe, usual: &Sampling, proof: Option<&Proof>) -> String {
    let mut parts = vec![("model", recipe.model.clone())];
    match &recipe.subject {
        Subject::Prompt(prompt) => parts.push(("prompt", prompt.clone())),
        Subject::Class(class) => parts.push(("class", class.clone())),
    }
    parts.push(("seed", recipe.seed.to_string()));
    parts.push(("images", recipe.images.to_string()));
    parts.push(("steps", recipe.draw.steps.to_string()));
    match &recipe.refresh {
        Refresh::Uniform(budget) => parts.push(("budget", budget.to_string())),
        other => parts.push(("refresh", other.to_string())),
    }
    parts.push(("predictor", recipe.predictor.to_string()));
    if let Some(quantize) = recipe.quantize {
        parts.push(("quantize", quantize.to_string()));
    }
    parts.extend(recipe.begun.iter().map(|begun| (BEGUN, begun.to_string())));
    parts.extend(recipe.canvas.iter().map(|canvas| (CANVAS, canvas.to_string())));
    let usual = drawing(usual);
    parts.extend(drawing(&recipe.draw).into_iter().filter(|part| !usual.contains(part)));
    parts.extend(proof.map(|proof| (PROOF, proof.to_string())));
    let parts: Vec<String> = parts.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
    format!("?{}", parts.join("&"))
}

/// What opens a recipe elsewhere: in the browser a link to the page that is open, on a desktop the command.
pub fn link(recipe: &Recipe, usual: &Sampling, proof: Option<&Proof>) -> String {
    #[cfg(target_arch = "wasm32")]
    if let Some(location) = web_sys::window().map(|window| window.location()) {
        let part = |part: Result<String, _>| part.unwrap_or_default();
        let query = query(recipe, usual, proof);
        return format!("{}{}{query}", part(location.origin()), part(location.pathname()));
    }
    format!("migm studio \"{}\"", query(recipe, usual, proof))
}

/// What a query changes of a recipe of the model that it names; parts that are unknown or make no sense are named.
pub fn apply(query: &str, recipe: &mut Recipe) -> Vec<String> {
    let mut refused = Vec::new();
    let pairs: Vec<(&str, String)> = query
        .trim_start_matches('?')
        .split('&')
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key, unescape(value)))
        .collect();
    recipe.begun.clear();
    recipe.canvas = None;
    for (key, value) in &pairs {
        let number = value.parse::<u32>().ok();
        let understood = match (*key, &mut recipe.subject) {
            ("model", _) => true,
            (PROOF, _) => value.parse::<Proof>().is_ok(),
            ("prompt", Subject::Prompt(prompt)) => {
                prompt.clone_from(value);
                true
            }
            ("class", Subject::Class(class)) => {
                class.clone_from(value);
                true
            }
            ("seed", _) => value.parse().map(|seed| recipe.seed = seed).is_ok(),
            ("images", _) => number.filter(|n| (1..=9).contains(n)).map(|n| recipe.images = n).is_some(),
            ("steps", _) => {
                let steps = number.filter(|n| (1..=1024).contains(n));
                steps.map(|steps| recipe.draw = recipe.draw.with_steps(steps)).is_some()
            }
            ("budget", _) => {
                number.filter(|n| *n > 0).map(|n| recipe.refresh = Refresh::Uniform(n)).is_some()
            }
            ("refresh", _) => value.parse().map(|refresh| recipe.refresh = refresh).is_ok(),
            ("predictor", _) => {
                Predictor::named(value).map(|predictor| recipe.predictor = predictor).is_some()
            }
            // Once for each part, in their order.
            (BEGUN, _) => value.parse::<Begun>().map(|begun| recipe.begun.push(begun)).is_ok(),
            (CANVAS, _) => value.parse().map(|canvas| recipe.canvas = Some(canvas)).is_ok(),
            ("quantize", _) => value.parse().map(|scheme| recipe.quantize = Some(scheme)).is_ok(),
            _ => take_drawing(key, value, &mut recipe.draw).is_some(),
        };
        if !understood {
            refused.push(format!("{key}={value}"));
        }
    }
    // The rule may have been read before the steps.
    if !recipe.makes_sense() {
        let ends = recipe.begun.iter().map(|begun| begun.steps.to_string()).collect::<Vec<_>>();
        if !ends.is_empty() {
            // What is left is a run, but not the one that was meant.
            refused.push(format!("{BEGUN}, with parts up to steps {}", ends.join(" and ")));
            recipe.begun.clear();
        }
        if !recipe.makes_sense() {
            recipe.refresh = Refresh::Every;
        }
    }
    refused
}

fn part(query: &str, wanted: &str) -> Option<String> {
    let parts = query.trim_start_matches('?').split('&');
    let mut pairs = parts.filter_map(|part| part.split_once('='));
    pairs.find(|(key, _)| *key == wanted).map(|(_, value)| unescape(value))
}

/// The model that a query names.
pub fn model(query: &str) -> Option<String> {
    part(query, "model")
}

/// What a query says of the tokens.
pub fn proof(query: &str) -> Option<Proof> {
    part(query, PROOF)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::order::Order;
    use crate::generate::sampling::Reveal;
    use crate::kernels::Quantization;
    use proptest::prelude::*;

    fn recipe(prompt: &str) -> Recipe {
        Recipe {
            model: "scenes-text".to_owned(),
            subject: Subject::Prompt(prompt.to_owned()),
            seed: 1,
            images: 1,
            draw: Sampling::DIMOO,
            refresh: Refresh::Every,
            predictor: Predictor::Shortcut,
            quantize: None,
            begun: Vec::new(),
            canvas: None,
        }
    }

    proptest! {
        #[test]
        fn a_recipe_survives_a_link(prompt in ".{0,40}", seed: u64, images in 1_u32..10, budget in 1_u32..20, guidance in 0.0_f32..9.0) {
            let mut wanted = recipe(&prompt);
            (wanted.seed, wanted.images, wanted.refresh) = (seed, images, Refresh::Uniform(budget));
            wanted.draw = wanted.draw.with_steps(20);
            wanted.draw.guidance = guidance;
            wanted.quantize = images.is_multiple_of(2).then_some(Quantization::Int8);
            let mut found = recipe("");
            prop_assert_eq!(apply(&query(&wanted, &Sampling::DIMOO, None), &mut found), Vec::<String>::new());
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn what_is_not_as_the_model_has_it_survives_too(
            numbers in prop::array::uniform4(0.0_f32..1.0),
            is_halton: bool,
            reveal in prop::sample::select(vec![Reveal::Schedule, Reveal::Entropy(1.5), Reveal::Certainty(0.25)]),
            refresh in prop::sample::select(vec!["adaptive:0.1", "adaptive:0.25,6", "decided:0,4/1,2,3", "interval:0.3,5"]),
        ) {
            let mut wanted = recipe("a fox");
            wanted.refresh = refresh.parse().unwrap();
            let [draw_temperature, spread, corrector, low] = numbers;
            let order = if is_halton { Order::Halton } else { Order::Confidence };
            let guidance_interval = [low, 1.0];
            wanted.draw = Sampling { draw_temperature, spread, corrector, order, reveal, guidance_interval, ..wanted.draw };
            let mut found = recipe("");
            let text = query(&wanted, &Sampling::DIMOO, None);
            prop_assert_eq!(apply(&text, &mut found), Vec::<String>::new());
            prop_assert_eq!(found, wanted);
            // What is as usual takes no room.
            let plain = query(&recipe("a fox"), &Sampling::DIMOO, None);
            prop_assert!(plain.len() < 110, "{}", plain);
        }

        #[test]
        fn anything_can_stand_in_a_link(query in ".{0,80}") {
            let mut found = recipe("");
            apply(&query, &mut found);
            prop_assert!(found.makes_sense());
        }
    }

    /// The longest that the bundled model's words and steps make.
    #[test]
    fn a_link_with_its_proof_is_short_and_read_back() {
        let mut wanted = recipe(
            "three large purple sunflowers to the right of a small orange mushroom on the moon at night",
        );
        wanted.draw = wanted.draw.with_steps(32);
        (wanted.refresh, wanted.seed) = (Refresh::Uniform(4), 999_999);
        let proof = Proof { tokens: u64::MAX, steps: vec![63; 32] };
        let text = query(&wanted, &wanted.draw, Some(&proof));
        assert!(text.len() < 260, "{} characters leave no room for an address: {text}", text.len());
        assert_eq!(super::proof(&text), Some(proof));
        let mut found = recipe("");
        found.draw = wanted.draw;
        assert_eq!(apply(&text, &mut found), Vec::<String>::new());
        assert_eq!(found, wanted);
        assert_eq!(apply("?tokens=12", &mut found), ["tokens=12"]);
    }

    #[test]
    fn a_branch_survives_a_link_or_is_named() {
        let mut wanted = recipe("a fox");
        wanted.draw = wanted.draw.with_steps(12);
        let begun = |steps, predictor, refresh: &str| Begun {
            steps,
            seed: u64::MAX,
            refresh: refresh.parse().unwrap(),
            predictor,
        };
        wanted.begun =
            vec![begun(3, Predictor::Reuse, "list:0,2"), begun(7, Predictor::Shortcut, "uniform:4")];
        let text = query(&wanted, &Sampling::DIMOO, None);
        let mut found = recipe("");
        assert_eq!(apply(&text, &mut found), Vec::<String>::new());
        assert_eq!(found, wanted);
        // Parts out of order, beyond the run's steps, or not to be read.
        for (ends, refused) in [([7, 3], "steps 7 and 3"), ([3, 12], "steps 3 and 12")] {
            wanted.begun.iter_mut().zip(ends).for_each(|(begun, end)| begun.steps = end);
            let refusals = apply(&query(&wanted, &Sampling::DIMOO, None), &mut found);
            assert!(refusals.len() == 1 && refusals[0].contains(refused), "{refusals:?}");
            assert!(found.begun.is_empty() && found.refresh == wanted.refresh);
        }
        assert_eq!(apply("?begun=3;x;reuse;every", &mut found), ["begun=3;x;reuse;every"]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let mut found = recipe("");
        let refused = apply("?seed=x&prompt=a+fox%2C+flat&colour=red&steps=0", &mut found);
        assert_eq!(refused, ["seed=x", "colour=red", "steps=0"]);
        assert_eq!(found.subject, Subject::Prompt("a fox, flat".to_owned()));
        assert_eq!(model("?a=b&model=my%20model"), Some("my model".to_owned()));
    }
}
