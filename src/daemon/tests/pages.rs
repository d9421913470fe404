//! Pages and screens: entered, left, and how long they were open.
//! Must never test visits. Invariant: a visit's counts are its rows.

use serde_json::{Value, json};

use super::support::*;
use crate::base::time::MINUTE_MS;
use crate::domain::event::Fate;

fn enter(path: &str) -> Value {
    json!({"visitor": "a", "name": "PageEntered", "url": format!("https://shop.example{path}"), "title": path})
}

fn exit(path: &str) -> Value {
    json!({"visitor": "a", "name": "PageExited", "url": format!("https://shop.example{path}")})
}

/// Address and minutes open, in the order of entering.
fn dwells(world: &World) -> Vec<(String, Option<i64>)> {
    let pages = world.pages(&world.visit("a"));
    pages.iter().map(|p| (p.title.clone().unwrap(), p.dwell_ms.map(|ms| ms / MINUTE_MS))).collect()
}

fn told(rows: &[(&str, Option<i64>)]) -> Vec<(String, Option<i64>)> {
    rows.iter().map(|(title, dwell)| ((*title).to_owned(), *dwell)).collect()
}

#[test]
fn the_same_page_twice_is_two_rows_and_the_first_is_closed() {
    for reopens in [false, true] {
        let mut world = World::measuring();
        for (minutes, event) in [(0, enter("/a")), (3, exit("/a")), (5, enter("/a"))] {
            assert_eq!(world.send_at(minutes, event).fate, Fate::Accepted);
            if reopens {
                world.reopen();
            }
        }
        assert_eq!(dwells(&world), told(&[("/a", Some(3)), ("/a", None)]));
        assert_eq!(world.visit("a").page_count, 2);
    }
}

#[test]
fn entering_the_next_page_leaves_the_one_before() {
    let world = World::measuring();
    for (minutes, event) in [(0, enter("/a")), (4, enter("/b")), (9, exit("/b")), (12, enter("/c"))] {
        world.send_at(minutes, event);
    }
    assert_eq!(dwells(&world), told(&[("/a", Some(4)), ("/b", Some(5)), ("/c", None)]));
}

#[test]
fn a_stored_page_that_is_left_twice_in_one_request_was_left_the_first_time() {
    let world = World::measuring();
    let named = |event: Value| with(event, json!({"pageId": "p-1"}));
    world.send_at(0, named(enter("/a")));
    world.clock.set(minute(9));
    let sent = world.post(json!([at(named(exit("/a")), minute(3)), at(named(exit("/a")), minute(7))]));
    assert!(sent.iter().all(|one| one.fate == Fate::Accepted));
    assert_eq!(dwells(&world), told(&[("/a", Some(3))]));
}

#[test]
fn leaving_a_page_nobody_entered_is_kept_and_makes_no_page() {
    let world = World::measuring();
    let alone = world.send_at(0, exit("/a"));
    assert_eq!(alone.fate, Fate::Accepted);
    assert_eq!((world.visit("a").page_count, world.event(alone.seq).page_id), (0, None));
    world.send_at(1, enter("/a"));
    let other = world.send_at(2, exit("/b"));
    assert_eq!(world.event(other.seq).page_id, None);
    assert_eq!(dwells(&world), told(&[("/a", None)]), "another page's exit closes nothing");
}

#[test]
fn a_page_with_an_id_of_its_own_is_left_by_that_id() {
    let mut world = World::measuring();
    let tab = |event: Value, id: &str| with(event, json!({"pageId": id}));
    world.send_at(0, tab(enter("/a"), "p1"));
    world.reopen();
    let seen = world.send_at(1, tab(json!({"visitor": "a", "name": "seen"}), "p1"));
    let first = world.pages(&world.visit("a")).remove(0);
    assert_eq!(world.event(seen.seq).page_id, Some(first.id));
    let left = world.send_at(2, tab(exit("/elsewhere"), "p1"));
    assert_eq!(world.event(left.seq).page_id, Some(first.id));
    assert_eq!(dwells(&world), told(&[("/a", Some(2))]));
    world.send_at(3, tab(exit("/a"), "p1"));
    assert_eq!(dwells(&world), told(&[("/a", Some(2))]), "what is closed stays closed");
}

#[test]
fn a_late_page_takes_its_place_and_closes_nothing_newer() {
    let world = World::measuring();
    world.send_at(10, enter("/b"));
    world.send_at(11, at(enter("/a"), minute(5)));
    let visit = world.visit("a");
    let pages = world.pages(&visit);
    assert_eq!(dwells(&world).iter().map(|(t, _)| t.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!((visit.entry_page, visit.last_page), (Some(pages[0].id), Some(pages[1].id)));
    assert_eq!(pages[1].exited, None);
    assert_eq!((visit.page_count, visit.started), (2, minute(5)));
}

#[test]
fn the_first_page_is_the_earliest_even_behind_another_event() {
    let world = World::measuring();
    world.send_at(0, json!({"visitor": "a", "name": "VisitStarted"}));
    world.send_at(5, enter("/b"));
    world.send_at(6, at(enter("/a"), minute(3)));
    world.send_at(7, at(enter("/between"), minute(4)));
    let visit = world.visit("a");
    let pages = world.pages(&visit);
    assert_eq!(visit.entry_page, Some(pages[0].id));
    assert_eq!(pages[0].title.as_deref(), Some("/a"));
    assert_eq!(visit.event_count, 4);
}

#[test]
fn screens_are_counted_apart_from_pages() {
    let world = World::measuring();
    for (minutes, screen) in [(0, "start"), (2, "menu")] {
        world.send_at(minutes, json!({"visitor": "a", "name": "screen_viewed", "screen": screen}));
    }
    world.send_at(3, enter("/a"));
    let visit = world.visit("a");
    assert_eq!((visit.screen_count, visit.page_count, visit.event_count), (2, 1, 3));
    let pages = world.pages(&visit);
    assert_eq!(pages.iter().filter_map(|p| p.screen.as_deref()).collect::<Vec<_>>(), ["start", "menu"]);
    assert_eq!(pages[0].dwell_ms, Some(2 * MINUTE_MS));
    assert_eq!(world.visitor("a").unwrap().page_count, 3);
}

#[test]
fn an_event_keeps_its_address_unless_it_entered_the_page() {
    let world = World::measuring();
    let entered = world.send_at(0, enter("/a"));
    let seen = world.send_at(1, json!({"visitor": "a", "name": "seen", "url": "https://shop.example/a#x"}));
    assert_eq!(world.event(entered.seq).url, None);
    assert_eq!(world.event(seen.seq).url.as_deref(), Some("https://shop.example/a"));
    assert_eq!(world.event(seen.seq).page_id, world.event(entered.seq).page_id);
}
