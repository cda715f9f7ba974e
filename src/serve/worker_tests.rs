//! Batches of real models: what requests get is what they would have got alone.

use super::*;
use crate::generate::metadata::{FINGERPRINT, METADATA};
use crate::generate::picture::png_texts;
use crate::generate::proof::Proof;
use crate::serve::asked::{Files, read};
use crate::serve::fixtures::{asked, fields, models};
use crate::serve::queue::Limits;
use crate::serve::task::State;
use std::time::Duration;

/// Has a worker make all that `asks` puts into its queue, and ends it.
fn work(asks: impl FnOnce(&Arc<Queue>, &Metrics)) {
    let minute = Duration::from_secs(60);
    let queue = Arc::new(Queue::new(Limits { waiting: 64, longest_wait: minute, longest_run: minute }));
    let metrics = Arc::new(Metrics::new());
    let worker = Worker {
        queue: Arc::clone(&queue),
        metrics: Arc::clone(&metrics),
        models: models().iter().map(|(name, model)| (name.clone(), model.clone(), Device::Cpu)).collect(),
        reopen: Box::new(|| Ok(Device::Cpu)),
        batch: 8,
    };
    let engine = std::thread::spawn(move || worker.run(&|words| panic!("{words}")));
    asks(&queue, &metrics);
    queue.close();
    engine.join().unwrap();
}

fn wait(task: &Task) -> State {
    let mut changes = task.watch();
    block_on(changes.wait_for(|now| now.is_over())).unwrap().state.clone()
}

/// What a picture says of its tokens.
fn fingerprint(task: &Task, picture: usize) -> String {
    let file = task.picture(picture).unwrap().file;
    let texts = png_texts("a picture", &file).unwrap();
    let (_, made_from) = texts.iter().find(|(key, _)| key == METADATA).unwrap();
    let made_from: serde_json::Value = serde_json::from_str(made_from).unwrap();
    made_from[FINGERPRINT].as_str().unwrap().to_owned()
}

/// The same of a picture that an engine makes alone.
fn alone(asked: &Asked, picture: usize) -> String {
    let mut engine = Engine::of(models()[asked.model].1.clone(), Device::Cpu);
    let job = Job::new(asked.condition.clone(), asked.seeds[picture]);
    let mut run = engine.run(vec![job], &asked.settings, None, None).unwrap();
    Proof::of(&block_on(run.batch()).unwrap().unwrap().codes).to_string()
}

#[test]
fn requests_that_share_a_batch_get_what_they_would_have_got_alone() {
    work(|queue, metrics| {
        let of = |text: &str, count| Arc::new(Task::new(asked(count, text)));
        let tasks = [
            of(r#"{"seed": 1, "steps": 3, "budget": 1}"#, 3),
            of(r#"{"seed": 9, "steps": 3, "budget": 1, "prompt": "a cat", "output_format": "png"}"#, 1),
            of(r#"{"seed": 2, "steps": 2, "model": "scenes-class", "prompt": "fox"}"#, 1),
        ];
        tasks.iter().for_each(|task| queue.push(task).unwrap());
        for task in &tasks {
            assert_eq!(wait(task), State::Done);
            for picture in 0..task.asked.seeds.len() {
                assert_eq!(
                    fingerprint(task, picture),
                    alone(&task.asked, picture),
                    "{:?}",
                    task.asked.subject
                );
            }
        }
        let kinds = tasks[0].picture(2).unwrap().steps;
        assert_eq!(kinds, [StepKind::Full, StepKind::Predicted, StepKind::Predicted]);
        assert!(metrics.text().contains("migm_pictures_total 5"), "{}", metrics.text());
    });
}

#[test]
fn who_cancels_has_nothing_more_made() {
    work(|queue, metrics| {
        let long = Arc::new(Task::new(asked(1, r#"{"seed": 1, "steps": 200, "pace": "every"}"#)));
        let after = Arc::new(Task::new(asked(1, r#"{"seed": 1, "steps": 1}"#)));
        queue.push(&long).unwrap();
        queue.push(&after).unwrap();
        let mut changes = long.watch();
        block_on(changes.wait_for(|now| now.step >= 2)).unwrap();
        long.fail(Refusal::cancelled());
        assert_eq!(wait(&after), State::Done);
        let steps = long.progress().step;
        assert!(steps < 200 && metrics.text().contains("migm_pictures_total 1"), "{steps} steps");
    });
}

#[test]
fn pictures_in_the_making_are_shown_before_the_last_one() {
    work(|queue, _| {
        let text = r#"{"seed": 1, "steps": 4, "stream": true, "partial_images": 3, "output_format": "jpeg"}"#;
        let task = Arc::new(Task::new(asked(1, text)));
        queue.push(&task).unwrap();
        assert_eq!(wait(&task), State::Done);
        let files: Vec<_> =
            (0..3).map(|i| task.partial(i).unwrap()).chain([task.picture(0).unwrap().file]).collect();
        assert!(task.partial(3).is_none());
        assert!(files.iter().all(|file| file.starts_with(&[0xff, 0xd8])), "JPEG");
        assert!(files.windows(2).all(|two| two[0] != two[1]), "each step shows more");
    });
}

#[test]
fn an_edit_leaves_everything_else_as_it_was() {
    let picture = image::RgbImage::from_fn(128, 128, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let mask =
        image::RgbaImage::from_fn(128, 128, |x, _| image::Rgba([0, 0, 0, if x < 32 { 0 } else { 255 }]));
    let png = |picture: image::DynamicImage| {
        let mut bytes = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
        bytes
    };
    let files = Files {
        images: vec![("a.png".to_owned(), png(picture.clone().into()))],
        mask: Some(("m.png".to_owned(), png(mask.into()))),
    };
    let fields = fields(r#"{"prompt": "a fox", "seed": 4, "n": 2, "output_format": "webp"}"#);
    let asked = read(fields, Some(files), models()).unwrap();
    work(|queue, _| {
        let task = Arc::new(Task::new(asked));
        queue.push(&task).unwrap();
        assert_eq!(wait(&task), State::Done);
        for i in 0..2 {
            let made = image::load_from_memory(&task.picture(i).unwrap().file).unwrap().into_rgb8();
            // One cell of 8 pixels around the part goes softly from one to the other.
            let same =
                |(x, y, pixel): (u32, u32, &image::Rgb<u8>)| x < 40 || pixel == picture.get_pixel(x, y);
            assert!(made.enumerate_pixels().all(same));
            assert!(made.enumerate_pixels().any(|(x, y, pixel)| x < 32 && pixel != picture.get_pixel(x, y)));
        }
    });
}
