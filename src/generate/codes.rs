//! Codes in files: JSON for people and scripts, `.npy` for NumPy.

/// Codes of pictures of one grid.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Codes {
    /// The model whose tokenizer they are of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Rows and columns.
    pub grid: [u32; 2],
    /// Of each picture, in rows from the top.
    pub codes: Vec<Vec<u32>>,
}

/// What every array begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The header of an array is padded to a multiple of this.
const ALIGNMENT: usize = 64;
/// Numbers in a file: more than any model has codes of pictures in memory.
const MOST: usize = 1 << 26;

impl Codes {
    /// As an array of unsigned numbers of 32 bits `[pictures, rows, columns]`.
    pub fn to_npy(&self) -> Vec<u8> {
        let [rows, columns] = self.grid.map(|side| side as usize);
        let mut bytes = npy_header("<u4", &[self.codes.len(), rows, columns]);
        bytes.extend(self.codes.iter().flatten().flat_map(|code| code.to_le_bytes()));
        bytes
    }

    /// From JSON as it is written here, or from an array of whole numbers `[pictures, rows, columns]` or `[rows, columns]`.
    ///
    /// # Errors
    /// A sentence on what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let codes = if bytes.starts_with(MAGIC) {
            from_npy(bytes)?
        } else {
            serde_json::from_slice(bytes)
                .map_err(|e| format!("neither an array of NumPy nor codes as JSON ({e})"))?
        };
        let Self { grid: [rows, columns], codes: pictures, .. } = &codes;
        let each = u64::from(*rows) * u64::from(*columns);
        match pictures.iter().find(|codes| codes.len() as u64 != each) {
            _ if pictures.is_empty() || each == 0 => Err("there are no codes in it".to_owned()),
            Some(other) => Err(format!("{} codes on a grid of {rows} x {columns}", other.len())),
            None => Ok(codes),
        }
    }
}

