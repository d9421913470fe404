//! What becomes of stored rows once the purpose they rest on is taken back: a setting per purpose of a site.
//! Must never decide what a withdrawal covers (`consent.rs`), nor touch a row.
//! Invariant: whatever is chosen, what a floor covers is not read and does not leave; the choice is only about what stays here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::purpose::{LawfulBasis, Purposes};
use crate::domain::site::SiteOptions;

/// What becomes of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnWithdrawal {
    /// They are deleted.
    Delete,
    /// They stay until their time is over, unread and unsent: processing before the withdrawal stays lawful (GDPR Art. 7(3)).
    Keep,
    /// Each event is counted in the counters that name nobody, then deleted. No row stays a row: one visit's pages and times can
    /// tell a person from another even without a name. A personal field has no such form: it is deleted.
    Anonymise,
}

/// Purposes that stored rows rest on; of the others only the bit goes.
pub const WITH_ROWS: Purposes = Purposes(Purposes::MEASURE.0 | Purposes::PERSONAL.0);

/// What one site does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withdrawal {
    measure: Option<OnWithdrawal>,
    personal: Option<OnWithdrawal>,
}

impl Withdrawal {
    /// Reads it off a site's purposes.
    pub fn of(options: &SiteOptions) -> Withdrawal {
        let of = |name: &str| options.purposes.iter().find(|p| p.name == name).and_then(|p| p.on_withdrawal);
        Withdrawal { measure: of("measure"), personal: of("personal") }
    }

    /// What becomes of visits and events that were taken in while measuring rested on `basis`. Where the site says nothing, they
    /// are deleted if consent was the only basis (which goes further than the law asks), or if it was a legitimate interest that
    /// is objected to (GDPR Art. 17(1)(c)); what a contract or the law called for then stays.
    pub fn of_visits(&self, basis: LawfulBasis) -> OnWithdrawal {
        self.measure.unwrap_or(match basis {
            LawfulBasis::Consent | LawfulBasis::LegitimateInterest => OnWithdrawal::Delete,
            LawfulBasis::Contract | LawfulBasis::LegalObligation => OnWithdrawal::Keep,
        })
    }

    /// Do personal fields and ties to identities stay?
    pub fn keeps_personal(&self) -> bool {
        self.personal == Some(OnWithdrawal::Keep)
    }
}

/// The basis of `measure` in the text of a basis row (`BasisTable::text`); consent where it names none.
pub fn measured_on(bases: &str) -> LawfulBasis {
    let by_name: BTreeMap<String, LawfulBasis> = serde_json::from_str(bases).unwrap_or_default();
    by_name.get("measure").copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::purpose::{BasisTable, PurposeBook};

    #[test]
    fn where_nothing_is_said_the_basis_decides() {
        let silent = Withdrawal::of(&SiteOptions::default());
        assert_eq!(silent.of_visits(LawfulBasis::Consent), OnWithdrawal::Delete);
        assert_eq!(silent.of_visits(LawfulBasis::LegitimateInterest), OnWithdrawal::Delete);
        assert_eq!(silent.of_visits(LawfulBasis::Contract), OnWithdrawal::Keep);
        assert_eq!(silent.of_visits(LawfulBasis::LegalObligation), OnWithdrawal::Keep);
        assert!(!silent.keeps_personal());
    }

    #[test]
    fn what_the_site_says_goes_before_the_basis() {
        let purposes = serde_json::json!([
            {"name": "measure", "on_withdrawal": "anonymise"},
            {"name": "personal", "on_withdrawal": "keep"}
        ]);
        let options = SiteOptions { purposes: serde_json::from_value(purposes).unwrap(), ..SiteOptions::default() };
        let said = Withdrawal::of(&options);
        assert_eq!(said.of_visits(LawfulBasis::Consent), OnWithdrawal::Anonymise);
        assert_eq!(said.of_visits(LawfulBasis::Contract), OnWithdrawal::Anonymise);
        assert!(said.keeps_personal());
    }

    #[test]
    fn a_basis_row_tells_what_measuring_rested_on() {
        let mut bases = BasisTable::default();
        assert_eq!(measured_on(&bases.text(&PurposeBook::default())), LawfulBasis::Consent);
        bases.set(Purposes::MEASURE, LawfulBasis::Contract);
        bases.set(Purposes::SHARE, LawfulBasis::LegitimateInterest);
        assert_eq!(measured_on(&bases.text(&PurposeBook::default())), LawfulBasis::Contract);
    }
}
