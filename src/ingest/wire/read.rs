//! The readers of objects, parts and lists: written by hand, so that duplicate keys are seen, positions
//! kept and a wrong type stays the event's own matter.
//! Must never know a wire format's keys: each format's [`Target`] tells them. Invariant: errors are broken JSON only.

use std::borrow::Cow;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::ingest::limits::{DEPTH_MAX, WORDS_MAX};
use crate::ingest::wire::attributes::Attributes;
use crate::ingest::wire::scalar::{
    At, Key, Scalar, Sink, Skip, take_list_as_scalar, take_object_as_scalar, take_scalars,
};
use crate::ingest::wire::{Items, Kind, Part, RawDecision, RawItem, Shape, Slot, Table, Target};

/// Reads an object into a target whose keys the table names.
pub(crate) struct Object<'s, T> {
    /// What is filled.
    pub target: &'s mut T,
    /// Which of its objects this is.
    pub table: Table,
    /// Keeps what is wrong.
    pub sink: &'s mut Sink,
    /// Key of this object; empty for the event itself.
    pub under: &'s str,
}

impl<T> Object<'_, T> {
    fn scalar(self, value: Scalar<'_>) -> bool {
        let whole = self.under.is_empty();
        let at = At { under: "", key: if whole { "event" } else { self.under } };
        if whole && value == Scalar::Null {
            self.sink.note(at, "must be an object, not null");
        }
        self.sink.not(at, &value, "an object");
        false
    }
}

impl<'de, T: Target<'de>> DeserializeSeed<'de> for Object<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Target<'de>> Visitor<'de> for Object<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    take_scalars!();
    take_list_as_scalar!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Object { target, table, sink, under } = self;
        // keys whose slot does not show that they were there: nulls and inner objects
        let mut done: Vec<Cow<'de, str>> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            let at = At { under, key: &key };
            let Some(slot) = target.slot(table, &key) else {
                let levels = DEPTH_MAX - 1 - usize::from(!under.is_empty());
                if !map.next_value_seed(Skip(levels))? {
                    sink.not(at, &Scalar::Deep, "");
                } else if !sink.vendor {
                    sink.note(at, "is no field of this object; event.schema.json lists them");
                }
                continue;
            };
            if slot.is_filled() || done.contains(&key) {
                sink.note(at, "is given twice (other spellings of it count)");
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let shows = if let Slot::Inner(table) = slot {
                map.next_value_seed(Object { target: &mut *target, table, sink: &mut *sink, under: &key })?;
                false
            } else {
                read_slot(&mut map, slot, sink, at)?
            };
            if !shows {
                done.push(key);
            }
        }
        Ok(true)
    }
}

/// Reads the value of a key into its slot; tells whether the slot shows it from now on.
fn read_slot<'de, A: MapAccess<'de>>(
    map: &mut A,
    slot: Slot<'_, 'de>,
    sink: &mut Sink,
    at: At<'_>,
) -> Result<bool, A::Error> {
    fn keep<T>(out: &mut Option<T>, found: Option<T>) -> bool {
        *out = found;
        out.is_some()
    }
    Ok(match slot {
        Slot::Text(out) => keep(out, sink.text(at, map.next_value()?)),
        Slot::Time(out) => keep(out, sink.instant(at, &map.next_value()?)),
        Slot::Flag(out) => keep(out, sink.flag(at, &map.next_value()?)),
        Slot::Words(out) => keep(out, map.next_value_seed(Words { sink, at })?),
        Slot::Part(out, shape) => keep(out, map.next_value_seed(PartSeed { sink, at, shape })?),
        Slot::Attributes(out) => keep(out, map.next_value_seed(Attributes { sink, at })?),
        Slot::Items(out) => keep(out, map.next_value_seed(ItemList { sink })?),
        Slot::Decision(out) => {
            let mut target = Box::<RawDecision<'de>>::default();
            let seed = Object { target: &mut *target, table: Table::Whole, sink, under: at.key };
            let given = map.next_value_seed(seed)?;
            keep(out, given.then_some(target))
        }
        Slot::Inner(_) => {
            map.next_value::<IgnoredAny>()?;
            false
        }
    })
}

/// Reads a list of words; null counts as absent.
struct Words<'s, 'k> {
    sink: &'s mut Sink,
    at: At<'k>,
}

impl Words<'_, '_> {
    fn scalar<'de>(self, value: Scalar<'_>) -> Option<Vec<Cow<'de, str>>> {
        self.sink.not(self.at, &value, "a list of words");
        None
    }
}

