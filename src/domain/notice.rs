//! A privacy notice: what people are told before they decide. The draft an operator edits, the immutable notice in one
//! language that comes of it, its digest over a canonical encoding, and what changed between two versions.
//! Must never read a clock, a row or a file. Invariant: the same notice has the same digest everywhere and for ever, and a
//! changed word changes it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::digest::{Hash, Hasher};
use crate::base::error::{Error, Result};
use crate::domain::consent::{LawfulBasis, PurposeBook, Purposes};

pub mod lint;
pub mod template;

/// What a decision names when it was taken before there was any notice.
pub const NONE: &str = "none";
/// Marks text that somebody still has to translate; a draft that holds it cannot be published.
pub const UNTRANSLATED: &str = "[translate]";
/// Longest version, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Who answers for the processing (GDPR Art. 13(1)(a), (b)); also the table `[controller]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controller {
    /// Name of the company or person.
    pub name: String,
    /// Postal address, on one line.
    pub address: String,
    /// Address of electronic mail for questions.
    pub email: String,
    /// Telephone number.
    pub phone: String,
    /// Home page.
    pub url: String,
    /// Contact of the data protection officer.
    pub dpo: String,
    /// Supervisory authority where people may complain, with its address.
    pub authority: String,
    /// Law that applies, for example `EU` or `DE`.
    pub jurisdiction: String,
    /// Page where a choice is seen and changed.
    pub privacy_url: String,
    /// Where the rows lie, for example `on our own computers in Bern`.
    pub storage: String,
}

/// Whose hands a recipient's are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// On the controller's behalf (GDPR Art. 28).
    Processor,
    /// For purposes of its own: gets only rows with the purpose `share`.
    ThirdParty,
}

impl Role {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Role::Processor => "processor",
            Role::ThirdParty => "third_party",
        }
    }
}

/// Who receives rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// As the target's `recipient_name` says.
    pub name: String,
    /// Processor or third party.
    pub role: Role,
    /// Country, where it is another one.
    #[serde(default)]
    pub country: String,
}

/// A purpose, without its wording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeEntry {
    /// Its word.
    pub name: String,
    /// Its lawful basis.
    #[serde(default)]
    pub basis: LawfulBasis,
    /// Document and date of the assessment behind a basis other than consent.
    #[serde(default)]
    pub assessment: String,
}

/// How one purpose is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PurposeWording {
    /// A few words, for a button or a heading.
    pub title: String,
    /// What is done with which data, and why.
    pub text: String,
}

/// Everything that is told in one language.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wording {
    /// The heading.
    pub title: String,
    /// The first thing people read.
    pub text: String,
    /// How a choice is taken back; told before consent (GDPR Art. 7(3)).
    pub withdrawal: String,
    /// How long what is kept.
    pub retention: String,
    /// Which rights people have.
    pub rights: String,
    /// Where they may complain.
    pub complaint: String,
    /// Each purpose, by its word.
    pub purposes: BTreeMap<String, PurposeWording>,
}

/// What an operator edits: one version in all its languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its name for ever: letters, digits, `-`, `_`, `.`.
    pub version: String,
    /// The site it is for.
    pub site: String,
    /// Who answers for it.
    #[serde(default)]
    pub controller: Controller,
    /// The purposes, in the order they are shown.
    #[serde(default, rename = "purpose")]
    pub purposes: Vec<PurposeEntry>,
    /// Who receives rows.
    #[serde(default, rename = "recipient")]
    pub recipients: Vec<Recipient>,
    /// The wording, by language tag (BCP 47).
    #[serde(default, rename = "language")]
    pub languages: BTreeMap<String, Wording>,
}

/// A purpose as it is told in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldPurpose {
    /// Its word.
    pub name: String,
    /// Its lawful basis.
    pub basis: LawfulBasis,
    /// Document and date behind a basis other than consent; may be empty.
    pub assessment: String,
    /// A few words.
    pub title: String,
    /// What is done, and why.
    pub text: String,
}

/// One version of a notice in one language: what a person was shown. Never changed once published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its version.
    pub version: String,
    /// The site it is for.
    pub site: String,
    /// Its language (BCP 47).
    pub language: String,
    /// Who answers for it.
    pub controller: Controller,
    /// The heading.
    pub title: String,
    /// The first thing people read.
    pub text: String,
    /// How a choice is taken back.
    pub withdrawal: String,
    /// How long what is kept.
    pub retention: String,
    /// Which rights people have.
    pub rights: String,
    /// Where they may complain.
    pub complaint: String,
    /// The purposes, in order.
    pub purposes: Vec<ToldPurpose>,
    /// Who receives rows.
    pub recipients: Vec<Recipient>,
}

impl Draft {
    /// The notice in each language, by tag. Errors: `Invalid` naming a purpose without wording.
    pub fn notices(&self) -> Result<Vec<Notice>> {
        self.languages.iter().map(|(tag, wording)| self.notice(tag, wording)).collect()
    }

    fn notice(&self, tag: &str, w: &Wording) -> Result<Notice> {
        let told = |entry: &PurposeEntry| {
            let wording = w.purposes.get(&entry.name).ok_or_else(|| {
                Error::invalid(format!("purpose {:?} is not described in language {tag:?}", entry.name))
                    .code("notice")
                    .remedy(format!("add [language.{tag}.purposes.{}] with title and text", entry.name))
            })?;
            Ok(ToldPurpose {
                name: entry.name.clone(),
                basis: entry.basis,
                assessment: entry.assessment.clone(),
                title: wording.title.clone(),
                text: wording.text.clone(),
            })
        };
        Ok(Notice {
            version: self.version.clone(),
            site: self.site.clone(),
            language: tag.to_owned(),
            controller: self.controller.clone(),
            title: w.title.clone(),
            text: w.text.clone(),
            withdrawal: w.withdrawal.clone(),
            retention: w.retention.clone(),
            rights: w.rights.clone(),
            complaint: w.complaint.clone(),
            purposes: self.purposes.iter().map(told).collect::<Result<_>>()?,
            recipients: self.recipients.clone(),
        })
    }
}

