//! From the text of a file to a [`Config`]: what is no TOML, what nobody knows, what has the wrong type.
//! Must never judge a value that can be read. Invariant: each thing that cannot be read is named once, and what is left
//! of the file still counts.

use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeArray, DeString, DeTable, DeValue};
use toml::{Spanned, Table, Value};

use crate::base::text::cut;
use crate::config::findings::{Places, holds, join};
use crate::config::{Config, Problem, Severity};
use crate::consent::proofs::EraseOptions;
use crate::domain::consent::LawfulBasis;
use crate::domain::site::{PurposeOptions, SiteOptions};
use crate::domain::withdrawal::OnWithdrawal;
use crate::forward::directives::DirectivesOptions;
use crate::forward::options::{Encryption, TargetOptions};
use crate::forward::relay::options::RelayOptions;
use crate::http::server::DoorOptions;
use crate::ingest::options::PersonalOptions;
use crate::subject::options::SubjectOptions;
use crate::upkeep::options::QuotaOptions;

/// Reads a text. A text that is no TOML gives the defaults and where it is broken; the rest is looked at once it is TOML.
pub(super) fn read(text: &str) -> (Config, Vec<Problem>) {
    let (mut document, broken) = DeTable::parse_recoverable(text);
    let places = Places::of_table(text, document.get_ref());
    if !broken.is_empty() {
        let problem = |e: &toml::de::Error| Problem {
            severity: Severity::Error,
            line: e.span().map(|span| places.line_at(span.start)),
            key: e.span().and_then(|span| places.innermost(&span).map(str::to_owned)).unwrap_or_default(),
            what: e.message().to_owned(),
            remedy: "correct the TOML; the rest of the file is looked at afterwards".to_owned(),
        };
        return (Config::default(), broken.iter().map(problem).collect());
    }
    let shape = shape();
    let mut problems = Vec::new();
    drop_unknown(document.get_mut(), &shape, &shape, "", &places, &mut problems);
    let config = drop_unreadable(document, &shape, &places, &mut problems);
    (config, problems)
}

/// A configuration in which every key is set, also those whose default is none: a key that is missing here is refused as
/// unknown.
pub(super) fn fullest() -> Config {
    let purpose = PurposeOptions {
        name: "measure".to_owned(),
        bit: Some(16),
        basis: LawfulBasis::LegitimateInterest,
        assessment: Some("assessment 7, 2026-01-31".to_owned()),
        on_withdrawal: Some(OnWithdrawal::Keep),
    };
    Config {
        geoip_file: Some("places.mmdb".into()),
        door: DoorOptions {
            tls_cert_file: Some("door.pem".into()),
            tls_key_file: Some("door.key".into()),
            tls_client_ca_file: Some("clients.pem".into()),
            ..DoorOptions::default()
        },
        personal: PersonalOptions {
            root_key_file: Some("root.key".into()),
            keys_copy: Some("keys.copy".into()),
            ..PersonalOptions::default()
        },
        erase: EraseOptions { proof_key: Some("00".repeat(32)), ..EraseOptions::default() },
        quota: QuotaOptions { disk_budget_bytes: Some(10_000_000_000), ..QuotaOptions::default() },
        relay: RelayOptions { carry_key_file: Some("carry.key".into()), ..RelayOptions::default() },
        directives: DirectivesOptions {
            centre_key: Some("00".repeat(32)),
            key_file: Some("centre.key".into()),
            reply_key_file: Some("carry.key".into()),
            ..DirectivesOptions::default()
        },
        subject: SubjectOptions { assertion_key_file: Some("assertion.key".into()), ..SubjectOptions::default() },
        sites: vec![SiteOptions { purposes: vec![purpose], ..SiteOptions::builtin() }],
        targets: vec![TargetOptions {
            url: Some("https://centre.example".to_owned()),
            token_file: Some("token".into()),
            ca_file: Some("ca.pem".into()),
            client_cert_file: Some("client.pem".into()),
            client_key_file: Some("client.key".into()),
            proxy: Some("http://proxy.example:3128".to_owned()),
            receiver_key: Some("00".repeat(32)),
            encrypt_to: Some("age1".to_owned()),
            encrypt: Some(Encryption::None),
            recipient_name: Some("Example Ltd".to_owned()),
            ..TargetOptions::default()
        }],
        ..Config::default()
    }
}

/// Every key there is, with a value of its type.
pub(super) fn shape() -> Table {
    Table::try_from(fullest()).expect("invariant: a configuration of plain text has a TOML form")
}

