//! A wrong value in an address or a text, and the right one in its place (GDPR Art. 16). Owns where a value counts as standing: a whole
//! segment of a path, the whole value of a parameter, whole words of a title. Must never touch what only contains it.
//! Invariant: what comes out is an address again; everything else of it is as it was, byte for byte.

/// Two texts that are the same, case and outer spaces aside.
pub fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// The address with the right value wherever the wrong one is a segment of its path, the value of a parameter or its fragment;
/// `None` where it is nowhere.
pub fn in_url(url: &str, wrong: &str, right: &str) -> Option<String> {
    if wrong.trim().is_empty() {
        return None;
    }
    let begin = url.find("://").map_or(0, |at| at + 3);
    let path = url[begin..].find(['/', '?', '#']).map(|at| begin + at)?;
    let mut out = url[..path].to_owned();
    let (mut part, mut inside) = (String::new(), '/');
    let mut changed = false;
    // one more separator closes the last part
    for c in url[path..].chars().chain(['\0']) {
        let ends = matches!((c, inside), ('\0', _) | ('#', '/' | '?') | ('?' | '/', '/') | ('&' | '=', '?'));
        if !ends {
            part.push(c);
            continue;
        }
        // the name of a parameter is no value
        if !(c == '=' && inside == '?') && same(&decoded(&part, inside == '?'), wrong) {
            part = encoded(right.trim());
            changed = true;
        }
        out.push_str(&std::mem::take(&mut part));
        if c != '\0' {
            out.push(c);
        }
        if matches!(c, '?' | '#') {
            inside = c;
        }
    }
    changed.then_some(out)
}

/// The text with the right value wherever the wrong one stands as whole words; `None` where it does not.
pub fn in_text(text: &str, wrong: &str, right: &str) -> Option<String> {
    let wrong = wrong.trim();
    let length = wrong.chars().count();
    if length == 0 {
        return None;
    }
    let (mut out, mut rest, mut changed) = (String::with_capacity(text.len()), text, false);
    while let Some(first) = rest.chars().next() {
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
        let bounded = !out.ends_with(char::is_alphanumeric) && !rest[end..].starts_with(char::is_alphanumeric);
        if bounded && rest[..end].to_lowercase() == wrong.to_lowercase() {
            out.push_str(right.trim());
            rest = &rest[end..];
            changed = true;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    changed.then_some(out)
}

fn decoded(part: &str, form: bool) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| part.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if form && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encoded(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_an_address_is_found_however_it_is_written() {
        let new = |url: &str| in_url(url, "Ann Lee", "Ann Müller");
        let cases = [
            ("https://a.example/u/ann%20lee/x", "https://a.example/u/Ann%20M%C3%BCller/x"),
            ("https://a.example/?name=Ann+Lee&n=1", "https://a.example/?name=Ann%20M%C3%BCller&n=1"),
            ("https://a.example/p?q=1#Ann%20Lee", "https://a.example/p?q=1#Ann%20M%C3%BCller"),
            ("https://a.example?who=ann%20lee", "https://a.example?who=Ann%20M%C3%BCller"),
        ];
        for (url, wanted) in cases {
            assert_eq!(new(url).as_deref(), Some(wanted), "{url}");
        }
        for url in [
            "https://a.example/ann%20lee2/",
            "https://ann%20lee.example/",
            "https://a.example/?Ann%20Lee=1",
            "https://a.example/?q=about%20ann%20lee",
            "https://a.example/%zz%",
            "nothing",
            "",
        ] {
            assert_eq!(new(url), None, "{url}");
        }
        assert_eq!(in_url("https://a.example/?q=", "", "x"), None);
    }

    #[test]
    fn a_value_in_a_text_is_whole_words() {
        assert_eq!(
            in_text("Basket of ANN LEE (2)", "Ann Lee", "Ann Möller").as_deref(),
            Some("Basket of Ann Möller (2)")
        );
        assert_eq!(in_text("ann lee, Ann Lee", "ann lee", "x").as_deref(), Some("x, x"));
        assert_eq!(in_text("Joann Leeds", "ann lee", "x"), None);
        assert_eq!(in_text("a", "", "x"), None);
        assert_eq!(in_text("ß", "SS", "x"), None);
    }
}
