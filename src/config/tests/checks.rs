//! Tests of the checks: each finds its case, on the right line, and stays silent beside it.
//! Must never look for wording. Invariant: every case is a text as an operator would write it.

use super::*;

/// Problems of a text that can be read: severity, line, key.
fn seen(text: &str) -> Vec<(Severity, Option<usize>, String)> {
    let problems = load(text).problems;
    assert!(problems.iter().all(|p| !p.what.is_empty() && !p.remedy.is_empty()), "{problems:?}");
    problems.into_iter().map(|p| (p.severity, p.line, p.key)).collect()
}

fn one(text: &str, severity: Severity, line: usize, key: &str) {
    assert_eq!(seen(text), [(severity, Some(line), key.to_owned())], "{text}");
}

fn error(text: &str, line: usize, key: &str) {
    one(text, Severity::Error, line, key);
}

fn warning(text: &str, line: usize, key: &str) {
    one(text, Severity::Warning, line, key);
}

#[test]
fn every_number_has_its_bounds() {
    let mut numbers = Vec::new();
    let mut note = Vec::new();
    keys(&read::shape(), "", &mut note);
    let number_at = |path: &str| {
        let mut value = Value::Table(read::shape());
        for step in path.split('.') {
            let inner = if let Value::Array(all) = &value { all[0].clone() } else { value };
            value = inner.get(step).unwrap().clone();
        }
        value.is_integer()
    };
    numbers.extend(note.into_iter().filter(|key| number_at(key) && !key.ends_with("purposes.bit")));
    let rows = numbers::rows(&read::fullest());
    let mut bounded: Vec<String> = rows.iter().map(|row| row.0.replace("[0]", "")).collect();
    numbers.sort();
    bounded.sort();
    assert_eq!(numbers, bounded);
    for (key, have, least, most) in rows {
        assert!((least..=most).contains(&have), "{key}");
    }
}

#[test]
fn a_number_beyond_its_bounds_is_found() {
    for (text, key) in [
        ("[visits]\nends_after_minutes = 0", "visits.ends_after_minutes"),
        ("[visits]\nidle_after_minutes = 0", "visits.idle_after_minutes"),
        ("[visits]\nnamed_ends_after_hours = 0", "visits.named_ends_after_hours"),
        ("[retention]\nvisits_months = 0", "retention.visits_months"),
        ("[retention]\nrejected_days = 0", "retention.rejected_days"),
        ("[retention]\nresults_days = 0", "retention.results_days"),
        ("[subject]\nassertion_key_file = \"nowhere\"", "subject.assertion_key_file"),
        ("[retention]\nledger_months = 1201", "retention.ledger_months"),
        ("[upkeep]\nrows_per_step = 1001", "upkeep.rows_per_step"),
        ("[forward]\ngzip_level = 10", "forward.gzip_level"),
        ("[store]\nqueue_max = 0", "store.queue_max"),
        ("[door]\nheaders_max = 7", "door.headers_max"),
        ("[ingest.limits]\nurl_bytes_max = 4097", "ingest.limits.url_bytes_max"),
        ("[quota]\ndisk_budget_bytes = 0", "quota.disk_budget_bytes"),
    ] {
        error(text, 2, key);
    }
    for text in ["[upkeep]\nrows_per_step = 1000", "[forward]\ngzip_level = 9", "[forward]\ngzip_level = 0"] {
        assert_eq!(seen(text), []);
    }
    error("[[target]]\n\nkeep_days = 0", 3, "target[0].keep_days");
}

#[test]
fn several_problems_are_all_found() {
    let text = "[visits]\nends_after_minutes = 0\n[retention]\nvisits_months = 0\nledger_months = 0\n\
                [[site]]\ntime_zone = \"Mars\"\nip_filters = [\"x\", \"::1\",\n\"y\"]\n";
    let expected = [
        (2, "visits.ends_after_minutes"),
        (4, "retention.visits_months"),
        (5, "retention.ledger_months"),
        (7, "site[0].time_zone"),
        (8, "site[0].ip_filters[0]"),
        (9, "site[0].ip_filters[1]"),
    ];
    let found = seen(text);
    let errors: Vec<(Option<usize>, &str)> =
        found.iter().filter(|p| p.0 == Severity::Error).map(|p| (p.1, p.2.as_str())).collect();
    let last = (Some(9), "site[0].ip_filters[2]");
    assert_eq!(errors[..5], expected[..5].iter().map(|(l, k)| (Some(*l), *k)).collect::<Vec<_>>());
    assert_eq!(errors[5..], [last]);
}

