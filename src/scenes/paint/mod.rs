//! Paints scenes: sky, horizon, ground, things on the ground, objects with their shadows, from back to front.
//!
//! Everything is painted at 128 px in floating point and reduced for smaller pictures, so that both sizes show the same.
//! Places on the canvas are shares of its side, from the top left. Colours are sRGB from 0 to 1, mixed as they are:
//! emoji are drawn for that.

mod canvas;
mod details;
mod ground;
mod noise;
mod objects;
mod setting;
mod sky;

pub(super) use noise::Noise;

use super::content::Labels;
use super::draws::{Draws, Stream};
use super::sprites::Sprite;
use canvas::{Canvas, SIDE};
use setting::Setting;

/// Paints scene `index` of a seed, in `size x size` RGB pixels.
pub(super) fn scene(
    seed: u64,
    index: u64,
    labels: &Labels,
    sprites: &[[Sprite; 3]],
    noise: &Noise,
    size: usize,
) -> Vec<u8> {
    let draws = |stream| Draws::new(seed, index, stream);
    let setting = Setting::new(labels.place, labels.light, &mut draws(Stream::Sky));
    let mut canvas = Canvas::new();
    sky::paint(&mut canvas, &setting, noise, &mut draws(Stream::Sky));
    ground::paint(&mut canvas, &setting, noise, &mut draws(Stream::Ground));
    let mut details = draws(Stream::Details);
    details::scatter(&mut canvas, &setting, &mut details);
    let placed = objects::layout(labels, sprites, &mut draws(Stream::Layout));
    for object in &placed {
        objects::paint(&mut canvas, &setting, noise, object);
        details::nestle(&mut canvas, &setting, object, &mut details);
    }
    details::weather(&mut canvas, &setting, &mut details);
    canvas.bytes(SIDE / size)
}
