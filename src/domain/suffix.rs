//! The public suffix list: what of a host can be registered. Owns the list (`suffixes.txt`, compiled in as it is: a sixth of
//! the bytes it takes as code). Must never allocate, nor be asked with anything but a lower-case ASCII host.
//! Invariant: answers are those of the algorithm of publicsuffix.org, private suffixes such as `github.io` included.

/// The names below each suffix; its head says where they come from.
const LIST: &str = include_str!("suffixes.txt");

/// Rules have no more labels.
const LABELS_MAX: usize = 8;

/// The registrable domain of a host: its public suffix and one label more; `None` where the host is a suffix itself.
pub fn registrable(host: &str) -> Option<&str> {
    let suffix = public_suffix(host);
    let above = host.strip_suffix(suffix)?.strip_suffix('.')?;
    let label = above.rsplit('.').next().filter(|label| !label.is_empty())?;
    Some(&host[above.len() - label.len()..])
}

/// The longest rule that fits, an exception before all; without any, the last label.
fn public_suffix(host: &str) -> &str {
    let mut found = host.rsplit('.').next().unwrap_or(host);
    let mut above = "";
    for _ in 0..LABELS_MAX {
        let rest = host.len() - above.len() - usize::from(!above.is_empty());
        let label = host[..rest].rsplit('.').next().unwrap_or_default();
        let whole = &host[rest - label.len()..];
        if let Some(names) = below(above) {
            // marks sort before names: a list without them begins with a name
            if names.starts_with('!') && has(names, "!", label) {
                return above;
            }
            if names.starts_with(['!', '*']) && has(names, "*", "") || has(names, "", label) {
                found = whole;
            }
        }
        if whole.len() == host.len() {
            break;
        }
        above = whole;
    }
    found
}

/// Where each line of the list begins, the top's first, and at last where the list ends: found when it is compiled.
static LINES: [u32; COUNT + 1] = {
    let text = LIST.as_bytes();
    let mut out = [0; COUNT + 1];
    let (mut at, mut n) = (0, 0);
    while at < text.len() {
        let begins = at == 0 || text[at - 1] == b'\n';
        if begins && text[at] != b'#' {
            out[n] = at as u32;
            n += 1;
        }
        at += 1;
    }
    out[n] = at as u32;
    out
};

/// How many lines the list has, its head aside.
const COUNT: usize = {
    let text = LIST.as_bytes();
    let (mut at, mut n) = (0, 0);
    while at < text.len() {
        if (at == 0 || text[at - 1] == b'\n') && text[at] != b'#' {
            n += 1;
        }
        at += 1;
    }
    n
};

/// The names below a suffix, sorted, with a space between; the first line is the top, whose own name is empty.
fn below(suffix: &str) -> Option<&'static str> {
    let found = LINES[..COUNT].binary_search_by(|begin| {
        let line = &LIST.as_bytes()[*begin as usize..];
        for (at, byte) in suffix.bytes().enumerate() {
            match line[at].cmp(&byte) {
                std::cmp::Ordering::Equal => {}
                other => return other,
            }
        }
        line[suffix.len()].cmp(&b' ')
    });
    let at = found.ok()?;
    let end = LINES[at + 1] as usize - 1;
    Some(&LIST[LINES[at] as usize + suffix.len() + 1..end])
}

/// Does a sorted list of names hold the marked name? (By bytes, since names are short and searching a text is not.)
fn has(names: &str, mark: &str, name: &str) -> bool {
    let names = names.as_bytes();
    let (mut low, mut high) = (0, names.len());
    while low < high {
        let mut begin = low + (high - low) / 2;
        let mut end = begin;
        while begin > low && names[begin - 1] != b' ' {
            begin -= 1;
        }
        while end < high && names[end] != b' ' {
            end += 1;
        }
        let one = &names[begin..end];
        let order = match one.strip_prefix(mark.as_bytes()) {
            Some(rest) => name.as_bytes().cmp(rest),
            None => mark.as_bytes().cmp(one),
        };
        match order {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => high = begin.saturating_sub(1).max(low),
            std::cmp::Ordering::Greater => low = end + 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_registries_owners_and_exceptions() {
        for (host, domain) in [
            ("shop.example.co.uk", Some("example.co.uk")),
            ("www.example.com", Some("example.com")),
            ("example.com", Some("example.com")),
            ("com", None),
            ("co.uk", None),
            ("a.b.github.io", Some("b.github.io")),
            ("github.io", None),
            ("x.y.ck", Some("x.y.ck")),
            ("y.ck", None),
            ("a.www.ck", Some("www.ck")),
            ("a.b.kobe.jp", Some("a.b.kobe.jp")),
            ("a.city.kobe.jp", Some("city.kobe.jp")),
            ("host.nolist", Some("host.nolist")),
            ("nolist", None),
            ("", None),
            ("a..com", None),
        ] {
            assert_eq!(registrable(host), domain, "{host}");
        }
    }

    /// The crate psl carries the same list as code of another hand.
    #[test]
    fn every_rule_answers_as_another_reader_of_the_list_does() {
        let lines = LIST.lines().filter(|line| !line.starts_with('#'));
        let mut rules = 0;
        for line in lines {
            let (above, names) = line.split_once(' ').unwrap();
            for name in names.split(' ') {
                rules += 1;
                let name = name.trim_start_matches('!').replace('*', "any");
                let rule = if above.is_empty() { name } else { format!("{name}.{above}") };
                for host in [rule.clone(), format!("one.{rule}"), format!("two.one.{rule}"), format!("x{rule}")] {
                    assert_eq!(registrable(&host), psl::domain_str(&host), "{host}");
                }
            }
        }
        assert!(rules > 10_000, "{rules}");
    }

    #[test]
    fn the_list_is_ascii_and_sorted() {
        assert!(LIST.is_ascii());
        let lines: Vec<&str> = LIST.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines[0].starts_with(' '), "the top comes first");
        assert!(lines.windows(2).all(|pair| pair[0].split(' ').next() < pair[1].split(' ').next()));
        for line in lines {
            let names: Vec<&str> = line.split(' ').skip(1).collect();
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{line}");
        }
    }
}
