//! Any bytes as a safetensors file: read or refused, and what is read takes the bytes that its table says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migm::weights::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzz.safetensors", bytes.to_vec().into()) else { return };
    for tensor in checkpoint.tensors() {
        let read = checkpoint.read_bytes(&tensor.name).map(|bytes| bytes.len() as u64);
        assert_eq!(read.ok(), Some(tensor.bytes), "{}", tensor.name);
        let _ = checkpoint.read_f32(&tensor.name);
        let _ = checkpoint.read_f16(&tensor.name);
        let _ = checkpoint.read_i32(&tensor.name);
    }
});