impl<'de> DeserializeSeed<'de> for Words<'_, '_> {
    type Value = Option<Vec<Cow<'de, str>>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Words<'_, '_> {
    type Value = Option<Vec<Cow<'de, str>>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of words")
    }

    take_scalars!();
    take_object_as_scalar!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut words = Vec::new();
        while let Some(value) = list.next_element::<Scalar<'de>>()? {
            match value {
                Scalar::Text(_) if words.len() == WORDS_MAX => {
                    self.sink.note(self.at, format!("lists more than {WORDS_MAX} words"));
                }
                Scalar::Text(word) => words.push(word),
                Scalar::Null => self.sink.note(self.at, "must list words, not null"),
                other => self.sink.not(self.at, &other, "a list of words"),
            }
        }
        Ok(Some(words))
    }
}

/// Reads an object of scalars of a known shape; null counts as absent.
struct PartSeed<'s, 'k> {
    sink: &'s mut Sink,
    at: At<'k>,
    shape: Shape,
}

impl PartSeed<'_, '_> {
    fn scalar<'de>(self, value: Scalar<'_>) -> Option<Part<'de>> {
        self.sink.not(self.at, &value, "an object");
        None
    }
}

impl<'de> DeserializeSeed<'de> for PartSeed<'_, '_> {
    type Value = Option<Part<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PartSeed<'_, '_> {
    type Value = Option<Part<'de>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    take_scalars!();
    take_list_as_scalar!();

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut part = Part(Vec::with_capacity(self.shape.len()));
        while let Some(Key(key)) = map.next_key()? {
            let at = At { under: self.at.key, key: &key };
            let Some((name, kind)) = self.shape.iter().find(|(name, _)| *name == key) else {
                if !map.next_value_seed(Skip(DEPTH_MAX - 2))? {
                    self.sink.not(at, &Scalar::Deep, "");
                } else if !self.sink.vendor {
                    self.sink.note(at, "is no field of this object; event.schema.json lists them");
                }
                continue;
            };
            let value: Scalar<'de> = map.next_value()?;
            if part.0.iter().any(|(other, _)| other == name) {
                self.sink.note(at, "is given twice (other spellings of it count)");
            } else if value == Scalar::Null || kind.holds(&value) {
                part.0.push((name, value));
            } else {
                self.sink.not(at, &value, &kind.wanted());
            }
        }
        Ok(Some(part))
    }
}

impl Kind {
    /// Is the value of this kind?
    fn holds(self, value: &Scalar<'_>) -> bool {
        match (self, value) {
            (Kind::Text, Scalar::Text(_)) | (Kind::Flag, Scalar::Flag(_)) | (Kind::Number, Scalar::Float(_)) => true,
            (Kind::Whole | Kind::Number, Scalar::Whole(number)) => {
                (0..=crate::ingest::limits::WHOLE_MAX).contains(number)
            }
            (Kind::OneOf(words), Scalar::Text(text)) => words.contains(&text.as_ref()),
            _ => false,
        }
    }

    fn wanted(self) -> Cow<'static, str> {
        match self {
            Kind::Text => "text".into(),
            Kind::Flag => "true or false".into(),
            Kind::Whole => "a whole number from 0 to 2^53 - 1".into(),
            Kind::Number => "a number, not negative".into(),
            Kind::OneOf(words) => format!("one of {}", words.join(", ")).into(),
        }
    }
}

/// Reads a list of events and decisions; null counts as absent.
pub(crate) struct ItemList<'s> {
    /// Takes what is wrong with the list itself; its rules hold for every item.
    pub sink: &'s mut Sink,
}

impl ItemList<'_> {
    fn scalar<'de>(self, value: Scalar<'_>) -> Option<Items<'de>> {
        self.sink.not(At { under: "", key: "events" }, &value, "a list of events");
        None
    }
}

impl<'de> DeserializeSeed<'de> for ItemList<'_> {
    type Value = Option<Items<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemList<'_> {
    type Value = Option<Items<'de>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of events")
    }

    take_scalars!();
    take_object_as_scalar!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::default();
        while items.list.len() < self.sink.events_max {
            let (mut item, mut sink) = (RawItem::default(), self.sink.fresh());
            let seed = Object { target: &mut item, table: Table::Whole, sink: &mut sink, under: "" };
            if list.next_element_seed(seed)?.is_none() {
                return Ok(Some(items));
            }
            items.list.push(item.finish(sink.first));
        }
        // too many refuse the request: counted, so that the answer can tell how many there were
        while list.next_element::<IgnoredAny>()?.is_some() {
            items.overflow += 1;
        }
        Ok(Some(items))
    }
}
