//! Floors: base, domain, store, the work folders, the doors (http, cli), the daemon. Imports point downward only.
//! Must never judge outside crates (`owners` does). Invariant: a folder without a floor is itself an offence.

use crate::Offence;
use crate::source::{Name, Source};

/// Floor 3: each does one kind of work and knows no sibling.
const WORK: [&str; 10] =
    ["ingest", "consent", "subject", "erasure", "history", "records", "engage", "forward", "upkeep", "tokens"];

/// What the pure floor of rules never touches: the world outside its arguments.
/// Addresses are values; sockets are not.
const WORLD: [&[&str]; 9] = [
    &["std", "fs"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "os"],
];

fn floor_of(folder: &str) -> Option<u8> {
    match folder {
        "base" => Some(0),
        "domain" => Some(1),
        "store" => Some(2),
        "http" | "cli" => Some(4),
        "main" | "lib" | "daemon" | "config" => Some(5),
        _ => WORK.contains(&folder).then_some(3),
    }
}

/// `src/http/reply.rs` -> `http`, `src/tokens.rs` -> `tokens`.
fn folder_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// Imports of one file that do not point downward.
pub fn check(source: &Source) -> Vec<Offence> {
    let own = folder_of(&source.path);
    let Some(floor) = floor_of(own) else {
        let what = format!("`{own}` stands on no floor - give it one in tests/house/floors.rs, or move the file");
        return vec![Offence::new(&source.path, 1, what)];
    };
    let wrong = |name: &Name| {
        let what = if name.starts_with(&["crate"]) || name.starts_with(&["wayside"]) {
            import_wrong(own, floor, name)?
        } else if own == "domain" && !name.test && WORLD.iter().any(|it| name.starts_with(it)) {
            "domain does no I/O and asks nothing of the system - take what is needed as an argument".to_string()
        } else {
            return None;
        };
        Some(Offence::new(&source.path, name.line, format!("`{}`: {what}", name.text())))
    };
    source.names.iter().filter_map(wrong).collect()
}

/// What is wrong with a path into this crate, if anything.
fn import_wrong(own: &str, floor: u8, name: &Name) -> Option<String> {
    if floor == 5 {
        return None;
    }
    if name.words[0] == "wayside" {
        return Some("the crate names itself from outside - write crate::...".to_string());
    }
    let other = match name.words.get(1).map(String::as_str) {
        None | Some("*") => return Some("takes the whole crate by one name - name the folder".to_string()),
        Some(other) => other,
    };
    if other == own {
        return None;
    }
    let Some(below) = floor_of(other) else {
        return Some(format!("`{other}` stands on no floor - name the item through the folder that owns it"));
    };
    if below > floor {
        return Some(format!(
            "{own} (floor {floor}) may not look up to {other} (floor {below}) - hand it in from above"
        ));
    }
    if floor == 3 && below == 3 {
        return Some(format!("{own} may not know its sibling {other} - share a type in domain or a table in store"));
    }
    match (own, other) {
        ("http", "cli") => Some("the door may not know the commands - move what is shared below both".to_string()),
        ("http" | "cli", "store") if !name.test => {
            Some(format!("{own} may not know the store - let a folder on floor 3 do it"))
        }
        _ => None,
    }
}

#[test]
fn imports_point_downward() {
    crate::report(crate::program().flat_map(check).collect());
}

#[cfg(test)]
mod tests {
    use crate::lines_found;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        lines_found(path, text, super::check)
    }

    #[test]
    fn looking_up_is_found_in_every_form() {
        let text = "use crate::base::id;\nuse crate::{base, http::{self, reply}};\nuse super::super::daemon;\n\
                    fn f() -> crate::forward::Target { crate::config::load(); }\n\
                    fn g() { log!(\"{}\", crate::cli::run()); }\n#[serde(with = \"crate::ingest::at\")]\nstruct S;\n";
        assert_eq!(lines("src/store/row.rs", text), [2, 2, 3, 4, 4, 5, 6]);
    }

    #[test]
    fn siblings_are_strangers() {
        assert_eq!(lines("src/ingest/record.rs", "use crate::consent::give;\nuse crate::store::Store;"), [1]);
        assert_eq!(lines("src/tokens.rs", "use super::ingest::accept;\nuse self::ingest::x;"), [1]);
    }

    #[test]
    fn doors_see_work_and_never_the_store() {
        let text = "use crate::ingest::accept;\nuse crate::store::Store;\nuse crate::cli::table;\n";
        assert_eq!(lines("src/http/events.rs", text), [2, 3]);
        assert_eq!(lines("src/cli/status.rs", "use crate::http::router;\nuse crate::store::Store;"), [2]);
        assert_eq!(lines("src/http/events.rs", "#[cfg(test)]\nmod tests { use crate::store::Store; }"), []);
    }

    #[test]
    fn the_top_floor_sees_all() {
        assert_eq!(lines("src/daemon.rs", "use crate::{http, store};"), []);
        assert_eq!(lines("src/daemon/stop.rs", "use crate::{http, store};"), []);
    }

    #[test]
    fn side_doors_are_closed() {
        assert_eq!(
            lines("src/domain/page.rs", "use crate as all;\nuse crate::*;\nuse wayside::store::Store;"),
            [1, 2, 3]
        );
        assert_eq!(lines("src/domain/page.rs", "use crate::Store;"), [1]);
        assert_eq!(lines("src/helpers.rs", "fn f() {}"), [1]);
    }

    #[test]
    fn domain_asks_nothing_of_the_system() {
        assert_eq!(lines("src/domain/page.rs", "use std::fmt;\nfn f() { std::fs::read(\"a\"); }"), [2]);
    }
}
