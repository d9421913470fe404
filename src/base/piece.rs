//! A piece of a text that several hold together: an address and its parts are one allocation, and a copy is a count.
//! Must never be changed in place. Invariant: it begins and ends at characters of its text.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Such a piece; of a text of its own where it was made from one.
#[derive(Clone, Default)]
pub struct Piece {
    text: Arc<str>,
    from: u32,
    upto: u32,
}

impl Piece {
    /// What lies in it between two places, in bytes. Both must be characters' beginnings, or its end.
    pub fn part(&self, place: Range<usize>) -> Piece {
        let long = self.as_str().get(place.clone()).expect("invariant: a part lies in its text").len();
        if long == 0 {
            return Piece::default(); // holds no text
        }
        let from = self.from + length(place.start);
        Piece { text: Arc::clone(&self.text), from, upto: from + length(long) }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text[self.from as usize..self.upto as usize]
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("invariant: no text here has 4 GiB")
}

impl From<&str> for Piece {
    fn from(text: &str) -> Piece {
        if text.is_empty() {
            return Piece::default();
        }
        Piece { text: text.into(), from: 0, upto: length(text.len()) }
    }
}

impl From<String> for Piece {
    fn from(text: String) -> Piece {
        text.as_str().into()
    }
}

impl Deref for Piece {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Piece {}

impl PartialEq<&str> for Piece {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Piece::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_shares_the_text_it_lies_in() {
        let whole = Piece::from("https://shop.example/ä?b=c");
        let host = whole.part(8..20);
        let label = host.part(5..12);
        assert_eq!((host.as_str(), label.as_str()), ("shop.example", "example"));
        assert!([&host, &label].iter().all(|part| Arc::ptr_eq(&part.text, &whole.text)));
        assert_eq!(whole.part(21..23), "ä");
        assert!(!Arc::ptr_eq(&whole.part(8..8).text, &whole.text), "nothing keeps no text");
    }

    #[test]
    #[should_panic(expected = "invariant")]
    fn half_a_character_is_no_part() {
        Piece::from("ä").part(0..1);
    }

    #[test]
    fn it_is_written_and_read_as_its_text() {
        let part = Piece::from("a/\"b").part(1..4);
        assert_eq!(serde_json::to_string(&part).unwrap(), r#""/\"b""#);
        assert_eq!(serde_json::from_str::<Piece>(r#""/\"b""#).unwrap(), part);
        assert_eq!(format!("{part:?} {part}"), r#""/\"b" /"b"#);
    }
}