#[test]
fn the_edge_the_log_and_the_proxies_are_looked_at() {
    error(&format!("[edge]\nlabel = \"{}\"", "é".repeat(65)), 2, "edge.label");
    assert_eq!(seen(&format!("[edge]\nlabel = \"{}\"", "é".repeat(64))), []);
    error("log = \"loud\"", 1, "log");
    error("trusted_proxies = [\n\"10.0.0.0/8\",\n\"proxy\",\n]", 3, "trusted_proxies[1]");
    warning("trusted_proxies = [\"0.0.0.0/0\"]", 1, "trusted_proxies[0]");
    assert_eq!(seen("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]"), []);
}

#[test]
fn a_door_open_to_others_is_looked_at() {
    error("[door]\nlisten = \"8787\"", 2, "door.listen");
    let keys = |text: &str| seen(text).into_iter().map(|(_, line, key)| (line, key)).collect::<Vec<_>>();
    let at = |line: Option<usize>, key: &str| (line, key.to_owned());
    assert_eq!(
        keys("[door]\nlisten = \"0.0.0.0:8787\""),
        [at(None, "site[0].allowed_origins[0]"), at(None, "site[0].debug"), at(Some(2), "door.listen")]
    );
    let named = "[door]\nlisten = \"[::]:8787\"\n[[site]]\nallowed_origins = [\"https://shop.example\"]\n";
    assert_eq!(seen(named), []);
    let both = "[door]\nlisten = \"[::]:8787\"\n[[site]]\nallowed_origins = [\"https://shop.example\", \"loopback\"]\n";
    warning(both, 4, "site[0].allowed_origins[1]");
    warning(&format!("{named}debug = true"), 5, "site[0].debug");
    warning("[door]\nconnections_max = 9\nconnections_per_address_max = 10", 3, "door.connections_per_address_max");
}

#[test]
fn numbers_that_contradict_are_found() {
    warning("[visits]\nidle_after_minutes = 11", 2, "visits.idle_after_minutes");
    warning("[visits]\naway_after_minutes = 21", 2, "visits.away_after_minutes");
    error("[ingest.limits]\ndecoded_bytes_max = 1048575", 2, "ingest.limits.decoded_bytes_max");
    assert_eq!(seen("[ingest.limits]\ndecoded_bytes_max = 1048576"), []);
    error("[door]\nbody_bytes_total_max = 1048575", 2, "door.body_bytes_total_max");
    warning(
        "[ingest.limits]\nattribute_bytes_max = 1048576\nbody_bytes_max = 1048575",
        2,
        "ingest.limits.attribute_bytes_max",
    );
    warning("[store]\nread_connections = 3", 2, "store.read_connections");
    warning("[upkeep]\nstart_quiet_minutes = 9", 2, "upkeep.start_quiet_minutes");
    warning("[retention]\nledger_months = 12", 2, "retention.ledger_months");
    warning("[quota]\ndisk_budget_bytes = 99999999\n[[target]]\nkeep_bytes = 9999999", 2, "quota.disk_budget_bytes");
    warning("[quota]\ndisk_budget_bytes = 100000000\n[[target]]\nkeep_bytes = 100000001", 4, "target[0].keep_bytes");
}

#[test]
fn names_of_sites_are_unique() {
    error("site = []", 1, "site");
    error("[[site]]\nid = \"a b\"", 2, "site[0].id");
    error("[[site]]\nid = \"a\"\n[[site]]\nid = \"a\"", 4, "site[1].id");
    error("[[site]]\nid = \"a\"\n[[site]]\nid = \"b\"\naliases = [\"c\", \"a\"]", 5, "site[1].aliases[1]");
    error("[[site]]\nid = \"a\"\naliases = [\"\"]", 3, "site[0].aliases[0]");
    error("[[site]]\nid = \"a\"\n\n[[site]]\ndebug = false\n[[site]]\n", 6, "site[2].id");
}

