//! A receipt for the person: the fields of ISO/IEC TS 27560 as JSON-LD in the words of the W3C Data Privacy Vocabulary, or
//! Kantara's consent receipt 1.1; signed with the edge's key over the exact bytes. `packaging/doc/receipts.md` is its paper.
//! Must never read a clock: the same decision has the same receipt for ever. Invariant: what a receipt says of the decision
//! stands in the ledger, and whoever holds it can show that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::digest::SigningKey;
use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::code::Code;
use crate::domain::consent::{LawfulBasis, Method, Purposes};
use crate::domain::notice::{Controller, Notice, Recipient, Role, best_language};
use crate::domain::site::Seat;
use crate::store::decisions::DecisionRow;
use crate::store::evidence::Opening;
use crate::store::notices::{Body, NoticeRow};
use crate::store::{Identity, ReadTx, bases, decisions, epochs, evidence, notices, visitors};

mod html;
mod kantara;

pub use self::html::page;

/// What is signed: these bytes, then the receipt.
pub const SIGNED_BEFORE: &[u8] = b"wayside-receipt-v1\n";
/// Version of the shape.
const SCHEMA: &str = "1.0";

/// Everything a receipt tells.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(in crate::consent) row: DecisionRow,
    pub(in crate::consent) site: String,
    pub(in crate::consent) edge: String,
    pub(in crate::consent) epoch: String,
    pub(in crate::consent) notice: Option<NoticeRow>,
    pub(in crate::consent) told: Told,
    pub(in crate::consent) controller: Controller,
    /// How long what is kept, in the words of the notice.
    pub(in crate::consent) retention: String,
    pub(in crate::consent) recipients: Vec<Recipient>,
    /// Word, basis, title, text, and what became of it.
    pub(in crate::consent) purposes: Vec<TakenPurpose>,
    pub(in crate::consent) opening: Option<Opening>,
    /// The language of the page.
    pub(in crate::consent) language: String,
    /// The person's own language, where there is no page in it.
    pub(in crate::consent) wished: Option<String>,
    /// For kiosks: what opens the visit.
    pub code: Option<Code>,
}

/// Where what a receipt tells of the controller comes from: never from today's configuration, which may say something else
/// than was told then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consent) enum Told {
    /// A notice of ours: the one shown, else the one in force when it was decided.
    Own,
    /// Another tool's notice: its text is not here.
    Elsewhere,
    /// There was no notice yet.
    Nowhere,
}

impl Told {
    /// In place of what is not known.
    fn instead(self) -> &'static str {
        match self {
            Told::Own => "not told in the notice",
            Told::Elsewhere => "told in the notice, whose text is not kept here",
            Told::Nowhere => "not recorded: there was no notice when this was decided",
        }
    }
}

/// One purpose of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::consent) struct TakenPurpose {
    pub name: String,
    pub basis: LawfulBasis,
    pub title: String,
    pub text: String,
    pub granted: bool,
}

/// A receipt as bytes, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The exact bytes.
    pub bytes: Vec<u8>,
    /// Ed25519 over [`SIGNED_BEFORE`] and the bytes.
    pub signature: [u8; 64],
    /// The edge's public key.
    pub public_key: [u8; 32],
    /// Its name.
    pub key_id: String,
}

impl Signed {
    /// Signs bytes.
    pub fn new(bytes: Vec<u8>, key: &SigningKey, key_id: &str) -> Signed {
        let signature = key.sign(&[SIGNED_BEFORE, &bytes].concat());
        Signed { bytes, signature, public_key: key.public(), key_id: key_id.to_owned() }
    }
}

/// In which form a receipt is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON-LD in the words of DPV.
    Dpv,
    /// Kantara consent receipt 1.1.
    Kantara,
    /// A page to read and print.
    Html,
}

impl Form {
    /// The form of a word. Errors: `Invalid`.
    pub fn parse(word: Option<&str>) -> Result<Form> {
        match word {
            None | Some("dpv" | "json") => Ok(Form::Dpv),
            Some("kantara") => Ok(Form::Kantara),
            Some("html") => Ok(Form::Html),
            Some(other) => Err(Error::invalid(format!("no format {:?}", crate::base::text::cut(other, 20)))
                .remedy("use json, kantara or html")),
        }
    }

