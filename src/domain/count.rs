//! Counters that name nobody: what a cell is and how small cells are folded (contract 2, Counters).
//! Pure. Invariant: nothing a cell holds can tell one visitor from another; reads never show a cell under five.

use crate::domain::device::{Agent, DeviceCategory};
use crate::domain::event::Event;
use crate::domain::referrer::{self, Medium, Referrer};

/// The path of everything beyond the limits.
pub const OTHER: &str = "__other__";
/// Different paths per site and day.
pub const PATHS_PER_DAY_MAX: usize = 1_000;
/// Cells under this are folded when read or sent.
pub const SMALL: i64 = 5;

/// One cell: path template, device class, referrer medium, robot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Path template, or the screen's name as one.
    pub path: String,
    /// Device class.
    pub device: String,
    /// Referrer medium, or `none`.
    pub medium: String,
    /// A robot's event.
    pub robot: bool,
}

impl Cell {
    /// The cell of an event.
    pub fn of(event: &Event) -> Self {
        let path =
            event.page.address.as_ref().map(|a| a.pathname.as_str()).or(event.page.screen.as_deref()).unwrap_or("");
        let device = event.agent.as_ref().map_or(DeviceCategory::Other, |agent| agent.category);
        Cell {
            path: crate::domain::address::path_template(path),
            device: device.as_str().to_owned(),
            medium: event
                .referrer
                .as_ref()
                .map_or("none", |r: &crate::domain::referrer::Referrer| Medium::as_str(r.medium))
                .to_owned(),
            robot: event.robot().is_some(),
        }
    }

    /// The cell of an event that was stored, from what its rows tell: the address or screen of its page, the visit's device, and
    /// the referrer as a row keeps it.
    pub fn of_rows(page: &str, agent: Option<&Agent>, referrer: Option<&str>) -> Self {
        let referrer = referrer.and_then(|kept| serde_json::from_str::<Referrer>(&referrer::whole(kept)).ok());
        Cell {
            path: crate::domain::address::path_template(path_of(page)),
            device: agent.map_or(DeviceCategory::Other, |agent| agent.category).as_str().to_owned(),
            medium: referrer.map_or("none", |r| r.medium.as_str()).to_owned(),
            robot: agent.is_some_and(|agent| agent.robot.is_some()),
        }
    }
}

/// The path of an address; a screen's name as it is.
fn path_of(page: &str) -> &str {
    let Some((_, rest)) = page.split_once("://") else { return page };
    let path = rest.find('/').map_or("/", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or(path)
}

/// Cells as they may be shown: those under five become one `__other__` cell; `None` as its count stands for `<5`.
pub fn fold(cells: Vec<(Cell, i64)>) -> Vec<(Cell, Option<i64>)> {
    let (small, large): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(cell, n)| *n < SMALL || cell.path == OTHER);
    let mut out: Vec<(Cell, Option<i64>)> = large.into_iter().map(|(cell, n)| (cell, Some(n))).collect();
    let rest: i64 = small.iter().map(|(_, n)| n).sum();
    if rest > 0 {
        let word = || OTHER.to_owned();
        let cell = Cell { path: word(), device: word(), medium: word(), robot: false };
        out.push((cell, (rest >= SMALL).then_some(rest)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(path: &str) -> Cell {
        Cell { path: path.to_owned(), device: "desktop".to_owned(), medium: "none".to_owned(), robot: false }
    }

    #[test]
    fn a_stored_event_counts_as_it_would_have_unstored() {
        let agent = Agent { category: DeviceCategory::Mobile, robot: Some("bot".to_owned()), ..Agent::default() };
        let referrer = Referrer { url: "https://a.example/".into(), medium: Medium::Search, ..Referrer::default() };
        let cell = Cell::of_rows("https://shop.example/a/1234567?q=secret#x", Some(&agent), Some(&referrer.packed()));
        assert_eq!(
            cell,
            Cell { device: "mobile".to_owned(), medium: "search".to_owned(), robot: true, ..self::cell("/a/*") }
        );
        assert_eq!(Cell::of_rows("home", None, None), Cell { device: "other".to_owned(), ..self::cell("home") });
        assert_eq!(Cell::of_rows("https://shop.example", None, None).path, "/");
    }

    #[test]
    fn no_cell_under_five_is_shown() {
        let shown = fold(vec![(cell("/a"), 5), (cell("/b"), 4), (cell("/c"), 2)]);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0], (cell("/a"), Some(5)));
        assert_eq!((shown[1].0.path.as_str(), shown[1].1), (OTHER, Some(6)));
    }

    #[test]
    fn the_folded_rest_is_hidden_while_it_is_small_itself() {
        assert_eq!(fold(vec![(cell("/a"), 3)]).into_iter().map(|(_, n)| n).collect::<Vec<_>>(), vec![None]);
        assert!(fold(Vec::new()).is_empty());
    }
}
