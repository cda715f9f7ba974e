//! `migm edit`, `encode` and `decode`: pictures of any kind in, parts made anew, nothing lost.

use super::{MODEL, fails, migm, succeeds};
use migm::generate::canvas::Canvas;
use serde_json::Value;
use std::path::Path;

const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images");

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("it was written")).expect("JSON")
}

/// A folder with a picture of the class model.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let generate = ["generate", "--class", "fox", "--model", MODEL, "--steps", "4", "--no-compare"];
    succeeds(&migm(folder.path(), &[&generate[..], &["--backend", "cpu", "--out", "fox.png"]].concat()));
    folder
}

fn edit(folder: &Path, more: &[&str]) -> std::process::Output {
    let edit = ["edit", "fox.png", "--model", MODEL, "--backend", "cpu"];
    migm(folder, &[&edit[..], more].concat())
}

#[test]
fn a_region_is_made_anew_and_the_rest_stays_to_the_bit() {
    let folder = folder();
    let region = ["--class", "owl", "--region", "16,8,24,16", "--report", "report.json", "--seed", "3"];
    let out = succeeds(&edit(folder.path(), &region));
    assert!(out.contains("made      6 of 64 tokens"), "{out}");
    let open = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgb8();
    let (before, after) = (open("fox.png"), open("fox-edit.png"));
    assert_eq!(before.dimensions(), after.dimensions());
    let mut changed = 0;
    for (x, y, pixel) in after.enumerate_pixels() {
        let beyond_the_seam = !(8..48).contains(&x) || !(0..32).contains(&y);
        assert!(!beyond_the_seam || pixel == before.get_pixel(x, y), "{x}, {y}");
        changed += usize::from(pixel != before.get_pixel(x, y));
    }
    assert!(changed > 50, "{changed}");

    // Tokens outside are the picture's own, and the picture says how to make it again.
    succeeds(&migm(
        folder.path(),
        &["encode", "fox.png", "--model", MODEL, "--out", "codes.json", "--backend", "cpu"],
    ));
    let codes: Vec<u32> =
        serde_json::from_value(json(&folder.path().join("codes.json"))["codes"][0].clone()).unwrap();
    let report = json(&folder.path().join("report.json"));
    let made: Vec<u32> = serde_json::from_value(report["tokens"][0].clone()).unwrap();
    let canvas: Canvas = serde_json::from_value(report["recipe"]["canvas"].clone()).unwrap();
    assert_eq!((canvas.masked(), report["masked"].as_u64()), (6, Some(6)));
    for ((made, code), masked) in made.iter().zip(&codes).zip(canvas.mask()) {
        assert!(masked || made == code);
    }
    let texts = migm::generate::picture::read_png_texts(&folder.path().join("fox-edit.png")).unwrap();
    let made_from = texts.iter().find(|(key, _)| key == "migm").map(|(_, text)| text).unwrap();
    let made_from: Value = serde_json::from_str(made_from).unwrap();
    assert_eq!(made_from["canvas"], report["recipe"]["canvas"]);

    // Nothing that is there is written over without a word.
    fails(&edit(folder.path(), &region), 1, &["fox-edit.png is there already", "--force"]);
    succeeds(&edit(folder.path(), &[&region[..], &["--force"]].concat()));
    fails(
        &edit(folder.path(), &[&region[..], &["--out", "fox.png", "--force"]].concat()),
        1,
        &["the picture itself"],
    );
}