/// Names and removes each key that nobody knows.
fn drop_unknown(
    table: &mut DeTable<'_>,
    known: &Table,
    all: &Table,
    path: &str,
    places: &Places,
    out: &mut Vec<Problem>,
) {
    let keys: Vec<Spanned<DeString<'_>>> = table.keys().cloned().collect();
    for key in keys {
        let own = join(path, key.get_ref());
        let Some(like) = known.get(key.get_ref().as_ref()) else {
            let line = Some(places.line_at(key.span().start));
            let what = format!("unknown key `{}`", cut(key.get_ref(), 80));
            let remedy = nearest(key.get_ref(), known, all);
            out.push(Problem { severity: Severity::Error, line, key: own, what, remedy });
            table.remove(&key);
            continue;
        };
        match (table.get_mut(&key).map(Spanned::get_mut), like) {
            (Some(DeValue::Table(inner)), Value::Table(like)) => drop_unknown(inner, like, all, &own, places, out),
            (Some(DeValue::Array(entries)), Value::Array(likes)) => {
                let like = likes.first().and_then(Value::as_table);
                for (n, entry) in entries.iter_mut().enumerate() {
                    if let (DeValue::Table(inner), Some(like)) = (entry.get_mut(), like) {
                        drop_unknown(inner, like, all, &format!("{own}[{n}]"), places, out);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What a writer of an unknown key may have meant.
fn nearest(key: &str, known: &Table, all: &Table) -> String {
    let close = known.keys().map(|other| (distance(key, other), other)).min();
    if let Some((apart, other)) = close
        && apart <= key.len().div_ceil(3)
    {
        return format!("did you mean `{other}`?");
    }
    let mut homes = Vec::new();
    homes_of(key, all, "", &mut homes);
    if let Some(home) = homes.first() {
        return format!("it belongs {home}");
    }
    format!("known here: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// The tables in which a key of that name is known.
fn homes_of(key: &str, table: &Table, header: &str, out: &mut Vec<String>) {
    if table.contains_key(key) {
        out.push(if header.is_empty() { "above the first [table]".to_owned() } else { format!("under {header}") });
    }
    for (name, value) in table {
        let name = join(header.trim_matches(['[', ']']), name);
        match value {
            Value::Table(inner) => homes_of(key, inner, &format!("[{name}]"), out),
            Value::Array(entries) => {
                if let Some(inner) = entries.first().and_then(Value::as_table) {
                    homes_of(key, inner, &format!("[[{name}]]"), out);
                }
            }
            _ => {}
        }
    }
}

/// Single letters to add, drop or change on the way from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in cut(from, 80).chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = change.min(corner + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

/// Reads the document; names and removes one by one what has the wrong type or is no known word.
fn drop_unreadable(
    mut document: Spanned<DeTable<'_>>,
    shape: &Table,
    places: &Places,
    out: &mut Vec<Problem>,
) -> Config {
    loop {
        let error = match Config::deserialize(toml::Deserializer::from(document.clone())) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let key = error.span().and_then(|span| places.innermost(&span).map(str::to_owned)).unwrap_or_default();
        let line = error.span().map(|span| places.line_at(span.start));
        let remedy = like(shape, &key);
        out.push(Problem { severity: Severity::Error, line, key, what: error.message().to_owned(), remedy });
        let removed = error.span().is_some_and(|span| remove(document.get_mut(), &span));
        if !removed {
            return Config::default();
        }
    }
}

/// How a key is written.
fn like(shape: &Table, key: &str) -> String {
    let mut value = None;
    let mut table = Some(shape);
    for step in key.split('.') {
        let name = step.split('[').next().unwrap_or(step);
        value = table.and_then(|table| table.get(name)).map(|value| (name, value));
        let inner = value.map(|(_, value)| value.as_array().and_then(|all| all.first()).unwrap_or(value));
        table = inner.and_then(Value::as_table);
    }
    match value {
        Some((name, Value::Table(_))) => format!("write a table: [{name}]"),
        Some((_, Value::Array(all))) if all.first().is_some_and(Value::is_table) => {
            format!("write tables: [[{}]]", key.replace(|c: char| c == '[' || c == ']' || c.is_ascii_digit(), ""))
        }
        Some((name, Value::Array(all))) if all.is_empty() => format!("write it like `{name} = [\"...\"]`"),
        Some((name, value)) => format!("write it like `{name} = {value}`"),
        None => String::new(),
    }
}

/// Removes the innermost key or list entry that holds a stretch of the text.
fn remove(table: &mut DeTable<'_>, stretch: &Range<usize>) -> bool {
    if table.iter_mut().any(|(_, value)| remove_below(value, stretch)) {
        return true;
    }
    let here = |(key, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
        holds(&key.span(), stretch) || holds(&value.span(), stretch)
    };
    let Some(key) = table.iter().find(here).map(|(key, _)| key.clone()) else { return false };
    table.remove(&key).is_some()
}

fn remove_below(value: &mut Spanned<DeValue<'_>>, stretch: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(inner) => remove(inner, stretch),
        DeValue::Array(entries) => {
            if entries.iter_mut().any(|entry| remove_below(entry, stretch)) {
                return true;
            }
            let found = entries.iter().position(|entry| holds(&entry.span(), stretch));
            let Some(found) = found else { return false };
            let all = std::mem::replace(entries, DeArray::new()).into_iter().enumerate();
            all.filter(|(at, _)| *at != found).for_each(|(_, entry)| entries.push(entry));
            true
        }
        _ => false,
    }
}
