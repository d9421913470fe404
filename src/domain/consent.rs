//! Purposes, lawful bases, decisions, and the Gate: may this be kept, and for what.
//! Owns the rules of contract 2; must never read a clock, a database or a request.
//! Invariant: nothing is granted by silence of a claim, a signal or a missing decision.

use serde::{Deserialize, Serialize};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq};
use crate::base::time::Millis;

pub use crate::domain::evidence::Evidence;
pub use crate::domain::purpose::{BasisTable, LawfulBasis, PurposeBook, Purposes, STANDARD};

/// What a site does with an event whose visitor gave no right to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutConsent {
    /// Raise a counter that names nobody.
    #[default]
    Count,
    /// Keep nothing.
    Drop,
    /// Audience measurement under the operator's own exemption record (spec/consent-privacy-security 1.5):
    /// first-party id for at most 13 months, nothing personal, rows never leave.
    ConsentExempt,
}

/// A stretch in which a visitor had said no to some purposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The purposes refused or withdrawn.
    pub purposes: Purposes,
    /// From when (corrected time of the refusal).
    pub from: Millis,
    /// Until the next grant; `None` while it lasts.
    pub until: Option<Millis>,
}

/// What a visitor's decisions amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Granted and not taken back.
    pub granted: Purposes,
    /// Refused, withdrawn or objected to.
    pub denied: Purposes,
    /// The decision in force; 0 where none was taken.
    pub consent_seq: Seq,
    /// The decision in force was taken on a screen that showed the browser's signal (`gpc = 1`).
    pub signal_shown: bool,
    /// When the first of what is granted lapses (`choice.rs`); `None` where no end is known.
    pub valid_until: Option<Millis>,
    /// Processing is restricted (GDPR Art. 18): what is stored is only kept, nothing new is.
    pub restricted: bool,
}

/// Privacy signals of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// `Sec-GPC: 1`.
    pub gpc: bool,
    /// `DNT: 1`.
    pub dnt: bool,
}

/// Why an event may not be kept; shown only to callers who may know (contract 1, no oracle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No decision of this visitor allows measuring.
    NoDecision,
    /// The visitor refused or withdrew.
    Denied,
    /// The event happened between a withdrawal and the next grant.
    DeniedThen,
    /// The sender's own claim excludes measuring.
    Claim,
    /// The event names no visitor.
    NoVisitor,
    /// The exempt identifier is older than 13 months.
    ExemptExpired,
    /// The visitor was erased, and has not said yes since.
    Erased,
    /// Processing of this visitor's data is restricted.
    Restricted,
}

impl Refusal {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Refusal::NoDecision => "no_decision",
            Refusal::Denied => "denied",
            Refusal::DeniedThen => "denied_then",
            Refusal::Claim => "claim",
            Refusal::NoVisitor => "no_visitor",
            Refusal::ExemptExpired => "exempt_expired",
            Refusal::Erased => "erased",
            Refusal::Restricted => "restricted",
        }
    }

    /// What a developer can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Refusal::NoDecision => {
                "record a decision first: POST /v1/consent {\"visitor\":\"…\",\"action\":\"give\",\"purposes\":[\"measure\"]}"
            }
            Refusal::Denied => "the visitor said no; only the visitor can change that, with POST /v1/consent",
            Refusal::DeniedThen => "the event happened while the visitor had said no; nothing to do",
            Refusal::Claim => {
                "the event's own consent claim leaves out measure; send it without the claim, or with measure"
            }
            Refusal::NoVisitor => "name the visitor in the field \"visitor\"; without one an event is only counted",
            Refusal::ExemptExpired => "give the visitor a fresh id; an exempt id lives 13 months at most",
            Refusal::Erased => "the visitor was erased: only a new yes, or a fresh id, begins anew",
            Refusal::Restricted => "processing is restricted for this visitor until the operator releases it",
        }
    }
}

/// The Gate's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep the event for these purposes.
    Keep {
        /// What it may be used for; always holds measure.
        purposes: Purposes,
        /// Kept under the operator's exemption, not under a decision or basis.
        exempt: bool,
    },
    /// Do not keep it.
    Refuse(Refusal),
}

