//! The golden receipt: `packaging/schema/example/receipt.json` and its signature are made here from fixed values, byte for byte.

use std::fs;
use std::path::Path;

use super::*;
use crate::base::digest::HashKey;
use crate::base::id::{Salt, VisitorRef};
use crate::domain::consent::Evidence;
use crate::domain::notice::lint::Facts;
use crate::domain::notice::{Draft, template};

const AT: Millis = Millis(1_795_341_600_000);

fn notice() -> Notice {
    let facts = Facts {
        site: "shop".to_owned(),
        controller: Controller {
            name: "Example Ltd".to_owned(),
            address: "Street 1, 3000 Bern".to_owned(),
            email: "privacy@shop.example".to_owned(),
            authority: "Authority, Town".to_owned(),
            jurisdiction: "EU".to_owned(),
            privacy_url: "https://shop.example/privacy".to_owned(),
            ..Controller::default()
        },
        purposes: vec![
            ("measure".to_owned(), LawfulBasis::Consent, String::new()),
            ("share".to_owned(), LawfulBasis::Consent, String::new()),
        ],
        recipients: vec![("Example Analytics".to_owned(), Role::ThirdParty)],
        visits_months: 13,
        personal_days: 30,
        ledger_months: 36,
        choice_months: 6,
        proof_months: None,
        ..Facts::default()
    };
    let draft: Draft = template::draft(&facts, "2026-11", &["en".to_owned()], &[]);
    draft.notices().unwrap().remove(0)
}

fn told(p: &crate::domain::notice::ToldPurpose) -> TakenPurpose {
    let (title, text) = (p.title.clone(), p.text.clone());
    TakenPurpose { name: p.name.clone(), basis: p.basis, title, text, granted: p.name == "measure" }
}

/// A receipt of fixed values.
fn receipt(method: &str) -> Receipt {
    let notice = notice();
    let json = serde_json::to_string(&Evidence {
        page: Some("shop.example/cart".to_owned()),
        banner: Some("ab".repeat(32)),
        ..Evidence::default()
    })
    .unwrap();
    let nonce = [5; 16];
    let row = DecisionRow {
        seq: Seq(7),
        ledger_no: 3,
        decision_id: ClientId::new("0192f3a0-0000-7000-8000-0000000000b2"),
        site_id: 1,
        epoch_id: 1,
        subject_ref: VisitorRef([4; 16]),
        action: "give".to_owned(),
        purposes: Purposes::MEASURE,
        before: Purposes::NONE,
        after: Purposes::MEASURE,
        current: true,
        method: method.to_owned(),
        actor: "subject".to_owned(),
        notice: notice.version.clone(),
        notice_digest: Some(notice.digest()),
        language: Some("en".to_owned()),
        gpc: false,
        dnt: false,
        signal_shown: false,
        client_at: Some(AT.plus(-1_000)),
        received: AT,
        corrected: AT.plus(-1_000),
        expires: Some(AT.plus(-1_000).months_later(6)),
        basis_id: 0,
        salt: Salt([6; 12]),
        evidence: Some(Evidence::commitment(&nonce, &json)),
        prev: [8; 32],
        hash: [9; 32],
    };
    Receipt {
        site: "shop".to_owned(),
        edge: "01".repeat(16),
        epoch: "02".repeat(8),
        controller: notice.controller.clone(),
        recipients: notice.recipients.clone(),
        purposes: notice.purposes.iter().map(told).collect(),
        language: "en".to_owned(),
        wished: None,
        told: Told::Own,
        retention: notice.retention.clone(),
        opening: Some(Opening { nonce, json }),
        code: (method == "kiosk_touch").then(|| Code::of(&HashKey::new(&[1; 32]), &row.salt.0, row.seq.0)),
        notice: Some(NoticeRow {
            id: 1,
            site_id: 1,
            version: notice.version.clone(),
            language: notice.language.clone(),
            digest: notice.digest(),
            valid_from: AT.plus(-5_000),
            published: AT.plus(-5_000),
            body: Body::Own(Box::new(notice)),
        }),
        row,
    }
}

