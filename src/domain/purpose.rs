//! Purposes and lawful bases: the stable bits of contract 2, their words, and which ground each rests on.
//! Must never evaluate a right (`consent.rs`). Invariant: a bit keeps its meaning for ever.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};

/// A set of purposes: stable bits (contract 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Purposes(pub u32);

/// Names of the standard purposes, by bit.
pub const STANDARD: [(&str, u32); 7] = [
    ("measure", 0),
    ("personal", 1),
    ("profile", 2),
    ("engage_support", 3),
    ("share", 4),
    ("marketing", 5),
    ("engage_sales", 6),
];

impl Purposes {
    /// No purpose.
    pub const NONE: Purposes = Purposes(0);
    /// Visits, pages and events under an identifier.
    pub const MEASURE: Purposes = Purposes(1);
    /// Traits, identities, form values.
    pub const PERSONAL: Purposes = Purposes(1 << 1);
    /// Segments, scores, prediction.
    pub const PROFILE: Purposes = Purposes(1 << 2);
    /// Proactive support.
    pub const ENGAGE_SUPPORT: Purposes = Purposes(1 << 3);
    /// Sharing rows with third parties.
    pub const SHARE: Purposes = Purposes(1 << 4);
    /// Marketing use of contact data.
    pub const MARKETING: Purposes = Purposes(1 << 5);
    /// Proactive sales.
    pub const ENGAGE_SALES: Purposes = Purposes(1 << 6);
    /// Bits that have a meaning: the seven standard ones and the operator's 16 to 31.
    pub const ALL: Purposes = Purposes(0x7f | 0xffff_0000);
    /// What a person may object to without giving a reason (GDPR Art. 21(2) and (3)).
    pub const DIRECT_MARKETING: Purposes = Purposes(Self::MARKETING.0 | Self::ENGAGE_SALES.0);
    /// What Sec-GPC or DNT lower (contract 2).
    pub const BY_SIGNAL: Purposes =
        Purposes(Self::SHARE.0 | Self::PROFILE.0 | Self::MARKETING.0 | Self::ENGAGE_SUPPORT.0 | Self::ENGAGE_SALES.0);

    /// What nobody may do with a declared minor (GDPR Art. 8, recital 38).
    pub const BY_MINORITY: Purposes =
        Purposes(Self::PROFILE.0 | Self::MARKETING.0 | Self::ENGAGE_SUPPORT.0 | Self::ENGAGE_SALES.0);

    /// Are all of `other` in this set?
    pub fn has(self, other: Purposes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Is there any of `other` in this set?
    pub fn any(self, other: Purposes) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub fn with(self, other: Purposes) -> Purposes {
        Purposes(self.0 | other.0)
    }

    /// This set without `other`.
    pub fn without(self, other: Purposes) -> Purposes {
        Purposes(self.0 & !other.0)
    }

    /// What is in both.
    pub fn and(self, other: Purposes) -> Purposes {
        Purposes(self.0 & other.0)
    }

    /// Is the set empty?
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The single purposes in the set, lowest bit first.
    pub fn each(self) -> impl Iterator<Item = Purposes> {
        (0..32).map(|bit| Purposes(1 << bit)).filter(move |one| self.has(*one))
    }

    /// Names of the set: standard words, the operator's words, or `purpose_N`. Where a set means everything, bits the
    /// operator never named are not listed.
    pub fn names(self, book: &PurposeBook) -> Vec<String> {
        let everything = self.has(Purposes(0xffff_0000));
        let named =
            |one: &Purposes| !everything || one.0 < 1 << 16 || book.own.iter().any(|(_, bit)| 1 << bit == one.0);
        self.each().filter(named).map(|one| book.name(one)).collect()
    }
}

/// The words of a site's purposes: the standard seven and the operator's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurposeBook {
    own: Vec<(String, u32)>,
}

impl PurposeBook {
    /// A book with the operator's words for bits 16 to 31. Errors: `Invalid` for other bits or a word taken.
    pub fn new(own: Vec<(String, u32)>) -> Result<Self> {
        for (i, (word, bit)) in own.iter().enumerate() {
            let taken = STANDARD.iter().any(|(name, _)| name == word)
                || own.iter().take(i).any(|(other, b)| other == word || b == bit);
            if taken || !(16..=31).contains(bit) {
                return Err(Error::invalid(format!("purpose {word:?} with bit {bit}"))
                    .remedy("give each purpose of yours a word of its own and a bit of its own from 16 to 31"));
            }
        }
        Ok(PurposeBook { own })
    }