#[test]
fn every_way_to_say_what_is_made_anew() {
    let folder = folder();
    let mask = image::RgbImage::from_fn(64, 64, |x, _| image::Rgb([if x < 16 { 255 } else { 0 }; 3]));
    mask.save(folder.path().join("mask.png")).unwrap();
    image::RgbImage::new(64, 64).save(folder.path().join("black.png")).unwrap();
    image::RgbImage::new(64, 20).save(folder.path().join("wide.png")).unwrap();
    for (at, (more, made)) in [
        (&["--mask", "mask.png"][..], "16 of 64"),
        (&["--mask", "mask.png", "--invert"], "48 of 64"),
        (&["--mask", "mask.png", "--grow", "1"], "24 of 64"),
        (&["--keep", "0.5"], "32 of 64"),
        (&["--keep", "0.75", "--spread"], "16 of 64"),
        (&["--was", "fox"], "16 of 64"),
        (&["--was", "fox", "--keep", "0.5", "--mask", "mask.png"], "8 of 64"),
        (&["--region", "0,0,8,8", "--region", "56,56,8,8", "--budget", "1", "--steps", "3"], "2 of 64"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{at}.png");
        let out = succeeds(&edit(folder.path(), &[&["--class", "owl", "--out", &name], more].concat()));
        assert!(out.contains(&format!("made      {made} tokens")), "{more:?}: {out}");
    }
    for (more, words) in [
        (&[][..], &["--region", "--mask", "--extend", "--was", "--keep"][..]),
        (&["--mask", "black.png"], &["black everywhere"]),
        (&["--mask", "wide.png"], &["64 x 20", "the picture's shape"]),
        (&["--region", "64,0,9,9"], &["outside", "64 x 64"]),
        (&["--thing", "3,64"], &["3,64", "outside", "64 x 64"]),
        (&["--was", "zebra"], &["zebra"]),
        (&["--extend", "left:8"], &["1 to 7"]),
        (&["--keep", "0.5", "--refresh", "uniform:99"], &["99"]),
    ] {
        fails(&edit(folder.path(), &[&["--class", "owl", "--out", "no.png"], more].concat()), 1, words);
        assert!(!folder.path().join("no.png").exists(), "{more:?}");
    }
    fails(&edit(folder.path(), &["--region", "0,0,9,9"]), 1, &["name one with --class"]);
    fails(&edit(folder.path(), &["--class", "owl", "--region", "1,2,3"]), 2, &["X,Y,W,H"]);
    fails(&edit(folder.path(), &["--class", "owl", "--thing", "7"]), 2, &["X,Y"]);
    fails(&edit(folder.path(), &["--class", "owl", "--extend", "up:3"]), 2, &["none of left"]);
}

#[test]
fn pictures_grow_and_grow_again() {
    let folder = folder();
    let open = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgb8();
    let grow = |of: &str, to: &str, by: &str| {
        let edit = ["edit", of, "--class", "fox", "--model", MODEL, "--backend", "cpu", "--out", to];
        succeeds(&migm(folder.path(), &[&edit[..], &["--extend", by, "--steps", "3"]].concat()))
    };
    grow("fox.png", "wide.png", "right:3");
    assert_eq!(open("wide.png").dimensions(), (88, 64));
    assert!(grow("wide.png", "wider.png", "right:2").contains("16 of 64"));
    let (before, after) = (open("wide.png"), open("wider.png"));
    assert_eq!(after.dimensions(), (104, 64));
    assert!(
        before
            .enumerate_pixels()
            .filter(|(x, ..)| *x < 80)
            .all(|(x, y, pixel)| pixel == after.get_pixel(x, y))
    );
    grow("fox.png", "tall.png", "top:2");
    let (before, after) = (open("fox.png"), open("tall.png"));
    assert_eq!(after.dimensions(), (64, 80));
    let old = before.enumerate_pixels().filter(|(_, y, _)| *y >= 8);
    assert!(old.into_iter().all(|(x, y, pixel)| pixel == after.get_pixel(x, y + 16)));
}

#[test]
fn several_pictures_go_into_a_folder_or_on_a_sheet() {
    let folder = folder();
    let several = ["--class", "owl", "--keep", "0.8", "--count", "3", "--seed", "5", "--out"];
    succeeds(&edit(folder.path(), &[&several[..], &["out"]].concat()));
    let names: Vec<bool> =
        (5..8).map(|seed| folder.path().join(format!("out/edit-{seed}.png")).is_file()).collect();
    assert_eq!(names, [true; 3]);
    std::fs::remove_file(folder.path().join("out/edit-5.png")).unwrap();
    fails(&edit(folder.path(), &[&several[..], &["out"]].concat()), 1, &["edit-6.png is there already"]);
    assert!(!folder.path().join("out/edit-5.png").exists(), "refused before anything was made");
    succeeds(&edit(folder.path(), &[&several[..], &["sheet.png"]].concat()));
    assert_eq!(image::open(folder.path().join("sheet.png")).unwrap().width(), 192);
}

#[test]
fn codes_go_out_and_come_back() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        migm(folder.path(), &[arguments, &["--model", MODEL, "--backend", "cpu"]].concat())
    };
    let out =
        succeeds(&run(&["encode", "fox.png", "fox.png", "--out", "codes.npy", "--picture", "both.png"]));
    assert!(out.contains("64 codes of") && out.contains(" dB"), "{out}");
    assert_eq!(image::open(folder.path().join("both.png")).unwrap().to_rgb8().dimensions(), (128, 128));
    succeeds(&run(&["decode", "codes.npy", "--out", "back.png"]));
    let both = image::open(folder.path().join("both.png")).unwrap().to_rgb8();
    let back = image::open(folder.path().join("back.png")).unwrap().to_rgb8();
    assert_eq!(back.dimensions(), (128, 64));
    assert!(back.enumerate_pixels().all(|(x, y, pixel)| pixel == both.get_pixel(x, y + 64)));
    let printed = succeeds(&run(&["encode", "fox.png"]));
    let line = printed.lines().last().unwrap();
    std::fs::write(folder.path().join("codes.json"), line).unwrap();
    succeeds(&run(&["decode", "codes.json", "--out", "again.png"]));
    let again = image::open(folder.path().join("again.png")).unwrap().to_rgb8();
    assert!(again.enumerate_pixels().all(|(x, y, pixel)| pixel == back.get_pixel(x, y)));
    for (codes, words) in [
        ("{}", "neither an array"),
        (r#"{"grid": [2, 2], "codes": [[1, 2, 3, 4]]}"#, "a grid of 2 x 2"),
        (r#"{"grid": [8, 8], "codes": [[1]]}"#, "1 codes on a grid"),
    ] {
        std::fs::write(folder.path().join("bad.json"), codes).unwrap();
        fails(&run(&["decode", "bad.json", "--out", "no.png"]), 1, &["bad.json", words]);
    }
    let far = format!(r#"{{"grid": [8, 8], "codes": [{:?}]}}"#, vec![99_999; 64]);
    std::fs::write(folder.path().join("bad.json"), far).unwrap();
    fails(&run(&["decode", "bad.json", "--out", "no.png"]), 1, &["code 99999 is none of"]);
}

/// The fixtures show red and green above blue and yellow.
#[test]
fn pictures_of_every_kind_are_read_and_broken_ones_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let kinds =
        ["cmyk.jpg", "progressive.jpg", "animated.webp", "animated.gif", "animated.png", "rotated.jpg"];
    for kind in kinds {
        let picture = migm::input::open(&Path::new(IMAGES).join(kind)).unwrap();
        let turned = kind == "rotated.jpg";
        assert_eq!((picture.width, picture.height), if turned { (32, 48) } else { (48, 32) }, "{kind}");
        let at = |x: u32, y: u32| {
            let at = ((y * picture.height / 32 * picture.width + x * picture.width / 48) * 3) as usize;
            [picture.rgb[at], picture.rgb[at + 1], picture.rgb[at + 2]]
        };
        let corners = [at(8, 6), at(40, 6), at(8, 26), at(40, 26)];
        let (red, green, blue, yellow) = ([220, 30, 30], [30, 200, 40], [30, 60, 220], [240, 220, 40]);
        let wanted = if turned { [blue, red, yellow, green] } else { [red, green, blue, yellow] };
        for (found, wanted) in corners.iter().zip(&wanted) {
            let apart = found.iter().zip(wanted).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(apart < 40, "{kind}: {corners:?}");
        }
        // A wrong extension does not matter, and what is cut off does.
        let bytes = std::fs::read(Path::new(IMAGES).join(kind)).unwrap();
        std::fs::write(folder.path().join("cut.tiff"), &bytes[..bytes.len() / 3]).unwrap();
        let encode = ["encode", "cut.tiff", "--model", MODEL, "--backend", "cpu"];
        fails(&migm(folder.path(), &encode), 1, &["cut.tiff cannot be read as"]);
    }
    std::fs::copy(Path::new(IMAGES).join("cmyk.jpg"), folder.path().join("photo.png")).unwrap();
    let encode = ["encode", "photo.png", "--model", MODEL, "--backend", "cpu", "--out", "codes.json"];
    succeeds(&migm(folder.path(), &encode));
    std::fs::write(folder.path().join("notes.png"), "not a picture at all, but words").unwrap();
    let encode = ["encode", "notes.png", "--model", MODEL, "--backend", "cpu"];
    fails(&migm(folder.path(), &encode), 1, &["notes.png is no PNG, JPEG, WebP or GIF"]);
}
