//! Base64 as HTTP's Basic scheme and JSON Web Tokens write it (RFC 4648, sections 4 and 5). Must never know what is encoded.
//! Invariant: one text for one value; a decoder takes what an encoder writes, with or without padding, and nothing else.

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The two alphabets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// `+` and `/`.
    Standard,
    /// `-` and `_`.
    Url,
}

impl Alphabet {
    fn letter(self, six: u8) -> char {
        match (six, self) {
            (62, Alphabet::Url) => '-',
            (63, Alphabet::Url) => '_',
            _ => char::from(STANDARD[usize::from(six & 63)]),
        }
    }

    fn six(self, letter: u8) -> Option<u8> {
        match (letter, self) {
            (b'A'..=b'Z', _) => Some(letter - b'A'),
            (b'a'..=b'z', _) => Some(letter - b'a' + 26),
            (b'0'..=b'9', _) => Some(letter - b'0' + 52),
            (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => Some(62),
            (b'/', Alphabet::Standard) | (b'_', Alphabet::Url) => Some(63),
            _ => None,
        }
    }
}

/// The text of these bytes, without padding.
pub fn encode(bytes: &[u8], alphabet: Alphabet) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let (a, b, c) = (three[0], three.get(1).copied().unwrap_or(0), three.get(2).copied().unwrap_or(0));
        let sixes = [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63];
        out.extend(sixes.iter().take(three.len() + 1).map(|six| alphabet.letter(*six)));
    }
    out
}

/// The bytes of this text; `None` where it is no base64 of that alphabet.
pub fn decode(text: &str, alphabet: Alphabet) -> Option<Vec<u8>> {
    let letters = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    if letters.len() % 4 == 1 || text.len() > letters.len() && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(letters.len() * 3 / 4);
    for four in letters.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6 | u32::from(four.get(at).map_or(Some(0), |letter| alphabet.six(*letter))?);
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        let (whole, rest) = bytes.split_at(four.len() - 1);
        if rest.iter().any(|byte| *byte != 0) {
            return None; // a second text for the same bytes
        }
        out.extend_from_slice(whole);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let cases = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(encode(bytes.as_bytes(), Alphabet::Standard), text);
            assert_eq!(decode(text, Alphabet::Url).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("Zg==", Alphabet::Standard).as_deref(), Some(&b"f"[..]));
        assert_eq!(encode(&[251, 255], Alphabet::Url), "-_8");
        assert_eq!(encode(&[251, 255], Alphabet::Standard), "+/8");
    }

    #[test]
    fn what_no_encoder_writes_is_refused() {
        for text in ["Z", "Zg=", "Zh", "Zm9", "Z g", "Zm8=x", "====", "Zm9v=", "+/8"] {
            assert_eq!(decode(text, Alphabet::Url), None, "{text}");
        }
        assert_eq!(decode("-_8", Alphabet::Standard), None);
    }
}