/// What stands before the numbers of an array: magic, version, and a Python dictionary, padded with spaces to a line.
pub(crate) fn npy_header(kind: &str, shape: &[usize]) -> Vec<u8> {
    let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The magic, the version and the length of the text go before it.
    let before = MAGIC.len() + 4;
    let padded = (before + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', padded - before - text.len() - 1));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes
}

fn from_npy(bytes: &[u8]) -> Result<Codes, String> {
    let cut = || "an array of NumPy that ends early".to_owned();
    let (version, length) = (bytes.get(6).ok_or_else(cut)?, bytes.get(8..12).ok_or_else(cut)?);
    // The first version has two bytes of length, the others four.
    let (start, length): (usize, usize) = match version {
        1 => (10, usize::from(u16::from_le_bytes([length[0], length[1]]))),
        _ => (12, u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize),
    };
    let header = bytes.get(start..start.saturating_add(length)).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "an array with a header that is no text")?;
    let field = |name: &str| -> Result<&str, String> {
        let (_, rest) =
            header.split_once(&format!("'{name}':")).ok_or_else(|| format!("an array without {name}"))?;
        Ok(rest.trim_start())
    };
    let kind: String = field("descr")?.trim_start_matches('\'').chars().take_while(|c| *c != '\'').collect();
    if field("fortran_order")?.starts_with("True") {
        return Err("an array in the order of Fortran; save it as numpy.ascontiguousarray(codes)".to_owned());
    }
    let (_, shape) = field("shape")?.split_once('(').ok_or("an array whose shape is none")?;
    let (shape, _) = shape.split_once(')').ok_or("an array whose shape is none")?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Vec<usize> =
        sizes.map(str::parse).collect::<Result<_, _>>().map_err(|e| format!("shape: {e}"))?;
    let [pictures, rows, columns] = match sizes[..] {
        [rows, columns] => [1, rows, columns],
        [pictures, rows, columns] => [pictures, rows, columns],
        _ => return Err(format!("an array of shape ({shape}); codes are [pictures, rows, columns]")),
    };
    let count = pictures.checked_mul(rows).and_then(|count| count.checked_mul(columns));
    let count = count.filter(|count| *count <= MOST).ok_or_else(|| format!("an array of shape ({shape})"))?;
    let (width, signed) = match kind.as_str() {
        "|u1" => (1, false),
        "<u2" => (2, false),
        "<i2" => (2, true),
        "<u4" => (4, false),
        "<i4" => (4, true),
        "<u8" => (8, false),
        "<i8" => (8, true),
        _ => return Err(format!("an array of {kind}; codes are whole numbers, as uint32")),
    };
    let data = bytes.get(start + length..).unwrap_or_default();
    if data.len() != count * width {
        return Err(format!(
            "{} bytes of codes, where the shape ({shape}) asks for {}",
            data.len(),
            count * width
        ));
    }
    let number = |bytes: &[u8]| {
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        let value = u64::from_le_bytes(value);
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        u32::try_from(value).ok().filter(|_| !negative).ok_or("an array with numbers that are no codes")
    };
    let numbers = data.chunks_exact(width).map(number).collect::<Result<Vec<u32>, _>>()?;
    let codes = numbers.chunks(rows * columns).map(<[u32]>::to_vec).collect();
    Ok(Codes { model: None, grid: [rows as u32, columns as u32], codes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_survive_in_both_forms(rows in 1_u32..7, columns in 1_u32..9, count in 1_usize..4, model: bool, seed: u32) {
            let code = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 12;
            let each = (rows * columns) as usize;
            let codes = (0..count).map(|picture| (0..each).map(|i| code(picture * each + i)).collect()).collect();
            let wanted = Codes { model: model.then(|| "m".to_owned()), grid: [rows, columns], codes };
            let json = serde_json::to_vec(&wanted).unwrap();
            prop_assert_eq!(&Codes::parse(&json).unwrap(), &wanted);
            let npy = wanted.to_npy();
            prop_assert!((npy.len() - 4 * count * each).is_multiple_of(64));
            prop_assert_eq!(Codes::parse(&npy).unwrap(), Codes { model: None, ..wanted });
            // Cut anywhere it is refused.
            let cut = seed as usize % npy.len();
            prop_assert!(Codes::parse(&npy[..cut]).is_err());
        }

        #[test]
        fn bytes_of_strangers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Codes::parse(&bytes).is_err());
            prop_assert!(Codes::parse(&[MAGIC, &bytes].concat()).is_err());
        }
    }

    #[test]
    fn arrays_of_other_kinds_are_read_or_refused_by_name() {
        let array = |descr: &str, order: &str, shape: &str, data: &[u8]| {
            let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
            let mut bytes = [MAGIC, &[1, 0]].concat();
            bytes.extend((text.len() as u16).to_le_bytes());
            Codes::parse(&[&bytes[..], text.as_bytes(), data].concat())
        };
        let signed: Vec<u8> = [5_i64, 0, 4095, 7, 8, 9].iter().flat_map(|n| n.to_le_bytes()).collect();
        let read = array("<i8", "False", "(2, 3)", &signed).unwrap();
        assert_eq!((read.grid, &read.codes[0][..]), ([2, 3], &[5, 0, 4095, 7, 8, 9][..]));
        assert_eq!(array("|u1", "False", "(1, 1, 2)", &[3, 200]).unwrap().codes, [[3, 200]]);
        for (descr, order, shape, data, words) in [
            ("<i2", "False", "(1, 1)", &[255, 255][..], "no codes"),
            ("<f4", "False", "(1, 1)", &[0; 4], "whole numbers"),
            ("<u4", "True", "(1, 1)", &[0; 4], "Fortran"),
            ("<u4", "False", "(4,)", &[0; 16], "[pictures, rows, columns]"),
            ("<u4", "False", "(2, 2)", &[0; 12], "12 bytes"),
            ("<u4", "False", "(99999999, 99999999, 99999999)", &[], "shape"),
            ("|u1", "False", "(0, 2, 2)", &[], "no codes"),
        ] {
            let error = array(descr, order, shape, data).unwrap_err();
            assert!(error.contains(words), "{descr} {shape}: {error}");
        }
        let error = Codes::parse(br#"{"grid": [2, 2], "codes": [[1, 2, 3]]}"#).unwrap_err();
        assert!(error.contains("3 codes on a grid of 2 x 2"), "{error}");
    }
}
