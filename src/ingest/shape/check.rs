//! The checks every text of an event passes: ids, short texts, lengths, words of an enumeration, purposes.
//! Must never derive anything. Invariant: an empty text is absent, an empty id is an error.

use crate::base::id::{ClientId, uuid_bytes};
use crate::base::text::{clean, cut};
use crate::domain::consent::Purposes;
use crate::domain::site::Site;
use crate::ingest::limits::Limits;
use crate::ingest::shape::Shaped;
use crate::ingest::wire::{Invalid, Text};

/// An id of 1 to so many bytes without control characters.
pub(crate) fn id(field: &str, value: Option<Text<'_>>, limits: &Limits) -> Shaped<Option<ClientId>> {
    let Some(text) = value else { return Ok(None) };
    fits(field, &text, limits.id_bytes_max)?;
    if let Some(uuid) = uuid_bytes(&text) {
        return Ok(Some(ClientId::Uuid(uuid)));
    }
    if text.is_empty() {
        return Err(Invalid::new(field, "is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "holds a control character"));
    }
    Ok(Some(ClientId::Text(text.into())))
}

/// A text of at most so many bytes; an empty one counts as absent.
pub(crate) fn short(field: &str, value: Option<Text<'_>>, bytes_max: usize) -> Shaped<Option<String>> {
    let Some(text) = value.filter(|text| !text.is_empty()) else { return Ok(None) };
    fits(field, &text, bytes_max)?;
    Ok(Some(text.into_owned()))
}

pub(crate) fn fits(field: &str, text: &str, bytes_max: usize) -> Shaped<()> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(Invalid::new(field, format!("has {} bytes, at most {bytes_max} are taken", text.len())))
}

pub(crate) fn purposes(field: &str, words: &[Text<'_>], site: &Site) -> Shaped<Purposes> {
    let set = site.book.set(words.iter().map(|word| word.as_ref()));
    set.map_err(|error| Invalid::new(field, format!("{}; {}", error.what, error.remedy)))
}

/// One of an enumeration's words. Errors: names them all.
pub(crate) fn word<T: serde::de::DeserializeOwned>(field: &str, text: &str) -> Shaped<T> {
    use serde::de::IntoDeserializer;
    let from: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = cut(text, 64).into_deserializer();
    T::deserialize(from).map_err(|error| Invalid::new(field, clean(&error.to_string())))
}