/// What the Gate is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Corrected time of the event.
    pub at: Millis,
    /// When the visitor was first seen, where known.
    pub first_seen: Option<Millis>,
    /// The visitor's standing; `None` for an event that names no visitor.
    pub standing: Option<&'a Standing>,
    /// Every denial of the visitor, over or not.
    pub denials: &'a [Denial],
    /// Signals of the request.
    pub signals: Signals,
    /// A claim of the sender; it only narrows.
    pub claim: Option<Purposes>,
}

/// The life of an exempt identifier: 13 months (CNIL), as 396 days.
pub const EXEMPT_LIFE_MS: i64 = 396 * crate::base::time::DAY_MS;

/// May this be kept, and for what: a site's bases and its rule for the undecided.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Lawful basis by purpose.
    pub bases: BasisTable,
    /// What happens without the right to measure.
    pub without_consent: WithoutConsent,
}

impl Gate {
    /// Evaluates one event. Absence of a signal or claim grants nothing; presence only narrows.
    pub fn evaluate(&self, ask: &Ask<'_>) -> Verdict {
        let Some(standing) = ask.standing else { return Verdict::Refuse(Refusal::NoVisitor) };
        if standing.restricted {
            return Verdict::Refuse(Refusal::Restricted);
        }
        // against direct marketing an objection is absolute, whatever basis is claimed (GDPR Art. 21(3))
        let always = self.bases.standing().without(standing.denied.and(Purposes::DIRECT_MARKETING));
        let opt_out = self.bases.on(LawfulBasis::LegitimateInterest).without(standing.denied);
        let opt_in = self.bases.on(LawfulBasis::Consent).and(standing.granted).without(standing.denied);
        let mut rights = always.with(opt_out).with(opt_in);
        let denied_then = ask
            .denials
            .iter()
            .filter(|d| ask.at >= d.from && d.until.is_none_or(|until| ask.at < until))
            .fold(Purposes::NONE, |set, d| set.with(d.purposes))
            .without(always);
        let lost = rights.and(denied_then);
        rights = rights.without(denied_then);
        let mut exempt = false;
        if !rights.has(Purposes::MEASURE) {
            match self.exempted(ask, standing, lost) {
                Ok(()) => exempt = true,
                Err(refusal) => return Verdict::Refuse(refusal),
            }
            rights = Purposes::MEASURE;
        }
        if (ask.signals.gpc || ask.signals.dnt) && !standing.signal_shown {
            rights = rights.without(Purposes::BY_SIGNAL);
        }
        if let Some(claim) = ask.claim {
            rights = rights.and(claim);
        }
        if !rights.has(Purposes::MEASURE) {
            return Verdict::Refuse(Refusal::Claim);
        }
        Verdict::Keep { purposes: rights, exempt }
    }

    /// Without the right to measure: does the operator's exemption cover the event? `lost` = rights denied at its time.
    fn exempted(&self, ask: &Ask<'_>, standing: &Standing, lost: Purposes) -> Result<(), Refusal> {
        if standing.denied.has(Purposes::MEASURE) {
            return Err(Refusal::Denied);
        }
        if lost.has(Purposes::MEASURE) {
            return Err(Refusal::DeniedThen);
        }
        if self.without_consent != WithoutConsent::ConsentExempt {
            return Err(Refusal::NoDecision);
        }
        match ask.first_seen {
            Some(first) if ask.at.since(first) >= EXEMPT_LIFE_MS => Err(Refusal::ExemptExpired),
            _ => Ok(()),
        }
    }
}

/// What a person decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Yes to the purposes named.
    Give,
    /// No to the purposes named, all where none is.
    Refuse,
    /// A yes taken back; all where none is named.
    Withdraw,
    /// A yes whose time is over: written by this program alone, no sender can name it.
    #[serde(skip_deserializing)]
    Expire,
    /// An objection (GDPR Art. 21): to the purposes named; where none is, to all that rest on legitimate interest, and to
    /// direct marketing.
    Object,
    /// What is stored is only kept from now on (GDPR Art. 18).
    Restrict,
    /// A restriction is over.
    Release,
}

