//! Any bytes as a PyTorch checkpoint, and as the pickle of a sound one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use migm::weights::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    read(bytes.to_vec());
    read(archive(bytes));
});

fn read(bytes: Vec<u8>) {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzz.pth", bytes.into()) else { return };
    for tensor in checkpoint.tensors() {
        if let Ok(bytes) = checkpoint.read_bytes(&tensor.name) {
            assert_eq!(bytes.len() as u64, tensor.bytes, "{}", tensor.name);
        }
        let _ = checkpoint.read_f32(&tensor.name);
        let _ = checkpoint.read_f16(&tensor.name);
        let _ = checkpoint.read_i32(&tensor.name);
    }
}

/// The fuzzer would need long to find a directory that agrees with its entries; this gives it one.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in [("a/data.pkl", pickle), ("a/data/0", &[0; 64])] {
        let size = (data.len() as u32).to_le_bytes();
        let name_len = (name.len() as u16).to_le_bytes();
        let header = (body.len() as u32).to_le_bytes();
        body.extend(
            [&b"PK\x03\x04"[..], &[0; 14], &size, &size, &name_len, &[0; 2], name.as_bytes(), data].concat(),
        );
        let entry =
            [&b"PK\x01\x02"[..], &[0; 16], &size, &size, &name_len, &[0; 12], &header, name.as_bytes()];
        directory.extend(entry.concat());
    }
    let (start, length) = ((body.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    let end = [&b"PK\x05\x06"[..], &[0; 4], &[2, 0, 2, 0], &length, &start, &[0; 2]];
    body.extend(directory);
    body.extend(end.concat());
    body
}
