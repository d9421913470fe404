//! Small things done to text: hex, cutting, cleaning for logs and terminals.
//! Must never know what the text means.

use crate::base::error::{Error, Result};

/// For each small first letter of some names a bit for each of their lengths, up to 31: most other texts are told from all of them by
/// one look ([`may_be`]). Names begin with a small letter.
pub const fn lengths_by_letter<const N: usize>(names: [&str; N]) -> [u32; 26] {
    let mut out = [0; 26];
    let mut n = 0;
    while n < N {
        let name = names[n].as_bytes();
        out[(name[0] - b'a') as usize] |= 1 << name.len();
        n += 1;
    }
    out
}

/// May a text be one of the names of [`lengths_by_letter`]?
#[inline]
pub fn may_be(text: &str, lengths: &[u32; 26]) -> bool {
    let first = text.as_bytes().first().map_or(u8::MAX, |first| first.wrapping_sub(b'a'));
    text.len() < 32 && lengths.get(usize::from(first)).is_some_and(|lengths| lengths >> text.len() & 1 != 0)
}

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    out
}

/// The two digits of a byte.
pub fn hex_pair(byte: u8) -> (u8, u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)])
}

/// Adds lowercase hex.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    for some in bytes.chunks(16) {
        let mut digits = [0u8; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(some) {
            (pair[0], pair[1]) = hex_pair(*byte);
        }
        push_ascii(out, &digits[..some.len() * 2]);
    }
}

/// Adds a number in decimal digits: a third of the time of `write!`.
pub fn push_number(out: &mut String, n: i64) {
    let mut digits = [b'0'; 20];
    let (mut at, mut left) = (digits.len(), n.unsigned_abs());
    while left > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
    }
    if n < 0 {
        out.push('-');
    }
    push_ascii(out, &digits[at..]);
}

/// Adds a text as a JSON string, in quotes, escaped as serde_json does: what JSON demands and no more.
pub fn push_json(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_escaped(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            other => {
                out.push_str("\\u00");
                push_hex(out, &[other]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// The first byte that JSON does not take as it is, sought eight at a time.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // the high bit of the lowest byte that is below `n`; higher ones may be wrong
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH;
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    let mut words = bytes.chunks_exact(8);
    let mut before = 0;
    for eight in &mut words {
        let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        let odd =
            below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1);
        if odd != 0 {
            return Some(before + odd.trailing_zeros() as usize / 8);
        }
        before += 8;
    }
    words.remainder().iter().position(|byte| !plain(byte)).map(|at| before + at)
}

fn push_ascii(out: &mut String, ascii: &[u8]) {
    out.push_str(std::str::from_utf8(ascii).expect("invariant: digits are ASCII"));
}

/// The bytes of hex digits, however many. Errors: `Invalid` where they are none.
pub fn unhex_any(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [_, _] => unhex::<1>(std::str::from_utf8(pair).unwrap_or_default()).map(|[byte]| byte),
        _ => Err(Error::invalid("an odd number of hex digits")),
    });
    pairs.collect()
}

/// Bytes of a hex text of exactly `N` bytes, either case.
pub fn unhex<const N: usize>(text: &str) -> Result<[u8; N]> {
    let bad = || Error::invalid(format!("expected {} hex digits, got {:?}", N * 2, cut(text, 80)));
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(bad());
    }
    let mut out = [0u8; N];
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16).ok_or_else(bad)?;
        let low = char::from(pair[1]).to_digit(16).ok_or_else(bad)?;
        *slot = u8::try_from(high * 16 + low).map_err(|_| bad())?;
    }
    Ok(out)
}

/// At most `bytes_max` bytes of `text`, cut at a character.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Text as it stands inside a page of HTML, in a quoted attribute too.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Text that cannot steer a log or a terminal: control characters and direction overrides become `\u{..}`.
pub fn clean(text: &str) -> String {
    let risky = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(risky) {
        return text.to_owned();
    }
    text.chars().map(|c| if risky(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// `1536` as `1.5 KiB`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[allow(clippy::cast_precision_loss)] // shown with one decimal
    let mut amount = bytes as f64;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_serde_json_does() {
        let mut texts: Vec<String> = (0u8..128).map(|c| format!("{0}seven b{0}, and more{0}", char::from(c))).collect();
        texts.extend(
            ["", "\"", "plain", "Zürich 東京 \u{1f600}", "\u{7f}\u{80}\u{2028}", "12345678\u{1}", "1234567\u{1f}"]
                .map(str::to_owned),
        );
        for text in texts {
            let mut out = String::new();
            push_json(&mut out, &text);
            assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }

    #[test]
    fn numbers_and_bytes_print_as_everywhere() {
        for n in [0, 7, -1, 10, 1_234_567_890_123, i64::MAX, i64::MIN] {
            let mut out = String::new();
            push_number(&mut out, n);
            assert_eq!(out, n.to_string());
        }
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(hex(&bytes), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }

    #[test]
    fn hex_round_trips() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert_eq!(unhex::<3>("00FF10").unwrap(), [0, 255, 16]);
        assert!(unhex::<3>("00ff1").is_err() && unhex::<3>("00ff1g").is_err());
    }

    #[test]
    fn cutting_keeps_characters_whole() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }

    #[test]
    fn cleaned_text_cannot_steer_a_terminal() {
        assert_eq!(clean("a\r\n\x1b[2J"), "a\\r\\n\\u{1b}[2J");
        assert_eq!(clean("plain ü"), "plain ü");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes_text(1023), "1023 B");
        assert_eq!(bytes_text(1536), "1.5 KiB");
    }
}
