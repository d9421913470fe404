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
            let listed = |mark: &str| has(names, mark, label);
            if listed("!") {
                return above;
            }
            if listed("") || has(names, "", "*") {
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

/// The names below a suffix, sorted, with a space between; the first line is the top.
fn below(suffix: &str) -> Option<&'static str> {
    let list = &LIST[LIST.find("\n ").map_or(0, |at| at + 1)..];
    let (top, mut lines) = list.split_once('\n')?;
    if suffix.is_empty() {
        return Some(&top[1..]);
    }
    while !lines.is_empty() {
        let begin = lines[..floor(lines, lines.len() / 2)].rfind('\n').map_or(0, |at| at + 1);
        let end = lines[begin..].find('\n').map_or(lines.len(), |at| begin + at);
        let (name, names) = lines[begin..end].split_once(' ')?;
        match suffix.cmp(name) {
            std::cmp::Ordering::Equal => return Some(names),
            std::cmp::Ordering::Less => lines = &lines[..begin],
            std::cmp::Ordering::Greater => lines = lines.get(end + 1..).unwrap_or_default(),
        }
    }
    None
}

/// Does a sorted list of names hold the marked name?
fn has(mut names: &str, mark: &str, name: &str) -> bool {
    while !names.is_empty() {
        let begin = names[..floor(names, names.len() / 2)].rfind(' ').map_or(0, |at| at + 1);
        let end = names[begin..].find(' ').map_or(names.len(), |at| begin + at);
        match mark.bytes().chain(name.bytes()).cmp(names[begin..end].bytes()) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => names = names[..begin].trim_end_matches(' '),
            std::cmp::Ordering::Greater => names = names.get(end + 1..).unwrap_or_default(),
        }
    }
    false
}

/// The list is ASCII, so every place in it lies between characters.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
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
