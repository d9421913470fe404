//! The short way for bodies as nearly every sender writes them: known keys, each once, with values of the kinds they are to have.
//! Must never judge nor note a problem: where anything else stands it gives up, and the body is read from its beginning by the
//! reader that tells what is wrong (`read.rs`). Invariant: whatever it reads that reader reads the same.

use std::borrow::Cow;

use crate::base::time::Millis;
use crate::domain::event::{Attribute, DataType};
use crate::ingest::limits::{WHOLE_MAX, WORDS_MAX};
use crate::ingest::wire::attributes::value;
use crate::ingest::wire::scalar::Scalar;
use crate::ingest::wire::{Items, Part, RawDecision, RawItem, Shape, Slot, Table, Target, Text};

/// Digits of a number that is read by hand: no more than a float keeps exactly.
const DIGITS_MAX: usize = 15;

/// A text and how far it is read. Every method gives `None` where something else stands than it reads.
pub(crate) struct Quick<'a> {
    text: &'a str,
    /// Its bytes.
    bytes: &'a [u8],
    at: usize,
    attributes_max: usize,
    events_max: usize,
}

impl<'a> Quick<'a> {
    /// Reads a text from its beginning, with at most so many attributes of an event and so many events.
    pub fn new(text: &'a str, attributes_max: usize, events_max: usize) -> Self {
        Quick { text, bytes: text.as_bytes(), at: 0, attributes_max, events_max }
    }

