//! The operator's records, from configuration to page: the whole text is compared with the pages in `tests/corpus/records/`.
//! Write those anew with WAYSIDE_GOLDEN=write, and read what changed. Must never compare a page with what made it.

use std::path::Path;

use serde_json::{Value, json};

use super::support::*;
use crate::base::error::Kind;
use crate::base::time::{DAY_MS, HOUR_MS, Millis};
use crate::config::Config;
use crate::consent::notice::Publish;
use crate::daemon::{facts, setup};
use crate::domain::consent::{Action, Purposes, WithoutConsent};
use crate::domain::notice::template;
use crate::domain::site::KeepIp;
use crate::forward::options::{Recipient, TargetOptions};
use crate::records::{Records, cookies};

/// As an operator would have it who means well, with one assessment missing.
fn careful(config: &mut Config) {
    let c = &mut config.controller;
    c.name = "Example | Shop Ltd".to_owned();
    c.address = "Example Street 1, Bern".to_owned();
    c.email = "privacy@shop.example".to_owned();
    c.authority = "the data protection authority".to_owned();
    config.edge.label = "branch 12".to_owned();
    let site = &mut config.sites[0];
    site.id = "shop".to_owned();
    site.keep_ip = KeepIp::Truncated;
    site.purposes = vec![purpose("marketing", "legitimate_interest"), purpose("engage_support", "contract")];
    site.purposes[1].assessment = None;
    config.targets.push(TargetOptions {
        name: "analytics".to_owned(),
        path: "analytics".into(),
        recipient: Recipient::ThirdParty,
        recipient_name: Some("Example Analytics".to_owned()),
        ..TargetOptions::default()
    });
}

/// People who agreed, one who withdrew, one who refused.
fn gathered() -> World {
    let world = World::with(careful);
    world.clock.set(minute(10));
    for who in ["zora", "bob", "eve"] {
        world.give(who, Purposes::MEASURE.with(Purposes::PERSONAL));
    }
    world
        .send_at(11, with(page("zora", "/shoes"), json!({"title": "Shoes", "traits": {"email": "zora@home.example"}})));
    world.send_at(12, json!({"visitor": "zora", "name": "SignIn", "data": {"userId": "customer-7"}}));
    world
        .send_at(13, with(page("bob", "/boots"), json!({"traits": {"email": "bob@home.example", "givenName": "Bob"}})));
    world.send_at(14, page("eve", "/"));
    world.withdraw("eve", Purposes::MEASURE);
    world.decide(world.request("mallory", Action::Refuse, Purposes::NONE)).unwrap();
    world.send_at(24 * 60, page("bob", "/again"));
    world
}

/// The same, with a notice published then.
fn busy() -> World {
    let world = gathered();
    let told = facts::of(&world.config).remove(0);
    let mut draft = template::draft(&told, "2027-01", &["en".to_owned()], &["personal".to_owned()]);
    draft.recipients[0].country = "United States".to_owned();
    let publish = Publish { draft, valid_from: None };
    world.house().app.consent.publish(world.seat(), publish, "operator").unwrap();
    world
}

fn records(world: &World) -> Records {
    Records::open(&world.config.data_dir, setup::of(&world.config).unwrap()).unwrap()
}

