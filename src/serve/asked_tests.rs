//! What clients send, as they send it.

use super::*;
use crate::generate::refresh::Refresh;
use crate::serve::fixtures::{asked, fields, models};
use image::{DynamicImage, ImageFormat};

fn refused(text: &str) -> Refusal {
    read(fields(text), None, models()).unwrap_err()
}

fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

#[test]
fn openais_fields_are_read_and_settings_stand_beside_them() {
    let all = asked(
        2,
        r#"{"model": "scenes-text", "size": "128x128", "quality": "high", "user": "ann", "response_format": "b64_json",
            "output_format": "jpeg", "output_compression": 70, "seed": 18446744073709551615, "steps": 6, "budget": 2, "predictor": "reuse"}"#,
    );
    assert_eq!((all.model, &all.seeds[..], all.format), (0, &[u64::MAX, 0][..], Format::Jpeg(70)));
    assert_eq!((all.settings.sampling.steps, &all.settings.refresh), (6, &Refresh::Uniform(2)));
    let extra =
        asked(2, r#"{"extra_body": {"seed": 4, "steps": 6, "pace": "uniform:2", "predictor": "reuse"}}"#);
    assert_eq!((extra.seeds, extra.settings), (vec![4, 5], all.settings));
}

#[test]
fn a_class_model_takes_a_class_as_its_prompt() {
    let class = asked(1, r#"{"model": "scenes-class", "prompt": "fox"}"#);
    assert!(matches!(class.condition, Condition::Class(Some(_))) && class.model == 1);
    let refusal = refused(r#"{"model": "scenes-class", "prompt": "foxx"}"#);
    assert!(refusal.json()["error"]["param"] == "prompt" && refusal.message.contains("foxx"), "{refusal:?}");
}

#[test]
fn without_a_seed_pictures_differ_and_every_program_can_hold_it() {
    let [first, second] = [(); 2].map(|()| asked(1, "{}").seeds[0]);
    assert!(first != second && first < 1 << 53 && second < 1 << 53, "{first}, {second}");
}

#[test]
fn forms_have_numbers_as_text() {
    let form = asked(
        1,
        r#"{"n": "3", "seed": "7", "steps": "5", "budget": "1", "stream": "false", "guidance_interval": "[0.1, 0.9]"}"#,
    );
    let json = asked(3, r#"{"seed": 7, "steps": 5, "budget": 1, "guidance_interval": [0.1, 0.9]}"#);
    assert_eq!((form.seeds, form.settings), (json.seeds, json.settings));
}

#[test]
fn what_is_wrong_is_refused_by_its_field() {
    for (text, param, word) in [
        (r#"{}"#, "prompt", "missing"),
        (r#"{"prompt": 7}"#, "prompt", "a text, not 7"),
        (r#"{"prompt": "a fox", "model": "dall-e-3"}"#, "model", "scenes-text, scenes-class"),
        (r#"{"prompt": "a fox", "n": 11}"#, "n", "from 1 to 10, not 11"),
        (r#"{"prompt": "a fox", "n": 1.5}"#, "n", "not 1.5"),
        (r#"{"prompt": "a fox", "seed": -1}"#, "seed", "not -1"),
        (r#"{"prompt": "a fox", "size": "1024x1024"}"#, "size", "128x128"),
        (r#"{"prompt": "a fox", "response_format": "xml"}"#, "response_format", "xml"),
        (r#"{"prompt": "a fox", "output_format": "tiff"}"#, "output_format", "tiff"),
        (r#"{"prompt": "a fox", "background": "transparent"}"#, "background", "no transparent"),
        (r#"{"prompt": "a fox", "partial_images": 2}"#, "partial_images", "stream"),
        (r#"{"prompt": "a fox", "stream": true, "n": 2}"#, "n", "one picture"),
        (r#"{"prompt": "a fox", "stream": 1}"#, "stream", "true or false"),
        (r#"{"prompt": "a fox", "stepz": 4}"#, "stepz", "stepz"),
        (r#"{"prompt": "a fox", "extra_body": [1]}"#, "extra_body", "an object"),
    ] {
        let refusal = refused(text);
        assert_eq!(
            (refusal.status.as_u16(), &refusal.json()["error"]["param"]),
            (400, &param.into()),
            "{text}"
        );
        assert!(refusal.message.contains(word), "{text}: {}", refusal.message);
    }
    assert!(refused(r#"{"prompt": "a fox", "budget": 99}"#).message.contains("99"));
    let long = serde_json::json!({ "prompt": "a".repeat(40_000) }).to_string();
    assert!(refused(&long).message.contains("32000"));
}

fn edit(image: Vec<u8>, mask: Option<Vec<u8>>) -> Result<Asked, Refusal> {
    let files = Files {
        images: vec![("a.png".to_owned(), image)],
        mask: mask.map(|mask| ("m.png".to_owned(), mask)),
    };
    read(fields(r#"{"prompt": "a fox", "seed": 1}"#), Some(files), models())
}

/// A square of so many pixels, transparent in its left quarter if it can be.
fn quarter(side: u32) -> image::RgbaImage {
    image::RgbaImage::from_fn(side, side, |x, _| {
        image::Rgba([90, 120, 200, if x < side / 4 { 0 } else { 255 }])
    })
}

#[test]
fn a_part_is_where_the_mask_shows_through_or_is_white() {
    let picture = png(image::RgbImage::from_pixel(256, 256, image::Rgb([90, 120, 200])));
    let transparent = edit(picture.clone(), Some(png(quarter(128)))).unwrap();
    let grey = image::GrayImage::from_fn(64, 64, |x, _| image::Luma([if x < 16 { 255 } else { 0 }]));
    let white = edit(picture, Some(png(grey))).unwrap();
    let own = edit(png(quarter(256)), None).unwrap();
    for asked in [&transparent, &white, &own] {
        let part = asked.part.as_ref().unwrap();
        assert_eq!((part.region.count(), part.picture.width), (64, 128));
        assert!(
            asked.settings.sampling.steps < models()[0].1.config.sampling.steps,
            "a part takes fewer steps"
        );
    }
    assert!(transparent.is_like(&white) && !transparent.is_like(&asked(1, "{}")));
}

#[test]
fn an_edit_without_its_picture_or_place_is_refused() {
    let opaque = || png(image::RgbImage::from_pixel(128, 128, image::Rgb([9, 9, 9])));
    for (found, param, word) in [
        (edit(opaque(), None), "mask", "what is to be made anew"),
        (edit(opaque(), Some(opaque())), "mask", "nothing would be made anew"),
        (edit(opaque(), Some(png(image::RgbaImage::new(128, 64)))), "mask", "128 x 64"),
        (edit(b"no picture".to_vec(), None), "image", "a.png"),
        (read(fields(r#"{"prompt": "a fox"}"#), Some(Files::default()), models()), "image", "one picture"),
    ] {
        let refusal = found.unwrap_err();
        assert_eq!(refusal.json()["error"]["param"], param, "{refusal:?}");
        assert!(refusal.message.contains(word), "{}", refusal.message);
    }
}