fn check(name: &str, made: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/schema/example").join(name);
    if std::env::var_os("WAYSIDE_WRITE_EXAMPLE").is_some() {
        fs::write(&path, made).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), String::from_utf8(made.to_owned()).unwrap(), "{}", path.display());
}

#[test]
fn the_example_is_made_from_this_very_receipt() {
    let key = SigningKey::from_seed([9; 32]);
    let signed =
        Signed::new(receipt("banner_custom").render(Form::Dpv), &key, &crate::domain::batch::key_id(&key.public()));
    check("receipt.json", &signed.bytes);
    let proof = json!({
        "algorithm": "Ed25519",
        "key_id": signed.key_id,
        "public_key": hex(&signed.public_key),
        "signature": hex(&signed.signature),
    });
    check("receipt.json.sig", format!("{proof}\n").as_bytes());
}

#[test]
fn the_mandatory_fields_of_27560_and_kantara_are_there() {
    let made = receipt("banner_custom");
    let text = made.dpv().to_string();
    for field in [
        "dct:conformsTo",
        "dct:identifier",
        "dpv:hasDataSubject",
        "dpv:hasNotice",
        "dct:language",
        "dpv:hasPurpose",
        "dpv:hasPersonalData",
        "dpv:hasDataController",
        "dpv:hasStorageCondition",
        "dpv:hasJurisdiction",
        "dpv:hasRecipient",
        "dpv:hasConsentControl",
        "dpv:hasRight",
        "dct:date",
        "dct:valid",
        "dpv:isIndicatedBy",
        "dpv:ConsentGiven",
    ] {
        assert!(text.contains(field), "{field}");
    }
    let kantara = made.kantara();
    assert_eq!(kantara["consentTimestamp"], json!(AT.0 / 1_000));
    let purposes = kantara["services"][0]["purposes"].as_array().unwrap();
    assert_eq!((purposes.len(), &purposes[0]["consentType"]), (1, &json!("EXPLICIT")), "only what was granted");
}

#[test]
fn a_code_stands_on_a_kiosks_receipt_only() {
    let kiosk = receipt("kiosk_touch");
    let code = kiosk.code.as_ref().unwrap().text();
    let with = page(&kiosk, None);
    assert!(with.contains(&code) && with.contains("<svg"));
    assert!(!page(&receipt("banner_accept"), None).contains("<svg"));
    for form in [Form::Dpv, Form::Kantara] {
        let bytes = kiosk.render(form);
        assert!(!String::from_utf8(bytes).unwrap().contains(&code), "who reads a record must not be able to act");
    }
}

#[test]
fn a_page_in_another_language_says_so_and_marks_the_notices_words() {
    let mut french = receipt("banner_accept");
    assert!(!page(&french, None).contains("exists in English"));
    french.wished = Some("fr".to_owned());
    french.notice.as_mut().unwrap().language = "fr".to_owned();
    let html = page(&french, None);
    assert!(
        html.contains("<html lang=\"en\">") && html.contains("not in fr") && html.contains("<td lang=\"fr\">"),
        "{html}"
    );
}

#[test]
fn before_a_notice_a_receipt_says_that_nothing_was_told() {
    let mut early = receipt("staff_contract");
    (early.told, early.notice, early.controller) = (Told::Nowhere, None, Controller::default());
    (early.retention, early.recipients) = (String::new(), Vec::new());
    let dpv = early.dpv();
    for text in [
        &dpv["dpv:hasDataController"]["dct:title"],
        &dpv["dpv:hasStorageCondition"]["dpv:hasLocation"],
        &dpv["dpv:hasStorageCondition"]["dpv:hasDuration"],
        &early.kantara()["piiControllers"][0]["piiController"],
    ] {
        assert!(text.as_str().unwrap().starts_with("not recorded"), "{text}");
    }
    let html = page(&early, None);
    assert!(html.contains("there was no notice yet") && html.contains("within a written contract"), "{html}");
}
