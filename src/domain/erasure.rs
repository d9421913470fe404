//! Erasure: how far one is, and what it is looked for by. Must never touch a row or a file.
//! Invariant: steps follow each other in one order, and none is left out; after each the next start goes on there.

/// How far an erasure is: the next thing to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Rows are deleted, in batches not yet acknowledged replaced by holes.
    Rows,
    /// Whoever owns files that can hold a person removes the person from them.
    Files,
    /// The keys of the surviving cells are wrapped anew, so that a remnant of a destroyed key opens nothing.
    Keys,
    /// The write-ahead logs are emptied.
    Log,
    /// Every file of the data directory is searched.
    Check,
    /// Nothing: it is done on this machine.
    Done,
}

impl Step {
    /// All, in order.
    pub const ALL: [Step; 6] = [Step::Rows, Step::Files, Step::Keys, Step::Log, Step::Check, Step::Done];

    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Step::Rows => "rows",
            Step::Files => "files",
            Step::Keys => "keys",
            Step::Log => "log",
            Step::Check => "check",
            Step::Done => "done",
        }
    }

    /// What a word means.
    pub fn parse(word: &str) -> Option<Step> {
        Step::ALL.into_iter().find(|step| step.word() == word)
    }

    /// The one after it; after the last there is none.
    pub fn next(self) -> Step {
        let at = Step::ALL.iter().position(|step| *step == self).unwrap_or(Step::ALL.len());
        Step::ALL.get(at + 1).copied().unwrap_or(Step::Done)
    }
}

/// Bytes a mark has at the least: a shorter one is found by chance.
pub const MARK_BYTES_MIN: usize = 8;

/// What tells one person from all others in a file: ids as they are written, never shown and never logged.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<Vec<u8>>);

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Marks({})", self.0.len())
    }
}

impl Marks {
    /// Adds a mark, in the forms it may be written in. One that is too short to mean anybody is left out.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut put = |form: Vec<u8>| {
            if form.len() >= MARK_BYTES_MIN && !self.0.contains(&form) {
                self.0.push(form);
            }
        };
        put(bytes.to_vec());
        put(bytes.to_ascii_lowercase());
        put(bytes.to_ascii_uppercase());
        // as JSON writes it, where that differs
        if let Some(text) = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::to_string(text).ok()) {
            put(text.as_bytes()[1..text.len() - 1].to_vec());
        }
    }

    /// Takes over the marks of somebody else too.
    pub fn join(&mut self, other: &Marks) {
        for mark in &other.0 {
            if !self.0.contains(mark) {
                self.0.push(mark.clone());
            }
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many places of `bytes` hold one of them.
    pub fn found_in(&self, bytes: &[u8]) -> u64 {
        Search::of(self).count(bytes, usize::MAX)
    }

    /// The longest one, bytes.
    pub fn longest(&self) -> usize {
        self.0.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// As one run of bytes, for whoever keeps them sealed.
    pub fn pack(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for mark in &self.0 {
            out.extend(u32::try_from(mark.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(mark);
        }
        out
    }

    /// What [`Marks::pack`] made; `None` if it is something else.
    pub fn unpack(mut bytes: &[u8]) -> Option<Marks> {
        let mut marks = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
            let (mark, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
            marks.push(mark.to_vec());
            bytes = rest;
        }
        bytes.is_empty().then_some(Marks(marks))
    }
}

/// A search for many marks in one pass: two bytes say whether a place is worth looking at.
pub struct Search<'a> {
    marks: &'a Marks,
    begins: Box<[bool; 1 << 16]>,
}

impl<'a> Search<'a> {
    /// A search for these.
    pub fn of(marks: &'a Marks) -> Self {
        let mut begins = Box::new([false; 1 << 16]);
        for mark in marks.0.iter().filter(|mark| mark.len() >= 2) {
            begins[usize::from(u16::from_be_bytes([mark[0], mark[1]]))] = true;
        }
        Search { marks, begins }
    }

    /// Places in `bytes` that hold a mark; only those that begin before `until` count.
    pub fn count(&self, bytes: &[u8], until: usize) -> u64 {
        let mut found = 0;
        for (at, pair) in bytes.windows(2).enumerate().take(until) {
            if self.begins[usize::from(u16::from_be_bytes([pair[0], pair[1]]))]
                && self.marks.0.iter().any(|mark| bytes[at..].starts_with(mark))
            {
                found += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_to_the_end() {
        let mut step = Step::Rows;
        for expected in Step::ALL {
            assert_eq!(step, expected);
            assert_eq!(Step::parse(step.word()), Some(step));
            step = step.next();
        }
        assert_eq!(step, Step::Done);
        assert_eq!(Step::parse("later"), None);
    }

    #[test]
    fn marks_are_found_wherever_they_stand_and_short_ones_are_not_sought() {
        let mut marks = Marks::default();
        marks.add(b"anna");
        assert!(marks.is_empty(), "four letters mean nobody");
        marks.add(b"Visitor-0001");
        marks.add("na\"me-of-one".as_bytes());
        assert_eq!(marks.found_in(b"xxVisitor-0001yyVISITOR-0001 visitor-0001"), 3);
        assert_eq!(marks.found_in(br#"{"key":"na\"me-of-one"}"#), 1, "as JSON writes it");
        assert_eq!(marks.found_in(b"Visitor-000"), 0);
        assert_eq!(Search::of(&marks).count(b"....Visitor-0001", 4), 0, "that begins behind the end");
    }

    #[test]
    fn marks_survive_packing_and_are_never_printed() {
        let mut marks = Marks::default();
        marks.add(b"customer-4711");
        marks.add(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 254]);
        assert_eq!(Marks::unpack(&marks.pack()), Some(marks.clone()));
        assert_eq!(Marks::unpack(&marks.pack()[1..]), None);
        assert!(!format!("{marks:?}").contains("4711"));
    }
}
