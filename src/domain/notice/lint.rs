//! What is wrong with a draft of a notice: what the law wants told and is missing, what the configuration does and the
//! draft does not say. Must never judge style beyond length. Invariant: a draft without errors can be published.

use serde::Serialize;

use crate::domain::consent::LawfulBasis;
use crate::domain::notice::{Controller, Draft, NONE, Role, UNTRANSLATED, VERSION_BYTES_MAX, Wording, is_language};

/// Longest heading, in characters.
const TITLE_CHARS_MAX: usize = 120;
/// Characters above which the first text is seldom read.
const TEXT_CHARS_LONG: usize = 1_500;
/// Characters above which a whole notice in one language is refused.
const WHOLE_CHARS_MAX: usize = 40_000;
/// Characters below which a text says nothing.
const TEXT_CHARS_MIN: usize = 15;

/// What the configuration does: what the notice must tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The site.
    pub site: String,
    /// `[controller]`.
    pub controller: Controller,
    /// Word, basis and assessment of each purpose in use; measure first.
    pub purposes: Vec<(String, LawfulBasis, String)>,
    /// Every word the site knows.
    pub words: Vec<String>,
    /// Processors and third parties that targets send to.
    pub recipients: Vec<(String, Role)>,
    /// Months that visits stay.
    pub visits_months: u32,
    /// Days that personal data stays.
    pub personal_days: u32,
    /// Months that decisions stay.
    pub ledger_months: u32,
    /// Months that a choice holds.
    pub choice_months: u32,
    /// Months that sealed proof of an erased person's decisions stays; `None` where none is kept.
    pub proof_months: Option<u32>,
}

/// One thing that is wrong with a draft, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// It cannot be published like this.
    pub error: bool,
    /// Where, as the file writes it.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

struct Findings(Vec<Finding>);

impl Findings {
    fn say(&mut self, error: bool, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Finding { error, place: place.into(), what: what.into(), remedy: remedy.into() });
    }

    fn error(&mut self, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.say(true, place, what, remedy);
    }

    fn warn(&mut self, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.say(false, place, what, remedy);
    }
}

/// Everything that is wrong with a draft, errors first.
pub fn check(draft: &Draft, facts: &Facts) -> Vec<Finding> {
    let mut out = Findings(Vec::new());
    head(draft, facts, &mut out);
    controller(&draft.controller, &mut out);
    purposes(draft, facts, &mut out);
    recipients(draft, facts, &mut out);
    if draft.languages.is_empty() {
        out.error("language", "no language", "add [language.en] with title, text, withdrawal and the others");
    }
    for (tag, wording) in &draft.languages {
        language(draft, tag, wording, &mut out);
    }
    out.0.sort_by_key(|finding| !finding.error);
    out.0
}

fn head(draft: &Draft, facts: &Facts, out: &mut Findings) {
    let version = &draft.version;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if version.is_empty() || version.len() > VERSION_BYTES_MAX || !version.chars().all(word) || version == NONE {
        let remedy = "use 1 to 64 letters, digits, '-', '_' or '.', for example \"2026-11\"; not \"none\"";
        out.error("version", format!("{version:?} names no version"), remedy);
    }
    if draft.site != facts.site {
        let what = format!("{:?} is not the site {:?} of the configuration", draft.site, facts.site);
        out.error("site", what, "write that site's id, or name the site with --site");
    }
}

fn controller(c: &Controller, out: &mut Findings) {
    if c.name.trim().is_empty() {
        out.error(
            "controller.name",
            "nobody is named who answers for the processing",
            "write the name of the company, here or in [controller] of the configuration",
        );
    }
    if [&c.email, &c.phone, &c.address].iter().all(|text| text.trim().is_empty()) {
        out.error(
            "controller.email",
            "no way to reach the controller is told",
            "write an address of electronic mail, a telephone number or a postal address",
        );
    }
    if c.privacy_url.trim().is_empty() {
        out.warn(
            "controller.privacy_url",
            "no page is named where a choice is seen and changed",
            "write its address: receipts and codes point there",
        );
    }
    if c.authority.trim().is_empty() {
        out.warn("controller.authority", "no supervisory authority is named", "write its name and address");
    }
}

