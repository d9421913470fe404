//! Tests of the configuration as a whole: defaults, the example file, where a value comes from, what cannot be read.
//! Must never depend on the machine's environment. Invariant: `EXAMPLE` is the committed file.

mod carried;
mod checks;
mod walls;

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::*;

const EXAMPLE: &str = include_str!("../../../config.example.toml");

/// Loads a text from a file.
fn load(text: &str) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wayside.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), &|_| None, &Flags::default()).unwrap()
}

/// Severity, line and key of each problem.
fn found(problems: &[Problem]) -> Vec<(Severity, Option<usize>, &str)> {
    problems.iter().map(|p| (p.severity, p.line, p.key.as_str())).collect()
}

fn error(line: usize, key: &str) -> (Severity, Option<usize>, &str) {
    (Severity::Error, Some(line), key)
}

/// Every key of a table and of the tables in it.
fn keys(table: &Table, path: &str, out: &mut Vec<String>) {
    for (key, value) in table {
        let own = findings::join(path, key);
        match value {
            Value::Table(inner) => keys(inner, &own, out),
            Value::Array(all) => all.iter().filter_map(Value::as_table).for_each(|inner| keys(inner, &own, out)),
            _ => {}
        }
        out.push(own);
    }
}

/// The example with its commented keys in force.
fn uncommented() -> String {
    let is_key = |line: &str| {
        let name = line.split_once(" = ").map_or("", |(name, _)| name);
        line.starts_with("[[") || !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let lines = EXAMPLE.lines().filter(|line| *line != "purposes = []");
    let strip = |line: &'static str| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line);
    lines.map(strip).collect::<Vec<_>>().join("\n")
}

#[test]
fn no_file_an_empty_file_and_the_example_mean_the_same() {
    let none = Config::load(None, &|_| None, &Flags::default()).unwrap();
    assert_eq!((none.config, none.problems, none.file), (Config::default(), Vec::new(), None));
    assert_eq!(load("").config, Config::default());
    let example = load(EXAMPLE);
    assert_eq!(example.problems, []);
    assert_eq!(example.config, Config::default());
}

#[test]
fn the_example_documents_every_key() {
    let mut known = Vec::new();
    keys(&read::shape(), "", &mut known);
    let mut documented = Vec::new();
    keys(&toml::from_str(&uncommented()).unwrap(), "", &mut documented);
    known.sort();
    documented.sort();
    assert_eq!(known, documented);
    let mut said = String::new();
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let name = bare.split(" = ").next().unwrap();
        let last = |known: &String| known.rsplit('.').next() == Some(name);
        if bare.contains(" = ") && known.iter().any(last) {
            assert!(said.contains("Default") || name == "name" && !said.is_empty(), "{line}: no default is told");
            said.clear();
        } else if let Some(comment) = line.strip_prefix("#") {
            said.push_str(comment);
        } else if line.starts_with('[') {
            said.clear();
        }
    }
}

#[test]
fn the_commented_keys_of_the_example_work() {
    let loaded = load(&uncommented());
    let errors: Vec<&Problem> = loaded.problems.iter().filter(|p| p.severity == Severity::Error).collect();
    assert!(
        errors.iter().all(|p| p.key == "geoip_file" || p.key.ends_with("key_file") || p.key == "door.tls_cert_file"),
        "{errors:?}"
    );
    assert_eq!(loaded.config.sites[0].purposes[0].bit, Some(16));
    assert_eq!(loaded.config.quota.disk_budget_bytes, Some(10_000_000_000));
}

