//! Pictures from outside: PNG, JPEG, WebP or GIF by what is in the file, whatever it is called, within limits of size and memory.
//!
//! Everything becomes RGB of eight bits: sixteen are rounded, grey and CMYK converted, what shows through is laid over white, of
//! what moves the first frame is taken, and a camera's rotation is carried out. [`Fit`] brings it to a model's size.

use crate::generate::picture::Picture;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// Bytes of a file.
const MOST_BYTES: u64 = 64 << 20;
/// Pixels across or down.
const MOST_ACROSS: u32 = 32_768;
/// Pixels: what a decoder needs beside them is up to nine bytes each.
const MOST_PIXELS: u64 = 24 << 20;
/// Bytes of the pixels as they are decoded.
const MOST_DECODED: u64 = 128 << 20;

/// Why a picture cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read.
    #[error("{name}: {source}")]
    File {
        /// The file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its first bytes are of none of the formats.
    #[error("{name} is no PNG, JPEG, WebP or GIF; convert it to one of these")]
    Unknown {
        /// The file.
        name: String,
    },
    /// It is larger than is reasonable.
    #[error("{name} has {what}, and up to {most} are read; scale it down")]
    TooLarge {
        /// The file.
        name: String,
        /// What there is too much of.
        what: String,
        /// How much there may be.
        most: String,
    },
    /// It has no pixels.
    #[error("{name} is empty: {width} x {height} pixels")]
    Empty {
        /// The file.
        name: String,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// It is damaged, or of a kind that cannot be read.
    #[error("{name} cannot be read as {format}: {reason}")]
    Broken {
        /// The file.
        name: String,
        /// What it seems to be.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
}

/// Reads a picture.
///
/// # Errors
/// It is not there, none of the formats, damaged, or too large.
pub fn open(path: &Path) -> Result<Picture, InputError> {
    let name = path.display().to_string();
    let file = |source| InputError::File { name: name.clone(), source };
    let opened = std::fs::File::open(path).map_err(file)?;
    // A device or a pipe has no size, and may have no end.
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(opened, MOST_BYTES + 1), &mut bytes).map_err(file)?;
    decode(&name, bytes)
}

/// The same of bytes from anywhere: a clipboard, a browser. Errors call them `name`.
///
/// # Errors
/// As [`open`].
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Picture, InputError> {
    Ok(opaque(read(name, bytes)?))
}

/// How opaque each pixel is, as a grey picture: black where it shows through. `None` of a picture that has no such values.
///
/// # Errors
/// As [`open`].
pub fn opacity(name: &str, bytes: Vec<u8>) -> Result<Option<Picture>, InputError> {
    let picture = read(name, bytes)?;
    if !picture.color().has_alpha() {
        return Ok(None);
    }
    let (width, height) = (picture.width(), picture.height());
    let rgb = picture.into_rgba8().pixels().flat_map(|pixel| [pixel.0[3]; 3]).collect();
    Ok(Some(Picture { width, height, rgb }))
}

/// A picture with whatever kind of pixels it has.
fn read(name: &str, bytes: Vec<u8>) -> Result<DynamicImage, InputError> {
    let too_large = |what: String, most: String| InputError::TooLarge { name: name.to_owned(), what, most };
    if bytes.len() as u64 > MOST_BYTES {
        let most = format!("{} MiB", MOST_BYTES >> 20);
        return Err(too_large(format!("more than {most}"), most));
    }
    let unknown = || InputError::Unknown { name: name.to_owned() };
    let format = image::guess_format(&bytes).map_err(|_| unknown())?;
    let title = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => return Err(unknown()),
    };
    let broken = |error: image::ImageError| InputError::Broken {
        name: name.to_owned(),
        format: title,
        reason: error.to_string(),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_DECODED);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(InputError::Empty { name: name.to_owned(), width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MOST_ACROSS || pixels > MOST_PIXELS {
        let most = format!("{MOST_ACROSS} on a side and {} million in all", MOST_PIXELS / 1_000_000);
        return Err(too_large(format!("{width} x {height} pixels"), most));
    }
    if decoder.total_bytes() > MOST_DECODED {
        let what = format!("{width} x {height} pixels of {} bytes", decoder.total_bytes() / pixels);
        return Err(too_large(what, format!("{} MiB", MOST_DECODED >> 20)));
    }
    decoder.set_limits(limits).map_err(broken)?;
    // A rotation that cannot be read is none.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Pixels of red, green, blue and opacity, as a clipboard has them, over white; of a size across and down.
pub fn over_white([width, height]: [u32; 2], rgba: Vec<u8>) -> Picture {
    let pixels = image::RgbaImage::from_raw(width, height, rgba).unwrap_or_default();
    opaque(DynamicImage::ImageRgba8(pixels))
}

/// RGB of eight bits, over white.
fn opaque(picture: DynamicImage) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    if !picture.color().has_alpha() {
        return Picture { width, height, rgb: picture.into_rgb8().into_raw() };
    }
    let pixels = picture.into_rgba8();
    let over = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let rgb = pixels.pixels().flat_map(|pixel| {
        let [r, g, b, alpha] = pixel.0;
        [r, g, b].map(|value| over(value, alpha))
    });
    Picture { width, height, rgb: rgb.collect() }
}

/// How a picture of any shape is brought to a model's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
pub enum Fit {
    /// Its middle, as large as it can be
    #[default]
    Crop,
    /// All of it, with bars of its mean colour
    Whole,
    /// All of it, out of proportion
    Stretch,
}

impl Fit {
    /// A picture at a size of pixels down and across, and where in it the picture's own pixels are: left, top, width, height.
    pub fn bring(self, picture: &Picture, [height, width]: [u32; 2]) -> (Picture, [u32; 4]) {
        let whole = [0, 0, width, height];
        if (picture.width, picture.height) == (width, height) {
            return (picture.clone(), whole);
        }
        // The share by which a side of the one is longer than that of the other decides; in whole numbers nothing is lost.
        let (from_width, from_height) = (u64::from(picture.width), u64::from(picture.height));
        let (to_width, to_height) = (u64::from(width), u64::from(height));
        let is_wider = from_width * to_height > from_height * to_width;
        let nearest = |part: u64, of: u64, side: u64| ((side * part + of / 2) / of).max(1) as u32;
        match self {
            Self::Stretch => (scaled(picture, width, height), whole),
            Self::Crop => {
                let (mut cut_width, mut cut_height) = (picture.width, picture.height);
                if is_wider {
                    cut_width = nearest(to_width, to_height, from_height).min(picture.width);
                } else {
                    cut_height = nearest(to_height, to_width, from_width).min(picture.height);
                }
                let [x, y] = [(picture.width - cut_width) / 2, (picture.height - cut_height) / 2];
                (scaled(&picture.part([x, y, cut_width, cut_height]), width, height), whole)
            }
            Self::Whole => {
                let (mut own_width, mut own_height) = (width, height);
                if is_wider {
                    own_height = nearest(from_height, from_width, to_width).min(height);
                } else {
                    own_width = nearest(from_width, from_height, to_height).min(width);
                }
                let [x, y] = [(width - own_width) / 2, (height - own_height) / 2];
                let small = scaled(picture, own_width, own_height);
                let mut out = Picture { width, height, rgb: mean(&small).repeat((width * height) as usize) };
                out.lay(&small, [x, y]);
                (out, [x, y, own_width, own_height])
            }
        }
    }
}

/// The mean colour.
fn mean(picture: &Picture) -> [u8; 3] {
    let mut sums = [0_u64; 3];
    for pixel in picture.rgb.chunks_exact(3) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += u64::from(value));
    }
    let count = (picture.rgb.len() as u64 / 3).max(1);
    sums.map(|sum| ((sum + count / 2) / count) as u8)
}

