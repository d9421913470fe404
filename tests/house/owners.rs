//! Outside crates: which part of the program may name each, and why it is here at all.
//! Must never judge imports inside the crate (`floors` does). Invariant: a dependency without a rule is an offence.

use crate::source::Source;
use crate::{Offence, covers, paper, program, report};

const ANYWHERE: &[&str] = &["src/"];
const DOOR: &[&str] = &["src/http/server.rs", "src/http/local.rs", "src/http/wire.rs"];
const TOP: &[&str] = &["src/daemon*", "src/config*", "src/main.rs"];
const IDS: &[&str] = &["src/base/id.rs"];
const DIGESTS: &[&str] = &["src/base/digest.rs"];
const CELLS: &[&str] = &["src/base/cell.rs"];

/// Each dependency and the places which may name it: `src/a/` a folder, `src/a.rs` a file, `src/a*` a start.
const OWNERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["src/store/"]),
    ("serde", ANYWHERE),
    ("serde_json", ANYWHERE),
    ("rand", IDS),
    ("foldhash", &["src/base/table.rs"]),
    ("flate2", &["src/base/gzip.rs", "src/ingest/import*"]),
    ("zlib-rs", &[]), // named for a feature alone
    ("log", ANYWHERE),
    ("env_logger", TOP),
    ("hyper", DOOR),
    ("hyper-util", DOOR),
    ("http-body-util", DOOR),
    ("bytes", DOOR),
    ("tokio", DOOR),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("toml", &["src/daemon*", "src/config*", "src/main.rs", "src/cli/notice.rs"]),
    ("indicatif", &["src/cli/"]),
    ("signal-hook", TOP),
    ("rustix", &["src/store/", "src/upkeep/", "src/daemon*"]),
    ("jiff", &["src/base/time.rs"]),
    ("uuid", IDS),
    ("url", &["src/domain/address.rs"]),
    ("idna_adapter", &[]),
    ("woothee", &["src/domain/device.rs"]),
    ("regex-automata", &["src/domain/device.rs"]),
    ("memchr", &["src/domain/denied.rs"]),
    ("ipnet", &["src/domain/network.rs"]),
    ("ureq", &["src/forward/"]),
    ("rustls", &["src/forward/", "src/http/tls.rs"]),
    ("tokio-rustls", &["src/http/wire.rs"]),
    ("rustls-native-certs", &["src/forward/"]),
    ("bech32", &["src/base/age.rs"]),
    ("qrcodegen", &["src/consent/receipt*"]),
    ("maxminddb", &["src/ingest/geo.rs"]),
    ("ring", DIGESTS),
    ("subtle", DIGESTS),
    ("ed25519-compact", &["src/base/digest.rs", "src/base/cell.rs", "src/base/age.rs"]),
    ("chacha20poly1305", &["src/base/cell.rs", "src/base/age.rs"]),
    ("zeroize", CELLS),
];

/// Those which test code may name anywhere: options live with their users, and are tested as the file's text.
const IN_TESTS: [&str; 1] = ["toml"];

/// Outside crates named where they do not belong.
pub fn check(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    for name in &source.names {
        let Some(krate) = source.outside(name) else { continue };
        let rule = OWNERS.iter().find(|(owned, _)| owned.replace('-', "_") == krate);
        let Some((_, places)) = rule else { continue };
        let excused = name.test && IN_TESTS.contains(&krate);
        if !excused && !places.iter().any(|place| covers(place, &source.path)) {
            let home = if places.is_empty() { "nothing".to_string() } else { places.join(", ") };
            let what = format!("`{}`: only {home} may name {krate} - go through its owner", name.text());
            found.push(Offence::new(&source.path, name.line, what));
        }
    }
    found
}

