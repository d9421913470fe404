//! The repository as a whole: names of files and folders, Cargo.toml, Cargo.lock, and what no committed file may hold.
//! Must never judge Rust code. Invariant: what is looked at is what git would commit, new files included.

use std::process::Command;

use crate::{Offence, paper, report, root};

/// Names that say nothing, so everything ends up in them.
const EMPTY_NAMES: [&str; 9] = ["core", "utils", "util", "models", "model", "services", "common", "manager", "helpers"];
const EMPTY_NAME_MISC: &str = "misc";
/// Files whose name is right all the same.
const NAMED_WELL: [&str; 1] = ["tests/it/model.rs"];

/// Folders of absolute paths that exist on one machine only. Put together here, so that this file holds none.
const MACHINE: [&str; 4] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/fa", "rm/")];
/// Hosts of package registries: a build knows them from its package manager alone.
const REGISTRIES: [&str; 4] =
    [concat!("crates", ".io"), concat!("pypi", ".org"), concat!("npm", "js"), concat!("deb.", "debian.org")];
/// Recorded data, kept as it came: addresses of pages in it may look like paths. Files, or folders ending in `/`.
const DATA: [&str; 1] = ["tests/corpus/"];

/// The aim is 140. Of what lies above it, TLS brings 29, half of them for other systems, which are never built here.
const LOCK_PACKAGES_MAX: usize = 185;

/// Files and folders with a name that says nothing.
pub fn check_names(path: &str) -> Vec<Offence> {
    if NAMED_WELL.contains(&path) {
        return Vec::new();
    }
    let stem = |part: &str| part.split('.').next().unwrap_or(part).to_lowercase();
    let empty = |word: &String| word == EMPTY_NAME_MISC || EMPTY_NAMES.contains(&word.as_str());
    let bad = path.split('/').map(stem).find(empty);
    bad.map(|word| Offence::new(path, 0, format!("`{word}` names nothing - name it after what it owns")))
        .into_iter()
        .collect()
}

