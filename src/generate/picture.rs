//! Pictures in files: values in [-1, 1] to RGB, contact sheets, PNG with its settings inside, animated GIF.

use super::GenerateError;
use std::path::Path;

/// An RGB picture, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Three bytes a pixel.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// From channels-last values, nominally in [-1, 1] and clamped to it: the tokenizer's `(x + 1) / 2`.
    pub fn from_values(values: &[f32], width: u32, height: u32) -> Self {
        let rgb = values.iter().map(|v| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8).collect();
        Self { width, height, rgb }
    }

    /// The same by one of the two rules.
    pub fn of(values: &[f32], width: u32, height: u32, pixels: Pixels) -> Self {
        let bounds = |(least, most): (f32, f32), v: &f32| (least.min(*v), most.max(*v));
        let (least, most) = match pixels {
            Pixels::Signed => return Self::from_values(values, width, height),
            Pixels::MinMax => values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), bounds),
        };
        let scale = 2.0 / (most - least).max(f32::MIN_POSITIVE);
        let values: Vec<f32> = values.iter().map(|v| (v - least) * scale - 1.0).collect();
        Self::from_values(&values, width, height)
    }

    /// Pictures of one size side by side, `columns` in a row.
    pub fn sheet(pictures: &[Self], columns: u32) -> Self {
        let Some(first) = pictures.first() else { return Self { width: 0, height: 0, rgb: Vec::new() } };
        let columns = columns.clamp(1, pictures.len() as u32);
        let rows = (pictures.len() as u32).div_ceil(columns);
        let (width, height) = (columns * first.width, rows * first.height);
        let mut rgb = vec![0; (width * height * 3) as usize];
        for (i, picture) in pictures.iter().enumerate() {
            let (x, y) = (i as u32 % columns * first.width, i as u32 / columns * first.height);
            for (row, line) in picture.rgb.chunks_exact(first.width as usize * 3).enumerate() {
                let at = (((y + row as u32) * width + x) * 3) as usize;
                rgb[at..at + line.len()].copy_from_slice(line);
            }
        }
        Self { width, height, rgb }
    }

    /// A part of it: left, top, width and height, within it.
    #[must_use]
    pub fn part(&self, [x, y, width, height]: [u32; 4]) -> Self {
        let lines = self.rgb.chunks_exact(self.width as usize * 3).skip(y as usize).take(height as usize);
        let rgb = lines.flat_map(|line| &line[x as usize * 3..][..width as usize * 3]).copied().collect();
        Self { width, height, rgb }
    }

    /// Lays another over it, which ends within it.
    pub fn lay(&mut self, other: &Self, [x, y]: [u32; 2]) {
        let stride = self.width as usize * 3;
        let lines = self.rgb.chunks_exact_mut(stride).skip(y as usize);
        for (line, own) in lines.zip(other.rgb.chunks_exact(other.width as usize * 3)) {
            line[x as usize * 3..][..own.len()].copy_from_slice(own);
        }
    }

    /// The same with another of its size where `weights` says so: from 0, which leaves a pixel as it is, to 1.
    #[must_use]
    pub fn blended(&self, other: &Self, weights: &[f32]) -> Self {
        let mut rgb = self.rgb.clone();
        let pixels = rgb.chunks_exact_mut(3).zip(other.rgb.chunks_exact(3)).zip(weights);
        for ((own, other), &weight) in pixels.filter(|(_, weight)| **weight > 0.0) {
            for (own, &other) in own.iter_mut().zip(other) {
                *own = (f32::from(*own) + weight * (f32::from(other) - f32::from(*own))).round() as u8;
            }
        }
        Self { rgb, ..*self }
    }

    /// Peak signal-to-noise ratio against another of its size, in dB; `None` where they are equal.
    pub fn psnr(&self, other: &Self) -> Option<f64> {
        let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
        let mean = self.rgb.iter().zip(&other.rgb).map(square).sum::<f64>() / self.rgb.len().max(1) as f64;
        (mean > 0.0).then(|| 10.0 * (255.0 * 255.0 / mean).log10())
    }

    /// Where this picture is unlike another of its size: the absolute difference of each value, times `gain`. `None` for
    /// another size.
    pub fn difference(&self, other: &Self, gain: u8) -> Option<Self> {
        let same = (self.width, self.height) == (other.width, other.height);
        let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b).saturating_mul(gain);
        same.then(|| Self { rgb: self.rgb.iter().zip(&other.rgb).map(apart).collect(), ..*self })
    }

    /// The picture with masked cells of a grid of rows and columns faded to grey: what a step has not decided yet.
    pub fn veiled(&self, masked: &[bool], [rows, columns]: [u32; 2]) -> Self {
        const GREY: u32 = 128;
        let (cell_width, cell_height) = (self.width / columns, self.height / rows);
        let mut rgb = self.rgb.clone();
        for (i, value) in rgb.iter_mut().enumerate() {
            let (x, y) = ((i as u32 / 3) % self.width, (i as u32 / 3) / self.width);
            let (row, column) = ((y / cell_height).min(rows - 1), (x / cell_width).min(columns - 1));
            if masked[(row * columns + column) as usize] {
                *value = ((u32::from(*value) + 3 * GREY) / 4) as u8;
            }
        }
        Self { rgb, ..*self }
    }

    /// Each pixel as a square of `factor`.
    pub fn enlarged(&self, factor: u32) -> Self {
        let (width, height) = (self.width * factor, self.height * factor);
        let mut rgb = Vec::with_capacity((width * height * 3) as usize);
        for y in 0..height {
            for x in 0..width {
                let at = ((y / factor * self.width + x / factor) * 3) as usize;
                rgb.extend_from_slice(&self.rgb[at..at + 3]);
            }
        }
        Self { width, height, rgb }
    }
}

