//! Small things done to text: hex, cutting, cleaning for logs and terminals.
//! Must never know what the text means.

use crate::base::error::{Error, Result};

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
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
