//! Cursors: where a list goes on. Opaque to clients: a number and a check, in hex.
//! Must never be trusted as it comes. Invariant: a cursor holds for the list, the order and the database it was made for.

use crate::base::digest::Hasher;
use crate::base::error::{Error, Result};
use crate::base::id::{Epoch, Seq};
use crate::base::text::{hex, unhex};

/// What a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of<'a> {
    /// The list: `events`, `visits`, `batches`.
    pub list: &'a str,
    /// Highest number first?
    pub newest_first: bool,
    /// The first epoch of the database.
    pub database: Option<Epoch>,
}

impl Of<'_> {
    fn check(&self, seq: Seq) -> [u8; 4] {
        let mut hasher = Hasher::new();
        hasher
            .field(b"wayside-cursor-1")
            .field(self.list.as_bytes())
            .field(&[u8::from(self.newest_first)])
            .field(&self.database.map_or([0; 8], |epoch| epoch.0))
            .field(&seq.0.to_be_bytes());
        let hash = hasher.finish();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The cursor behind the row `seq`.
    pub fn encode(&self, seq: Seq) -> String {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&seq.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.check(seq));
        hex(&bytes)
    }

    /// The row a cursor stands behind. Errors: `Invalid` with code `cursor` for anything not made by [`Of::encode`] of the
    /// same list, order and database.
    pub fn decode(&self, text: &str) -> Result<Seq> {
        let foreign = || {
            Error::invalid("this cursor was not made by this list")
                .code("cursor")
                .remedy("take the cursor from the answer before, with the same order, or leave it out to begin anew")
        };
        let bytes = unhex::<12>(text).map_err(|_| foreign())?;
        let (number, check) = bytes.split_at(8);
        let seq = Seq(i64::from_be_bytes(number.try_into().map_err(|_| foreign())?));
        if self.check(seq) == check { Ok(seq) } else { Err(foreign()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: Of<'_> = Of { list: "events", newest_first: false, database: Some(Epoch([1; 8])) };

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        for seq in [Seq(0), Seq(1), Seq(1 << 52)] {
            assert_eq!(EVENTS.decode(&EVENTS.encode(seq)).unwrap(), seq);
        }
    }

    #[test]
    fn foreign_and_forged_cursors_are_refused() {
        let others = [
            Of { list: "visits", ..EVENTS },
            Of { newest_first: true, ..EVENTS },
            Of { database: Some(Epoch([2; 8])), ..EVENTS },
            Of { database: None, ..EVENTS },
        ];
        let forged = EVENTS.encode(Seq(7)).replacen("07", "08", 1);
        let foreign = others.iter().map(|of| of.encode(Seq(7)));
        for text in foreign.chain(["".into(), "7".into(), "zz".repeat(12), "00".repeat(12), forged]) {
            assert_eq!(EVENTS.decode(&text).unwrap_err().code, "cursor", "{text}");
        }
    }
}
