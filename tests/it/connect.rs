//! `packaging/doc/connect.md` and `relay.md`, run as they are printed, on free ports. Must never help the page along otherwise.

use std::net::TcpListener;
use std::path::Path;

use crate::load::python;
use crate::prove;

const RELAY: &str = include_str!("../../packaging/doc/relay.md");
const PAGE: &str = include_str!("../../packaging/doc/connect.md");

/// Ports nobody listens on now.
fn free(count: usize) -> Vec<String> {
    let all: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    all.iter().map(|one| one.local_addr().unwrap().to_string()).collect()
}

#[test]
fn the_page_does_what_it_says() {
    let addresses = free(2);
    let load = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/load").display().to_string();
    let mut settings =
        vec![("BRANCH", addresses[0].as_str()), ("CENTRE", addresses[1].as_str()), ("LOAD", load.as_str())];
    let python = python("duckdb").map(|python| python.display().to_string());
    settings.extend(python.as_deref().map(|python| ("PYTHON", python)));
    let without = python.is_none().then(|| without_duckdb(PAGE));
    prove::page_holds("connect.md", without.as_deref().unwrap_or(PAGE), &settings);
}

/// The page where there is no DuckDB; lines keep their numbers.
fn without_duckdb(page: &str) -> String {
    let (before, rest) = page.split_once("<!-- with duckdb -->").expect("the part is marked");
    let (part, behind) = rest.split_once("<!-- as it is everywhere -->").expect("its end too");
    format!("{before}{}{behind}", "\n".repeat(part.matches('\n').count()))
}

#[test]
fn the_page_about_relays_does_what_it_says() {
    let addresses = free(3);
    let names = ["BRANCH", "REGION", "CENTRE"];
    let settings: Vec<(&str, &str)> = names.into_iter().zip(addresses.iter().map(String::as_str)).collect();
    prove::page_holds("relay.md", RELAY, &settings);
    for words in ["--relay", "onward", "edge revoke", "edge list --day", "--site"] {
        assert!(RELAY.contains(words), "{words} is not shown");
    }
}

#[test]
fn the_page_shows_every_way_that_was_promised() {
    for words in [
        "wayside pull",
        "crontab",
        "%header{wayside-manifest}",
        "wayside batch cat",
        "/v1/acks",
        "load_duckdb.py",
        "edge code",
        "wayside --config branch.toml --data-dir branch join",
        "reconcile",
        "carry.md",
    ] {
        assert!(PAGE.contains(words), "{words} is not shown");
    }
}
