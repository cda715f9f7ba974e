//! Safetensors files that lie.

use std::collections::BTreeMap;

use migm::weights::{Dtype, TensorSpec, encode_safetensors};

use crate::support::{read_all, refused, safetensors};

const FILE: &str = "m.safetensors";

fn valid() -> Vec<u8> {
    let tensors = [
        (TensorSpec::new("a", Dtype::F32, [2, 2]), &[0; 16][..]),
        (TensorSpec::new("b", Dtype::F16, [3]), &[0; 6][..]),
    ];
    encode_safetensors(&tensors, &BTreeMap::new()).unwrap()
}

#[track_caller]
fn header_refused(header: &str, data: usize, parts: &[&str]) {
    refused(FILE, &safetensors(header, &vec![0; data]), parts);
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let bytes = valid();
    assert_eq!(read_all(FILE, &bytes).unwrap(), 2);
    for length in 0..bytes.len() {
        assert!(read_all(FILE, &bytes[..length]).is_err(), "{length} of {} bytes were read", bytes.len());
    }
    refused(FILE, &bytes[..bytes.len() - 1], &["tensor `b`", "is the download complete?"]);
    refused(FILE, &[&bytes[..], &[0]].concat(), &["take 22 bytes and the file holds 23"]);
}

#[test]
fn a_header_s_length_is_checked_before_it_is_believed() {
    let mut bytes = valid();
    for (length, part) in
        [(u64::MAX, "allows 100000000"), (100_000_001, "allows"), (50_000_000, "is the download complete?")]
    {
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refused(FILE, &bytes, &["the header of", part]);
    }
    bytes[..8].copy_from_slice(&3u64.to_le_bytes());
    refused(FILE, &bytes, &["the header of"]);
}

#[test]
fn offsets_must_cover_the_data_once() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    assert_eq!(read_all(FILE, &safetensors(&two("[4,8]", "[0,4]"), &[0; 8])).unwrap(), 2);
    header_refused(&two("[0,4]", "[2,6]"), 6, &["tensor `b`", "overlaps that of `a`"]);
    header_refused(&two("[0,4]", "[0,4]"), 4, &["overlaps"]);
    header_refused(&two("[0,4]", "[6,10]"), 10, &["tensor `b`", "starts at byte 6, expected 4"]);
    header_refused(&two("[2,6]", "[6,10]"), 10, &["tensor `a`", "starts at byte 2, expected 0"]);
    header_refused(&two("[4,0]", "[4,8]"), 8, &["tensor `a`", "before its start"]);
    header_refused(&two("[0,4]", "[4,8]"), 7, &["tensor `b`", "the file holds 7 bytes"]);
    header_refused(&two("[0,4]", "[18446744073709551612,18446744073709551615]"), 8, &["tensor `b`"]);
    header_refused(&two("[0,4]", "[4,-8]"), 8, &["tensor `b`"]);
}

#[test]
fn shapes_must_agree_with_the_data() {
    let one = |dtype: &str, shape: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,16]}}}}"#)
    };
    assert_eq!(read_all(FILE, &safetensors(&one("F32", "[2,2]"), &[0; 16])).unwrap(), 1);
    header_refused(
        &one("F32", "[2,3]"),
        16,
        &["tensor `w`", "[2, 3] of F32 takes 24 bytes, its data takes 16"],
    );
    header_refused(&one("F64", "[2,2]"), 16, &["takes 32 bytes"]);
    header_refused(&one("F32", "[4294967296,4294967296,4]"), 16, &["has no size"]);
    header_refused(&one("F32", "[18446744073709551615]"), 16, &["has no size"]);
    header_refused(&one("F4", "[3]"), 16, &["has no size in whole bytes"]);
    header_refused(&one("F32", "[-4]"), 16, &["tensor `w`"]);
    header_refused(&one("F32", "[1e3]"), 16, &["tensor `w`"]);
    header_refused(&one("F32", &format!("[{}4]", "1,".repeat(1_000_000))), 16, &["at most 16 dimensions"]);
    header_refused(&one("F128", "[1]"), 16, &["tensor `w`", "its element type `F128`"]);
    header_refused(&one("F32\\u001b[31m", "[4]"), 16, &["`F32\\u{1b}[31m`"]);
}

#[test]
fn an_element_type_that_is_not_read_is_named_when_it_is_read() {
    let header = r#"{"w":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#;
    let checkpoint =
        migm::weights::Checkpoint::from_bytes(FILE, safetensors(header, &[0; 4]).into()).unwrap();
    let message = checkpoint.read_f32("w").unwrap_err().to_string();
    assert_eq!(
        message,
        "tensor `w` in m.safetensors has element type F8_E4M3, expected F32, F16, BF16 or F64"
    );
}

#[test]
fn names_appear_once() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    header_refused(&format!(r#"{{"w":{entry},"w":{entry}}}"#), 0, &["tensor `w` appears twice"]);
    header_refused(r#"{"__metadata__":{},"__metadata__":{}}"#, 0, &["`__metadata__` appears twice"]);
    header_refused(r#"{"__metadata__":{"a":1}}"#, 0, &["the header of"]);
}

#[test]
fn json_that_is_no_header_is_refused() {
    for header in ["{", "{}}", r#"{"w":1}"#, r#"{"w":{}}"#, r#"{"w":{"dtype":"U8"}}"#, "{\"\u{0}\":1}"] {
        header_refused(header, 0, &["the header of"]);
    }
    header_refused(&format!("{{\"w\":\"{}\"}}", "x".repeat(100_000)), 0, &["tensor `w`", "xxx…"]);
    header_refused(&"{\"a\":".repeat(500_000), 0, &["the header of"]);
    refused(FILE, &safetensors("{\"\u{7f}", b"\xff\xff"), &["the header of"]);
    assert_eq!(read_all(FILE, &safetensors("{}", &[])).unwrap(), 0);
}

#[test]
fn a_weight_that_is_not_finite_is_found() {
    for (dtype, bytes, shown) in [
        ("F32", [0, 0, 0, 0, 0, 0, 0xc0, 0x7f], "NaN at flat index 1"),
        ("F32", [0, 0, 0x80, 0xff, 0, 0, 0, 0], "-inf at flat index 0"),
        ("F16", [0, 0, 0, 0, 0, 0, 0, 0x7c], "inf at flat index 3"),
        ("BF16", [0, 0, 0xc0, 0x7f, 0, 0, 0, 0], "NaN at flat index 1"),
        ("F64", [0, 0, 0, 0, 0, 0, 0xf0, 0x7f], "inf at flat index 0"),
    ] {
        let elements = if dtype == "F64" {
            1
        } else if dtype == "F32" {
            2
        } else {
            4
        };
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[{elements}],"data_offsets":[0,8]}}}}"#);
        refused(FILE, &safetensors(&header, &bytes), &["tensor `w`", shown]);
    }
}