#[test]
fn lists_of_sites_are_looked_at_entry_by_entry() {
    for bad in [
        "*",
        "https://shop.example/",
        "shop.example",
        "https://shop.example/app",
        "https://me@shop.example",
        "https://shop.example?x",
        "file:///home",
        "null",
    ] {
        error(
            &format!("[[site]]\nallowed_origins = [\"https://a.example\",\n{bad:?}]"),
            3,
            "site[0].allowed_origins[1]",
        );
    }
    assert_eq!(seen("[[site]]\nallowed_origins = [\"https://Shop.example\", \"HTTPS://shop.example:443\"]"), []);
    error("[[site]]\nip_filters = [\"10.0.0.0/33\"]", 2, "site[0].ip_filters[0]");
    error("[[site]]\ninternal_hosts = [\"https://help.example\"]", 2, "site[0].internal_hosts[0]");
    error("[[site]]\nexcluded_query_parameters = [\"\"]", 2, "site[0].excluded_query_parameters[0]");
    error("[[site]]\nallowed_events = [\"page_viewed\", \" \"]", 2, "site[0].allowed_events[1]");
    error("[[site]]\ntime_zone = \"Europe/Zurick\"", 2, "site[0].time_zone");
    assert_eq!(seen("[[site]]\ntime_zone = \"Europe/Zurich\"\ninternal_hosts = [\"help.example\"]"), []);
}

#[test]
fn purposes_and_their_bases_are_looked_at() {
    let with = |text: &str| format!("[[site]]\n[[site.purposes]]\n{text}");
    error(&with("name = \"measur\""), 3, "site[0].purposes[0].name");
    error(&with("name = \"news\"\nbit = 15"), 4, "site[0].purposes[0].bit");
    error(&with("name = \"measure\"\nbit = 16"), 4, "site[0].purposes[0].bit");
    error(&with("name = \" \"\nbit = 16"), 3, "site[0].purposes[0].name");
    error(&with("name = \"a\"\nbit = 16\n[[site.purposes]]\nname = \"b\"\nbit = 16"), 7, "site[0].purposes[1].bit");
    error(&with("name = \"share\"\n[[site.purposes]]\nname = \"share\""), 5, "site[0].purposes[1].name");
    warning(&with("name = \"measure\"\nbasis = \"contract\""), 4, "site[0].purposes[0].basis");
    let at = "site[0].purposes[0].on_withdrawal";
    warning(&with("name = \"marketing\"\non_withdrawal = \"keep\""), 4, at);
    let lasting = "name = \"measure\"\nassessment = \"a\"\non_withdrawal = \"keep\"\nbasis = \"legal_obligation\"";
    warning(&with(lasting), 5, at);
    error(&with("name = \"personal\"\non_withdrawal = \"anonymise\""), 4, at);
    warning(
        &with("name = \"measure\"\nbasis = \"legitimate_interest\"\nassessment = \" \""),
        4,
        "site[0].purposes[0].basis",
    );
    assert_eq!(seen(&with("name = \"measure\"\nbasis = \"contract\"\nassessment = \"terms, 2026-01-31\"")), []);
    assert_eq!(seen(&with("name = \"news\"\nbit = 31")), []);
}

