//! One JSON value as a field meets it: read without judging, judged afterwards.
//! Must never fail but for broken JSON: a wrong type spoils its event, not the request it came in.
//! Invariant: text without escapes is borrowed, never copied; text with NUL never gets through.

use std::borrow::Cow;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::base::text::{clean, cut};
use crate::base::time::Millis;
use crate::ingest::limits::{DEPTH_MAX, WHOLE_MAX};

/// What is wrong with one event, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, for example `page.url`; `line 3` for a line that does not parse.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub what: String,
}

impl Invalid {
    /// `field` and `what` is wrong with it.
    pub fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Invalid { field: field.into(), what: what.into() }
    }
}

/// Where a value stands: the object it lies in (empty for the event itself) and its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'k> {
    /// Key of the object around it; empty at the top.
    pub under: &'k str,
    /// Its own key.
    pub key: &'k str,
}

impl At<'_> {
    fn name(self) -> String {
        let key = clean(cut(self.key, 64));
        if self.under.is_empty() { key } else { format!("{}.{key}", self.under) }
    }
}

/// Keeps the first thing that is wrong with an event.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The first problem.
    pub first: Option<Invalid>,
    /// The shapes of a vendor's SDK: keys nobody knows are skipped, since the SDK may grow, and attributes are typed objects.
    pub vendor: bool,
    /// Most attributes of one event.
    pub attributes_max: usize,
    /// Most items of one request.
    pub events_max: usize,
}

impl Sink {
    /// An empty one with the same rules.
    pub fn fresh(&self) -> Sink {
        Sink { first: None, ..*self }
    }

    /// Notes a problem, unless one is noted already.
    pub fn note(&mut self, at: At<'_>, what: impl Into<String>) {
        if self.first.is_none() {
            self.first = Some(Invalid::new(at.name(), what));
        }
    }

    /// The text of a value; null counts as absent.
    pub fn text<'a>(&mut self, at: At<'_>, value: Scalar<'a>) -> Option<Cow<'a, str>> {
        match value {
            Scalar::Text(text) => Some(text),
            other => self.wrong(at, &other, "text"),
        }
    }

    /// The truth of a value; null counts as absent.
    pub fn flag(&mut self, at: At<'_>, value: &Scalar<'_>) -> Option<bool> {
        match value {
            Scalar::Flag(flag) => Some(*flag),
            other => self.wrong(at, other, "true or false"),
        }
    }

    /// The instant of a value: RFC 3339 text or whole milliseconds since 1970; null counts as absent.
    pub fn instant(&mut self, at: At<'_>, value: &Scalar<'_>) -> Option<Millis> {
        let found = match value {
            Scalar::Text(text) if text.len() <= 64 => Millis::parse(text),
            Scalar::Whole(ms) if (-WHOLE_MAX..=WHOLE_MAX).contains(ms) => Millis::checked(*ms),
            Scalar::Text(_) | Scalar::Whole(_) | Scalar::Big(_) => None,
            other => return self.wrong(at, other, "an RFC 3339 time or whole milliseconds since 1970"),
        };
        if found.is_none() {
            self.note(at, "is no RFC 3339 time and no number of milliseconds in the years 1 to 9999");
        }
        found
    }

    fn wrong<T>(&mut self, at: At<'_>, value: &Scalar<'_>, wanted: &str) -> Option<T> {
        match value {
            Scalar::Null => {}
            Scalar::Nul => self.note(at, "holds a NUL character"),
            Scalar::Deep => self.note(at, format!("is nested deeper than {DEPTH_MAX} levels")),
            other => self.note(at, format!("must be {wanted}, not {}", other.kind())),
        }
        None
    }

    /// Notes that a value is not what was wanted; null passes.
    pub fn not(&mut self, at: At<'_>, value: &Scalar<'_>, wanted: &str) {
        let _: Option<()> = self.wrong(at, value, wanted);
    }
}

/// Any JSON value; of lists and objects only that they were there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// null
    Null,
    /// true or false
    Flag(bool),
    /// A whole number of 64 bits with sign.
    Whole(i64),
    /// A whole number above that, of 64 bits without sign.
    Big(u64),
    /// Any other number; finite.
    Float(f64),
    /// Text without NUL.
    Text(Cow<'a, str>),
    /// Text with NUL.
    Nul,
    /// A list, skipped.
    List,
    /// An object, skipped.
    Object,
    /// Nested too deep, skipped.
    Deep,
}

impl Scalar<'_> {
    /// Its kind, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Flag(_) => "true or false",
            Scalar::Whole(_) | Scalar::Big(_) | Scalar::Float(_) => "a number",
            Scalar::Text(_) | Scalar::Nul => "text",
            Scalar::List | Scalar::Deep => "a list",
            Scalar::Object => "an object",
        }
    }
}