impl Action {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Action::Give => "give",
            Action::Refuse => "refuse",
            Action::Withdraw => "withdraw",
            Action::Expire => "expire",
            Action::Object => "object",
            Action::Restrict => "restrict",
            Action::Release => "release",
        }
    }

    /// Does the person say no to purposes?
    pub fn is_no(self) -> bool {
        matches!(self, Action::Refuse | Action::Withdraw | Action::Object)
    }

    /// Does it say yes or no to purposes? Else it is about all that is stored of a person.
    pub fn is_choice(self) -> bool {
        !matches!(self, Action::Restrict | Action::Release)
    }
}

/// How a decision was taken. There is no "implied" (GDPR Art. 4(11)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Banner, everything accepted.
    BannerAccept,
    /// Banner, everything refused.
    BannerRefuse,
    /// Banner, a choice of its own.
    BannerCustom,
    /// The privacy settings of the page.
    Settings,
    /// A touch at a kiosk.
    KioskTouch,
    /// Staff entered what the person said, by itself: nothing else was agreed. (`staff_entry` is the older word.)
    #[serde(alias = "staff_entry")]
    StaffStandalone,
    /// Staff entered it from a written contract in which it was asked for apart from the rest (GDPR Art. 7(2)).
    StaffContract,
    /// A program on the person's behalf.
    #[default]
    Api,
    /// A browser signal.
    BrowserSignal,
    /// The choice ran out: written by this program alone.
    #[serde(skip_deserializing)]
    Expiry,
    /// Somebody told to be a minor: written by this program alone.
    #[serde(skip_deserializing)]
    DeclaredMinor,
}

impl Method {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Method::BannerAccept => "banner_accept",
            Method::BannerRefuse => "banner_refuse",
            Method::BannerCustom => "banner_custom",
            Method::Settings => "settings",
            Method::KioskTouch => "kiosk_touch",
            Method::StaffStandalone => "staff_standalone",
            Method::StaffContract => "staff_contract",
            Method::Api => "api",
            Method::BrowserSignal => "browser_signal",
            Method::Expiry => "expiry",
            Method::DeclaredMinor => "declared_minor",
        }
    }
}

/// One decision as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The client's id of it; makes a retry harmless.
    pub id: Option<ClientId>,
    /// Yes or no.
    pub action: Action,
    /// To what; empty means all for refuse and withdraw.
    pub purposes: Purposes,
    /// How it was taken.
    pub method: Method,
    /// The notice version shown, or `none`.
    pub notice: String,
    /// Digest of what was shown, where the sender says it.
    #[serde(default)]
    pub notice_digest: Option<Hash>,
    /// What else shows how it came about.
    #[serde(default)]
    pub evidence: Evidence,
    /// Language of what was shown (BCP 47).
    pub language: Option<String>,
    /// The screen showed the browser's signal.
    pub signal_shown: bool,
    /// Client clock at the decision.
    pub client_at: Option<Millis>,
    /// Client clock when it was sent.
    pub sent_at: Option<Millis>,
}

/// What a decision changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Granted before.
    pub before: Purposes,
    /// The standing afterwards (its `consent_seq` is set by the store).
    pub standing: Standing,
    /// Did any part of it become current?
    pub current: bool,
    /// Purposes that get a floor at the current number.
    pub floors: Purposes,
    /// Purposes newly denied from the decision's time on.
    pub denied: Purposes,
    /// Purposes whose running denial ends with this grant.
    pub lifted: Purposes,
    /// Purposes that stand on contract or law although they were named.
    pub stands: Purposes,
    /// Processing is restricted (true) or no longer so (false); `None` where nothing about that changes.
    pub restricts: Option<bool>,
}

impl Change {
    /// Does it change no more than the visitor's own row: no floor, denial or restriction?
    pub fn is_of_the_standing_only(&self) -> bool {
        self.floors.is_none() && self.denied.is_none() && self.lifted.is_none() && self.restricts.is_none()
    }
}

