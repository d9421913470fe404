//! The reader of custom attributes and traits: text, numbers, truths, or `{dataType, value}` as Journey writes them.
//! Must never judge names or lengths. Invariant: a number keeps the digits it was sent with, or is refused.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::domain::event::{Attribute, DataType};
use crate::ingest::limits::DEPTH_MAX;
use crate::ingest::wire::scalar::{At, Key, Scalar, Sink, Skip, take_list_as_scalar, take_scalars};

/// Reads an object of custom attributes; null counts as absent, also as the value of one.
pub(crate) struct Attributes<'s, 'k> {
    /// Keeps what is wrong.
    pub sink: &'s mut Sink,
    /// Where the object stands.
    pub at: At<'k>,
}

impl Attributes<'_, '_> {
    fn scalar(self, value: Scalar<'_>) -> Option<Vec<Attribute>> {
        self.sink.not(self.at, &value, "an object of attributes");
        None
    }
}

impl<'de> DeserializeSeed<'de> for Attributes<'_, '_> {
    type Value = Option<Vec<Attribute>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Attributes<'_, '_> {
    type Value = Option<Vec<Attribute>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of attributes")
    }

    take_scalars!();
    take_list_as_scalar!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Attributes { sink, at: here } = self;
        let mut found = Vec::new();
        while let Some(Key(name)) = map.next_key()? {
            let at = At { under: here.key, key: &name };
            if found.len() >= sink.attributes_max {
                sink.note(here, format!("holds more than {} attributes", sink.attributes_max));
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(AttributeValue { sink: &mut *sink, at })?;
            if name.contains('\0') {
                sink.note(at, "holds a NUL character");
            } else if let Some((value, data_type)) = value {
                found.push(Attribute { name: name.into_owned(), value, data_type });
            }
        }
        Ok(Some(found))
    }
}

/// Reads a custom attribute's value: text, number, truth, or `{dataType, value}`.
struct AttributeValue<'s, 'k> {
    sink: &'s mut Sink,
    at: At<'k>,
}

const TYPES: [&str; 3] = ["STRING", "NUMBER", "BOOLEAN"];

impl AttributeValue<'_, '_> {
    /// A bare value; a vendor's shapes know none.
    fn scalar(self, value: Scalar<'_>) -> Option<(String, DataType)> {
        if self.sink.vendor {
            self.sink.not(self.at, &value, "an object of dataType and value");
            return None;
        }
        self.value(value)
    }

    fn value(self, value: Scalar<'_>) -> Option<(String, DataType)> {
        // integers above 64 bits arrive rounded
        const BIG: f64 = 18_446_744_073_709_551_616.0;
        match value {
            Scalar::Text(text) => Some((text.into_owned(), DataType::String)),
            Scalar::Flag(flag) => Some((flag.to_string(), DataType::Boolean)),
            Scalar::Whole(number) => Some((number.to_string(), DataType::Number)),
            Scalar::Big(number) => Some((number.to_string(), DataType::Number)),
            Scalar::Float(number) if number.abs() < BIG => {
                Some((serde_json::to_string(&number).unwrap_or_default(), DataType::Number))
            }
            Scalar::Float(_) => {
                self.sink.note(self.at, "is a number too large to keep its digits; send it as text");
                None
            }
            other => {
                self.sink.not(self.at, &other, "text, a number, true or false, or {\"dataType\", \"value\"}");
                None
            }
        }
    }

    /// A value of the type it says it has: Journey sends every value as text.
    fn typed(self, word: &str, value: Scalar<'_>) -> Option<(String, DataType)> {
        let AttributeValue { sink, at } = self;
        let numeric = |text: &str| {
            text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
                && text.parse::<f64>().is_ok_and(f64::is_finite)
        };
        let (text, own) = AttributeValue { sink: &mut *sink, at }.value(value)?;
        let as_text = own == DataType::String;
        let (data_type, fits) = match word {
            "NUMBER" => (DataType::Number, own == DataType::Number || (as_text && numeric(&text))),
            "BOOLEAN" => (DataType::Boolean, matches!(text.as_str(), "true" | "false")),
            _ => (DataType::String, as_text),
        };
        let fits = fits && (as_text || !sink.vendor);
        if !fits {
            sink.note(at, format!("has the dataType {word}, which its value is not"));
        }
        fits.then_some((text, data_type))
    }
}

impl<'de> DeserializeSeed<'de> for AttributeValue<'_, '_> {
    type Value = Option<(String, DataType)>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AttributeValue<'_, '_> {
    type Value = Option<(String, DataType)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an attribute")
    }

    take_scalars!();
    take_list_as_scalar!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut word, mut value) = (None, None);
        while let Some(Key(key)) = map.next_key()? {
            let slot = match key.as_ref() {
                "dataType" => &mut word,
                "value" => &mut value,
                _ => {
                    if !map.next_value_seed(Skip(DEPTH_MAX - 3))? || !self.sink.vendor {
                        self.sink.note(self.at, "may hold dataType and value only");
                    }
                    continue;
                }
            };
            let twice = slot.replace(map.next_value::<Scalar<'de>>()?).is_some();
            if twice {
                self.sink.note(self.at, format!("gives {key} twice"));
            }
        }
        match (word, value) {
            (Some(Scalar::Text(word)), Some(value)) if TYPES.contains(&word.as_ref()) => Ok(self.typed(&word, value)),
            _ => {
                self.sink.note(self.at, "must have a dataType (STRING, NUMBER or BOOLEAN) and a value");
                Ok(None)
            }
        }
    }
}
