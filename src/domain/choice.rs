//! How long a choice holds. A yes lapses after its time and then covers no new row; a no is not asked about again before its
//! time is over, and never turns into a yes. Must never read a clock or a row.
//! Invariant: time that was once past stays past; the caller hands in a time that never goes back.

use crate::base::time::Millis;
use crate::domain::consent::{Change, Purposes, Standing};

/// A yes that became current, as the ledger has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To what.
    pub purposes: Purposes,
    /// Until when.
    pub expires: Millis,
    /// It ends then because a newer notice tells of these purposes otherwise, before its own time is over.
    pub outdated: bool,
}

/// Of what is granted: what has lapsed at `now`, and when the next of the rest will. `grants` = every yes that became
/// current, oldest first; for each purpose the newest counts. Where measure's time is over everything lapses: all others rest on
/// it. Where measure is only told otherwise the others wait until it is given anew, and are not asked about again.
pub fn lapsed(granted: Purposes, grants: &[Grant], now: Millis) -> (Purposes, Option<Millis>) {
    let (mut gone, mut over, mut next) = (Purposes::NONE, false, None::<Millis>);
    for one in granted.each() {
        let newest = grants.iter().rev().find(|grant| grant.purposes.has(one));
        match newest {
            Some(grant) if grant.expires <= now => {
                gone = gone.with(one);
                over |= one == Purposes::MEASURE && !grant.outdated;
            }
            Some(grant) => next = Some(next.map_or(grant.expires, |next| next.min(grant.expires))),
            // nothing says until when: granted, and no end known
            None => {}
        }
    }
    if over { (granted, None) } else { (gone, next) }
}

/// The standing without what has lapsed at `now`.
pub fn narrowed(standing: &Standing, grants: &[Grant], now: Millis) -> Standing {
    let (gone, next) = lapsed(standing.granted, grants, now);
    Standing { granted: standing.granted.without(gone), valid_until: next, ..standing.clone() }
}

/// What writing down a lapse changes: less is granted, nothing is denied, no floor rises: rows taken while the choice held
/// stay. `None` where nothing has lapsed.
pub fn expiry(standing: &Standing, grants: &[Grant], now: Millis) -> Option<Change> {
    let (gone, next) = lapsed(standing.granted, grants, now);
    if gone.is_none() {
        return None;
    }
    let after = Standing { granted: standing.granted.without(gone), valid_until: next, ..standing.clone() };
    Some(Change {
        before: standing.granted,
        standing: after,
        current: true,
        floors: Purposes::NONE,
        denied: Purposes::NONE,
        lifted: Purposes::NONE,
        stands: Purposes::NONE,
        restricts: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURE: Purposes = Purposes::MEASURE;
    const SHARE: Purposes = Purposes::SHARE;

    fn grant(purposes: Purposes, expires: i64) -> Grant {
        Grant { purposes, expires: Millis(expires), outdated: false }
    }

    #[test]
    fn each_purpose_lapses_by_its_newest_yes() {
        let both = MEASURE.with(SHARE);
        let grants = [grant(both, 10), grant(MEASURE, 20)];
        assert_eq!(lapsed(both, &grants, Millis(9)), (Purposes::NONE, Some(Millis(10))));
        assert_eq!(lapsed(both, &grants, Millis(10)), (SHARE, Some(Millis(20))));
        assert_eq!(lapsed(MEASURE, &grants, Millis(19)), (Purposes::NONE, Some(Millis(20))));
        assert_eq!(lapsed(MEASURE, &grants, Millis(20)), (MEASURE, None));
        assert_eq!(lapsed(Purposes::NONE, &grants, Millis(99)), (Purposes::NONE, None));
    }

    #[test]
    fn everything_lapses_with_measure() {
        let both = MEASURE.with(SHARE);
        let grants = [grant(MEASURE, 10), grant(SHARE, 99)];
        assert_eq!(lapsed(both, &grants, Millis(10)), (both, None));
    }

    #[test]
    fn measure_told_otherwise_ends_alone() {
        let both = MEASURE.with(SHARE);
        let grants = [grant(SHARE, 99), Grant { outdated: true, ..grant(MEASURE, 10) }];
        assert_eq!(lapsed(both, &grants, Millis(9)), (Purposes::NONE, Some(Millis(10))));
        assert_eq!(lapsed(both, &grants, Millis(10)), (MEASURE, Some(Millis(99))));
        assert_eq!(lapsed(SHARE, &grants, Millis(99)), (SHARE, None));
    }

    #[test]
    fn a_lapse_denies_nothing_and_raises_no_floor() {
        let standing = Standing { granted: MEASURE.with(SHARE), valid_until: Some(Millis(10)), ..Standing::default() };
        let grants = [grant(MEASURE, 30), grant(SHARE, 10)];
        assert_eq!(expiry(&standing, &grants, Millis(9)), None);
        let change = expiry(&standing, &grants, Millis(10)).unwrap();
        assert_eq!((change.before, change.standing.granted), (MEASURE.with(SHARE), MEASURE));
        assert_eq!(change.standing.valid_until, Some(Millis(30)));
        assert!(change.current && change.floors.is_none() && change.denied.is_none());
        assert_eq!(narrowed(&standing, &grants, Millis(10)), change.standing);
    }
}