    /// The bit of a word.
    pub fn find(&self, word: &str) -> Option<Purposes> {
        let standard = STANDARD.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit);
        let bit = standard.or_else(|| self.own.iter().find(|(name, _)| name == word).map(|(_, bit)| *bit));
        bit.map(|bit| Purposes(1 << bit))
    }

    /// The set of several words. Errors: `Invalid` naming the unknown word and the known ones.
    pub fn set<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<Purposes> {
        words.into_iter().try_fold(Purposes::NONE, |set, word| {
            let one = self.find(word).ok_or_else(|| {
                let known: Vec<&str> =
                    STANDARD.iter().map(|(n, _)| *n).chain(self.own.iter().map(|(n, _)| n.as_str())).collect();
                Error::invalid(format!("unknown purpose {:?}", crate::base::text::cut(word, 64)))
                    .code("purpose")
                    .remedy(format!("use one of: {}", known.join(", ")))
            })?;
            Ok(set.with(one))
        })
    }

    fn name(&self, one: Purposes) -> String {
        let bit = one.0.trailing_zeros();
        let standard = STANDARD.iter().find(|(_, b)| *b == bit).map(|(name, _)| (*name).to_owned());
        let own = || self.own.iter().find(|(_, b)| *b == bit).map(|(name, _)| name.clone());
        standard.or_else(own).unwrap_or_else(|| format!("purpose_{bit}"))
    }
}

/// Why a purpose may be pursued (GDPR Art. 6(1)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LawfulBasis {
    /// Art. 6(1)(a).
    #[default]
    Consent,
    /// Art. 6(1)(f); withdrawing objects to it (Art. 21).
    LegitimateInterest,
    /// Art. 6(1)(b); stands whatever is withdrawn.
    Contract,
    /// Art. 6(1)(c); stands whatever is withdrawn.
    LegalObligation,
}

impl LawfulBasis {
    /// The word of configuration and rows.
    pub fn word(self) -> &'static str {
        match self {
            LawfulBasis::Consent => "consent",
            LawfulBasis::LegitimateInterest => "legitimate_interest",
            LawfulBasis::Contract => "contract",
            LawfulBasis::LegalObligation => "legal_obligation",
        }
    }
}

/// The lawful basis of every purpose of a site; consent where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BasisTable {
    by_bit: [LawfulBasis; 32],
    /// The same by basis, in its order: asked for each event. Those that rest on consent are all others.
    others: [Purposes; 3],
}

impl BasisTable {
    /// Sets the basis of the purposes in `set`.
    pub fn set(&mut self, set: Purposes, basis: LawfulBasis) {
        for one in set.each() {
            self.by_bit[one.0.trailing_zeros() as usize] = basis;
        }
        use LawfulBasis::{Contract, LegalObligation, LegitimateInterest};
        self.others = [LegitimateInterest, Contract, LegalObligation].map(|basis| {
            let bits = self.by_bit.iter().enumerate().filter(|(_, b)| **b == basis);
            Purposes(bits.fold(0, |set, (bit, _)| set | (1 << bit))).and(Purposes::ALL)
        });
    }

    /// The purposes that rest on `basis`.
    pub fn on(&self, basis: LawfulBasis) -> Purposes {
        let [interest, contract, obligation] = self.others;
        match basis {
            LawfulBasis::Consent => Purposes::ALL.without(interest.with(contract).with(obligation)),
            LawfulBasis::LegitimateInterest => interest,
            LawfulBasis::Contract => contract,
            LawfulBasis::LegalObligation => obligation,
        }
    }

    /// What no withdrawal takes away.
    pub fn standing(&self) -> Purposes {
        self.on(LawfulBasis::Contract).with(self.on(LawfulBasis::LegalObligation))
    }

    /// `{"measure":"contract"}`: only purposes whose basis is not consent, in bit order; the text that names a basis row.
    pub fn text(&self, book: &PurposeBook) -> String {
        let pairs = Purposes::ALL.each().filter_map(|one| {
            let basis = self.by_bit[one.0.trailing_zeros() as usize];
            (basis != LawfulBasis::Consent).then(|| format!("{:?}:{:?}", book.name(one), basis.word()))
        });
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
    }
}