    /// Its media type.
    pub fn media(self) -> &'static str {
        match self {
            Form::Dpv => "application/ld+json",
            Form::Kantara => "application/json",
            Form::Html => "text/html; charset=utf-8",
        }
    }
}

/// The receipt of a visitor's decision, of the newest where none is named. Errors: `NotFound`.
pub fn make(
    tx: &ReadTx<'_>,
    seat: &Seat,
    key: &ClientId,
    (decision, language): (Option<Seq>, Option<&str>),
    identity: &Identity,
) -> Result<Receipt> {
    let none = || {
        Error::not_found("no decision is kept under this visitor")
            .remedy("a refusal of somebody never seen before is kept without the id, and has no receipt")
    };
    let visitor = visitors::find(tx, seat.id, key)?.ok_or_else(none)?;
    let rows = decisions::of_subject(tx, visitor.visitor_ref, 1_000)?;
    let mut asked = rows.into_iter().rev().filter(|row| row.method != Method::Expiry.word());
    let row = match decision {
        Some(seq) => asked.find(|row| row.seq == seq),
        None => asked.next(),
    };
    let row = row.ok_or_else(none)?;
    let versions = notices::version(tx, seat.id, &row.notice)?;
    // what the person was shown is known by its digest; the page may be read in another language
    let notice = versions.iter().find(|notice| Some(notice.digest) == row.notice_digest).cloned();
    // a no need not name a notice: who answers for the processing stood in the one in force all the same
    let then = match &notice {
        Some(notice) => Some(notice.clone()),
        None => notices::in_language(&notices::in_force(tx, seat.id, row.received)?, row.language.as_deref()).cloned(),
    };
    let (told, own) = match then.as_ref().map(|notice| &notice.body) {
        Some(Body::Own(own)) => (Told::Own, Some(own.as_ref())),
        Some(Body::External(_)) => (Told::Elsewhere, None),
        None => (Told::Nowhere, None),
    };
    let wished = language.or(row.language.as_deref()).or_else(|| own.map(|own| own.language.as_str()));
    let page = best_language(&["en", "de"], wished).unwrap_or("en");
    let epoch = epochs::all(tx)?.into_iter().find(|epoch| epoch.id == row.epoch_id);
    let born = epoch.map_or((identity.edge.id, identity.edge.epoch), |epoch| (epoch.edge, epoch.epoch));
    let at_kiosk = row.method == Method::KioskTouch.word();
    Ok(Receipt {
        site: seat.site.id().to_owned(),
        edge: born.0.to_string(),
        epoch: born.1.to_string(),
        told,
        controller: own.map_or_else(Controller::default, |own| own.controller.clone()),
        retention: own.map_or_else(String::new, |own| own.retention.clone()),
        recipients: own.map_or_else(Vec::new, |own| own.recipients.clone()),
        purposes: taken(tx, &row, own.filter(|_| notice.is_some()), seat)?,
        language: page.to_owned(),
        wished: wished.filter(|tag| !same_language(tag, page)).map(str::to_owned),
        opening: evidence::get(tx, row.seq)?,
        code: at_kiosk.then(|| Code::of(&identity.hash_key, &row.salt.0, row.seq.0)),
        notice,
        row,
    })
}

fn same_language(one: &str, other: &str) -> bool {
    let primary = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
    primary(one) == primary(other)
}

/// The purposes the notice told of, else those the decision named or left granted, on the bases in force then.
fn taken(tx: &ReadTx<'_>, row: &DecisionRow, own: Option<&Notice>, seat: &Seat) -> Result<Vec<TakenPurpose>> {
    let book = &seat.site.book;
    if let Some(own) = own {
        let told = own.purposes.iter().map(|p| TakenPurpose {
            name: p.name.clone(),
            basis: p.basis,
            title: p.title.clone(),
            text: p.text.clone(),
            granted: book.find(&p.name).is_some_and(|one| row.after.has(one)),
        });
        return Ok(told.collect());
    }
    let text = bases::all(tx)?.into_iter().find(|(basis_id, _, _)| *basis_id == row.basis_id).map(|(_, _, text)| text);
    let then: BTreeMap<String, LawfulBasis> = match &text {
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Error::storage("a row of lawful bases cannot be read").code("damaged").source(e))?,
        None => BTreeMap::new(),
    };
    let named = if row.purposes.is_none() { Purposes::MEASURE } else { row.purposes };
    let one = |name: String| {
        let basis = then.get(&name).copied().unwrap_or(LawfulBasis::Consent);
        let granted = book.find(&name).is_some_and(|bit| row.after.has(bit));
        TakenPurpose { basis, title: name.clone(), text: String::new(), granted, name }
    };
    Ok(named.with(row.after).names(book).into_iter().map(one).collect())
}