/// How decoded values become pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(not(target_arch = "wasm32"), derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Pixels {
    /// From [-1, 1], clamped to it.
    #[default]
    Signed,
    /// From each picture's own least and largest value, over all channels: MaskGIT's official evaluation, and so its FID.
    #[cfg_attr(not(target_arch = "wasm32"), value(name = "minmax"))]
    #[serde(rename = "minmax")]
    MinMax,
}

/// Writes a file whole or not at all; what is no regular file is written through ([`crate::output`]).
///
/// # Errors
/// The system refused; what was there is there still.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), GenerateError> {
    let file = |source| GenerateError::File { path: path.display().to_string(), source };
    crate::output::write(path, bytes).map_err(file)
}

/// A PNG with text chunks: the settings travel with the picture.
///
/// # Errors
/// The encoder refused, or the file could not be written.
pub fn write_png(path: &Path, picture: &Picture, texts: &[(&str, String)]) -> Result<(), GenerateError> {
    let bytes = encode_png(picture, texts)
        .map_err(|e| GenerateError::Picture { path: path.display().to_string(), reason: e.to_string() })?;
    write_whole(path, &bytes)
}

/// A PNG with text chunks, in memory.
///
/// # Errors
/// The encoder refused.
pub fn encode_png(picture: &Picture, texts: &[(&str, String)]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (key, text) in texts {
        // iTXt, because labels may be in any script.
        encoder.add_itxt_chunk((*key).to_owned(), text.clone())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// The text chunks of a PNG.
///
/// # Errors
/// The file cannot be read, or is no PNG.
pub fn read_png_texts(path: &Path) -> Result<Vec<(String, String)>, GenerateError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| GenerateError::File { path: name.clone(), source })?;
    png_texts(&name, &bytes)
}

/// The text chunks of a PNG in memory, by what it is called in messages.
///
/// # Errors
/// It is no PNG.
pub fn png_texts(name: &str, bytes: &[u8]) -> Result<Vec<(String, String)>, GenerateError> {
    let picture = |reason: String| GenerateError::Picture { path: name.to_owned(), reason };
    let reader =
        png::Decoder::new(std::io::Cursor::new(bytes)).read_info().map_err(|e| picture(e.to_string()))?;
    let chunks = &reader.info().utf8_text;
    chunks
        .iter()
        .map(|c| Ok((c.keyword.clone(), c.get_text().map_err(|e| picture(e.to_string()))?)))
        .collect()
}