    /// The whole text as a list of events and decisions.
    pub fn list(mut self) -> Option<Items<'a>> {
        let items = self.items()?;
        self.end()?;
        Some(items)
    }

    /// The whole text as one object.
    pub fn whole(mut self, mut item: RawItem<'a>) -> Option<RawItem<'a>> {
        self.object(&mut item, Table::Whole)?;
        self.end()?;
        Some(item)
    }

    fn end(&mut self) -> Option<()> {
        self.next().is_none().then_some(())
    }

    /// The next byte that is no white space; few senders write any.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.next_behind_space(),
        }
    }

    #[inline(never)]
    fn next_behind_space(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Reads over that byte, if it is the next one.
    #[inline(always)]
    fn takes(&mut self, byte: u8) -> bool {
        let there = self.next() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Goes on behind one more of a list or an object: `false` where it ends.
    #[inline(always)]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        let next = self.next()?;
        self.at += 1;
        if next == b',' { Some(true) } else { (next == end).then_some(false) }
    }

    fn items(&mut self) -> Option<Items<'a>> {
        let mut items = Items::default();
        if !self.takes(b'[') {
            return None;
        }
        if self.takes(b']') {
            return Some(items);
        }
        loop {
            if items.list.len() >= self.events_max {
                return None;
            }
            let mut item = RawItem::default();
            self.object(&mut item, Table::Whole)?;
            items.list.push(item.finish(None));
            if !self.goes_on(b']')? {
                return Some(items);
            }
        }
    }

    fn object<T: Target<'a>>(&mut self, target: &mut T, table: Table) -> Option<()> {
        // keys whose slot does not show that they were there: nulls and inner objects
        let mut done: Vec<&str> = Vec::new();
        if !self.takes(b'{') {
            return None;
        }
        if self.takes(b'}') {
            return Some(());
        }
        loop {
            let key = self.key()?;
            let slot = target.slot(table, key)?;
            if slot.is_filled() || done.contains(&key) {
                return None;
            }
            if let Slot::Inner(inner) = slot {
                self.object(target, inner)?;
                done.push(key);
            } else if self.next()? == b'n' {
                self.word("null")?;
                done.push(key);
            } else {
                self.fill(slot)?;
            }
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// Reads a value that is not null into its slot.
    fn fill(&mut self, slot: Slot<'_, 'a>) -> Option<()> {
        match slot {
            Slot::Text(out) => *out = Some(self.string()?),
            Slot::Time(out) => *out = Some(self.time()?),
            Slot::Flag(out) => *out = Some(self.flag()?),
            Slot::Words(out) => *out = Some(self.words()?),
            Slot::Part(out, shape) => *out = Some(self.part(shape)?),
            Slot::Attributes(out) => *out = Some(self.attributes()?),
            Slot::Items(out) => *out = Some(self.items()?),
            Slot::Decision(out) => {
                let mut decision = Box::<RawDecision<'a>>::default();
                self.object(&mut *decision, Table::Whole)?;
                *out = Some(decision);
            }
            Slot::Inner(_) => return None,
        }
        Some(())
    }

    /// A key without escapes, and its colon.
    #[inline(always)]
    fn key(&mut self) -> Option<&'a str> {
        let key = self.plain()?;
        self.takes(b':').then_some(key)
    }

    /// A text without escapes.
    fn plain(&mut self) -> Option<&'a str> {
        if !self.takes(b'"') {
            return None;
        }
        let begin = self.at;
        let end = plain_end(self.bytes, begin);
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        self.text.get(begin..end)
    }

    fn string(&mut self) -> Option<Text<'a>> {
        self.next()?;
        let begin = self.at;
        if let Some(text) = self.plain() {
            return Some(Cow::Borrowed(text));
        }
        let bytes = self.bytes;
        if bytes.get(begin) != Some(&b'"') {
            return None;
        }
        let mut end = begin + 1;
        loop {
            end = plain_end(bytes, end);
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => return None,
            }
        }
        self.at = end + 1;
        let text: String = serde_json::from_str(self.text.get(begin..=end)?).ok()?;
        (!text.contains('\0')).then_some(Cow::Owned(text))
    }

    /// One of the words of JSON; more letters behind it show where its separator should stand.
    fn word(&mut self, word: &str) -> Option<()> {
        let there = self.bytes.get(self.at..)?.starts_with(word.as_bytes());
        self.at += word.len();
        there.then_some(())
    }

    fn flag(&mut self) -> Option<bool> {
        let flag = self.next()? == b't';
        self.word(if flag { "true" } else { "false" })?;
        Some(flag)
    }

    /// A number as it is written; its separator is looked for by whoever goes on.
    fn number(&mut self) -> &'a str {
        let begin = self.at;
        let bytes = self.bytes;
        while bytes.get(self.at).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        self.text.get(begin..self.at).unwrap_or_default()
    }

    fn time(&mut self) -> Option<Millis> {
        match self.next()? {
            b'"' => self.string().filter(|text| text.len() <= 64).and_then(|text| Millis::parse(&text)),
            _ => match of_number(self.number())? {
                Scalar::Whole(ms) if (-WHOLE_MAX..=WHOLE_MAX).contains(&ms) => Millis::checked(ms),
                _ => None,
            },
        }
    }

    fn words(&mut self) -> Option<Vec<Text<'a>>> {
        let mut words = Vec::new();
        if !self.takes(b'[') {
            return None;
        }
        if self.takes(b']') {
            return Some(words);
        }
        loop {
            if words.len() == WORDS_MAX {
                return None;
            }
            words.push(self.string()?);
            if !self.goes_on(b']')? {
                return Some(words);
            }
        }
    }

    fn scalar(&mut self) -> Option<Scalar<'a>> {
        Some(match self.next()? {
            b'"' => Scalar::Text(self.string()?),
            b't' | b'f' => Scalar::Flag(self.flag()?),
            b'n' => {
                self.word("null")?;
                Scalar::Null
            }
            _ => of_number(self.number())?,
        })
    }

    fn part(&mut self, shape: Shape) -> Option<Part<'a>> {
        let mut part = Part(Vec::with_capacity(shape.len()));
        if !self.takes(b'{') {
            return None;
        }
        if self.takes(b'}') {
            return Some(part);
        }
        loop {
            let key = self.key()?;
            let (name, kind) = shape.iter().find(|(name, _)| *name == key)?;
            let value = self.scalar()?;
            let twice = part.0.iter().any(|(other, _)| other == name);
            if twice || value != Scalar::Null && !kind.holds(&value) {
                return None;
            }
            part.0.push((name, value));
            if !self.goes_on(b'}')? {
                return Some(part);
            }
        }
    }

    fn attributes(&mut self) -> Option<Vec<Attribute>> {
        let mut found = Vec::new();
        if !self.takes(b'{') {
            return None;
        }
        if self.takes(b'}') {
            return Some(found);
        }
        loop {
            let name = self.key()?;
            if found.len() >= self.attributes_max {
                return None;
            }
            if let Some((value, data_type)) = self.attribute()? {
                found.push(Attribute { name: name.to_owned(), value, data_type });
            }
            if !self.goes_on(b'}')? {
                return Some(found);
            }
        }
    }

    /// An attribute's value; `Some(None)` where it is null.
    fn attribute(&mut self) -> Option<Option<(String, DataType)>> {
        if self.next()?.is_ascii_digit() {
            let number = self.number();
            if is_short(number) {
                return Some(Some((number.to_owned(), DataType::Number)));
            }
            return value(of_number(number)?).ok().map(Some);
        }
        match self.scalar()? {
            Scalar::Null => Some(None),
            other => value(other).ok().map(Some),
        }
    }
}

/// A number by its text.
fn of_number<'a>(text: &'a str) -> Option<Scalar<'a>> {
    let digits = text.as_bytes();
    let plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
    if plain && (1..=DIGITS_MAX).contains(&digits.len()) {
        return Some(Scalar::Whole(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))));
    }
    serde_json::from_str(text).ok()
}

/// Is a number written as it would be written again: whole, or with a fraction whose last digit says something? Of so few digits no
/// two numbers are one to a float, so that the shortest way to write it is this one.
fn is_short(number: &str) -> bool {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole.as_bytes(), Some(fraction.as_bytes())),
        None => (number.as_bytes(), None),
    };
    let digits = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    whole.first() != Some(&b'0')
        && digits(whole)
        && fraction.is_none_or(|fraction| digits(fraction) && fraction.last() != Some(&b'0'))
        && number.len() <= DIGITS_MAX
}

/// Where from a place on a byte stands that does not stand for itself in a text of JSON, or the end; eight at a time.
#[inline(always)]
fn plain_end(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut at = from;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        let (quote, slash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
        // the high bit of the lowest byte that ends the run; those above it may be wrong
        let ends = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGH;
        if ends != 0 {
            return at + ends.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && !matches!(byte, b'"' | b'\\')) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