impl Receipt {
    /// Its name: edge, epoch and number of the decision.
    pub fn id(&self) -> String {
        format!("urn:wayside:{}:{}:{}", self.edge, self.epoch, self.row.seq.0)
    }

    /// The receipt in a form. JSON has its keys sorted and no white space.
    pub fn render(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Dpv => self.dpv().to_string().into_bytes(),
            Form::Kantara => self.kantara().to_string().into_bytes(),
            Form::Html => html::page(self, None).into_bytes(),
        }
    }

    fn state(&self) -> &'static str {
        match self.row.action.as_str() {
            "give" if self.row.before.is_none() => "dpv:ConsentGiven",
            "give" => "dpv:RenewedConsentGiven",
            "refuse" => "dpv:ConsentRefused",
            "expire" => "dpv:ConsentExpired",
            _ => "dpv:ConsentWithdrawn",
        }
    }

    fn entity(&self) -> &'static str {
        match self.row.actor.as_str() {
            "subject" => "data subject",
            "sender" => "controller's website or application",
            "operator" => "controller's staff",
            _ => "wayside",
        }
    }

    fn dpv(&self) -> Value {
        let c = &self.controller;
        let party = json!({
            "@type": "dpv:DataController",
            "dct:identifier": self.edge,
            "dct:title": or(&c.name, self.told.instead()),
            "dpv:hasAddress": c.address,
            "dpv:hasContact": c.email,
            "schema:telephone": c.phone,
            "schema:url": c.url,
            "dpv:hasRepresentative": {"@type": "dpv:DataProtectionOfficer", "dpv:hasContact": c.dpo},
        });
        let recipients: Vec<Value> = self
            .recipients
            .iter()
            .map(|r| {
                let kind = if r.role == Role::Processor { "dpv:DataProcessor" } else { "dpv:ThirdParty" };
                json!({"@type": kind, "dct:title": r.name, "dpv:hasCountry": r.country})
            })
            .collect();
        json!({
            "@context": {
                "dct": "http://purl.org/dc/terms/",
                "dpv": "https://w3id.org/dpv#",
                "eu-gdpr": "https://w3id.org/dpv/legal/eu/gdpr#",
                "schema": "https://schema.org/",
                "wayside": "urn:wayside:terms:",
            },
            "@id": self.id(),
            "@type": "dpv:ConsentReceipt",
            "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560#receipt-eu-gdpr",
            "dct:hasVersion": SCHEMA,
            "dct:identifier": self.id(),
            "dct:isPartOf": {"@type": "dpv:ConsentRecord", "dct:identifier": self.row.decision_id.to_string()},
            "dct:language": self.notice_language(),
            "dpv:hasDataSubject": {"@type": "dpv:DataSubject", "dct:identifier": self.row.subject_ref.to_string()},
            "dpv:hasNotice": self.notice_value(),
            "dpv:hasDataController": party,
            "dpv:hasRecipient": recipients,
            "dpv:hasProcess": self.purposes.iter().map(|p| self.process(p)).collect::<Vec<Value>>(),
            "dpv:hasStorageCondition": {
                "dpv:hasLocation": or(&c.storage, self.told.instead()),
                "dpv:hasDuration": or(&self.retention, self.told.instead()),
            },
            "dpv:hasJurisdiction": c.jurisdiction,
            "dpv:hasAuthority": c.authority,
            "dpv:hasConsentControl": {
                "@type": "dpv:WithdrawConsent",
                "schema:url": c.privacy_url,
                "wayside:request": "POST /v1/consent with action withdraw",
            },
            "dpv:hasRight": rights(),
            "dpv:hasConsentStatus": self.status(),
            "wayside:ledger": self.ledger(),
        })
    }

    fn notice_language(&self) -> String {
        let own = self.notice.as_ref().filter(|notice| matches!(notice.body, Body::Own(_)));
        own.map(|notice| notice.language.clone())
            .or_else(|| self.row.language.clone())
            .unwrap_or_else(|| "und".to_owned())
    }

    fn notice_value(&self) -> Value {
        let url = match self.notice.as_ref().map(|notice| &notice.body) {
            Some(Body::External(external)) => external.url.clone(),
            _ => self.controller.privacy_url.clone(),
        };
        json!({
            "@type": "dpv:ConsentNotice",
            "dct:identifier": self.row.notice,
            "schema:sha256": self.row.notice_digest.map(|digest| hex(&digest)),
            "schema:url": url,
        })
    }

    fn process(&self, p: &TakenPurpose) -> Value {
        let (categories, processing) = data_of(&p.name);
        let basis = match p.basis {
            LawfulBasis::Consent => "eu-gdpr:A6-1-a",
            LawfulBasis::Contract => "eu-gdpr:A6-1-b",
            LawfulBasis::LegalObligation => "eu-gdpr:A6-1-c",
            LawfulBasis::LegitimateInterest => "eu-gdpr:A6-1-f",
        };
        json!({
            "@type": "dpv:Process",
            "dpv:hasPurpose": {"@type": "dpv:Purpose", "dct:identifier": p.name, "dct:title": p.title, "dct:description": p.text},
            "dpv:hasLegalBasis": basis,
            "dpv:hasPersonalData": categories.iter().map(|c| json!({"dct:title": c, "dpv:isSensitive": false})).collect::<Vec<_>>(),
            "dpv:hasProcessing": processing,
            "dpv:hasDataSource": "dpv:DataSubjectDataSource",
            "wayside:granted": p.granted,
        })
    }

    fn status(&self) -> Value {
        let row = &self.row;
        json!({
            "@type": self.state(),
            "dct:date": row.received.rfc3339(),
            "dct:valid": row.expires.map(Millis::rfc3339),
            "dpv:isIndicatedAtTime": row.corrected.rfc3339(),
            "dpv:isIndicatedBy": self.entity(),
            "dpv:hasIndicationMethod": row.method,
            "wayside:consentType": "dpv:ExplicitlyExpressedConsent",
            "wayside:clientTime": row.client_at.map(Millis::rfc3339),
            "wayside:signals": {"gpc": row.gpc, "dnt": row.dnt, "shown": row.signal_shown},
            "wayside:place": {"site": self.site, "edge": self.edge},
        })
    }

    fn ledger(&self) -> Value {
        let row = &self.row;
        json!({
            "number": row.ledger_no,
            "seq": row.seq.0,
            "hash": hex(&row.hash),
            "previous": hex(&row.prev),
            "before": row.before.0,
            "after": row.after.0,
            "evidence": row.evidence.map(|commitment| json!({
                "commitment": hex(&commitment),
                "nonce": self.opening.as_ref().map(|opening| hex(&opening.nonce)),
                "body": self.opening.as_ref().map(|opening| opening.json.clone()),
            })),
        })
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.trim().is_empty() { otherwise } else { text }
}

/// The rights of GDPR chapter III, and withdrawal.
fn rights() -> Vec<&'static str> {
    vec![
        "eu-gdpr:A7-3",
        "eu-gdpr:A15",
        "eu-gdpr:A16",
        "eu-gdpr:A17",
        "eu-gdpr:A18",
        "eu-gdpr:A20",
        "eu-gdpr:A21",
        "eu-gdpr:A77",
    ]
}

/// Which data a purpose uses, and what is done with it.
pub(in crate::consent) fn data_of(purpose: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match purpose {
        "measure" => (
            &["pages opened and when", "referring page", "kind of device and browser", "random identifier"],
            &["dpv:Collect", "dpv:Store", "dpv:Analyse"],
        ),
        "personal" => (&["details entered or of the account"], &["dpv:Collect", "dpv:Store"]),
        "profile" => (&["visits", "groups and estimates made of them"], &["dpv:Profiling"]),
        "engage_support" | "engage_sales" => (&["visits"], &["dpv:Use"]),
        "share" => (&["visits"], &["dpv:Share"]),
        "marketing" => (&["contact details", "visits"], &["dpv:Use"]),
        _ => (&["as the notice describes"], &["dpv:Use"]),
    }
}

#[cfg(test)]
mod tests;
