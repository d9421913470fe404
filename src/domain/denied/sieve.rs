//! Where in a text a word of the list may begin: eight bytes at a time, then one look at the first three letters.
//! Must never say that a word is there: who asks compares. Invariant: of ASCII, no place where a word of the list begins is passed over.

/// Letters from a to z.
pub(super) const LETTERS: usize = 26;
/// A letter that is a capital.
const CAPITAL: u8 = 32;
/// Bits of a letter's number.
const BITS: usize = 5;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// What a byte is: the number of its letter from 1 to 26, whether capital or small; 0 = no letter.
static LETTER: [u8; 256] = {
    let mut out = [0; 256];
    let mut n = 0;
    while n < LETTERS {
        out[b'a' as usize + n] = n as u8 + 1;
        out[b'a' as usize + n - CAPITAL as usize] = n as u8 + 1;
        n += 1;
    }
    out
};

/// The number of a byte's letter; 0 for other bytes.
pub(super) fn letter(byte: u8) -> usize {
    usize::from(LETTER[usize::from(byte)])
}

/// The first letters of the words of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Sieve {
    /// For each two letters a bit for each third. The bit of no letter stands where any word begins so: then it is the next letters
    /// that tell. Empty where there are no words.
    thirds: Box<[u32]>,
    /// The same for fourth letters, where the first three come to that place; several may.
    fourths: Box<[u32]>,
}

/// The place of three letters in `fourths`.
fn place(first: usize, second: usize, third: usize) -> usize {
    (first << BITS | second) ^ (third << (BITS - 1))
}

impl Sieve {
    /// That of some words of two letters or more, small.
    pub(super) fn of<'w>(words: impl Iterator<Item = &'w str>) -> Sieve {
        let [mut thirds, mut fourths] = [(); 2].map(|()| vec![0; 1 << (2 * BITS)].into_boxed_slice());
        for word in words {
            let [first, second, third, fourth] =
                [0, 1, 2, 3].map(|at| word.as_bytes().get(at).map_or(0, |b| letter(*b)));
            // a word without a third letter, or with one of another alphabet, goes with any
            thirds[first << BITS | second] |= if third == 0 { u32::MAX } else { 1 << third | 1 };
            thirds[first << BITS] = u32::MAX;
            let bits = if third == 0 || fourth == 0 { u32::MAX } else { 1 << fourth };
            for third in if third == 0 { 0..=LETTERS } else { third..=third } {
                fourths[place(first, second, third)] |= bits;
            }
        }
        Sieve { thirds, fourths }
    }

    /// May a word begin with these letters? 0 = none there.
    fn passes(&self, first: usize, second: usize, third: usize) -> bool {
        self.thirds.get(first << BITS | second).is_some_and(|bits| bits >> third & 1 != 0)
    }

    /// May a word begin where a text begins, whatever stands between its letters?
    pub(super) fn far(&self, text: &[u8]) -> bool {
        let mut found = [0; 4];
        let mut count = 0;
        for byte in text {
            found[count] = letter(*byte);
            count += usize::from(found[count] != 0);
            if count == found.len() {
                break;
            }
        }
        let [first, second, third, fourth] = found;
        match count {
            0 | 1 => false,
            2 => self.passes(first, second, 0),
            // a word may end with its third letter
            _ => self.passes(first, second, third) && self.fourths[place(first, second, third)] >> fourth & 1 != 0,
        }
    }

    /// Asks `is_there` of each place of a text where a word may begin, until it says yes: `Some(true)`. `None` where the text
    /// is no ASCII; then nothing that was asked means anything.
    pub(super) fn search(&self, text: &[u8], mut is_there: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        let (mut at, mut seen) = (0, 0);
        // of the byte before: is it a letter, a small one?
        let (mut inside, mut small) = (0, 0);
        while at < text.len() {
            let word = eight(text, at);
            seen |= word;
            let folded = word | (ONES * u64::from(CAPITAL));
            // of ASCII no sum reaches into the next byte
            let letters = folded.wrapping_add(ONES * (0x80 - 0x61)) & !folded.wrapping_add(ONES * (0x80 - 0x7b)) & HIGH;
            let smalls = letters & (word << 2);
            let behind_small = (letters ^ smalls) & (smalls << 8 | small);
            let mut begins = letters & !(letters << 8 | inside) | behind_small;
            (inside, small) = (letters >> 56, smalls >> 56);
            while begins != 0 {
                let here = at + begins.trailing_zeros() as usize / 8;
                begins &= begins - 1;
                let number = |n: usize| text.get(here + n).map_or(0, |byte| letter(*byte));
                if self.passes(number(0), number(1), number(2)) && is_there(&text[here..]) {
                    return text.is_ascii().then_some(true);
                }
            }
            at += 8;
        }
        (seen & HIGH == 0).then_some(false)
    }
}

/// Eight bytes from a place within a text; zeros behind its end.
fn eight(text: &[u8], at: usize) -> u64 {
    let read = |from: usize| text.get(from..from + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
    let left = text.len() - at;
    if left >= 8 {
        return read(at).unwrap_or_default();
    }
    match text.len().checked_sub(8).and_then(read) {
        Some(last) => last >> (8 * (8 - left)),
        None => text.iter().skip(at).rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