/// An endless GIF; each frame with its time in milliseconds.
///
/// # Errors
/// The encoder refused, or the file could not be written.
pub fn write_gif(path: &Path, frames: &[(Picture, u32)]) -> Result<(), GenerateError> {
    let refused = |e: image::ImageError| GenerateError::Picture {
        path: path.display().to_string(),
        reason: e.to_string(),
    };
    write_whole(path, &encode_gif(frames).map_err(refused)?)
}

/// An endless GIF in memory; each frame with its time in milliseconds.
///
/// # Errors
/// The encoder refused, or a frame is not of its size.
pub fn encode_gif(frames: &[(Picture, u32)]) -> Result<Vec<u8>, image::ImageError> {
    use image::error::{ImageError, ParameterError, ParameterErrorKind};
    let mut bytes = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new_with_speed(&mut bytes, 10);
        encoder.set_repeat(image::codecs::gif::Repeat::Infinite)?;
        for (picture, ms) in frames {
            let rgba = picture.rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
            let mismatch =
                || ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::DimensionMismatch));
            let buffer =
                image::RgbaImage::from_raw(picture.width, picture.height, rgba).ok_or_else(mismatch)?;
            let delay = image::Delay::from_numer_denom_ms(*ms, 1);
            encoder.encode_frame(image::Frame::from_parts(buffer, 0, 0, delay))?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(width: u32, height: u32) -> Picture {
        let rgb = (0..width * height * 3).map(|i| (i * 37 % 256) as u8).collect();
        Picture { width, height, rgb }
    }

    #[test]
    fn pixels_are_clamped_or_stretched_over_all_channels() {
        let values = [-3.0, 0.0, 1.0, 0.5, 0.25, -1.0];
        let of = |pixels| Picture::of(&values, 2, 1, pixels).rgb;
        assert_eq!(of(Pixels::Signed), Picture::from_values(&values, 2, 1).rgb);
        assert_eq!(of(Pixels::Signed), [0, 128, 255, 191, 159, 0]);
        // From -3 to 1: PyTorch's `(x - x.min()) / (x.max() - x.min())`, in eight bits.
        assert_eq!(of(Pixels::MinMax), [0, 191, 255, 223, 207, 128]);
        assert_eq!(Picture::of(&[0.5; 3], 1, 1, Pixels::MinMax).rgb, [0; 3], "one value everywhere");
    }

    #[test]
    fn settings_survive_in_a_png() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png(&path, &checks(5, 3), &[("migm", "{\"label\":\"Füchse\"}".to_owned())]).unwrap();
        assert_eq!(
            read_png_texts(&path).unwrap(),
            [("migm".to_owned(), "{\"label\":\"Füchse\"}".to_owned())]
        );
        let pixels = image::open(&path).unwrap().to_rgb8();
        assert_eq!(pixels.as_raw(), &checks(5, 3).rgb);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(write_whole(&taken, b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sheet_places_pictures_in_rows() {
        let tile = |v| Picture { width: 1, height: 1, rgb: vec![v; 3] };
        let sheet = Picture::sheet(&[tile(1), tile(2), tile(3)], 2);
        assert_eq!((sheet.width, sheet.height), (2, 2));
        assert_eq!(sheet.rgb, [1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0]);
    }

    #[test]
    fn values_are_clamped_to_the_range_of_a_picture() {
        assert_eq!(
            Picture::from_values(&[-7.0, -1.0, 0.0, 1.0, 9.0, 0.5], 2, 1).rgb,
            [0, 0, 128, 255, 255, 191]
        );
    }

    #[test]
    fn a_gif_holds_every_frame() {
        use image::AnimationDecoder as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        write_gif(&path, &[(checks(4, 4), 100), (checks(4, 4).enlarged(1), 200)]).unwrap();
        let reader = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let decoder = image::codecs::gif::GifDecoder::new(reader).unwrap();
        assert_eq!(decoder.into_frames().collect_frames().unwrap().len(), 2);
    }
}