#[test]
fn the_effective_configuration_reads_back() {
    for config in [Config::default(), read::fullest()] {
        assert_eq!(toml::from_str::<Config>(&config.effective()).unwrap(), config);
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let odd = PathBuf::from(std::ffi::OsStr::from_bytes(b"a\xff"));
        assert!(Config { data_dir: odd, ..Config::default() }.effective().contains("data_dir = \"a"));
    }
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wayside.toml");
    std::fs::write(&file, "data_dir = \"of-file\"\nlog = \"warn\"\n[door]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let named = file.to_str().unwrap().to_owned();
    let file_env = |name: &str| (name == "WAYSIDE_CONFIG").then(|| named.clone());
    let full_env = |name: &str| match name {
        "WAYSIDE_DATA_DIR" => Some("of-env".to_owned()),
        "WAYSIDE_LOG" => Some("debug".to_owned()),
        "WAYSIDE_LISTEN" => Some("127.0.0.1:2".to_owned()),
        _ => file_env(name),
    };
    let flags = Flags { data_dir: Some(PathBuf::from("of-flag")), log: Some("trace".to_owned()) };
    let got = |file: Option<&Path>, env: &dyn Fn(&str) -> Option<String>, flags: &Flags| {
        let config = Config::load(file, env, flags).unwrap().usable().unwrap();
        (config.data_dir.to_str().unwrap().to_owned(), config.log, config.door.listen)
    };
    let told = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(got(None, &|_| None, &Flags::default()), told("wayside-data", "info", "127.0.0.1:8787"));
    assert_eq!(got(None, &|_| Some(" ".to_owned()), &Flags::default()), told("wayside-data", "info", "127.0.0.1:8787"));
    assert_eq!(got(None, &file_env, &Flags::default()), told("of-file", "warn", "127.0.0.1:1"));
    assert_eq!(got(None, &full_env, &Flags::default()), told("of-env", "debug", "127.0.0.1:2"));
    assert_eq!(got(None, &full_env, &flags), told("of-flag", "trace", "127.0.0.1:2"));
    let other = dir.path().join("other.toml");
    std::fs::write(&other, "log = \"error\"").unwrap();
    assert_eq!(got(Some(&other), &file_env, &Flags::default()).1, "error");
}

#[test]
fn a_value_from_above_the_file_is_not_blamed_on_it() {
    let env = |name: &str| (name == "WAYSIDE_LISTEN").then(|| "8787".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wayside.toml");
    std::fs::write(&file, "log = \"info\"\n[door]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let flags = Flags { log: Some("loud".to_owned()), ..Flags::default() };
    let problems = Config::load(Some(&file), &env, &flags).unwrap().problems;
    assert_eq!(found(&problems), [(Severity::Error, None, "log"), (Severity::Error, None, "door.listen")]);
    assert!(problems[0].what.ends_with("(from --log)") && problems[1].what.ends_with("(from WAYSIDE_LISTEN)"));
}

#[test]
fn every_unknown_key_is_named_with_what_was_meant() {
    let text = "data_dri = \"x\"\ngzip_level = 3\n[dor]\nlisten = \"x\"\n[door]\nlisten = \"127.0.0.1:0\"\nread_thread = 1\n\
                [ingest.limits]\nblue = 1\n[[site]]\nid = \"a\"\norigins = []\n[[site]]\nid = \"b\"\ntimezone = \"UTC\"\n\
                [[site.purposes]]\nname = \"measure\"\nbase = \"contract\"\n";
    let problems = load(text).problems;
    let expected = [
        (1, "data_dri", "did you mean `data_dir`?"),
        (2, "gzip_level", "it belongs under [forward]"),
        (3, "dor", "did you mean `door`?"),
        (7, "door.read_thread", "did you mean `read_threads`?"),
        (9, "ingest.limits.blue", "known here: attribute_bytes_max, attributes_max, body_bytes_max"),
        (12, "site[0].origins", "known here: aliases, allowed_events"),
        (15, "site[1].timezone", "did you mean `time_zone`?"),
        (18, "site[1].purposes[0].base", "did you mean `basis`?"),
    ];
    assert_eq!(found(&problems), expected.map(|(line, key, _)| error(line, key)));
    for (problem, (_, key, remedy)) in problems.iter().zip(expected) {
        assert!(problem.remedy.starts_with(remedy), "{key}: {}", problem.remedy);
    }
    let lonely = load("recipient = \"own\"\n").problems;
    assert_eq!(lonely[0].remedy, "it belongs under [[target]]");
    assert_eq!(load("[door]\nlog = \"info\"\n").problems[0].remedy, "it belongs above the first [table]");
}

#[test]
fn every_wrong_type_and_word_is_named_with_how_to_write_it() {
    let text = "log = 3\ntrusted_proxies = [\"::1\", 7]\n[door]\nheaders_max = \"many\"\nread_threads = -1\n\
                [quota]\nwhen_full = \"explode\"\n[edge]\npin = 1\n[[site]]\nid = \"a\"\nip_filters = \"::1\"\n\
                [[site.purposes]]\nbit = 16\n[[target]]\nkeep_days = 99999999999\nrequired = false\n";
    let loaded = load(text);
    let keys = [
        error(1, "log"),
        error(2, "trusted_proxies[1]"),
        error(4, "door.headers_max"),
        error(5, "door.read_threads"),
        error(7, "quota.when_full"),
        error(9, "edge.pin"),
        error(12, "site[0].ip_filters"),
        error(13, "site[0].purposes[0]"),
        error(16, "target[0].keep_days"),
    ];
    assert_eq!(found(&loaded.problems), keys);
    assert_eq!(loaded.problems[2].remedy, "write it like `headers_max = 64`");
    assert!(loaded.problems[4].what.contains("`refuse` or `drop_fine`"), "{}", loaded.problems[4]);
    assert!(loaded.problems[7].what.contains("`name`"), "{}", loaded.problems[7]);
    // What can be read still counts.
    assert!(!loaded.config.targets[0].required && loaded.config.trusted_proxies == ["::1"]);
    assert_eq!(loaded.config.quota, QuotaOptions::default());
}

#[test]
fn tables_in_the_wrong_form_are_named() {
    let problems = load("door = 3\n[site]\nid = \"a\"\n").problems;
    assert_eq!(found(&problems), [error(1, "door"), error(2, "site")]);
    assert_eq!(problems[0].remedy, "write a table: [door]");
    assert_eq!(problems[1].remedy, "write tables: [[site]]");
}

#[test]
fn text_that_is_no_toml_is_named_by_line() {
    let problems = load("log = \"info\"\nlog = \"warn\"\n[door\nlisten = 1\n[edge]\nlabel = \"x\n").problems;
    let lines: Vec<Option<usize>> = problems.iter().map(|p| p.line).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(6)]);
    assert!(problems.iter().all(|p| p.severity == Severity::Error && !p.what.is_empty()));
    assert_eq!(load("log = \"info\"\nlog = \"warn\"\n").config, Config::default());
}

#[test]
fn errors_forbid_a_start_and_warnings_do_not() {
    let refused = load("lg = 1\n[edge]\npni = true\n").usable().unwrap_err();
    assert_eq!(refused.kind, crate::base::error::Kind::Config);
    assert!(refused.what.contains("line 1, lg: ") && refused.what.contains("line 3, edge.pni: "), "{refused}");
    let loaded = load("[personal]\nstore = \"off\"\n[[site]]\nkeep_ip = \"full\"\n");
    assert_eq!(loaded.problems.len(), 1);
    assert!(loaded.usable().is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let load = |file: &Path| Config::load(Some(file), &|_| None, &Flags::default()).unwrap_err();
    assert_eq!(load(&dir.path().join("none.toml")).code, "config_file");
    let file = dir.path().join("wayside.toml");
    std::fs::write(&file, b"log = \"info\"\nlog = \"\xff\"").unwrap();
    assert!(load(&file).what.contains("line 2 is not UTF-8"));
    std::fs::write(&file, "#".repeat(1_048_577)).unwrap();
    assert!(load(&file).what.contains("at most 1048576"));
    std::fs::write(&file, "#".repeat(1_048_576)).unwrap();
    assert!(Config::load(Some(&file), &|_| None, &Flags::default()).is_ok());
}

#[test]
fn a_problem_is_one_line_that_cannot_steer_a_terminal() {
    let problems = load("\"a\\u001b[2J\" = 1\n").problems;
    let text = problems[0].to_string();
    assert!(text.starts_with("error: line 1, ") && !text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn the_store_gets_its_part() {
    let mut config = Config::default();
    let built_in = StoreOptions::at("wayside-data");
    assert_eq!(format!("{:?}", config.store_options()), format!("{built_in:?}"));
    config.edge.pin = true;
    config.store.read_connections = 7;
    assert!(config.store_options().pin && config.store_options().readers == 7);
}
