//! What a banner needs to know: what is to be asked, by which notice, and whether the choice taken still holds.
//! Must never change a row, nor tell of one visitor to another: whoever asks has proved the visitor.
//! Invariant: after a no nobody is asked again before its time is over, whatever changed.

use crate::base::error::Result;
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::consent::lapse;
use crate::consent::notice::{changed, described};
use crate::domain::choice;
use crate::domain::consent::{LawfulBasis, Purposes, Signals};
use crate::domain::site::Seat;
use crate::domain::visitor::Visitor;
use crate::store::decisions::DecisionRow;
use crate::store::notices::{self, NoticeRow};
use crate::store::{ReadTx, decisions, meta, refusals, visitors};

/// Decisions of one visitor looked at.
const DECISIONS_MAX: i64 = 1_000;

/// What a banner needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Did the visitor ever decide?
    pub decided: bool,
    /// Granted, and not over.
    pub granted: Purposes,
    /// Refused, withdrawn or objected to.
    pub denied: Purposes,
    /// To be asked now.
    pub ask: Purposes,
    /// When the first of what is granted lapses.
    pub valid_until: Option<Millis>,
    /// Not asked again before this, where something was refused.
    pub ask_not_before: Option<Millis>,
    /// Signals of the request that were not shown when the decision in force was taken.
    pub signals: Signals,
    /// The notice in force, in each language.
    pub notice: Vec<NoticeRow>,
    /// The asked language among them.
    pub language: Option<String>,
}

impl State {
    /// Is there a choice, and nothing to be asked?
    pub fn valid(&self) -> bool {
        self.decided && self.ask.is_none()
    }

    /// The notice in the asked language.
    pub fn shown(&self) -> Option<&NoticeRow> {
        self.notice.iter().find(|row| Some(&row.language) == self.language.as_ref())
    }
}

/// The state for a visitor that was proved, or for somebody new. `now` = the time of the request.
pub fn state(
    tx: &ReadTx<'_>,
    seat: &Seat,
    (key, id_hash): (Option<&ClientId>, Option<&crate::base::digest::Hash>),
    language: Option<&str>,
    (now, signals): (Millis, Signals),
) -> Result<State> {
    let now = meta::choice_time(tx, now)?;
    let notice = notices::in_force(tx, seat.id, now)?;
    let offered = offered(&notice, seat);
    let language = notices::in_language(&notice, language).map(|row| row.language.clone());
    let fresh = State {
        decided: false,
        granted: Purposes::NONE,
        denied: Purposes::NONE,
        ask: offered,
        valid_until: None,
        ask_not_before: None,
        signals,
        notice,
        language,
    };
    let known = key.map_or(Ok(None), |key| visitors::find(tx, seat.id, key))?;
    if let Some(visitor) = known {
        return of_visitor(tx, seat, &visitor, offered, fresh, now);
    }
    // a no is kept without the id
    let Some(no) = id_hash.map_or(Ok(None), |hash| refusals::get(tx, hash))? else { return Ok(fresh) };
    let until = no.decided_at.months_later(seat.site.options.choice_months);
    let silent = if now < until { no.purposes } else { Purposes::NONE };
    Ok(State {
        decided: true,
        denied: no.purposes,
        ask: offered.without(silent),
        ask_not_before: (now < until).then_some(until),
        ..fresh
    })
}

/// What the notice in force asks consent for; without a notice measure, and whatever the configuration puts on consent.
fn offered(notice: &[NoticeRow], seat: &Seat) -> Purposes {
    let site = &seat.site;
    let by_consent = site.gate.bases.on(LawfulBasis::Consent);
    let configured = site.options.purposes.iter().filter_map(|p| site.book.find(&p.name));
    let told = match notice.first().map(|row| described(row, seat)) {
        Some(told) if told != Purposes::ALL => told,
        _ => configured.fold(Purposes::MEASURE, Purposes::with),
    };
    told.and(by_consent)
}

fn of_visitor(
    tx: &ReadTx<'_>,
    seat: &Seat,
    visitor: &Visitor,
    offered: Purposes,
    fresh: State,
    now: Millis,
) -> Result<State> {
    let months = seat.site.options.choice_months;
    let rows = decisions::of_subject(tx, visitor.visitor_ref, DECISIONS_MAX)?;
    let standing = match visitor.standing.valid_until {
        Some(until) if until <= now => {
            choice::narrowed(&visitor.standing, &lapse::grants(tx, seat, visitor.visitor_ref)?, now)
        }
        _ => visitor.standing.clone(),
    };
    let mut ask = offered.without(standing.granted);
    let mut not_before = None::<Millis>;
    for one in standing.denied.and(offered).each() {
        // who said no in a visit of before the ledger was kept is asked no earlier than anybody
        let Some(no) = rows.iter().rev().find(|row| denies(row, one)) else { continue };
        let until = no.corrected.months_later(months);
        if now < until {
            ask = ask.without(one);
            not_before = Some(not_before.map_or(until, |earlier| earlier.min(until)));
        }
    }
    for one in standing.granted.and(offered).each() {
        let yes = rows.iter().rev().find(|row| row.current && row.action == "give" && row.purposes.has(one));
        let rows = match yes {
            Some(row) => notices::version(tx, seat.id, &row.notice)?,
            None => Vec::new(),
        };
        let shown = notices::in_language(&rows, yes.and_then(|row| row.language.as_deref()));
        let shown = shown.map(|row| row.language.as_str());
        if !fresh.notice.is_empty() && changed(&rows, shown, &fresh.notice, seat).has(one) {
            ask = ask.with(one);
        }
    }
    let shown = standing.signal_shown;
    Ok(State {
        decided: !rows.is_empty() || !standing.denied.is_none(),
        granted: standing.granted,
        denied: standing.denied,
        ask,
        valid_until: standing.valid_until,
        ask_not_before: not_before,
        signals: if shown { Signals::default() } else { fresh.signals },
        ..fresh
    })
}

fn denies(row: &DecisionRow, one: Purposes) -> bool {
    let named = row.purposes.is_none() || row.purposes.has(one) || row.purposes.has(Purposes::MEASURE);
    row.current && matches!(row.action.as_str(), "refuse" | "withdraw" | "object") && named
}
