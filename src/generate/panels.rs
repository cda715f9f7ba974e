//! Many pictures from a file: a prompt or a class a line, for storyboards and sets of data.

use super::recipe::Subject;
use serde::Deserialize;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    /// Which, from 1.
    pub line: usize,
    /// What its files are called, before the seed.
    pub name: String,
    /// What is asked for.
    pub subject: Subject,
    /// The seed of its first picture, where the line says it.
    pub seed: Option<u64>,
    /// Full steps, where the line says it.
    pub budget: Option<u32>,
}

/// A line of JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    prompt: Option<String>,
    class: Option<String>,
    name: Option<String>,
    seed: Option<u64>,
    budget: Option<u32>,
    /// Pixels across and down, which are the model's.
    size: Option<[u32; 2]>,
}

/// Letters of a name that is made of a prompt.
const LETTERS: usize = 48;
/// Panels of a file.
const MOST: usize = 100_000;

/// The panels of a file: each line a prompt (or, with `of_classes`, a class), or with `is_json` an object with `prompt` or `class` and any
/// of `name`, `seed`, `budget` and `size`, which is the model's `size` across and down. Empty lines and, of text, those that begin
/// with `#` are passed over.
///
/// # Errors
/// A sentence on the first line that is wrong.
pub fn parse(text: &str, is_json: bool, of_classes: bool, size: [u32; 2]) -> Result<Vec<Panel>, String> {
    let mut panels: Vec<Panel> = Vec::new();
    for (line, text) in (1..).zip(text.lines()).map(|(line, text)| (line, text.trim())) {
        if text.is_empty() || (!is_json && text.starts_with('#')) {
            continue;
        }
        let panel = if is_json {
            of_json(line, text, size).map_err(|reason| format!("line {line}: {reason}"))?
        } else {
            let subject = if of_classes { Subject::Class } else { Subject::Prompt }(text.to_owned());
            Panel { line, name: slug(text), subject, seed: None, budget: None }
        };
        panels.push(panel);
        if panels.len() > MOST {
            return Err(format!("more than {MOST} lines; make them in parts"));
        }
    }
    if panels.is_empty() {
        Err("there is no line in it that asks for a picture".to_owned())
    } else {
        Ok(panels)
    }
}

fn of_json(line: usize, text: &str, size: [u32; 2]) -> Result<Panel, String> {
    let given: Given = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let subject = match (given.prompt, given.class) {
        (Some(prompt), None) => Subject::Prompt(prompt),
        (None, Some(class)) => Subject::Class(class),
        _ => return Err("it has neither or both of prompt and class".to_owned()),
    };
    if let Some([width, height]) = given.size.filter(|wanted| *wanted != size) {
        let [own_width, own_height] = size;
        return Err(format!("{width} x {height} pixels, where the model makes {own_width} x {own_height}"));
    }
    let name = match given.name {
        Some(name) => {
            let is_kept = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.starts_with('.') || !name.chars().all(is_kept) {
                return Err(format!(
                    "the name {name:?} is no file's: letters, digits, -, _ and ., and no . first"
                ));
            }
            name
        }
        None => slug(subject.title()),
    };
    Ok(Panel { line, name, subject, seed: given.seed, budget: given.budget })
}

/// A name of letters, digits and hyphens.
fn slug(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars().take(LETTERS) {
        if letter.is_alphanumeric() {
            name.extend(letter.to_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_matches('-');
    if name.is_empty() { "picture".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_prompts_or_objects() {
        let text = "# a board\n\na fox in the Snow!\n  two owls  \n";
        let panels = parse(text, false, false, [8, 8]).unwrap();
        let found: Vec<_> = panels.iter().map(|p| (p.line, p.name.as_str(), p.subject.title())).collect();
        assert_eq!(found, [(3, "a-fox-in-the-snow", "a fox in the Snow!"), (4, "two-owls", "two owls")]);
        assert_eq!(parse("7", false, true, [8, 8]).unwrap()[0].subject, Subject::Class("7".to_owned()));
        let text = r#"
            {"prompt": "a fox", "seed": 4, "budget": 2, "name": "first", "size": [8, 8]}
            {"class": "owl"}"#;
        let panels = parse(text, true, false, [8, 8]).unwrap();
        assert_eq!((panels[0].seed, panels[0].budget, panels[0].name.as_str()), (Some(4), Some(2), "first"));
        assert_eq!((panels[1].line, panels[1].name.as_str(), panels[1].seed), (3, "owl", None));
        assert_eq!(parse(r#"{"prompt": " "}"#, true, false, [8, 8]).unwrap()[0].name, "anything");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (line, words) in [
            (r#"{"prompt": "a", "class": "b"}"#, "both of prompt and class"),
            (r#"{"seed": 3}"#, "neither"),
            (r#"{"prompt": "a", "sead": 3}"#, "sead"),
            (r#"{"prompt": "a", "size": [9, 8]}"#, "9 x 8 pixels, where the model makes 8 x 8"),
            (r#"{"prompt": "a", "name": "../a"}"#, "no file's"),
            (r#"{"prompt": "a", "name": ".a"}"#, "no file's"),
            ("a fox", "expected value"),
        ] {
            let error = parse(&format!("\n{line}"), true, false, [8, 8]).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(words), "{error}");
        }
        assert!(parse("# nothing\n", false, false, [8, 8]).unwrap_err().contains("no line"));
    }

    proptest! {
        #[test]
        fn names_of_prompts_are_names_of_files(text in ".{0,80}") {
            let name = slug(&text);
            prop_assert!(!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '-'), "{}", name);
        }
    }
}
