//! Where a list goes on: how far it was in each lane of each source, as opaque text.
//! Must never be trusted as it comes. Invariant: a place holds for the cursor and the database it was made for.

use crate::base::digest::Hasher;
use crate::base::error::{Error, Result};
use crate::base::id::Epoch;
use crate::base::text::{hex, unhex_any};
use crate::domain::event::Lane;

const LANES: usize = Lane::ALL.len();
/// Version, database, check.
const AROUND: usize = 1 + 8 + 4;
const VERSION: u8 = 1;

/// How far a list was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Vec<[i64; LANES]>);

impl Place {
    /// Before everything, at so many sources.
    pub(super) fn begin(sources: usize) -> Self {
        Place(vec![[0; LANES]; sources])
    }

    pub(super) fn of(&self, source: usize, lane: Lane) -> i64 {
        self.0[source][slot(lane)]
    }

    pub(super) fn set(&mut self, source: usize, lane: Lane, place: i64) {
        self.0[source][slot(lane)] = place;
    }

    fn bytes(&self, cursor: &str, database: Epoch) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(database.0);
        bytes.extend(self.0.iter().flatten().flat_map(|number| number.to_be_bytes()));
        let check = check(cursor, &bytes);
        bytes.extend(check);
        bytes
    }

    /// As text.
    pub(super) fn text(&self, cursor: &str, database: Epoch) -> String {
        hex(&self.bytes(cursor, database))
    }

    /// Reads a place. One from when there were fewer sources begins anew at the others. Errors: `Invalid` with code `place`;
    /// `NotFound` with code `gone` for one of another database.
    pub(super) fn parse(text: &str, cursor: &str, database: Epoch, sources: usize) -> Result<Self> {
        let foreign = || {
            Error::invalid("`after` is no place this list has named for this cursor")
                .code("place")
                .remedy("take `next` from the answer before, or leave `after` out to begin at what is not acknowledged")
        };
        let bytes = unhex_any(text).map_err(|_| foreign())?;
        let numbers = bytes.len().saturating_sub(AROUND);
        if bytes.first() != Some(&VERSION) || numbers % (8 * LANES) != 0 || bytes.len() < AROUND {
            return Err(foreign());
        }
        let (body, sum) = bytes.split_at(bytes.len() - 4);
        if check(cursor, body) != *sum {
            return Err(foreign());
        }
        let made_for = Epoch(body[1..9].try_into().map_err(|_| foreign())?);
        if made_for != database {
            return Err(gone_place(made_for));
        }
        let mut place = Place::begin(sources);
        let read = body[9..].chunks_exact(8).map(|eight| i64::from_be_bytes(eight.try_into().unwrap_or_default()));
        for (slot, number) in place.0.iter_mut().flatten().zip(read) {
            *slot = number.max(0);
        }
        Ok(place)
    }
}

fn gone_place(made_for: Epoch) -> Error {
    Error::not_found(format!("`after` belongs to the database that began with the epoch {made_for}, which is not here"))
        .code("gone")
        .remedy("the database was replaced: list anew without `after`; `successor` names the epoch that goes on")
}

fn check(cursor: &str, body: &[u8]) -> [u8; 4] {
    let mut hasher = Hasher::new();
    hasher.field(b"wayside-pull-place-1").field(cursor.as_bytes()).field(body);
    let hash = hasher.finish();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn slot(lane: Lane) -> usize {
    usize::try_from(lane.code()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_holds_nowhere_else() {
        let database = Epoch([7; 8]);
        let mut place = Place::begin(2);
        place.set(0, Lane::Pages, 1 << 41);
        place.set(1, Lane::Consent, 9);
        let text = place.text("warehouse", database);
        assert_eq!(Place::parse(&text, "warehouse", database, 2).unwrap(), place);
        assert_eq!(Place::parse(&text, "other", database, 2).unwrap_err().code, "place");
        assert_eq!(Place::parse(&text, "warehouse", Epoch([8; 8]), 2).unwrap_err().code, "gone");
        let fewer = Place::begin(1).text("warehouse", database);
        assert_eq!(Place::parse(&fewer, "warehouse", database, 2).unwrap(), Place::begin(2));
        for wrong in ["", "00", "zz", &text[2..], &text.replace('9', "8")] {
            assert_eq!(Place::parse(wrong, "warehouse", database, 2).unwrap_err().code, "place", "{wrong}");
        }
    }
}
