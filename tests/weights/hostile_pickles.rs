//! Pickles that recurse, grow, lie or call.

use std::time::{Duration, Instant};

use crate::support::{Pickler, read_all, refused, torch};

const FILE: &str = "m.pth";

#[track_caller]
fn pickle_refused(pickle: &[u8], parts: &[&str]) {
    refused(FILE, &torch(pickle, &[0; 16]), parts);
}

#[track_caller]
fn tensors_of(pickle: &[u8]) -> usize {
    read_all(FILE, &torch(pickle, &[0; 16])).unwrap()
}

/// A state dict `{"w": 2 x 2 floats}` after whatever `before` leaves on the stack.
fn with_state_dict(before: Pickler) -> Vec<u8> {
    before.op("}").text("w").tensor(4, 0, &[2, 2], &[2, 1]).op("s.").0
}

#[test]
fn a_tensor_must_lie_in_its_storage() {
    let one = |elements, offset, shape: &[i64], strides: &[i64]| {
        Pickler::dict_of("w", |p| p.tensor(elements, offset, shape, strides))
    };
    assert_eq!(tensors_of(&one(4, 0, &[2, 2], &[1, 2])), 1);
    assert_eq!(tensors_of(&one(4, 3, &[], &[])), 1);
    pickle_refused(
        &one(5, 0, &[2, 2], &[2, 1]),
        &["tensor `w`", "claims 5 elements of F32 and has 16 bytes"],
    );
    pickle_refused(&one(3, 0, &[3], &[1]), &["claims 3 elements"]);
    pickle_refused(&one(4, 1, &[2, 2], &[2, 1]), &["reaches element 4 of a storage of 4"]);
    pickle_refused(&one(4, 0, &[2, 2], &[3, 1]), &["reaches element 4"]);
    pickle_refused(&one(4, 0, &[2, 2], &[-2, 1]), &["sizes of zero or more"]);
    pickle_refused(&one(4, 0, &[-2, 2], &[2, 1]), &["sizes of zero or more"]);
    pickle_refused(&one(4, -1, &[1], &[1]), &["starts before its storage"]);
    pickle_refused(&one(-4, 0, &[1], &[1]), &["negative length"]);
    pickle_refused(&one(i64::MAX, 0, &[1], &[1]), &["claims 9223372036854775807 elements"]);
    pickle_refused(&one(4, 0, &[2, 2], &[1]), &["2 sizes and 1 strides"]);
    pickle_refused(&one(4, 0, &[1; 17], &[1; 17]), &["at most 16 sizes"]);
    pickle_refused(&one(4, 0, &[1 << 62, 1 << 62], &[0, 0]), &["has no size"]);
    pickle_refused(&one(4, i64::MAX, &[2, i64::MAX], &[i64::MAX, 1]), &["has no size"]);
    // A terabyte from one element.
    pickle_refused(&one(4, 0, &[1 << 38], &[0]), &["repeats the elements", ".contiguous()"]);
    pickle_refused(&one(4, 5, &[0], &[1]), &["tensor `w`"]);
}

#[test]
fn storages_of_unknown_kind_matter_only_where_they_are_weights() {
    let odd = |p: Pickler| p.tensor_of("ComplexFloatStorage", 2, 0, &[2], &[1]);
    pickle_refused(&Pickler::dict_of("w", odd), &["tensor `w`", "torch.ComplexFloatStorage"]);
    assert_eq!(tensors_of(&with_state_dict(odd(Pickler::new()))), 1);
}

#[test]
fn globals_of_others_are_tolerated_and_never_run() {
    let marker = std::env::temp_dir().join(format!("migm-was-run-{}", std::process::id()));
    let command = format!("touch {}", marker.display());
    let attack = Pickler::new().global("os", "system").op("(").text(&command).op("tR");
    assert_eq!(tensors_of(&with_state_dict(attack.clone())), 1);
    let attack = attack.global("builtins", "eval").op(b")\x81").text("state").op("b");
    let attack = attack
        .op("(")
        .text("posix")
        .text("system")
        .op([0x93])
        .op("1")
        .op("(cposix\nsystem\n)o(iposix\nsystem\n");
    assert_eq!(tensors_of(&with_state_dict(attack)), 1);
    assert!(!marker.exists(), "a pickle was executed");
    pickle_refused(
        &Pickler::new().global("os", "system").op("(").text("id").op("tR.").0,
        &["pickled `os.system`"],
    );
}

#[test]
fn depth_does_not_matter() {
    // A list in a list in a list…, and tuples, as deep as the pickle is long.
    let deep = Pickler::new().op("]".repeat(300_000)).op("a".repeat(299_999));
    assert_eq!(tensors_of(&with_state_dict(deep)), 1);
    assert_eq!(tensors_of(&with_state_dict(Pickler::new().op(")").op(vec![0x85; 300_000]))), 1);
    pickle_refused(&Pickler::new().op("(".repeat(300_000)).0, &["nested more than"]);
    // State dicts in state dicts: only so deep, and then there are no tensors.
    let nested = (0..1000).fold(Pickler::new(), |p, _| p.op("}").text("state_dict"));
    let nested = nested.op("}").op("s".repeat(1000)).op(".");
    pickle_refused(&nested.0, &["holds no state dict"]);
}

