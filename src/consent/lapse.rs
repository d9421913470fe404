//! Choices whose time is over: found at the next decision or by upkeep, and written into the ledger by method `expiry`.
//! Must never remove a row: what was taken while the choice held stays. Invariant: what lapsed once does not come back with a
//! clock that went back (`store::meta::choice_time`).

use crate::base::error::Result;
use crate::base::id::VisitorRef;
use crate::base::time::Millis;
use crate::consent::notice;
use crate::domain::choice::{self, Grant};
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
    Ok(choice::expiry(&visitor.standing, &grants(tx, seat, visitor.visitor_ref)?, time))
}

/// Every yes of a person, and until when it holds for which purpose: its own time, and no longer than the purpose is told as it
/// was told then. (One that does not say until when it holds, from before there was an end, holds the site's months.)
pub fn grants(tx: &ReadTx<'_>, seat: &Seat, subject: VisitorRef) -> Result<Vec<Grant>> {
    let mut out = Vec::new();
    for given in decisions::given(tx, subject)? {
        let own = given.expires.unwrap_or_else(|| given.at.months_later(seat.site.options.choice_months));
        let ends = notice::ends(tx, seat, &given.notice, given.language.as_deref())?;
        let mut rest = given.purposes;
        for (changed, at) in ends {
            let part = rest.and(changed);
            rest = rest.without(part);
            if !part.is_none() {
                out.push(Grant { purposes: part, expires: own.min(at), outdated: at < own });
            }
        }
        out.push(Grant { purposes: rest, expires: own, outdated: false });
    }
    Ok(out)
}

/// When the first of what is granted lapses, after a yes under this version of the notice that holds until `expires`: then, or
/// when a newer notice tells of one of its purposes otherwise.
pub(in crate::consent) fn after(
    tx: &ReadTx<'_>,
    seat: &Seat,
    (decision, version): (&Decision, &str),
    before: &Standing,
    expires: Millis,
) -> Result<Option<Millis>> {
    let ends = notice::ends(tx, seat, version, decision.language.as_deref())?;
    let touched = ends.into_iter().filter(|(changed, _)| !decision.purposes.and(*changed).is_none());
    let end = touched.map(|(_, at)| at).fold(expires, Millis::min);
    Ok(first(before, decision.purposes, end))
}

/// When the first of what is granted lapses, after a yes to `purposes` until `expires`. (Too early where an older yes was the
/// first to end and has been given again: then the next look finds the right time.)
fn first(before: &Standing, purposes: Purposes, expires: Millis) -> Option<Millis> {
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

/// Choices that may be over were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Lapses written.
    pub written: u64,
    /// There may be more.
    pub more: bool,
}

/// Writes lapses of at most `limit` visitors. Each is a handful of rows. Whoever was looked at is not due any more: the column
/// then tells the end of what is left.
pub fn write_due(tx: &WriteTx<'_>, seats: &[Seat], limit: i64) -> Result<Looked> {
    tx.settle()?;
    let time = meta::choice_time_held(tx)?;
    let mut due = Vec::new();
    for seat in seats {
        let room = limit - i64::try_from(due.len()).unwrap_or(i64::MAX);
        due.extend(visitors::lapsed(tx, seat.id, time, room.max(0))?);
    }
    let mut looked = Looked { written: 0, more: i64::try_from(due.len()).unwrap_or(i64::MAX) >= limit };
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
                let grants = grants(tx, seat, visitor.visitor_ref)?;
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