/// Applies a decision of corrected time `at` to a standing.
/// A grant older than the newest denial of its purpose is recorded but does not become current; a refusal or
/// withdrawal always does: a person's no never waits for clocks.
/// Errors: `Invalid` for an empty grant or one that leaves out measure where nothing else allows measuring.
pub fn decide(
    decision: &Decision,
    at: Millis,
    standing: &Standing,
    denials: &[Denial],
    bases: &BasisTable,
) -> Result<Change> {
    match decision.action {
        Action::Give => give(decision, at, standing, denials, bases),
        Action::Refuse | Action::Withdraw => {
            let named = if decision.purposes.is_none() { Purposes::ALL } else { decision.purposes };
            Ok(deny(decision, named, bases.standing(), standing))
        }
        Action::Object => {
            let own = bases.on(LawfulBasis::LegitimateInterest).with(Purposes::DIRECT_MARKETING);
            let named = if decision.purposes.is_none() { own } else { decision.purposes };
            Ok(deny(decision, named, bases.standing().without(Purposes::DIRECT_MARKETING), standing))
        }
        Action::Restrict | Action::Release => Ok(restrict(decision.action == Action::Restrict, standing)),
        Action::Expire => Err(Error::invalid("nobody decides that a choice is over").code("decision")),
    }
}

fn give(d: &Decision, at: Millis, standing: &Standing, denials: &[Denial], bases: &BasisTable) -> Result<Change> {
    if d.purposes.is_none() {
        return Err(Error::invalid("a grant must name its purposes")
            .code("purpose")
            .remedy("add \"purposes\": [\"measure\"]"));
    }
    let otherwise = !bases.on(LawfulBasis::Consent).has(Purposes::MEASURE) && !standing.denied.has(Purposes::MEASURE);
    let measured = |given: Purposes| otherwise || standing.granted.with(given).has(Purposes::MEASURE);
    if !measured(d.purposes) {
        return Err(Error::invalid("every purpose requires measure, which is neither granted nor in this decision")
            .code("purpose")
            .remedy("add \"measure\" to the purposes"));
    }
    let outdated = denials.iter().filter(|denial| at < denial.from).fold(Purposes::NONE, |set, x| set.with(x.purposes));
    let mut fresh = d.purposes.without(outdated);
    if !measured(fresh) {
        fresh = Purposes::NONE; // measure is outdated in it, and all others require measure
    }
    let lifted = fresh.and(standing.denied);
    let mut after = standing.clone();
    after.granted = standing.granted.with(fresh);
    after.denied = standing.denied.without(fresh);
    if !fresh.is_none() {
        after.signal_shown = d.signal_shown;
    }
    Ok(Change {
        before: standing.granted,
        standing: after,
        current: !fresh.is_none(),
        floors: Purposes::NONE,
        denied: Purposes::NONE,
        lifted,
        stands: Purposes::NONE,
        restricts: None,
    })
}

/// A no to `named`, less what stands on contract or law.
fn deny(d: &Decision, named: Purposes, lawful: Purposes, standing: &Standing) -> Change {
    let stands = named.and(lawful);
    let mut gone = named.without(stands);
    if gone.has(Purposes::MEASURE) {
        gone = Purposes::ALL.without(lawful);
    }
    let mut after = standing.clone();
    after.granted = standing.granted.without(gone);
    after.denied = standing.denied.with(gone);
    if !gone.is_none() {
        // what is left rests on this decision now: a signal lowers it unless this one was taken with the signal shown
        after.signal_shown = d.signal_shown;
    }
    // a floor under a purpose that was never in force covers no row and harms none
    let denied = gone.without(standing.denied);
    Change {
        before: standing.granted,
        standing: after,
        current: !gone.is_none(),
        floors: denied,
        denied,
        lifted: Purposes::NONE,
        stands,
        restricts: None,
    }
}

/// Restriction and release say nothing about purposes; the same twice changes nothing.
fn restrict(restricted: bool, standing: &Standing) -> Change {
    let changes = standing.restricted != restricted;
    Change {
        before: standing.granted,
        standing: Standing { restricted, ..standing.clone() },
        current: changes,
        floors: Purposes::NONE,
        denied: Purposes::NONE,
        lifted: Purposes::NONE,
        stands: Purposes::NONE,
        restricts: changes.then_some(restricted),
    }
}

#[cfg(test)]
mod tests;