#[test]
fn personal_data_that_is_not_stored_and_exemptions_are_looked_at() {
    error("[personal]\nstore = \"clear\"", 2, "personal.store");
    warning("[personal]\nstore = \"off\"\n[[site]]\nkeep_ip = \"full\"", 4, "site[0].keep_ip");
    warning("[personal]\nstore = \"off\"\n[[target]]\npersonal = \"include\"", 4, "target[0].personal");
    let exempt = "[[site]]\nwithout_consent = \"consent_exempt\"\n";
    assert_eq!(seen(exempt), []);
    let whole = format!("{exempt}keep_ip = \"full\"");
    assert_eq!(seen(&whole)[0], (Severity::Error, Some(2), "site[0].without_consent".to_owned()));
    let shared = format!("{exempt}[[target]]\nrecipient = \"third_party\"\nrecipient_name = \"Ad Ltd\"");
    assert_eq!(seen(&shared)[0], (Severity::Error, Some(2), "site[0].without_consent".to_owned()));
    warning(&format!("[retention]\nvisits_months = 26\n{exempt}"), 4, "site[0].without_consent");
}

#[test]
fn keys_beside_the_data_and_keys_without_a_copy_are_advised_against() {
    let advised = |text: &str| -> Vec<String> {
        let loaded = super::load(text);
        assert_eq!(loaded.problems, [], "{text}");
        loaded.config.advice(Some(text)).into_iter().map(|p| p.key).filter(|key| key.starts_with("personal")).collect()
    };
    assert_eq!(advised(""), ["personal.root_key_file", "personal.keys_copy"]);
    assert_eq!(advised("[personal]\nroot_key_file = \"/etc/wayside/root.key\""), ["personal.keys_copy"]);
    let inside = "data_dir = \"/d\"\n[personal]\nroot_key_file = \"/d/k\"\nkeys_copy = \"/d/keys.copy\"";
    assert_eq!(advised(inside), ["personal.root_key_file", "personal.keys_copy"]);
    let apart = "[personal]\nroot_key_file = \"/etc/wayside/root.key\"\nkeys_copy = \"/mnt/keys.copy\"";
    assert_eq!(advised(apart), Vec::<String>::new());
    assert_eq!(advised("[personal]\nstore = \"off\""), Vec::<String>::new());
}

#[test]
fn a_proof_that_cannot_be_kept_is_advised_against() {
    let advised = |text: &str| super::load(text).config.advice(Some(text)).iter().any(|p| p.key == "erase.proof_key");
    assert!(advised("") && advised("[erase]\nkeep_proof = \"restricted\""));
    assert!(!advised("[erase]\nkeep_proof = \"none\""));
    let key = "11".repeat(32);
    assert!(!advised(&format!("[erase]\nproof_key = \"{key}\"")));
}

#[test]
fn a_credential_of_the_service_manager_is_the_root_key() {
    let dir = tempfile::tempdir().unwrap();
    let env = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| dir.path().display().to_string());
    let named = || Config::load(None, &env, &Flags::default()).unwrap().config.store_options().keys.root_key_file;
    assert_eq!(named(), None, "there is none of that name");
    std::fs::write(dir.path().join("root.key"), "ab".repeat(32)).unwrap();
    assert_eq!(named(), Some(dir.path().join("root.key")));
}

#[test]
fn targets_have_names_folders_and_recipients() {
    error("[[target]]\nname = \"a/b\"", 2, "target[0].name");
    error("[[target]]\n[[target]]\npath = \"other\"", 2, "target[1].name");
    error("[[target]]\n[[target]]\nname = \"b\"", 2, "target[1].path");
    error("[[target]]\n[[target]]\nname = \"b\"\npath = \"./outbox/b\"", 4, "target[1].path");
    for bad in ["../x", "/elsewhere", ".", "", "a/../../b", "spool/x", "wayside.db", "Lock"] {
        error(&format!("[[target]]\npath = {bad:?}"), 2, "target[0].path");
    }
    let inside = std::path::absolute("wayside-data/out").unwrap();
    assert_eq!(seen(&format!("[[target]]\npath = {inside:?}\n[[target]]\nname = \"b\"\npath = \"./b\"")), []);
    error("[[target]]\nrecipient = \"processor\"", 2, "target[0].recipient");
    warning("[[target]]\nrecipient = \"third_party\"\nrecipient_name = \"Ad Ltd\"", 2, "target[0].recipient");
    assert_eq!(seen("target = []"), []);
}

