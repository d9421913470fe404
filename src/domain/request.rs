//! Requests of data subjects: kinds, states, how far somebody is known, and until when an answer is due (GDPR Art. 12, 15 to
//! 21). Must never hold who asks: that is a row. Invariant: a closed request never opens again, and a month is a calendar month.

use crate::base::error::{Error, Result};
use crate::base::time::Millis;

/// Words of a closed list, stored and shown.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Stable word.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// What a word means.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// What is asked for.
    Kind {
        /// A copy of the data, and what is done with it (Art. 15).
        Access = "access",
        /// Correction (Art. 16).
        Rectify = "rectify",
        /// Erasure (Art. 17).
        Erase = "erase",
        /// Nothing but keeping, for a time (Art. 18).
        Restrict = "restrict",
        /// Nothing more on the basis of an interest (Art. 21).
        Object = "object",
        /// The data the person provided, machine-readable (Art. 20).
        Portability = "portability",
    }
}

words! {
    /// How far a request is.
    State {
        /// It came; who asks is not verified yet.
        Received = "received",
        /// Who asks is known well enough.
        Verified = "verified",
        /// It is being carried out.
        Running = "running",
        /// Done.
        Answered = "answered",
        /// Refused, with the reason (Art. 12(4)).
        Refused = "refused",
        /// Nobody could be identified (Art. 11(2)).
        Unidentifiable = "unidentifiable",
    }
}

words! {
    /// How who asks was known.
    Level {
        /// By a device token: reaches the anonymous visits of that device.
        Device = "device",
        /// By a signed assertion of the host site: reaches that identity.
        Assertion = "assertion",
        /// By the operator, who verified and says how: reaches whoever is named.
        Operator = "operator",
    }
}

words! {
    /// Which way it came.
    Channel {
        /// The operator's command.
        Operator = "operator",
        /// The GDPR API.
        Api = "api",
        /// The site's privacy page.
        Page = "page",
    }
}

impl State {
    /// Is it over?
    pub fn is_closed(self) -> bool {
        matches!(self, State::Answered | State::Refused | State::Unidentifiable)
    }

    /// Errors: `Conflict` where a request in this state may not go into the next.
    pub fn goes_to(self, next: State) -> Result<()> {
        let fine = match self {
            State::Received => next != State::Received && next != State::Running && next != State::Answered,
            State::Verified => next != State::Received && next != State::Verified,
            State::Running => matches!(next, State::Running | State::Verified | State::Answered | State::Refused),
            State::Answered | State::Refused | State::Unidentifiable => false,
        };
        if fine {
            return Ok(());
        }
        let remedy = match self {
            State::Received => "verify who asks first: wayside subject run ID --verified \"how\"",
            _ => "wayside subject show ID tells how far it is",
        };
        Err(Error::conflict(format!("a request that is {} cannot become {}", self.word(), next.word()))
            .code("request_state")
            .remedy(remedy))
    }
}

/// Months within which a request is answered (Art. 12(3)).
const MONTHS: u32 = 1;
/// Months with the extension.
const MONTHS_EXTENDED: u32 = 3;

/// Until when a request that came then is due.
pub fn due(received: Millis) -> Millis {
    received.months_later(MONTHS)
}

/// Until when it is due once extended. Errors: `Conflict` once the first month is over: an extension is told within it.
pub fn extended(received: Millis, now: Millis) -> Result<Millis> {
    if now > due(received) {
        return Err(Error::conflict("the month is over: an extension is told within it (Art. 12(3))")
            .code("too_late")
            .remedy("answer the request now"));
    }
    Ok(received.months_later(MONTHS_EXTENDED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_one_of_the_calendar_and_is_extended_in_time_only() {
        let at = |text: &str| Millis::parse(text).unwrap();
        assert_eq!(due(at("2027-01-31T10:00:00Z")).rfc3339(), "2027-02-28T10:00:00.000Z");
        assert_eq!(due(at("2028-01-31T10:00:00Z")).rfc3339(), "2028-02-29T10:00:00.000Z");
        let received = at("2027-01-31T10:00:00Z");
        assert_eq!(extended(received, at("2027-02-28T10:00:00Z")).unwrap().rfc3339(), "2027-04-30T10:00:00.000Z");
        assert_eq!(extended(received, at("2027-02-28T10:00:00.001Z")).unwrap_err().code, "too_late");
    }

    #[test]
    fn a_closed_request_never_opens_again() {
        let all =
            [State::Received, State::Verified, State::Running, State::Answered, State::Refused, State::Unidentifiable];
        for from in all {
            assert_eq!(State::parse(from.word()), Some(from));
            for to in all {
                assert!(!from.is_closed() || from.goes_to(to).is_err(), "{from:?} {to:?}");
            }
        }
        assert!(State::Received.goes_to(State::Answered).is_err(), "never answered unverified");
        assert!(State::Received.goes_to(State::Running).is_err(), "never run unverified");
        assert!(State::Received.goes_to(State::Refused).is_ok());
        assert!(State::Running.goes_to(State::Verified).is_ok(), "what failed is tried again");
    }
}
