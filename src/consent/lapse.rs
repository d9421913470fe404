//! Choices whose time is over: found at the next decision or by upkeep, and written into the ledger by method `expiry`.
//! Must never remove a row: what was taken while the choice held stays. Invariant: what lapsed once does not come back with a
//! clock that went back (`store::meta::choice_time`).

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::choice;
use crate::domain::consent::{Action, Change, Decision, Evidence, Method, Purposes, Signals, Standing};
use crate::domain::notice::NONE;
use crate::domain::site::Seat;
use crate::domain::visitor::Visitor;
use crate::store::decisions::{Actor, Circumstances};
use crate::store::{ReadTx, WriteTx, decisions, meta, visitors};

/// What has lapsed of a visitor's choice at this time; `None` where nothing has.
pub(in crate::consent) fn of(tx: &ReadTx<'_>, seat: &Seat, visitor: &Visitor, time: Millis) -> Result<Option<Change>> {
    if visitor.standing.valid_until.is_none_or(|until| until > time) {
        return Ok(None);
    }
    let grants = decisions::grants(tx, visitor.visitor_ref, seat.site.options.choice_months)?;
    Ok(choice::expiry(&visitor.standing, &grants, time))
}

/// When the first of what is granted lapses, after a yes to `purposes` until `expires`. (Too early where an older yes was the
/// first to end and has been given again: then the next look finds the right time.)
pub(in crate::consent) fn first(before: &Standing, purposes: Purposes, expires: Millis) -> Option<Millis> {
    let others = before.granted.without(purposes);
    let rest = before.valid_until.filter(|_| !others.is_none());
    Some(rest.map_or(expires, |rest| rest.min(expires)))
}

/// Writes a lapse into the ledger. `c` = the circumstances of what made it be noticed.
pub(in crate::consent) fn write(
    tx: &WriteTx<'_>,
    visitor: &mut Visitor,
    lapse: &Change,
    c: &Circumstances,
) -> Result<()> {
    let gone = lapse.before.without(lapse.standing.granted);
    if let Some(until) = visitor.standing.valid_until {
        meta::note_lapse(tx, until)?;
    }
    let decision = Decision {
        id: None,
        action: Action::Expire,
        purposes: gone,
        method: Method::Expiry,
        notice: NONE.to_owned(),
        notice_digest: None,
        evidence: Evidence::default(),
        language: None,
        signal_shown: false,
        client_at: None,
        sent_at: None,
    };
    let circumstances = Circumstances {
        actor: Actor::System,
        signals: Signals::default(),
        at: c.received,
        notice_digest: None,
        expires: None,
        evidence: None,
        ..c.clone()
    };
    decisions::append(tx, &decision, lapse, Some(visitor), &circumstances).map(|_| ())
}

/// Visitors of a part of the list were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Lapses written.
    pub written: u64,
    /// Where the list goes on; `None` at its end.
    pub next: Option<i64>,
}

/// Writes the lapses of at most `limit` visitors behind `after`. Each is a handful of rows.
pub fn write_due(tx: &WriteTx<'_>, seats: &[Seat], after: i64, limit: i64) -> Result<Looked> {
    tx.settle()?;
    let time = meta::choice_time_held(tx)?;
    let due = visitors::lapsed(tx, time, after, limit)?;
    let full = i64::try_from(due.len()).unwrap_or(i64::MAX) >= limit;
    let mut looked = Looked { written: 0, next: due.last().filter(|_| full).map(|visitor| visitor.id) };
    for found in due {
        let Some(seat) = seats.iter().find(|seat| seat.id == found.site_id) else { continue };
        let Some(mut visitor) = visitors::take(tx, found.site_id, &found.key)? else { continue };
        match of(tx, seat, &visitor, time)? {
            Some(lapse) => {
                let circumstances = Circumstances {
                    site_id: seat.id,
                    site: seat.site.id().to_owned(),
                    id_hash: seat.id_hash(&tx.identity().hash_key, &visitor.key),
                    at: tx.now(),
                    received: tx.now(),
                    actor: Actor::System,
                    signals: Signals::default(),
                    basis_id: seat.basis_id,
                    notice_digest: None,
                    expires: None,
                    evidence: None,
                };
                write(tx, &mut visitor, &lapse, &circumstances)?;
                looked.written += 1;
            }
            None => {
                // a later yes moved the end: the column was too early
                let grants = decisions::grants(tx, visitor.visitor_ref, seat.site.options.choice_months)?;
                visitor.standing.valid_until = choice::narrowed(&visitor.standing, &grants, time).valid_until;
                visitors::keep(tx, visitor);
            }
        }
    }
    Ok(looked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Seq;

    #[test]
    fn a_yes_to_everything_granted_moves_the_end() {
        let (measure, share) = (Purposes::MEASURE, Purposes::SHARE);
        let before = Standing {
            granted: measure.with(share),
            valid_until: Some(Millis(10)),
            consent_seq: Seq(1),
            ..Standing::default()
        };
        assert_eq!(first(&before, measure.with(share), Millis(99)), Some(Millis(99)));
        assert_eq!(first(&before, measure, Millis(99)), Some(Millis(10)), "share still ends first");
        assert_eq!(first(&Standing::default(), measure, Millis(99)), Some(Millis(99)));
    }
}