/// Smoothly at another size: by areas to four times of it, then by Lanczos' filter, which alone is slow on large pictures.
fn scaled(picture: &Picture, width: u32, height: u32) -> Picture {
    use image::imageops::{self, FilterType};
    const NEAR: u32 = 4;
    let Some(own) = image::RgbImage::from_raw(picture.width, picture.height, picture.rgb.clone()) else {
        return picture.clone();
    };
    let (near_width, near_height) = (own.width().min(NEAR * width), own.height().min(NEAR * height));
    let near = if (near_width, near_height) == own.dimensions() {
        own
    } else {
        imageops::thumbnail(&own, near_width, near_height)
    };
    Picture { width, height, rgb: imageops::resize(&near, width, height, FilterType::Lanczos3).into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Picture { width, height, rgb: pixels.flat_map(|(x, y)| pixel(x, y)).collect() }
    }

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    #[test]
    fn kinds_of_pixels_become_rgb_over_white() {
        let deep = image::ImageBuffer::from_fn(3, 2, |x, _| image::Rgb([x as u16 * 257, 65_535, 128]));
        let deep = decode("deep", png(&DynamicImage::ImageRgb16(deep))).unwrap();
        assert_eq!((deep.width, deep.height, &deep.rgb[..6]), (3, 2, &[0, 255, 0, 1, 255, 0][..]));
        let grey = image::GrayImage::from_pixel(2, 2, image::Luma([77]));
        assert_eq!(decode("grey", png(&DynamicImage::ImageLuma8(grey))).unwrap().rgb, [77; 12]);
        let clear =
            image::RgbaImage::from_fn(3, 1, |x, _| image::Rgba([0, 100, 200, x as u8 * 127 + x as u8 / 2]));
        let clear = decode("clear", png(&DynamicImage::ImageRgba8(clear))).unwrap();
        assert_eq!(clear.rgb, [255, 255, 255, 128, 178, 228, 0, 100, 200]);
    }

    #[test]
    fn what_shows_through_is_told_of_pictures_that_can() {
        let grey = png(&DynamicImage::ImageLuma8(image::GrayImage::from_pixel(2, 2, image::Luma([77]))));
        assert_eq!(opacity("grey", grey).unwrap(), None);
        let half = image::GrayAlphaImage::from_fn(2, 1, |x, _| image::LumaA([9, 255 * x as u8]));
        let half = opacity("half", png(&DynamicImage::ImageLumaA8(half))).unwrap().unwrap();
        assert_eq!((half.width, half.height, half.rgb), (2, 1, vec![0, 0, 0, 255, 255, 255]));
        assert!(opacity("x", b"no picture".to_vec()).is_err());
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let whole = png(&DynamicImage::ImageRgb8(image::RgbImage::from_pixel(40, 30, image::Rgb([9, 8, 7]))));
        let error = |bytes: &[u8]| decode("x.jpg", bytes.to_vec()).unwrap_err().to_string();
        for cut in [9, 40, whole.len() / 2, whole.len() - 14] {
            let error = error(&whole[..cut]);
            assert!(error.starts_with("x.jpg cannot be read as PNG: "), "{cut}: {error}");
        }
        for bytes in [&b""[..], b"GIF", b"hello, here is some text", b"BM______________________________"] {
            assert!(error(bytes).contains("no PNG, JPEG, WebP or GIF"), "{bytes:?}");
        }
        // Whatever it is called.
        assert_eq!(decode("x.jpg", whole.clone()).unwrap().rgb[..3], [9, 8, 7]);
        // A header alone promises what nobody has memory for.
        let mut wide = whole;
        wide[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
        let checksum = crc32fast::hash(&wide[12..29]).to_be_bytes();
        wide[29..33].copy_from_slice(&checksum);
        let error = error(&wide);
        assert!(error.contains("100000 x 30 pixels") && error.contains("scale it down"), "{error}");
        let missing = open(Path::new("/nowhere/at/all.png")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/at/all.png: "), "{missing}");
    }

    #[test]
    fn pictures_are_cropped_in_their_middle_and_fitted_whole() {
        // Three squares: red, green, blue.
        let wide = picture(90, 30, |x, _| [[255, 0, 0], [0, 255, 0], [0, 0, 255]][x as usize / 30]);
        let (cropped, own) = Fit::Crop.bring(&wide, [16, 16]);
        assert_eq!((cropped.width, cropped.height, own), (16, 16, [0, 0, 16, 16]));
        assert_eq!(cropped.rgb[16 * 8 * 3 + 8 * 3..][..3], [0, 255, 0]);
        let (whole, own) = Fit::Whole.bring(&wide, [18, 18]);
        assert_eq!(own, [0, 6, 18, 6]);
        // The filter rounds.
        let is = |x: usize, y: usize, wanted: [u8; 3]| {
            let found = &whole.rgb[(y * 18 + x) * 3..][..3];
            assert!(found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 2), "{x}, {y}: {found:?}");
        };
        is(2, 9, [255, 0, 0]);
        is(9, 9, [0, 255, 0]);
        is(15, 9, [0, 0, 255]);
        is(2, 0, [85; 3]);
        is(15, 17, [85; 3]);
        let (stretched, _) = Fit::Stretch.bring(&wide, [18, 18]);
        assert_eq!(stretched.rgb[..3], [255, 0, 0]);
        let tall = picture(10, 40, |_, y| [y as u8; 3]);
        assert_eq!(Fit::Whole.bring(&tall, [16, 16]).1, [6, 0, 4, 16]);
        let same = Fit::Crop.bring(&tall, [40, 10]).0;
        assert_eq!(same, tall);
    }

    proptest! {
        #[test]
        fn any_shape_comes_to_any_size(
            from in (1_u32..70, 1_u32..70),
            to in (1_u32..40, 1_u32..40),
            fit in prop::sample::select(vec![Fit::Crop, Fit::Whole, Fit::Stretch]),
            level in any::<u8>(),
        ) {
            let flat = picture(from.0, from.1, |_, _| [level, 20, 200]);
            let (out, [x, y, width, height]) = fit.bring(&flat, [to.1, to.0]);
            prop_assert_eq!((out.width, out.height), to);
            prop_assert!(width > 0 && height > 0 && x + width <= to.0 && y + height <= to.1);
            // Of one colour it stays, bars included.
            prop_assert!(out.rgb.chunks_exact(3).all(|pixel| pixel[0].abs_diff(level) <= 1 && pixel[1].abs_diff(20) <= 1), "{:?}", out);
        }
    }
}
