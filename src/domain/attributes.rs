//! Types of custom attributes as a row keeps them: a letter each, in the order of the names, which are sorted.
//! Must never judge a name or a value. Invariant: what [`letters`] made [`types`] reads back, and what schema version 1 kept
//! (the JSON object itself) comes back as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use crate::domain::event::{Attribute, DataType};

/// A letter for each type; they are stored, so they never change.
const LETTERS: [(char, DataType); 3] = [('S', DataType::String), ('N', DataType::Number), ('B', DataType::Boolean)];

/// The types of sorted attributes; `None` where all are texts.
pub fn letters(attributes: &[Attribute]) -> Option<String> {
    let letter =
        |a: &Attribute| LETTERS.iter().find(|(_, known)| *known == a.data_type).map_or('S', |(letter, _)| *letter);
    attributes.iter().any(|a| a.data_type != DataType::String).then(|| attributes.iter().map(letter).collect())
}

/// The JSON object of the types that are no `STRING`, by the JSON object of the attributes and the letters kept with it.
pub fn types<'a>(attributes: Option<&str>, kept: &'a str) -> Cow<'a, str> {
    if kept.starts_with('{') {
        return kept.into();
    }
    let names: BTreeMap<Cow<'_, str>, IgnoredAny> =
        attributes.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let of = |letter: char| LETTERS.iter().find(|(known, _)| *known == letter).map_or(DataType::String, |(_, of)| *of);
    let told = names.keys().zip(kept.chars().map(of)).filter(|(_, of)| *of != DataType::String);
    let told: BTreeMap<&str, &str> = told.map(|(name, of)| (name.as_ref(), of.word())).collect();
    serde_json::to_string(&told).expect("invariant: words under names are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, data_type: DataType) -> Attribute {
        Attribute { name: name.to_owned(), value: "1".to_owned(), data_type }
    }

    #[test]
    fn letters_read_back_as_the_types() {
        let list = [
            attribute("a \"quoted\" name", DataType::Boolean),
            attribute("b", DataType::String),
            attribute("c", DataType::Number),
        ];
        let values = r#"{"a \"quoted\" name":"1","b":"1","c":"1"}"#;
        let kept = letters(&list).unwrap();
        assert_eq!(kept, "BSN");
        assert_eq!(types(Some(values), &kept), r#"{"a \"quoted\" name":"BOOLEAN","c":"NUMBER"}"#);
    }

    #[test]
    fn texts_alone_need_no_letters() {
        assert_eq!(letters(&[attribute("a", DataType::String)]), None);
        assert_eq!(letters(&[]), None);
    }

    #[test]
    fn what_schema_version_1_kept_comes_back_as_it_is() {
        assert_eq!(types(None, r#"{"a":"NUMBER"}"#), r#"{"a":"NUMBER"}"#);
    }
}
