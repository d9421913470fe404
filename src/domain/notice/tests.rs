//! Tests of notices: digests, what changed, the lint, and the drafts made from a configuration.

use super::lint::{self, Facts};
use super::*;

fn facts() -> Facts {
    Facts {
        site: "shop".to_owned(),
        controller: Controller {
            name: "Example Ltd".to_owned(),
            email: "privacy@shop.example".to_owned(),
            authority: "Authority, Street 1, Town".to_owned(),
            privacy_url: "https://shop.example/privacy".to_owned(),
            ..Controller::default()
        },
        purposes: vec![
            ("measure".to_owned(), LawfulBasis::Consent, String::new()),
            ("share".to_owned(), LawfulBasis::Consent, String::new()),
        ],
        words: ["measure", "personal", "share", "marketing"].map(str::to_owned).to_vec(),
        recipients: vec![("Example Analytics".to_owned(), Role::ThirdParty)],
        visits_months: 13,
        personal_days: 30,
        ledger_months: 36,
        choice_months: 6,
        proof_months: None,
    }
}

fn draft(languages: &[&str]) -> Draft {
    let languages: Vec<String> = languages.iter().map(|tag| (*tag).to_owned()).collect();
    template::draft(&facts(), "2026-11", &languages, &[])
}

fn notice(language: &str) -> Notice {
    draft(&[language]).notices().unwrap().remove(0)
}

#[test]
fn a_draft_from_a_whole_configuration_can_be_published() {
    assert_eq!(lint::check(&draft(&["de", "en", "de-CH"]), &facts()), []);
}

#[test]
fn other_languages_are_marked_until_somebody_translates_them() {
    let found = lint::check(&draft(&["en", "fr"]), &facts());
    assert!(!found.is_empty() && found.iter().all(|f| f.error && f.place.starts_with("language.fr")), "{found:?}");
}

#[test]
fn what_the_law_wants_told_is_missed() {
    type Break = fn(&mut Draft);
    let cases: [(&str, Break); 14] = [
        ("controller.name", |d| d.controller.name.clear()),
        ("controller.email", |d| d.controller.email.clear()),
        ("version", |d| d.version = "none".to_owned()),
        ("version", |d| d.version = "a b".to_owned()),
        ("site", |d| d.site = "blog".to_owned()),
        ("language", |d| d.languages.clear()),
        ("language.en.withdrawal", |d| d.languages.get_mut("en").unwrap().withdrawal.clear()),
        ("language.en.complaint", |d| d.languages.get_mut("en").unwrap().complaint = " ".to_owned()),
        ("language.en.purposes.share", |d| drop(d.languages.get_mut("en").unwrap().purposes.remove("share"))),
        ("purpose", |d| d.purposes.retain(|p| p.name != "share")),
        ("purpose[0].basis", |d| d.purposes[0].basis = LawfulBasis::Contract),
        ("purpose[1]", |d| d.purposes[1].name = "fun".to_owned()),
        ("recipient", |d| d.recipients.clear()),
        ("language.en", |d| d.languages.get_mut("en").unwrap().rights = "x ".repeat(21_000)),
    ];
    for (place, damage) in cases {
        let mut draft = draft(&["en"]);
        damage(&mut draft);
        let found = lint::check(&draft, &facts());
        assert!(found.iter().any(|f| f.error && f.place == place && !f.remedy.is_empty()), "{place}: {found:?}");
    }
}

#[test]
fn doubts_do_not_forbid_publishing() {
    let mut draft = draft(&["en"]);
    draft.controller.authority.clear();
    draft.recipients.push(Recipient { name: "Nobody".to_owned(), role: Role::Processor, country: String::new() });
    draft.languages.get_mut("en").unwrap().text = "x ".repeat(1_000);
    let found = lint::check(&draft, &facts());
    let places: Vec<&str> = found.iter().map(|f| f.place.as_str()).collect();
    assert_eq!(places, ["controller.authority", "recipient[1]", "language.en.text"]);
    assert!(found.iter().all(|f| !f.error));
}