#[cfg(unix)]
#[test]
fn files_are_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let tokens = |path: &Path| format!("ingest_token_files = [\n{path:?}]");
    assert_eq!(seen(&tokens(&make("good", "0123456789abcdef\n", 0o640))), []);
    let key = "ingest_token_files[0]";
    error(&tokens(&make("short", "0123456789abcde\n", 0o600)), 2, key);
    error(&tokens(&make("two", "0123456789abcdef\n0123456789abcdef\n", 0o600)), 2, key);
    error(&tokens(&make("long", &"a".repeat(4_097), 0o600)), 2, key);
    error(&tokens(&dir.path().join("none")), 2, key);
    error(&tokens(dir.path()), 2, key);
    warning(&tokens(&make("open", "0123456789abcdef", 0o644)), 2, key);
    warning("[[site]]\nconsent_source = \"sender\"", 2, "site[0].consent_source");
    let sender = format!("{}\n[[site]]\nconsent_source = \"sender\"", tokens(&dir.path().join("good")));
    assert_eq!(seen(&sender), []);
    error("geoip_file = \"no-such-file.mmdb\"", 1, "geoip_file");
    error(&format!("geoip_file = {:?}", dir.path()), 1, "geoip_file");
    assert_eq!(seen(&format!("geoip_file = {:?}", dir.path().join("good"))), []);
    error(&format!("data_dir = {:?}", dir.path().join("good")), 1, "data_dir");
    error("data_dir = \"\"", 1, "data_dir");
}

#[test]
fn check_finds_lines_by_the_text_it_is_given() {
    let config = Config { log: "loud".to_owned(), ..Config::default() };
    assert_eq!(found(&config.check(None)), [(Severity::Error, None, "log")]);
    assert_eq!(found(&config.check(Some("\nlog = \"loud\""))), [(Severity::Error, Some(2), "log")]);
}

#[test]
fn a_target_that_is_pushed_to_is_looked_at_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(&token, private(0o600)).unwrap();
    let key = dir.path().join("client.key");
    std::fs::copy(tls("client.key"), &key).unwrap();
    std::fs::set_permissions(&key, private(0o600)).unwrap();
    let target = |rest: String| format!("[[target]]\nkind = \"http\"\n{rest}");
    let there =
        |more: String| target(format!("url = \"https://centre.example\"\nca_file = {:?}\n{more}", tls("ca.pem")));
    let pair = format!("client_cert_file = {:?}\nclient_key_file = {key:?}\n", tls("client.pem"));
    assert_eq!(seen(&there(format!("token_file = {token:?}\n{pair}receiver_key = \"{}\"", "0a".repeat(32)))), []);
    one(&target(String::new()), Severity::Error, 1, "target[0].url");
    for url in ["centre.example", "ftp://centre.example", "http://centre.example", "https://", ""] {
        error(&target(format!("url = {url:?}")), 3, "target[0].url");
    }
    assert_eq!(seen(&target("url = \"http://127.0.0.1:8787\"".to_owned())), [], "this machine");
    assert_eq!(seen(&target("url = \"http://centre.example\"\nplain = true".to_owned())), [], "told to");
    error(&target(format!("url = \"https://centre.example\"\nca_file = {token:?}")), 4, "target[0].ca_file");
    error(&there("token_file = \"nowhere\"".to_owned()), 5, "target[0].token_file");
    error(&there("proxy = \"://\"".to_owned()), 5, "target[0].proxy");
    error(&there("receiver_key = \"abc\"".to_owned()), 5, "target[0].receiver_key");
    error(&there("answer_seconds = 30".to_owned()), 5, "target[0].answer_seconds");
    error(&there(format!("client_cert_file = {:?}", tls("client.pem"))), 5, "target[0].client_cert_file");
    let mixed = format!("client_key_file = {key:?}\nclient_cert_file = {:?}", tls("server.pem"));
    error(&there(mixed), 6, "target[0].client_cert_file");
    std::fs::set_permissions(&token, private(0o644)).unwrap();
    warning(&there(format!("token_file = {token:?}")), 5, "target[0].token_file");
    warning("[[target]]\nurl = \"https://centre.example\"", 2, "target[0].url");
}

fn tls(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/tls")).join(name)
}
