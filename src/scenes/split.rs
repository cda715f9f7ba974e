//! Which combinations training never sees: those whose key has a SHA-256 that, read as one number, ends in the digit 0.
//!
//! Keys: `LABEL` (a noun that is seen only alone), `LABEL|COLOUR`, `LABEL|PLACE`, and for two nouns together their labels
//! in alphabetical order, `LABEL|LABEL`. So about a tenth of each is held out, the same tenth for everybody. Every noun is
//! seen: what a model can show here is composition, not nouns that it never saw.

use super::grammar::{COLOURS, PLACES};
use super::nouns::Noun;

/// What is held out of the first nouns.
pub struct HeldOut<'a> {
    nouns: &'a [Noun],
    alone: Vec<bool>,
    colours: Vec<[bool; COLOURS.len()]>,
    places: Vec<[bool; 8]>,
}

impl<'a> HeldOut<'a> {
    /// Hashes the keys of each noun.
    #[must_use]
    pub fn new(nouns: &'a [Noun]) -> Self {
        let with = |noun: &Noun, name: &str| is_held_out(&format!("{}|{name}", noun.label));
        Self {
            nouns,
            alone: nouns.iter().map(|noun| is_held_out(&noun.label)).collect(),
            colours: nouns.iter().map(|noun| COLOURS.map(|colour| with(noun, colour))).collect(),
            places: nouns.iter().map(|noun| PLACES.map(|place| with(noun, place.label))).collect(),
        }
    }

    /// Whether training shows this noun only as a single object.
    #[must_use]
    pub fn alone(&self, noun: usize) -> bool {
        self.alone[noun]
    }

    /// Whether this noun is never shown in this colour, its own aside.
    #[must_use]
    pub fn colour(&self, noun: usize, colour: usize) -> bool {
        self.colours[noun][colour]
    }

    /// Whether this noun is never shown in this place.
    #[must_use]
    pub fn place(&self, noun: usize, place: usize) -> bool {
        self.places[noun][place]
    }

    /// Whether these two nouns are never shown together.
    #[must_use]
    pub fn pair(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nouns[a].label, &self.nouns[b].label);
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        is_held_out(&format!("{first}|{second}"))
    }
}

/// Whether a key belongs to the tenth that is held out.
#[must_use]
pub fn is_held_out(key: &str) -> bool {
    sha256(key.as_bytes()).iter().fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % 10) == 0
}

/// SHA-256 (FIPS 180-4) of a short message. Fifty lines here, because the hash must be there on every target, and the one
/// that comes with `migm pull` has C in it.
fn sha256(message: &[u8]) -> [u8; 32] {
    let mut state = INITIAL;
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut state, block);
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut w = [0_u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, &byte| (word << 8) | u32::from(byte));
    }
    for t in 16..64 {
        let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
        let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for t in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(ROUND[t]).wrapping_add(w[t]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}

/// Fractions of the square roots of the first 8 primes.
const INITIAL: [u32; 8] = fractions();
/// Fractions of the cube roots of the first 64 primes.
const ROUND: [u32; 64] = cube_fractions();

const fn primes<const N: usize>() -> [u64; N] {
    let mut found = [0; N];
    let (mut count, mut candidate) = (0, 2);
    while count < N {
        let mut i = 0;
        while i < count && candidate % found[i] != 0 {
            i += 1;
        }
        if i == count {
            found[count] = candidate;
            count += 1;
        }
        candidate += 1;
    }
    found
}

/// The largest `r` with `r^power <= value * 2^(32 * power)`: the root with 32 fractional bits.
const fn root(value: u64, power: u32) -> u64 {
    // 5 bits before the point and 32 behind it; the cube needs 111 bits, so u128 holds all.
    let target = (value as u128) << (32 * power);
    let (mut low, mut high) = (0_u128, 1_u128 << 37);
    while high - low > 1 {
        let middle = u128::midpoint(low, high);
        let mut product = 1_u128;
        let mut i = 0;
        while i < power {
            product *= middle;
            i += 1;
        }
        if product <= target {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u64
}

const fn fractions() -> [u32; 8] {
    let primes = primes::<8>();
    let mut out = [0; 8];
    let mut i = 0;
    while i < 8 {
        out[i] = root(primes[i], 2) as u32;
        i += 1;
    }
    out
}

const fn cube_fractions() -> [u32; 64] {
    let primes = primes::<64>();
    let mut out = [0; 64];
    let mut i = 0;
    while i < 64 {
        out[i] = root(primes[i], 3) as u32;
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(message: &[u8]) -> String {
        sha256(message).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors of FIPS 180-4 and of the empty message.
    #[test]
    fn known_digests() {
        assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(
            hex(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
    }

    #[test]
    fn lengths_around_a_block_agree_with_another_implementation() {
        #[cfg(feature = "pull")]
        for length in [1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 200] {
            let message = vec![b'a'; length];
            let theirs = ring::digest::digest(&ring::digest::SHA256, &message);
            assert_eq!(theirs.as_ref(), sha256(&message), "{length} bytes");
        }
    }

    #[test]
    fn about_a_tenth_of_each_kind_is_held_out() {
        let nouns = super::super::nouns();
        let held = HeldOut::new(nouns);
        let n = nouns.len();
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let alone = share((0..n).filter(|&a| held.alone(a)).count(), n);
        let colours = share((0..n * 8).filter(|i| held.colour(i / 8, i % 8)).count(), n * 8);
        let places = share((0..n * 8).filter(|i| held.place(i / 8, i % 8)).count(), n * 8);
        for share in [alone, colours, places] {
            assert!((0.07..0.14).contains(&share), "{share}");
        }
        let pairs = (0..200).flat_map(|a| (0..a).map(move |b| (a, b)));
        let count = pairs.filter(|&(a, b)| held.pair(a, b)).count();
        assert!((0.09..0.11).contains(&share(count, 200 * 199 / 2)), "{count}");
        assert_eq!(held.pair(3, 90), held.pair(90, 3));
    }
}
