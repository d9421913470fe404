//! The spool folder: each file once, whatever happens between its commit and its removal; bad lines kept apart, masked.
//! Must never look at what events become. Invariant: no line is lost, none is taken twice.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::*;
use crate::base::error::Kind;
use crate::base::time::Clock;
use crate::domain::consent::{Purposes, Refusal};
use crate::domain::site::SiteOptions;
use crate::ingest::spool::Spooled;

fn folder(world: &World) -> PathBuf {
    crate::ingest::spool::prepare(&world.config.data_dir).unwrap()
}

/// Puts a file into the spool as its writers should: beside it first, then by its name.
fn put(world: &World, name: &str, lines: &[Value]) -> PathBuf {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    put_text(world, name, &text)
}

fn put_text(world: &World, name: &str, text: &str) -> PathBuf {
    let (part, path) = (world.config.data_dir.join("part"), folder(world).join(name));
    std::fs::write(&part, text).unwrap();
    std::fs::rename(part, &path).unwrap();
    path
}

fn take(world: &World, path: &Path) -> Spooled {
    world.ingest().take_spool_file(path, world.clock.now()).unwrap()
}

/// The rejected lines of every file, in the order of their names.
fn rejected(world: &World) -> Vec<Value> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder(world).join("rejected")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>();
    texts.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_is_taken_once_in_order_and_removed() {
    let world = World::new();
    let give = json!({"visitor": "a", "action": "give", "purposes": ["measure"]});
    let no = json!({"visitor": "a", "action": "withdraw"});
    put(&world, "b.ndjson", &[page("a", "/1"), give, page("a", "/2"), no, page("a", "/3")]);
    put(&world, "a.ndjson", &[page("b", "/")]);
    put(&world, ".hidden", &[page("c", "/")]);
    std::fs::create_dir(folder(&world).join("folder")).unwrap();
    assert_eq!(world.ingest().take_spool(world.clock.now()).unwrap(), 2);
    assert_eq!(world.totals(), (1, 3), "decision lines count, in file order");
    let left: Vec<_> = std::fs::read_dir(folder(&world)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "hidden file, folder, rejected: {left:?}");
    assert_eq!(world.ingest().take_spool(world.clock.now()).unwrap(), 0);
    assert_eq!(world.visitor("a").unwrap().standing.denied, Purposes::ALL);
}

#[test]
fn a_crash_between_commit_and_removal_doubles_nothing() {
    let mut world = World::measuring();
    // lines without ids: nothing but the record of the file can tell that they were taken
    let lines: Vec<Value> = (0..1_200).map(|n| page("a", &format!("/{n}"))).collect();
    let path = put(&world, "kiosk.ndjson", &lines);
    let first = take(&world, &path);
    assert_eq!(first, Spooled { lines: 1_200, taken_before: 0, rejected: 0 });
    assert!(!path.exists());
    for _ in 0..2 {
        world.reopen();
        let path = put(&world, "kiosk.ndjson", &lines);
        assert_eq!(take(&world, &path), Spooled { taken_before: 1_200, ..first.clone() });
        assert!(!path.exists());
    }
    assert_eq!(world.totals(), (1_200, 0));
    // the same name with other content is another file
    let path = put(&world, "kiosk.ndjson", &lines[..3]);
    assert_eq!(take(&world, &path).taken_before, 0);
    assert_eq!(world.totals(), (1_203, 0));
}

#[test]
fn a_crash_within_a_file_goes_on_where_the_last_commit_was() {
    let world = World::measuring();
    let lines: Vec<Value> = (0..700).map(|n| page("a", &format!("/{n}"))).collect();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    // as a stop after the first of two commits leaves it
    let digest = crate::base::digest::sha256(text.as_bytes());
    world.write(move |tx| crate::store::imports::set_spooled(tx, "k.ndjson", &digest, 500));
    let path = put_text(&world, "k.ndjson", &text);
    assert_eq!(take(&world, &path), Spooled { lines: 700, taken_before: 500, rejected: 0 });
    assert_eq!(world.totals(), (200, 0));
}

#[test]
fn bad_lines_are_kept_with_their_number_and_reason_and_without_their_values() {
    let world = World::measuring();
    let bad = json!({"visitor": "secret-visitor", "name": "bad name", "attributes": {"mail": "m@example", "n": 7}});
    let text =
        format!("\n{}\n\nnot json secret\n{bad}\n{}\n", page("a", "/"), json!({"visitor": "x", "action": "give"}));
    let path = put_text(&world, "k.ndjson", &text);
    assert_eq!(take(&world, &path), Spooled { lines: 4, taken_before: 0, rejected: 3 });
    let lines = rejected(&world);
    assert_eq!(lines.iter().map(|l| l["line"].as_i64().unwrap()).collect::<Vec<_>>(), [4, 5, 6], "numbers of the file");
    assert_eq!(lines[1]["field"], "name");
    assert!(!lines[2]["what"].as_str().unwrap().is_empty());
    assert_eq!(lines[1]["shape"]["attributes"], json!({"mail": "<string>", "n": "<number>"}));
    let text = format!("{lines:?}");
    assert!(!text.contains("secret") && !text.contains("m@example"), "{text}");
    assert_eq!(world.totals(), (1, 0));
}