/// Dependencies of a Cargo.toml without an owner or a reason, and owner rules without a dependency.
pub fn check_manifest(text: &str) -> Vec<Offence> {
    let (mut found, mut seen, mut section) = (Vec::new(), Vec::new(), "");
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(head) = line.strip_prefix('[') {
            section = head.split(']').next().unwrap_or(head);
            continue;
        }
        let Some((name, rest)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        if !matches!(section, "dependencies" | "dev-dependencies" | "build-dependencies") {
            continue;
        }
        let name = name.trim().trim_matches('"');
        if rest.split_once('#').is_none_or(|(_, reason)| reason.trim().is_empty()) {
            let what = format!("{name} has no reason - say after a `#` on its line what it is for");
            found.push(Offence::new("Cargo.toml", at + 1, what));
        }
        if section == "dependencies" {
            seen.push(name);
            if !OWNERS.iter().any(|(owned, _)| *owned == name) {
                let what = format!("{name} has no owner - say in tests/house/owners.rs which file may name it");
                found.push(Offence::new("Cargo.toml", at + 1, what));
            }
        }
    }
    let gone = OWNERS.iter().filter(|(owned, _)| !seen.contains(owned));
    found.extend(gone.map(|(owned, _)| {
        let what = format!("{owned} has an owner in tests/house/owners.rs but is no dependency - remove the rule");
        Offence::new("Cargo.toml", 0, what)
    }));
    found
}

#[test]
fn outside_crates_stay_with_their_owners() {
    report(program().flat_map(check).collect());
}

#[test]
fn each_dependency_has_an_owner_and_a_reason() {
    report(paper("Cargo.toml").map_or_else(|missing| missing, |text| check_manifest(&text)));
}

#[cfg(test)]
mod tests {
    use crate::lines_found;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        lines_found(path, text, super::check)
    }

    #[test]
    fn a_stranger_is_found_in_every_form() {
        let text = "use rusqlite::Connection;\nuse {serde::Serialize, rusqlite as db};\nfn f(c: &rusqlite::Row<'_>) {}\n\
                    fn g() { assert!(::rusqlite::ok()); }\nextern crate rusqlite;\nmacro_rules! m { () => { rusqlite::x() } }\n";
        assert_eq!(lines("src/ingest/record.rs", text), [1, 2, 3, 4, 5, 6]);
        assert_eq!(lines("src/store/row.rs", text), []);
    }

    #[test]
    fn the_runtime_stays_behind_the_door() {
        assert_eq!(lines("src/http/reply.rs", "use hyper::Response;\nuse http_body_util::Full;"), [1, 2]);
        assert_eq!(lines("src/http/server.rs", "use hyper::Response;\nuse tokio::net;"), []);
        assert_eq!(lines("src/http/server/guard.rs", "use tokio::net;"), []);
        assert_eq!(lines("src/cli/status.rs", "#[tokio::main]\nasync fn main() {}"), [1]);
    }

    #[test]
    fn a_crate_named_by_nobody_is_found_everywhere() {
        assert_eq!(lines("src/domain/address.rs", "use idna_adapter::x;"), [1]);
    }

    #[test]
    fn a_module_of_our_own_may_share_the_name_of_a_crate() {
        assert_eq!(
            lines("src/http/reply.rs", "mod url;\nuse crate::base::bytes;\nfn f() { url::a(); bytes::b(); }"),
            []
        );
        assert_eq!(lines("src/http/reply.rs", "fn f(bytes: &[u8]) { bytes.len(); }"), []);
    }

    #[test]
    fn tests_read_options_as_text_and_gain_no_other_freedom() {
        let text = "#[test]\nfn f() { toml::from_str(a); rusqlite::open(); }\nfn g() { toml::from_str(a); }";
        assert_eq!(lines("src/http/server.rs", text), [2, 3]);
    }

    #[test]
    fn a_dependency_needs_owner_and_reason() {
        let text =
            "[dependencies]\nserde = \"1\" # shapes\nlog = \"0.4\"\nleftpad = \"1\" # padding\n[lints.rust]\na = 1\n";
        let found = super::check_manifest(text);
        assert_eq!(found.iter().filter(|it| it.line > 0).map(|it| it.line).collect::<Vec<_>>(), [3, 4]);
        assert!(found.iter().any(|it| it.what.starts_with("rusqlite has an owner")));
        let tests = "[dev-dependencies]\ntempfile = \"3\"\n";
        assert!(super::check_manifest(tests).iter().any(|it| it.line == 2 && it.what.contains("reason")));
    }
}
