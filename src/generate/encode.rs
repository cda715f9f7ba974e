//! From pictures to codes and back: the halves of a model's tokenizer, without the model.

use super::GenerateError;
use super::model::{Device, Model};
use super::picture::Picture;
use crate::exec::{Executor, read_f32, write_f32};
use crate::kernels::StepValues;
use crate::models::tokenizer::Tokenizer;
use crate::models::{self, Family, states};
use crate::program::Builder;

/// One half on a device, for a picture at a time.
struct Half {
    executor: Box<dyn Executor>,
    tokenizer: Tokenizer,
    codes: usize,
    /// Pixels down and across.
    size: [u32; 2],
}

impl Half {
    fn new(
        model: &Model,
        device: &Device,
        name: &str,
        body: impl FnOnce(&Tokenizer, &dyn Family, &mut Builder),
    ) -> Result<Self, GenerateError> {
        let (family, tokenizer) = (model.family(), model.family().tokenizer().clone());
        let program = models::build(name, model.formats(), |b| body(&tokenizer, family, b))?;
        let mut executor = device.executor(vec![program], &mut *model.weights()?)?;
        executor.prepare(&[StepValues::default()])?;
        Ok(Self { executor, tokenizer, codes: family.tokens() as usize, size: family.size() })
    }
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Half").field("codes", &self.codes).finish_non_exhaustive()
    }
}

/// The encoder of a model's tokenizer.
#[derive(Debug)]
pub struct Encoder(Half);

impl Encoder {
    /// Of a model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, device: &Device) -> Result<Self, GenerateError> {
        let half = Half::new(model, device, "encode", |tokenizer, family, b| {
            let [height, width] = family.size();
            tokenizer.encode(b, family.codebook(), 1, height, width);
        });
        half.map(Self)
    }

    /// The codes of a picture of the model's size, in rows from the top.
    ///
    /// # Errors
    /// It is of another size, or the device failed.
    pub async fn picture(&mut self, picture: &Picture) -> Result<Vec<u32>, GenerateError> {
        let [height, width] = self.0.size;
        if [picture.height, picture.width] != self.0.size {
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
        let half = &mut self.0;
        let mut values: Vec<f32> = pixels.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        half.tokenizer.from_signed(&mut values);
        write_f32(half.executor.as_mut(), states::IMAGE, &values)?;
        half.executor.run(&[0], 0, false)?;
        Ok(half.executor.read(states::CODES, half.codes).await?)
    }
}

/// The decoder of a model's tokenizer.
#[derive(Debug)]
pub struct Decoder(Half);

impl Decoder {
    /// Of a model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the program.
    pub fn new(model: &Model, device: &Device) -> Result<Self, GenerateError> {
        let half = Half::new(model, device, "decode", |tokenizer, family, b| {
            let [rows, columns] = family.grid();
            tokenizer.decode(b, family.codebook(), 1, rows, columns);
        });
        half.map(Self)
    }

    /// The picture of codes, in rows from the top.
    ///
    /// # Errors
    /// There are more or fewer than a picture has, or the device failed.
    pub async fn picture(&mut self, codes: &[u32]) -> Result<Picture, GenerateError> {
        let half = &mut self.0;
        if codes.len() != half.codes {
            let message = format!("{} codes of a picture that has {}", codes.len(), half.codes);
            return Err(GenerateError::Setting(message));
        }
        let [height, width] = half.size;
        half.executor.write(states::CODES, codes)?;
        half.executor.run(&[0], 0, false)?;
        let len = (height * width * 3) as usize;
        let mut values = read_f32(half.executor.as_mut(), states::IMAGE, len).await?;
        half.tokenizer.to_signed(&mut values);
        Ok(Picture::from_values(&values, width, height))
    }
}
