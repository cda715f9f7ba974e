//! From pictures to codes and back: the halves of a model's tokenizer, without the model.

use super::GenerateError;
use super::model::{Device, Model};
use super::picture::Picture;
use crate::exec::{Executor, read_f32, write_f32};
use crate::kernels::StepValues;
use crate::models::tokenizer::Tokenizer;
use crate::models::{self, states};

/// The encoder of a model's tokenizer, a picture at a time.
pub struct Encoder {
    executor: Box<dyn Executor>,
    tokenizer: Tokenizer,
    codes: usize,
    size: [u32; 2],
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("codes", &self.codes).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Of a model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, device: &Device) -> Result<Self, GenerateError> {
        let family = model.family();
        let ([height, width], tokenizer) = (family.size(), family.tokenizer().clone());
        let program = models::build("encode", model.formats(), |b| {
            tokenizer.encode(b, family.codebook(), 1, height, width);
        })?;
        let mut executor = device.executor(vec![program], &mut *model.weights()?)?;
        executor.prepare(&[StepValues::default()])?;
        Ok(Self { executor, tokenizer, codes: family.tokens() as usize, size: [height, width] })
    }

    /// The codes of a picture of the model's size, in rows from the top.
    ///
    /// # Errors
    /// It is of another size, or the device failed.
    pub async fn picture(&mut self, picture: &Picture) -> Result<Vec<u32>, GenerateError> {
        let ([height, width], found) = (self.size, [picture.height, picture.width]);
        if found != self.size {
            let message = format!(
                "a picture of {} x {} pixels, where the model's have {width} x {height}",
                picture.width, picture.height
            );
            return Err(GenerateError::Setting(message));
        }
        self.encode(&picture.rgb).await
    }

    /// The codes of a picture, RGB in rows from the top.
    ///
    /// # Errors
    /// The device failed.
    pub async fn encode(&mut self, pixels: &[u8]) -> Result<Vec<u32>, GenerateError> {
        let mut values: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        self.tokenizer.from_signed(&mut values);
        write_f32(self.executor.as_mut(), states::IMAGE, &values)?;
        self.executor.run(&[0], 0, false)?;
        Ok(self.executor.read(states::CODES, self.codes).await?)
    }
}

/// The decoder of a model's tokenizer, a picture at a time.
pub struct Decoder {
    executor: Box<dyn Executor>,
    tokenizer: Tokenizer,
    codes: usize,
    size: [u32; 2],
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("codes", &self.codes).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Of a model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, device: &Device) -> Result<Self, GenerateError> {
        let family = model.family();
        let ([rows, columns], tokenizer) = (family.grid(), family.tokenizer().clone());
        let program = models::build("decode", model.formats(), |b| {
            tokenizer.decode(b, family.codebook(), 1, rows, columns);
        })?;
        let mut executor = device.executor(vec![program], &mut *model.weights()?)?;
        executor.prepare(&[StepValues::default()])?;
        Ok(Self { executor, tokenizer, codes: family.tokens() as usize, size: family.size() })
    }

    /// The picture of codes, in rows from the top.
    ///
    /// # Errors
    /// There are more or fewer than a picture has, or the device failed.
    pub async fn picture(&mut self, codes: &[u32]) -> Result<Picture, GenerateError> {
        if codes.len() != self.codes {
            let message = format!("{} codes of a picture that has {}", codes.len(), self.codes);
            return Err(GenerateError::Setting(message));
        }
        let [height, width] = self.size;
        self.executor.write(states::CODES, codes)?;
        self.executor.run(&[0], 0, false)?;
        let len = (height * width * 3) as usize;
        let mut values = read_f32(self.executor.as_mut(), states::IMAGE, len).await?;
        self.tokenizer.to_signed(&mut values);
        Ok(Picture::from_values(&values, width, height))
    }
}