/// The page is the one that was kept, and nothing of any person stands in it.
#[track_caller]
fn golden(name: &str, text: &str) {
    for secret in ["zora", "bob", "home.example", "customer-7", "mallory", "/boots", "Shoes"] {
        assert!(!text.contains(secret), "{name} tells {secret:?}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/records").join(name);
    if std::env::var("WAYSIDE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&file, text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    assert_eq!(text, kept, "{name} has changed");
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn the_record_of_processing_is_the_configuration_and_the_rows() {
    let world = busy();
    let record = records(&world).record().unwrap();
    golden("records.md", &record.markdown());
    golden("records.json", &pretty(&record));
    // again, and from another connection: nothing depends on when it is asked
    world.clock.advance(30 * DAY_MS);
    assert_eq!(records(&world).record().unwrap(), record);
    let shop = &record.activities[0];
    assert!(shop.purposes.iter().any(|p| p.purpose == "marketing" && p.assessment.as_deref() == Some("a, 2027-01-01")));
    assert!(record.open.iter().any(|o| o == "site shop: engage_support rests on contract without an assessment"));
    assert!(record.open.iter().any(|o| o == "[controller] dpo is empty"));
}

#[test]
fn an_assessment_reads_required_as_soon_as_anybody_may_be_profiled() {
    let world = busy();
    let calm = records(&world).assessment().unwrap();
    assert!(!calm.required);
    golden("dpia.md", &calm.markdown());
    let raised = |name: &str| calm.flags.iter().find(|f| f.what == name).unwrap().raised;
    assert!(raised("rows leave to third parties") && raised("a basis other than consent without an assessment"));
    assert!(!raised("special categories may be stored (35(3)(b))"));
    // configured
    let mut config = world.config.clone();
    config.sites[0].purposes.push(purpose("profile", "consent"));
    let setup = setup::of(&config).unwrap();
    assert!(Records::open(&config.data_dir, setup).unwrap().assessment().unwrap().required);
    // not configured, but somebody's rows carry it
    let world = gathered();
    assert!(!records(&world).assessment().unwrap().required);
    world.give("zora", Purposes::PROFILE);
    world.send(page("zora", "/more"));
    let now = records(&world).assessment().unwrap();
    assert!(now.required && now.markdown().contains("**required.**"), "{}", now.because);
}

#[test]
fn a_breach_counts_people_and_fields_and_tells_sealed_from_readable() {
    let world = busy();
    let told = records(&world).breach(minute(13), minute(15)).unwrap();
    golden("breach.md", &told.markdown());
    golden("breach.json", &pretty(&told));
    let field = |extent: &crate::records::breach::Extent, name: &str| {
        extent.fields.iter().find(|f| f.field == name).map(|f| (f.people, f.values, f.kept.word()))
    };
    // bob and eve came in during that time, mallory said no; the file held ada besides
    assert_eq!(told.arrived.people, 3);
    assert_eq!(told.held.people, 4);
    assert_eq!(field(&told.arrived, "trait.email"), Some((1, 1, "sealed")));
    assert_eq!(field(&told.held, "trait.email"), Some((2, 2, "sealed")));
    assert_eq!(field(&told.arrived, "events.url"), Some((2, 2, "readable, under a pseudonym")));
    assert_eq!(field(&told.held, "identity"), Some((1, 1, "sealed")));
    assert!(told.keys_beside, "root.key lies in the data directory by default");
    let nothing = records(&world).breach(minute(16), minute(60)).unwrap();
    assert_eq!((nothing.arrived.people, nothing.arrived.fields.len()), (0, 0));
    assert_eq!(records(&world).breach(minute(2), minute(1)).unwrap_err().kind, Kind::Invalid);
}

#[test]
fn what_is_kept_in_browsers_is_told_without_rows() {
    let mut config = Config::default();
    careful(&mut config);
    golden("cookies.md", &cookies::cookies(&setup::of(&config).unwrap()).markdown());
}

/// A site under an exemption, with two visitors who were not asked.
fn exempt() -> World {
    let world = World::with(|config| {
        config.sites[0].id = "shop".to_owned();
        config.sites[0].without_consent = WithoutConsent::ConsentExempt;
    });
    world.send_at(0, with(page("zora", "/shoes"), json!({"traits": {"email": "zora@home.example"}})));
    world.send_at(1, page("bob", "/boots"));
    world.send_at(60 * 24 * 40, page("bob", "/boots"));
    world
}

fn holds(report: &crate::records::exempt::Report, asked: &str) -> Option<bool> {
    report.sites[0].conditions.iter().find(|c| c.asked.contains(asked)).unwrap_or_else(|| panic!("{asked}")).holds
}

#[test]
fn the_exemption_report_proves_settings_and_rows() {
    let world = exempt();
    let report = records(&world).exempt(None).unwrap();
    assert_eq!((report.sites[0].events, report.sites[0].people), (3, 2));
    assert!(!report.holds(), "nobody was told: no notice is in force");
    assert_eq!(holds(&report, "told"), Some(false));
    for asked in ["measurement only", "names a person", "alone", "13 months", "25 months", "shortened", "object"] {
        assert_eq!(holds(&report, asked), Some(true), "{asked}");
    }
    assert_eq!(holds(&report, "offered on every page"), None, "what cannot be seen is not claimed");
    let mut draft = template::draft(&facts::of(&world.config).remove(0), "1", &["en".to_owned()], &[]);
    draft.controller.name = "Example Ltd".to_owned();
    draft.controller.email = "privacy@shop.example".to_owned();
    let publish = Publish { draft, valid_from: None };
    world.house().app.consent.publish(world.seat(), publish, "operator").unwrap();
    let report = records(&world).exempt(Some("shop")).unwrap();
    assert!(report.holds());
    golden("exempt.md", &report.markdown());
    assert_eq!(records(&world).exempt(Some("other")).unwrap_err().kind, Kind::NotFound);
}

#[test]
fn without_an_exempt_site_there_is_no_report() {
    let world = busy();
    let error = records(&world).exempt(None).unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::NotFound, "not_exempt"));
}

#[test]
fn an_empty_database_has_a_record_too() {
    let world = World::new();
    let record = records(&world).record().unwrap();
    assert_eq!((record.rows_until, record.activities.len()), (None, 1));
    assert_eq!(record.activities[0].people.visitors, 0);
    let _: Value = serde_json::to_value(&record.activities).unwrap();
    let told = records(&world).breach(Millis(0), Millis(HOUR_MS)).unwrap();
    assert_eq!((told.held.people, told.held.fields.len()), (0, 0));
}
