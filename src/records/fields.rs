//! What each column and personal field is, in words for records, and whether its values are sealed.
//! Must never hold a value. Invariant: what is counted has a word here, and a personal field is sealed.

use serde::Serialize;

use crate::store::census::Count;

/// How a value lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Readable in the file, under a random or client-made id: pseudonymous personal data.
    Pseudonymous,
    /// Encrypted under a key of its visitor.
    Sealed,
}

impl Kept {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Kept::Pseudonymous => "readable, under a pseudonym",
            Kept::Sealed => "sealed",
        }
    }
}

/// What is stored of people in clear, by the name it is counted under.
const COLUMNS: [(&str, &str); 18] = [
    ("events", "events: name, times, purposes, basis"),
    ("events.url", "address of the page"),
    ("events.title", "title of the page"),
    ("events.referrer", "address of the page before"),
    ("events.attributes", "custom attributes"),
    ("events.search_query", "search on the site"),
    ("events.conversation", "reference of a conversation"),
    ("events.screen", "screen of an app"),
    ("events.keywords", "keywords of the page"),
    ("visits", "visits: begin, end, pages, device class"),
    ("visits.agent_id", "browser, operating system, device"),
    ("visits.context", "device, browser and app as the page told them"),
    ("visits.referrer", "where the visit came from"),
    ("visits.campaign", "campaign"),
    ("visits.place", "country, region and city by address"),
    ("visits.ip", "shortened address of the network"),
    ("visits.searches", "searches of the visit"),
    ("visits.device_id", "kiosk or device"),
];

/// What a count is of.
pub(in crate::records) fn column_word(name: &str) -> &str {
    COLUMNS.iter().find(|(known, _)| *known == name).map_or(name, |(_, word)| word)
}

/// What a personal field is, by its name.
pub(in crate::records) fn personal_word(name: &str) -> String {
    let rest = |start: &str| name.strip_prefix(start);
    match name {
        "ip" => "whole address of the network".to_owned(),
        "external_id" => "id at a third party".to_owned(),
        "identity" => "the site's own name of the customer".to_owned(),
        _ => match (rest("trait."), rest("external_id."), rest("form.")) {
            (Some(name), ..) => format!("trait {name}"),
            (_, Some(name), _) => format!("id at {name}"),
            (.., Some(name)) => format!("form field {name}"),
            _ => name.to_owned(),
        },
    }
}

/// How much there is of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Stable name.
    pub field: String,
    /// In words.
    pub what: String,
    /// Sealed or not.
    pub kept: Kept,
    /// People.
    pub people: i64,
    /// Values.
    pub values: i64,
}

/// The fields behind counts, without those that have no value.
pub(in crate::records) fn fields(rows: Vec<Count>, personal: Vec<Count>) -> Vec<Field> {
    let clear = rows.into_iter().map(|c| (column_word(&c.name).to_owned(), Kept::Pseudonymous, c));
    let sealed = personal.into_iter().map(|c| (personal_word(&c.name), Kept::Sealed, c));
    clear
        .chain(sealed)
        .filter(|(.., count)| count.values > 0)
        .map(|(what, kept, c)| Field { field: c.name, what, kept, people: c.people, values: c.values })
        .collect()
}
