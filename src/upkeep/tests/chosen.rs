//! What a site chose for the rows of a withdrawn purpose: deleted, kept unread and unsent, or only counted.
//! Must never set a floor itself: decisions are recorded as `consent` records them.

use super::world::{World, rights};
use crate::base::id::Seq;
use crate::base::time::HOUR_MS;
use crate::domain::consent::{Action, BasisTable, LawfulBasis, PurposeBook, Purposes};
use crate::domain::count::Cell;
use crate::domain::event::{Attribute, DataType, Lane};
use crate::domain::line::LineKind;
use crate::domain::site::SiteOptions;
use crate::domain::visitor::Rights;
use crate::domain::withdrawal::Withdrawal;
use crate::store::queries::{self, Wanted};
use crate::store::{bases, counts, personal, sites, visitors, visits};

impl World {
    /// The site chose, for the purposes named.
    fn chosen(mut self, purposes: serde_json::Value) -> World {
        let options = SiteOptions { purposes: serde_json::from_value(purposes).unwrap(), ..SiteOptions::default() };
        let site_id = self.write(|tx| sites::intern(tx, "shop"));
        self.plan.withdrawals.insert(site_id, Withdrawal::of(&options));
        self
    }

    fn read_by_anybody(&self) -> usize {
        self.read(|tx| queries::find_visits(tx, &Wanted { limit: 100, ..Wanted::default() })).len()
    }
}

fn trait_of(world: &World, visitor_id: i64) {
    world.write(move |tx| {
        let site_id = sites::intern(tx, "shop")?;
        let field =
            Attribute { name: "email".to_owned(), value: "a@b.example".to_owned(), data_type: DataType::String };
        let of = personal::Of { seq: tx.next_seq(), site_id, visitor_id, at: tx.now() };
        personal::insert(tx, of, &[field])
    });
}

#[test]
fn what_a_site_keeps_stays_unread_and_unsent_until_its_time_is_over() {
    let world = World::new().chosen(serde_json::json!([{"name": "measure", "on_withdrawal": "keep"}]));
    let (visitor, visit) = world.visit("a", 3);
    world.visit("b", 1);
    trait_of(&world, visitor);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    world.pass(HOUR_MS);
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 4, "nothing of the visits went");
    assert!(world.read(|tx| visits::get(tx, visit)).is_some());
    assert!(world.read(|tx| personal::of_visitor(tx, visitor, Seq(0))).is_empty(), "personal is a purpose of its own");
    assert_eq!(world.read_by_anybody(), 1, "it is not read");
    let hidden = Wanted { hidden_too: true, limit: 100, ..Wanted::default() };
    assert_eq!(world.read(|tx| queries::find_visits(tx, &hidden)).len(), 2, "but for its person's own copy");
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1, "no snapshot is made of it");
    world.pass(400 * 24 * HOUR_MS);
    upkeep.confirm().unwrap();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| visits::get(tx, visit)), None, "retention removes it as any other");
}

#[test]
fn personal_fields_stay_where_the_site_keeps_them() {
    let world = World::new().chosen(serde_json::json!([{"name": "personal", "on_withdrawal": "keep"}]));
    let (visitor, _) = world.visit("a", 1);
    trait_of(&world, visitor);
    world.decide("a", Action::Withdraw, Purposes::PERSONAL);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| personal::history_of_visitor(tx, visitor, Seq(0))).len(), 1);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    upkeep.run_once(true).unwrap();
    let left = world.read(|tx| personal::history_of_visitor(tx, visitor, Seq(0)));
    assert!(left.is_empty(), "without the right to measure nothing holds them");
}

#[test]
fn anonymised_events_are_counted_and_no_row_is_left() {
    let world = World::new().chosen(serde_json::json!([{"name": "measure", "on_withdrawal": "anonymise"}]));
    let (visitor, visit) = world.visit("a", 700);
    trait_of(&world, visitor);
    world.visit("b", 2);
    let hour = world.now().hour();
    world.decide("a", Action::Withdraw, Purposes::NONE);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 2, "those of another");
    assert_eq!(world.read(|tx| visits::get(tx, visit)), None);
    assert!(world.read(|tx| visitors::get(tx, visitor)).is_none(), "nor the visitor");
    assert!(world.read(|tx| personal::history_of_visitor(tx, visitor, Seq(0))).is_empty());
    let site_id = world.read(|tx| sites::id(tx, "shop")).unwrap();
    let epoch_id = world.write(|tx| Ok(tx.identity().epoch_id));
    let mut cells = world.read(|tx| counts::cells(tx, site_id, hour, epoch_id));
    cells.sort();
    let cell = |medium: &str| Cell {
        path: "/start".to_owned(),
        device: "other".to_owned(),
        medium: medium.to_owned(),
        robot: false,
    };
    // the first told where it came from, the others that happened on its page did not
    assert_eq!(cells, [(cell("none"), 699), (cell("search"), 1)]);
    assert!(upkeep.status().unwrap().largest_step_rows <= 1_000);
    assert_eq!(world.total(&upkeep, "removed.anonymised.events"), 700);
}

#[test]
fn what_a_contract_called_for_is_kept_where_the_site_says_nothing() {
    let world = World::new();
    let basis_id = world.write(|tx| {
        let mut table = BasisTable::default();
        table.set(Purposes::MEASURE, LawfulBasis::Contract);
        let site_id = sites::intern(tx, "shop")?;
        bases::intern(tx, site_id, &table.text(&PurposeBook::default()))
    });
    let (visitor, under_contract) = world.visit_of("a", 3, Rights { basis_id, ..rights() }, "page_viewed");
    world.pass(HOUR_MS);
    let (_, by_consent) = world.visit("a", 2);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    world.upkeep().run_once(true).unwrap();
    assert!(world.read(|tx| visits::get(tx, under_contract)).is_some(), "consent was not its only basis");
    assert_eq!(world.read(|tx| visits::get(tx, by_consent)), None);
    assert_eq!(world.events(), 3);
    assert_eq!(world.read_by_anybody(), 0, "the floor hides it all the same");
    assert!(world.read(|tx| visitors::get(tx, visitor)).is_some());
}