/// Machine paths and registry hosts in one committed file.
pub fn check_text(path: &str, text: &str) -> Vec<Offence> {
    if DATA.iter().any(|data| path == *data || data.ends_with('/') && path.starts_with(data)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !MACHINE.iter().chain(&REGISTRIES).any(|word| text.contains(word)) {
        return found;
    }
    for (at, line) in text.lines().enumerate() {
        if let Some(folder) = MACHINE.iter().find(|folder| names_folder(line, folder)) {
            let what =
                format!("holds a path below {folder} - write it relative to the repository, or take it as a setting");
            found.push(Offence::new(path, at + 1, what));
        }
        let locked = path == "Cargo.lock" && line.contains("registry+");
        if let Some(host) = REGISTRIES.iter().find(|host| !locked && line.contains(*host)) {
            let what = format!("names the registry host {host} - leave the address to the package manager");
            found.push(Offence::new(path, at + 1, what));
        }
    }
    found
}

/// Whether a line holds `folder` where a path begins: not in the middle of one, as in an address of a page.
fn names_folder(line: &str, folder: &str) -> bool {
    let inside = |before: char| before.is_alphanumeric() || "._-~}$*)".contains(before);
    line.match_indices(folder).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

/// What Cargo.toml must hold.
pub fn check_manifest(text: &str) -> Vec<Offence> {
    let section = |name: &'static str| text.lines().skip_while(move |line| line.trim() != name).skip(1);
    let lints = section("[lints.rust]").take_while(|line| !line.starts_with('['));
    let forbidden =
        lints.map(str::trim).any(|line| line.split('#').next().unwrap_or("").trim() == "unsafe_code = \"forbid\"");
    match forbidden {
        true => Vec::new(),
        false => {
            vec![Offence::new("Cargo.toml", 0, "unsafe code is not forbidden - [lints.rust] unsafe_code = \"forbid\"")]
        }
    }
}

/// The number of packages in a Cargo.lock against its limit.
pub fn check_lock(text: &str) -> Vec<Offence> {
    let packages = text.lines().filter(|line| *line == "[[package]]").count();
    if packages <= LOCK_PACKAGES_MAX {
        return Vec::new();
    }
    let what = format!("{packages} packages, at most {LOCK_PACKAGES_MAX} - drop a dependency or its features");
    vec![Offence::new("Cargo.lock", 0, what)]
}

/// Paths of all files git has or would take, relative to the repository.
fn committed() -> Vec<String> {
    // safe.directory: a clone made by another user is still the clone under test.
    let args = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").args(args).current_dir(root()).output().expect("git is needed to list the files");
    assert!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    let list = String::from_utf8_lossy(&out.stdout).into_owned();
    list.split('\0').filter(|path| !path.is_empty() && root().join(path).is_file()).map(str::to_string).collect()
}

#[test]
fn every_name_says_what_it_holds() {
    let found: Vec<Offence> = committed().iter().flat_map(|path| check_names(path)).collect();
    report(found);
}

#[test]
fn no_committed_file_knows_a_machine_or_a_registry() {
    let check = |path: &String| {
        let bytes = std::fs::read(root().join(path)).expect("a readable file");
        check_text(path, &String::from_utf8_lossy(&bytes))
    };
    report(committed().iter().flat_map(check).collect());
}

#[test]
fn unsafe_code_is_forbidden() {
    report(paper("Cargo.toml").map_or_else(|missing| missing, |text| check_manifest(&text)));
}

#[test]
fn the_lock_file_stays_lean() {
    report(paper("Cargo.lock").map_or_else(|missing| missing, |text| check_lock(&text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found() {
        for path in
            ["src/utils.rs", "src/core/mod.rs", "tests/common/mod.rs", "src/http/misc.rs", "packaging/helpers.sh"]
        {
            assert_eq!(check_names(path).len(), 1, "{path}");
        }
        for path in ["tests/it/model.rs", "src/domain/page.rs", "src/score.rs"] {
            assert_eq!(check_names(path).len(), 0, "{path}");
        }
    }

    #[test]
    fn machine_paths_and_registries_are_found() {
        let lines = |path: &str, text: &str| check_text(path, text).iter().map(|it| it.line).collect::<Vec<_>>();
        for folder in MACHINE {
            assert_eq!(lines("README.md", &format!("one\ncd {folder}main\n")), [2]);
            assert_eq!(lines("a.rs", &format!("x(\"{folder}a\")")), [1]);
            assert_eq!(lines("a.rs", &format!("https://shop.example{folder}offers")), []);
            assert_eq!(lines("tests/corpus/a.json", &format!("\"{folder}a\"")), []);
        }
        for host in REGISTRIES {
            assert_eq!(lines("README.md", &format!("see https://{host}/x")), [1]);
        }
        let lock = format!("source = \"registry+https://x/{}-index\"", REGISTRIES[0]);
        assert_eq!(lines("Cargo.lock", &lock), []);
        assert_eq!(lines("Cargo.toml", &lock), [1]);
    }

    #[test]
    fn a_manifest_that_allows_unsafe_code_is_found() {
        assert_eq!(check_manifest("[lints.rust]\nunsafe_code = \"forbid\"\n").len(), 0);
        assert_eq!(check_manifest("[lints.rust]\n# unsafe_code = \"forbid\"\n").len(), 1);
        assert_eq!(check_manifest("[lints.rust]\nunsafe_code = \"warn\"\n").len(), 1);
        assert_eq!(check_manifest("[lints.rust]\na = 1\n[x]\nunsafe_code = \"forbid\"\n").len(), 1);
    }

    #[test]
    fn a_lock_file_may_hold_185_packages_and_no_more() {
        assert_eq!(check_lock(&"[[package]]\n".repeat(185)).len(), 0);
        let found = check_lock(&"[[package]]\n".repeat(186));
        assert!(found[0].what.starts_with("186 packages"));
    }
}