#[test]
fn a_value_may_hold_itself() {
    let own = Pickler::new().op("]q\0h\0a}q\x01").text("state_dict").op("h\x01s");
    pickle_refused(&own.clone().op(".").0, &["holds no state dict"]);
    assert_eq!(tensors_of(&with_state_dict(own)), 1);
}

#[test]
fn sharing_does_not_multiply() {
    // Each tuple holds the one before twice: 2^1000 leaves if it were ever walked.
    let laughs = (0..1000).fold(Pickler::new().op(")"), |p, _| p.op(b"2\x86"));
    assert_eq!(tensors_of(&with_state_dict(laughs)), 1);
    // A memo that doubles a list: the same list appended to itself.
    let doubling = (0..1000).fold(Pickler::new().op("]q\0"), |p, _| p.op("h\0h\0a"));
    assert_eq!(tensors_of(&with_state_dict(doubling)), 1);
    // One tensor under two hundred thousand names that are one name.
    let again = Pickler::new()
        .op("}(")
        .text("w")
        .op("q\0")
        .tensor(4, 0, &[4], &[1])
        .op("q\x01")
        .op("h\0h\x01".repeat(200_000));
    assert_eq!(tensors_of(&again.op("u.").0), 1);
    // One tensor under many names: as many times the file as would fill a disk.
    let mut many = Pickler::new().op("}(").text("w").tensor(1 << 16, 0, &[1 << 16], &[1]).op("q\0");
    for i in 0..100 {
        many = many.text(&i.to_string()).op("h\0");
    }
    refused(FILE, &torch(&many.op("u.").0, &[0; 4 << 16]), &["more than 16 times the file's own size"]);
}

#[test]
fn a_name_of_megabytes_is_not_repeated() {
    let start = Instant::now();
    let name = "n".repeat(1 << 20);
    let many = Pickler::new()
        .op("}(")
        .text(&name)
        .op("q\0")
        .tensor(4, 0, &[4], &[1])
        .op("q\x01")
        .op("h\0h\x01".repeat(100_000));
    pickle_refused(&many.op("u.").0, &["name takes more than 4096 bytes"]);
    // The same for the name of a global that is called again and again.
    let calls = Pickler::new().text(&name).text(&name).op([0x93]).op("q\0").op("h\0)R0".repeat(100_000));
    assert_eq!(tensors_of(&with_state_dict(calls)), 1);
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

#[test]
fn lengths_beyond_the_file_are_refused_before_they_are_believed() {
    let lengths: [&[u8]; 8] = [
        &[b'X', 0xff, 0xff, 0xff, 0xff],
        &[0x8d, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80],
        &[0x8e, 0, 0, 0, 0, 1, 0, 0, 0],
        &[0x96, 0, 0, 0, 0, 1, 0, 0, 0],
        &[0x8b, 0xff, 0xff, 0xff, 0x7f],
        &[0x8a, 0xff, 0],
        &[b'T', 0xff, 0xff, 0xff, 0xff],
    ];
    for length in lengths {
        pickle_refused(&Pickler::new().op(length).op(".").0, &["data.pkl", "past the end"]);
    }
    pickle_refused(&Pickler::new().op([0x95, 0, 0, 0, 0, 0, 0, 0, 1]).0, &["a frame of"]);
    pickle_refused(&Pickler::new().op("c").op("x".repeat(5000)).op("\ny\n.").0, &["name does not end"]);
    // A memo index of four billion is one entry, not four billion.
    assert_eq!(tensors_of(&with_state_dict(Pickler::new().op(b"Nr\xff\xff\xff\xff"))), 1);
}

#[test]
fn a_broken_program_is_refused() {
    for program in [
        "0.", "1.", "2.", ".", "a.", "s.", "u.", "e.", "t.", "R.", "b.", "Q.", "NQ.", "h\x05.", "q\0.",
        "Na.", "NNs.", "}(Nu.", "](", "\u{1}",
    ] {
        pickle_refused(&Pickler::new().op(program).0, &["the pickle in"]);
    }
    pickle_refused(&Pickler::new().op([0x80, 6]).0, &["protocol 6"]);
    pickle_refused(&Pickler::new().op([0x82, 1]).0, &["opcode 0x82 is none that PyTorch writes"]);
    pickle_refused(&[], &["the pickle in"]);
    pickle_refused(&Pickler::new().op("(N0.").0, &["its stack is empty"]);
}

#[test]
fn a_checkpoint_without_weights_says_what_it_holds() {
    pickle_refused(&Pickler::new().op("}.").0, &["holds no state dict", "0 keys"]);
    pickle_refused(&Pickler::dict_of("epoch", |p| p.int(3)), &["1 key (`epoch`)"]);
    pickle_refused(&Pickler::new().op("].").0, &["it is not a dictionary"]);
    let key = "../../../etc/passwd";
    let elsewhere = Pickler::dict_of("w", |p| p.tensor(4, 0, &[4], &[1]));
    let at = elsewhere.windows(6).position(|w| w == b"X\x01\0\0\x000").unwrap();
    let text = [&b"X"[..], &(key.len() as u32).to_le_bytes(), key.as_bytes()].concat();
    let elsewhere = [&elsewhere[..at], &text, &elsewhere[at + 6..]].concat();
    pickle_refused(&elsewhere, &["storage `../../../etc/passwd` is not in the archive"]);
}
