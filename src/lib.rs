//! Masked image generation (MaskGIT and its learned shortcut) on any GPU, through WebGPU.

pub mod weights;