#[test]
fn another_file_of_the_same_name_does_not_write_over_what_was_rejected() {
    let world = World::measuring();
    for n in [1, 2] {
        let path = put(&world, "k.ndjson", &[json!({"visitor": "a", "name": format!("bad {n}")})]);
        take(&world, &path);
    }
    assert_eq!(rejected(&world).len(), 2);
    let path = put(&world, "k.ndjson", &[json!({"visitor": "a", "name": "bad 2"})]);
    take(&world, &path);
    assert_eq!(rejected(&world).len(), 2, "the same file again is the same record");
}

#[test]
fn the_site_stands_in_the_name() {
    let world = World::with(|config| {
        for name in ["shop", "blog"] {
            config.sites.push(SiteOptions { id: name.to_owned(), ..config.sites[0].clone() });
        }
        config.sites.remove(0);
        config.sites[1].aliases = vec!["journal".to_owned()];
        config.sites.iter_mut().for_each(|site| site.purposes = vec![purpose("measure", "contract")]);
    });
    for name in ["shop@1.ndjson", "journal@2.ndjson"] {
        take(&world, &put(&world, name, &[page("a", "/")]));
    }
    let sites: Vec<i64> = world.ingest().seats().iter().map(|seat| seat.id).collect();
    let key = crate::base::id::ClientId::new("a");
    for site in sites {
        let found = world.store().read(|tx| crate::store::visitors::find(tx, site, &key)).unwrap();
        assert_eq!(found.unwrap().event_count, 1);
    }
    for name in ["nowhere@1.ndjson", "unnamed.ndjson"] {
        let path = put(&world, name, &[page("a", "/")]);
        let error = world.ingest().take_spool_file(&path, world.clock.now()).unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Invalid, "unknown_site"));
        assert!(path.exists(), "it stays for whoever mends the configuration");
    }
    assert_eq!(world.ingest().take_spool(world.clock.now()).unwrap(), 0);
}

#[test]
fn a_file_that_is_too_long_stays_whole() {
    let world = World::with(|config| config.ingest.spool.file_bytes_max = 200);
    let text = format!("{}\n", page("a", "/"));
    let fits = put_text(&world, "fits", &format!("{text}{}", " ".repeat(200 - text.len())));
    assert_eq!(take(&world, &fits).lines, 1);
    let path = put_text(&world, "long", &format!("{text}{}", " ".repeat(201 - text.len())));
    assert_eq!(world.ingest().take_spool_file(&path, START).unwrap_err().code, "too_large");
    assert!(path.exists());
}

#[test]
fn while_the_budget_is_used_up_files_wait_and_decisions_do_not() {
    let world = World::measuring();
    world.store().set_pressure(95);
    let waits = put(&world, "a.ndjson", &[page("a", "/")]);
    assert_eq!(world.ingest().take_spool(START).unwrap(), 0);
    assert!(waits.exists());
    let no = put(&world, "0.ndjson", &[json!({"visitor": "a", "action": "withdraw"})]);
    assert_eq!(world.ingest().take_spool(START).unwrap(), 1);
    assert!(!no.exists() && waits.exists());
    world.store().set_pressure(50);
    assert_eq!(world.ingest().take_spool(START).unwrap(), 1);
    assert_eq!(world.send(page("a", "/")).refusal, Some(Refusal::Denied));
    assert_eq!(world.totals(), (0, 2));
}

#[test]
fn ids_guard_lines_that_came_another_way_too() {
    let world = World::measuring();
    world.send(id(page("a", "/"), "1"));
    let path = put(&world, "k", &[id(page("a", "/"), "1"), id(page("a", "/2"), "2"), id(page("a", "/2"), "2")]);
    assert_eq!(take(&world, &path).rejected, 0);
    assert_eq!(world.totals(), (2, 0));
}

#[test]
fn a_file_of_known_name_and_content_is_counted_and_not_taken_again() {
    let world = World::measuring();
    let repeated = || {
        let all = world.store().read(crate::store::tallies::all).unwrap();
        all.into_iter().find(|(name, _)| name == "spool.repeated_files").map_or(0, |(_, n)| n)
    };
    take(&world, &put(&world, "a.ndjson", &[page("a", "/")]));
    assert_eq!((world.totals().0, repeated()), (1, 0));
    let again = take(&world, &put(&world, "a.ndjson", &[page("a", "/")]));
    assert_eq!((again.lines, again.taken_before), (1, 1));
    assert_eq!((world.totals().0, repeated()), (1, 1), "said, where an operator looks");
    take(&world, &put(&world, "b.ndjson", &[page("a", "/")]));
    take(&world, &put(&world, "a.ndjson", &[page("a", "/2")]));
    assert_eq!((world.totals().0, repeated()), (3, 1), "another name, or another content, is another file");
}
