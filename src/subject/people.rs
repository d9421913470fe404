//! Who is meant: from a visitor id, an identity, or personal values to the rows of people. Must never keep what was asked by.
//! Invariant: nobody found and somebody else's answer look alike to whoever asked.

use crate::base::error::Result;
use crate::base::id::{ClientId, VisitorRef};
use crate::domain::personal::split_names;
use crate::domain::site::Seat;
use crate::store::requests::Person;
use crate::store::{ReadTx, identities, personal, queries, visitors};

/// What a person is looked for by, as the GDPR API names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A name.
    Name,
    /// A postal address.
    Address,
    /// A telephone number.
    Phone,
    /// A mail address.
    Email,
    /// A name in a network; the field that holds it.
    Social(&'static str),
    /// A third party's or the site's own name for the customer.
    ExternalId,
}

impl By {
    /// The names of the fields that hold it.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            By::Name => &["trait.name", "trait.displayName", "trait.fullName", "trait.givenName", "trait.familyName"],
            By::Address => &["trait.address", "trait.street", "trait.postalAddress"],
            By::Phone => &[
                "trait.phone",
                "trait.cellPhone",
                "trait.homePhone",
                "trait.workPhone",
                "trait.otherPhone",
                "trait.mobile",
            ],
            By::Email => {
                &["trait.email", "trait.personalEmail", "trait.workEmail", "trait.otherEmail", "trait.emailAddress"]
            }
            By::Social("twitter") => &["trait.twitter", "trait.twitterId", "external_id.twitter"],
            By::Social("facebook") => &["trait.facebook", "trait.facebookId", "external_id.facebook"],
            By::Social("instagram") => &["trait.instagram", "trait.instagramId", "external_id.instagram"],
            By::Social("whatsapp") => &["trait.whatsapp", "trait.whatsAppId", "external_id.whatsapp"],
            By::Social(_) => &["trait.appleMessages", "external_id.apple_messages"],
            By::ExternalId => &["external_id"],
        }
    }
}

/// Who is meant by a request.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// One site; every site without.
    pub site: Option<String>,
    /// The client's id, or the reference in batches.
    pub visitor: Option<String>,
    /// The site's own name for the customer.
    pub identity: Option<String>,
    /// Personal values.
    pub values: Vec<(By, String)>,
}

/// The rows of who is meant; a person named in several ways is everyone any of them finds, but no row stands twice.
pub fn find(tx: &ReadTx<'_>, seats: &[Seat], named: &Named) -> Result<Vec<Person>> {
    let seats: Vec<&Seat> =
        seats.iter().filter(|seat| named.site.as_ref().is_none_or(|site| seat.site.answers_to(site))).collect();
    let mut out = Vec::new();
    if let Some(visitor) = &named.visitor {
        for id in queries::visitor_ids(tx, &ClientId::new(visitor), VisitorRef::parse(visitor).ok())? {
            let site = visitors::get(tx, id)?.map(|v| v.site_id);
            if seats.iter().any(|seat| site == Some(seat.id)) {
                out.push(Person::Visitor(id));
            }
        }
    }
    for seat in &seats {
        if let Some(identity) = &named.identity {
            out.extend(identities::find_by_key(tx, seat.id, identity)?.map(Person::Identity));
        }
        for (by, value) in &named.values {
            if *by == By::ExternalId {
                out.extend(identities::find_by_key(tx, seat.id, value)?.map(Person::Identity));
            }
            if *by == By::Name {
                out.extend(named_in_parts(tx, seat.id, value)?);
            }
            for field in by.fields().iter().filter(|field| !PARTS.contains(field)) {
                out.extend(personal::visitors_with(tx, seat.id, field, value)?.into_iter().map(Person::Visitor));
            }
        }
    }
    out.sort_unstable();
    out.dedup();
    Ok(out)
}

/// A given or a family name alone means nobody: it would take in everyone who shares it.
const PARTS: [&str; 2] = ["trait.givenName", "trait.familyName"];

/// Who told the parts of a whole name.
fn named_in_parts(tx: &ReadTx<'_>, site_id: i64, name: &str) -> Result<Vec<Person>> {
    let [given, family] = PARTS;
    let mut out = Vec::new();
    for (one, other) in split_names(name) {
        let also = personal::visitors_with(tx, site_id, family, &other)?;
        let first = personal::visitors_with(tx, site_id, given, &one)?;
        out.extend(first.into_iter().filter(|id| also.contains(id)).map(Person::Visitor));
    }
    Ok(out)
}