impl Serialize for Scalar<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Scalar::Flag(flag) => to.serialize_bool(*flag),
            Scalar::Whole(number) => to.serialize_i64(*number),
            Scalar::Big(number) => to.serialize_u64(*number),
            Scalar::Float(number) => to.serialize_f64(*number),
            Scalar::Text(text) => to.serialize_str(text),
            _ => to.serialize_unit(),
        }
    }
}

/// Visitor methods for everything but lists and objects: each hands a [`Scalar`] to `self.scalar(..)`.
macro_rules! take_scalars {
    () => {
        fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::Scalar::Null))
        }
        fn visit_bool<E: serde::de::Error>(self, flag: bool) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::Scalar::Flag(flag)))
        }
        fn visit_i64<E: serde::de::Error>(self, number: i64) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::Scalar::Whole(number)))
        }
        fn visit_u64<E: serde::de::Error>(self, number: u64) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::of_u64(number)))
        }
        fn visit_f64<E: serde::de::Error>(self, number: f64) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::Scalar::Float(number)))
        }
        fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::of_borrowed(text)))
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Self::Value, E> {
            Ok(self.scalar($crate::ingest::wire::scalar::of_text(text)))
        }
    };
}
/// Visitor method for lists where none is wanted: skipped, then [`Scalar::List`] or [`Scalar::Deep`].
macro_rules! take_list_as_scalar {
    () => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> std::result::Result<Self::Value, A::Error> {
            let found = $crate::ingest::wire::scalar::skip_list(list, $crate::ingest::limits::DEPTH_MAX - 2)?;
            Ok(self.scalar(found))
        }
    };
}
/// Visitor method for objects where none is wanted.
macro_rules! take_object_as_scalar {
    () => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, object: A) -> std::result::Result<Self::Value, A::Error> {
            let found = $crate::ingest::wire::scalar::skip_object(object, $crate::ingest::limits::DEPTH_MAX - 2)?;
            Ok(self.scalar(found))
        }
    };
}
pub(crate) use {take_list_as_scalar, take_object_as_scalar, take_scalars};

pub(crate) fn of_u64<'a>(number: u64) -> Scalar<'a> {
    i64::try_from(number).map_or(Scalar::Big(number), Scalar::Whole)
}

/// Raw NUL is no JSON, so that text without escapes holds none.
pub(crate) fn of_borrowed(text: &str) -> Scalar<'_> {
    Scalar::Text(Cow::Borrowed(text))
}

pub(crate) fn of_text<'a>(text: &str) -> Scalar<'a> {
    if text.contains('\0') { Scalar::Nul } else { Scalar::Text(Cow::Owned(text.to_owned())) }
}

struct ScalarVisitor;

impl ScalarVisitor {
    fn scalar<'a>(&self, value: Scalar<'a>) -> Scalar<'a> {
        value
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    take_scalars!();
    take_list_as_scalar!();
    take_object_as_scalar!();
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ScalarVisitor)
    }
}

/// A key; borrowed where it has no escapes.
pub(crate) struct Key<'a>(pub Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(KeyVisitor)
    }
}

/// Reads over a value of at most so many levels of lists and objects; tells whether it had no more.
pub(crate) struct Skip(pub usize);

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl Skip {
    fn scalar(&self, value: Scalar<'_>) -> bool {
        value != Scalar::Deep
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    take_scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<bool, A::Error> {
        Ok(self.scalar(skip_list(list, self.0)?))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<bool, A::Error> {
        Ok(self.scalar(skip_object(object, self.0)?))
    }
}

/// Reads over a list; `levels` counts this one. What is deeper is read over without recursion.
pub(crate) fn skip_list<'de, A: SeqAccess<'de>>(mut list: A, levels: usize) -> Result<Scalar<'static>, A::Error> {
    let mut fits = levels > 0;
    if fits {
        while let Some(inner) = list.next_element_seed(Skip(levels - 1))? {
            fits &= inner;
        }
    } else {
        while list.next_element::<IgnoredAny>()?.is_some() {}
    }
    Ok(if fits { Scalar::List } else { Scalar::Deep })
}

/// Reads over an object; `levels` counts this one.
pub(crate) fn skip_object<'de, A: MapAccess<'de>>(mut object: A, levels: usize) -> Result<Scalar<'static>, A::Error> {
    let mut fits = levels > 0;
    while object.next_key::<IgnoredAny>()?.is_some() {
        if levels > 0 {
            fits &= object.next_value_seed(Skip(levels - 1))?;
        } else {
            object.next_value::<IgnoredAny>()?;
        }
    }
    Ok(if fits { Scalar::Object } else { Scalar::Deep })
}
