//! Counters of events without the right to measure: cells, limits, and nothing that names anybody.
//! Must never test folding (`domain/count`). Invariant: the sum of the cells is the number of events counted.

use serde_json::json;

use super::support::*;
use crate::base::time::{DAY_MS, HOUR_MS};
use crate::domain::count::{OTHER, PATHS_PER_DAY_MAX};
use crate::store::counts;

type Cells = Vec<(crate::domain::count::Cell, i64)>;

fn cells(world: &World, hour: crate::base::time::Millis) -> Cells {
    let (site, epoch) = (world.seat().id, world.store().identity().epoch_id);
    world.store().read(|tx| counts::cells(tx, site, hour.hour(), epoch)).unwrap()
}

#[test]
fn a_cell_is_path_template_device_medium_and_robot() {
    let world = World::new();
    let bot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
    world.post(json!([
        page("a", "/orders/12345678/x"),
        page("b", "/orders/87654321/x"),
        with(page("c", "/orders/12345678/x"), json!({"userAgent": bot})),
        with(page("d", "/orders/12345678/x"), json!({"referrer": "https://www.google.com/"})),
        json!({"visitor": "e", "name": "screen_viewed", "screen": "start"}),
    ]));
    let cells = cells(&world, START);
    assert_eq!(cells.iter().map(|(_, n)| n).sum::<i64>(), 5);
    let of = |medium: &str, robot: bool| {
        cells.iter().filter(|(c, _)| c.medium == medium && c.robot == robot && c.path == "/orders/*/x").count()
    };
    assert_eq!((of("none", false), of("none", true)), (1, 1));
    assert_eq!(cells.iter().filter(|(c, _)| c.medium != "none").count(), 1);
    assert!(cells.iter().any(|(c, n)| c.path == "start" && *n == 1));
    let text = format!("{cells:?}");
    assert!(!text.contains("12345678"));
}

#[test]
fn counters_add_up_over_groups_hours_and_restarts() {
    let mut world = World::new();
    for (minutes, events) in [(0, 3), (1, 2), (59, 1), (60, 4)] {
        world.clock.set(minute(minutes));
        world.post((0..events).map(|n| page("a", &format!("/{n}"))).collect());
        world.reopen();
    }
    assert_eq!(world.totals(), (0, 10));
    assert_eq!(cells(&world, START).iter().map(|(_, n)| n).sum::<i64>(), 6);
    assert_eq!(cells(&world, minute(60)).iter().map(|(_, n)| n).sum::<i64>(), 4);
    let before = START.plus(2 * HOUR_MS);
    let changed = world.store().read(|tx| counts::changed_hours(tx, before, 10)).unwrap();
    assert_eq!(changed.len(), 2);
}

#[test]
fn a_thousand_paths_a_day_and_no_more() {
    let mut world = World::new();
    let paths: Vec<_> = (0..PATHS_PER_DAY_MAX - 1).map(|n| page("a", &format!("/p{n}"))).collect();
    world.post(paths.into());
    world.reopen();
    world.post(json!([
        page("a", "/last"),
        page("a", "/more"),
        page("a", "/p7"),
        page("a", "/last"),
        page("a", "/most")
    ]));
    world.reopen();
    world.post(json!([page("a", "/even/more"), page("a", "/last")]));
    let cells = cells(&world, START);
    let n = |path: &str| cells.iter().filter(|(c, _)| c.path == path).map(|(_, n)| n).sum::<i64>();
    assert_eq!((n("/p7"), n("/last"), n(OTHER)), (2, 3, 3));
    assert_eq!((n("/more"), n("/even/more")), (0, 0));
    assert_eq!(cells.len(), PATHS_PER_DAY_MAX + 1);
    assert_eq!(world.totals(), (0, PATHS_PER_DAY_MAX as i64 + 6));
    // the next day has a thousand of its own
    world.clock.set(START.plus(DAY_MS));
    world.send(page("a", "/more"));
    let next: Vec<_> = self::cells(&world, START.plus(DAY_MS)).into_iter().map(|(c, _)| c.path).collect();
    assert_eq!(next, ["/more"]);
}