impl Notice {
    /// SHA-256 over the canonical encoding: the text `wayside-notice-v1`, then every field in the order of
    /// `packaging/doc/receipts.md`, each behind its length (u32, big endian); a list begins with its length as text.
    pub fn digest(&self) -> Hash {
        let mut hasher = Hasher::new();
        let mut put = |text: &str| {
            hasher.field(text.as_bytes());
        };
        put("wayside-notice-v1");
        for text in [&self.version, &self.site, &self.language] {
            put(text);
        }
        let c = &self.controller;
        for text in [
            &c.name,
            &c.address,
            &c.email,
            &c.phone,
            &c.url,
            &c.dpo,
            &c.authority,
            &c.jurisdiction,
            &c.privacy_url,
            &c.storage,
        ] {
            put(text);
        }
        for text in [&self.title, &self.text, &self.withdrawal, &self.retention, &self.rights, &self.complaint] {
            put(text);
        }
        put(&self.purposes.len().to_string());
        for p in &self.purposes {
            for text in [p.name.as_str(), p.basis.word(), &p.assessment, &p.title, &p.text] {
                put(text);
            }
        }
        put(&self.recipients.len().to_string());
        for r in &self.recipients {
            for text in [r.name.as_str(), r.role.word(), &r.country] {
                put(text);
            }
        }
        hasher.finish()
    }

    /// The purposes it describes. Words the book does not know (any more) are left out.
    pub fn described(&self, book: &PurposeBook) -> Purposes {
        self.purposes.iter().filter_map(|p| book.find(&p.name)).fold(Purposes::NONE, Purposes::with)
    }

    /// The purposes it describes otherwise than `before` did, or for the first time: what people must be asked anew.
    /// Another basis, other words, and for `share` another third party count; white space does not.
    pub fn changed_since(&self, before: &Notice, book: &PurposeBook) -> Purposes {
        let same = |p: &ToldPurpose| {
            before.purposes.iter().any(|old| {
                old.name == p.name
                    && old.basis == p.basis
                    && words(&old.title) == words(&p.title)
                    && words(&old.text) == words(&p.text)
                    && (p.name != "share" || self.third_parties() == before.third_parties())
            })
        };
        let changed = self.purposes.iter().filter(|p| !same(p));
        changed.filter_map(|p| book.find(&p.name)).fold(Purposes::NONE, Purposes::with)
    }

    fn third_parties(&self) -> Vec<&str> {
        let all = self.recipients.iter().filter(|r| r.role == Role::ThirdParty);
        let mut names: Vec<&str> = all.map(|r| r.name.trim()).collect();
        names.sort_unstable();
        names
    }

    /// Does it name this recipient, in this role or the wider one?
    pub fn names(&self, recipient: &str, role: Role) -> bool {
        self.recipients.iter().any(|r| r.name.trim() == recipient.trim() && r.role == role)
    }

    /// Every field with its name, for telling two versions apart line by line.
    pub fn fields(&self) -> Vec<(String, String)> {
        let c = &self.controller;
        let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let mut out = vec![
            own("controller.name", &c.name),
            own("controller.address", &c.address),
            own("controller.email", &c.email),
            own("controller.phone", &c.phone),
            own("controller.url", &c.url),
            own("controller.dpo", &c.dpo),
            own("controller.authority", &c.authority),
            own("controller.jurisdiction", &c.jurisdiction),
            own("controller.privacy_url", &c.privacy_url),
            own("controller.storage", &c.storage),
            own("title", &self.title),
            own("text", &self.text),
            own("withdrawal", &self.withdrawal),
            own("retention", &self.retention),
            own("rights", &self.rights),
            own("complaint", &self.complaint),
        ];
        for p in &self.purposes {
            let at = format!("purposes.{}", p.name);
            out.push((format!("{at}.basis"), p.basis.word().to_owned()));
            out.push((format!("{at}.assessment"), p.assessment.clone()));
            out.push((format!("{at}.title"), p.title.clone()));
            out.push((format!("{at}.text"), p.text.clone()));
        }
        for r in &self.recipients {
            let country = if r.country.is_empty() { String::new() } else { format!(", {}", r.country) };
            out.push((format!("recipients.{}", r.name), format!("{}{country}", r.role.word())));
        }
        out
    }
}

/// A text without its white space's shape.
fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A notice of somebody else's consent tool: known by name, version, address and the digest of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// Name of the tool or of its notice.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it can be read.
    pub url: String,
    /// The purposes it asks for, in our words; empty = not told.
    #[serde(default)]
    pub purposes: Vec<String>,
    /// The purposes to ask anew, in our words; empty = all of them.
    #[serde(default)]
    pub changed: Vec<String>,
}

/// The best of several languages for an asked one: the same tag, the same primary language, English, the first.
pub fn best_language<'a>(there: &[&'a str], asked: Option<&str>) -> Option<&'a str> {
    let primary = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
    let wanted = asked.unwrap_or("en");
    let same = there.iter().find(|tag| tag.eq_ignore_ascii_case(wanted));
    let near = || there.iter().find(|tag| primary(tag) == primary(wanted));
    let english = || there.iter().find(|tag| primary(tag) == "en");
    same.or_else(near).or_else(english).or_else(|| there.first()).copied()
}

/// Is this a language tag as BCP 47 writes them, as far as one can tell by its form?
pub fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().is_some_and(|p| (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphabetic()));
    first
        && tag.len() <= 35
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests;