#[test]
fn the_digest_changes_with_every_field() {
    let base = notice("en");
    assert_eq!(base.digest(), notice("en").digest());
    let text = serde_json::to_value(&base).unwrap();
    let mut seen = vec![base.digest()];
    let mut paths = Vec::new();
    leaves(&text, "", &mut paths);
    assert!(paths.len() > 25, "{paths:?}");
    for path in paths {
        let mut other = text.clone();
        let leaf = other.pointer_mut(&path).unwrap();
        *leaf = match leaf.as_str().unwrap() {
            "consent" => "contract".into(),
            "third_party" => "processor".into(),
            text => format!("{text}.").into(),
        };
        let digest = serde_json::from_value::<Notice>(other).unwrap().digest();
        assert!(!seen.contains(&digest), "{path}");
        seen.push(digest);
    }
    // neighbouring fields cannot run together
    let mut moved = base.clone();
    (moved.title, moved.text) = (format!("{}{}", base.title, base.text), String::new());
    assert!(!seen.contains(&moved.digest()));
}

fn leaves(value: &serde_json::Value, at: &str, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(k, v)| leaves(v, &format!("{at}/{k}"), out)),
        serde_json::Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, v)| leaves(v, &format!("{at}/{n}"), out))
        }
        _ => out.push(at.to_owned()),
    }
}

#[test]
fn the_digest_is_what_it_always_was() {
    // a change here breaks every notice published before
    let plain = Notice {
        version: "1".to_owned(),
        site: "shop".to_owned(),
        language: "en".to_owned(),
        controller: Controller { name: "Example Ltd".to_owned(), ..Controller::default() },
        title: "T".to_owned(),
        text: "t".to_owned(),
        withdrawal: String::new(),
        retention: String::new(),
        rights: String::new(),
        complaint: String::new(),
        purposes: vec![ToldPurpose {
            name: "measure".to_owned(),
            basis: LawfulBasis::Consent,
            assessment: String::new(),
            title: "M".to_owned(),
            text: "m".to_owned(),
        }],
        recipients: Vec::new(),
    };
    let mut bytes = Vec::new();
    let fields = [
        "wayside-notice-v1",
        "1",
        "shop",
        "en",
        "Example Ltd",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "T",
        "t",
        "",
        "",
        "",
        "",
        "1",
        "measure",
        "consent",
        "",
        "M",
        "m",
        "0",
    ];
    for field in fields {
        bytes.extend((field.len() as u32).to_be_bytes());
        bytes.extend(field.as_bytes());
    }
    assert_eq!(plain.digest(), crate::base::digest::sha256(&bytes));
}

#[test]
fn only_what_changed_in_substance_is_asked_again() {
    let book = PurposeBook::default();
    let before = notice("en");
    let mut after = before.clone();
    assert_eq!(after.changed_since(&before, &book), Purposes::NONE);
    after.text = "Something else.".to_owned();
    after.purposes[0].text = format!("  {}\n", before.purposes[0].text);
    assert_eq!(after.changed_since(&before, &book), Purposes::NONE, "neither the heading text nor white space");
    after.purposes[0].text.push_str(" And more.");
    assert_eq!(after.changed_since(&before, &book), Purposes::MEASURE);
    after = before.clone();
    after.recipients[0].name = "Somebody Else".to_owned();
    assert_eq!(after.changed_since(&before, &book), Purposes::SHARE, "another third party");
    after = before.clone();
    after.purposes[1].basis = LawfulBasis::LegitimateInterest;
    assert_eq!(after.changed_since(&before, &book), Purposes::SHARE);
    after = before.clone();
    after.purposes.push(ToldPurpose { name: "marketing".to_owned(), ..before.purposes[0].clone() });
    assert_eq!(after.changed_since(&before, &book), Purposes::MARKETING, "a new one");
    assert_eq!(before.changed_since(&after, &book), Purposes::NONE, "one that is gone asks nothing");
}

#[test]
fn the_nearest_language_is_shown() {
    let there = ["de", "en", "pt-BR"];
    for (asked, found) in
        [(Some("de"), "de"), (Some("DE-at"), "de"), (Some("pt"), "pt-BR"), (Some("fr"), "en"), (None, "en")]
    {
        assert_eq!(best_language(&there, asked), Some(found), "{asked:?}");
    }
    assert_eq!(best_language(&["de"], Some("fr")), Some("de"));
    assert_eq!(best_language(&[], Some("fr")), None);
}

#[test]
fn language_tags_look_like_tags() {
    for tag in ["de", "en-GB", "zh-Hans-CN", "de-1996"] {
        assert!(is_language(tag), "{tag}");
    }
    for tag in ["", "d", "deutsch!", "de_DE", "de-", "-de", "toolonglang"] {
        assert!(!is_language(tag), "{tag}");
    }
}
