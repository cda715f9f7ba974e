//! Bringing device memory home: a copy to a mappable buffer, and a future that the map callback completes.

use super::device::{DeviceError, Gpu};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

#[derive(Debug, Default)]
struct Signal {
    result: Option<Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

/// The first `bytes` of a buffer, as words.
pub(super) async fn read(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, DeviceError> {
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let staging = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: bytes,
        usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, bytes);
    gpu.queue.submit([encoder.finish()]);

    let signal = Arc::new(Mutex::new(Signal::default()));
    let done = Arc::clone(&signal);
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        let mut signal = done.lock().unwrap_or_else(PoisonError::into_inner);
        signal.result = Some(result);
        if let Some(waker) = signal.waker.take() {
            waker.wake();
        }
    });
    // Off the browser this blocks until the callback has run; there it returns at once and the future waits.
    gpu.wait()?;
    let mapped = std::future::poll_fn(|context| {
        let mut signal = signal.lock().unwrap_or_else(PoisonError::into_inner);
        match signal.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                signal.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await;
    gpu.check()?;
    let lost = |reason: String| DeviceError::Lost { adapter: gpu.info.name.clone(), reason };
    mapped.map_err(|error| lost(error.to_string()))?;
    let view = staging.get_mapped_range(..).map_err(|error| lost(error.to_string()))?;
    let mut words = vec![0_u32; (bytes / 4) as usize];
    bytemuck::cast_slice_mut::<u32, u8>(&mut words).copy_from_slice(&view);
    Ok(words)
}