fn purposes(draft: &Draft, facts: &Facts, out: &mut Findings) {
    for (n, entry) in draft.purposes.iter().enumerate() {
        let place = format!("purpose[{n}]");
        if draft.purposes[..n].iter().any(|other| other.name == entry.name) {
            out.error(&place, format!("{:?} stands here twice", entry.name), "give each purpose one entry");
        } else if !facts.words.contains(&entry.name) {
            let what = format!("{:?} is no purpose of the site", entry.name);
            out.error(&place, what, format!("use one of: {}", facts.words.join(", ")));
        }
        let set = facts.purposes.iter().find(|(name, ..)| *name == entry.name);
        if let Some((_, basis, _)) = set.filter(|(_, basis, _)| *basis != entry.basis) {
            let what = format!(
                "{:?} rests on {} here and on {} in the configuration",
                entry.name,
                entry.basis.word(),
                basis.word()
            );
            out.error(format!("{place}.basis"), what, "say the same in both");
        } else if set.is_none() && entry.basis != LawfulBasis::Consent {
            let what =
                format!("{:?} rests on {} here and on consent in the configuration", entry.name, entry.basis.word());
            out.error(format!("{place}.basis"), what, "say the same in both");
        }
        if entry.basis != LawfulBasis::Consent && entry.assessment.trim().is_empty() {
            let what = format!("{:?} rests on {} and names no assessment", entry.name, entry.basis.word());
            out.warn(format!("{place}.assessment"), what, "name the document and its date");
        }
    }
    for (name, ..) in &facts.purposes {
        if !draft.purposes.iter().any(|entry| entry.name == *name) {
            let what = format!("the site's purpose {name:?} is not described");
            out.error("purpose", what, format!("add [[purpose]] name = {name:?} and its wording in each language"));
        }
    }
}

fn recipients(draft: &Draft, facts: &Facts, out: &mut Findings) {
    for (name, role) in &facts.recipients {
        if !draft.recipients.iter().any(|r| r.name.trim() == name.trim() && r.role == *role) {
            let what = format!("rows leave to the {} {name:?}, who is not named", role.word());
            let remedy = format!("add [[recipient]] name = {name:?}, role = {:?}", role.word());
            out.error("recipient", what, remedy);
        }
    }
    for (n, r) in draft.recipients.iter().enumerate() {
        if !facts.recipients.iter().any(|(name, _)| name.trim() == r.name.trim()) {
            let what = format!("no target sends rows to {:?}", r.name);
            out.warn(format!("recipient[{n}]"), what, "remove it, or configure the target with this recipient_name");
        }
    }
}

fn language(draft: &Draft, tag: &str, w: &Wording, out: &mut Findings) {
    let at = format!("language.{tag}");
    if !is_language(tag) {
        out.error(&at, format!("{tag:?} is no language tag"), "write it like \"en\", \"de\" or \"de-CH\"");
    }
    let parts = [
        ("title", &w.title, "a heading"),
        ("text", &w.text, "what is done and why, in a few plain sentences"),
        ("withdrawal", &w.withdrawal, "how a choice is taken back: people must be told before they consent"),
        ("retention", &w.retention, "how long what is kept"),
        ("rights", &w.rights, "access, rectification, erasure, restriction, portability, objection"),
        ("complaint", &w.complaint, "that people may complain to a supervisory authority"),
    ];
    for (name, text, missing) in parts {
        part(&format!("{at}.{name}"), text, missing, name != "title", out);
    }
    if w.title.chars().count() > TITLE_CHARS_MAX {
        let what = format!("longer than {TITLE_CHARS_MAX} characters");
        out.warn(format!("{at}.title"), what, "shorten it");
    }
    if w.text.chars().count() > TEXT_CHARS_LONG {
        let what = format!("longer than {TEXT_CHARS_LONG} characters: few people will read it");
        out.warn(format!("{at}.text"), what, "say the essential here and the rest in the other parts");
    }
    for entry in &draft.purposes {
        let place = format!("{at}.purposes.{}", entry.name);
        match w.purposes.get(&entry.name) {
            None => out.error(&place, "the purpose is not described in this language", "add its title and text"),
            Some(told) => {
                part(&format!("{place}.title"), &told.title, "a few words for the purpose", false, out);
                part(&format!("{place}.text"), &told.text, "what is done with which data, and why", true, out);
            }
        }
    }
    for name in w.purposes.keys().filter(|name| !draft.purposes.iter().any(|entry| entry.name == **name)) {
        out.warn(
            format!("{at}.purposes.{name}"),
            "there is no [[purpose]] of that name",
            "remove it, or add the purpose",
        );
    }
    let purposes: usize = w.purposes.values().map(|p| p.title.chars().count() + p.text.chars().count()).sum();
    let whole = parts.iter().map(|(_, text, _)| text.chars().count()).sum::<usize>() + purposes;
    if whole > WHOLE_CHARS_MAX {
        out.error(&at, format!("{whole} characters, at most {WHOLE_CHARS_MAX} are taken"), "shorten it");
    }
}

fn part(place: &str, text: &str, missing: &str, sentence: bool, out: &mut Findings) {
    if text.trim().is_empty() {
        out.error(place, format!("is missing: {missing}"), "write it");
    } else if text.contains(UNTRANSLATED) {
        out.error(place, format!("still holds {UNTRANSLATED}"), "translate it and remove the mark");
    } else if sentence && text.trim().chars().count() < TEXT_CHARS_MIN {
        out.warn(place, format!("says little for {missing}"), "write a whole sentence");
    }
}
