//! A first draft of a notice from what the configuration does: complete, sensible text in English and German; other
//! languages get the English text with a mark that somebody has to translate it. Must never claim what the configuration
//! does not do. Invariant: a draft in English or German from a whole `[controller]` passes the lint.

use std::collections::BTreeMap;

use crate::domain::consent::LawfulBasis;
use crate::domain::notice::lint::Facts;
use crate::domain::notice::{Draft, PurposeEntry, PurposeWording, Recipient, Role, UNTRANSLATED, Wording};

/// A draft of this version in these languages. `more` = purposes to describe besides those of the configuration.
pub fn draft(facts: &Facts, version: &str, languages: &[String], more: &[String]) -> Draft {
    let mut purposes: Vec<PurposeEntry> = Vec::new();
    for (name, basis, assessment) in &facts.purposes {
        purposes.push(PurposeEntry { name: name.clone(), basis: *basis, assessment: assessment.clone() });
    }
    for name in more {
        if !purposes.iter().any(|p| p.name == *name) {
            let entry = PurposeEntry { name: name.clone(), basis: LawfulBasis::Consent, assessment: String::new() };
            purposes.push(entry);
        }
    }
    let recipients = facts.recipients.iter();
    let recipients =
        recipients.map(|(name, role)| Recipient { name: name.clone(), role: *role, country: String::new() });
    let mut draft = Draft {
        version: version.to_owned(),
        site: facts.site.clone(),
        controller: facts.controller.clone(),
        purposes,
        recipients: recipients.collect(),
        languages: BTreeMap::new(),
    };
    for tag in languages {
        let wording = match tag.split('-').next().unwrap_or(tag) {
            "de" => german(facts, &draft),
            "en" => english(facts, &draft),
            _ => marked(english(facts, &draft)),
        };
        draft.languages.insert(tag.clone(), wording);
    }
    draft
}

fn marked(mut wording: Wording) -> Wording {
    let mark = |text: &mut String| *text = format!("{UNTRANSLATED} {text}");
    let w = &mut wording;
    for text in [&mut w.title, &mut w.text, &mut w.withdrawal, &mut w.retention, &mut w.rights, &mut w.complaint] {
        mark(text);
    }
    for told in wording.purposes.values_mut() {
        mark(&mut told.title);
        mark(&mut told.text);
    }
    wording
}

/// The texts of the recipients in a list: `A (processor), B`.
fn names(draft: &Draft, role: Role) -> Vec<&str> {
    draft.recipients.iter().filter(|r| r.role == role).map(|r| r.name.as_str()).collect()
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.trim().is_empty() { otherwise } else { text.trim() }
}

fn english(facts: &Facts, draft: &Draft) -> Wording {
    let c = &facts.controller;
    let by_consent = draft.purposes.iter().any(|p| p.basis == LawfulBasis::Consent);
    let mut text = format!("{} would like to record how this site is used.", or(&c.name, "The operator of this site"));
    if by_consent {
        text.push_str(
            " You choose, for each purpose. Nothing is recorded under an identifier of yours for a purpose you did not agree \
             to, and the site works the same whatever you choose.",
        );
    }
    let (processors, others) = (names(draft, Role::Processor), names(draft, Role::ThirdParty));
    if !processors.is_empty() {
        text.push_str(&format!(" On our behalf the records are also handled by {}.", processors.join(", ")));
    }
    if !others.is_empty() {
        text.push_str(&format!(" If you agree to sharing, the records also go to {}.", others.join(", ")));
    }
    let place = match c.privacy_url.trim() {
        "" => "in the privacy settings of this site".to_owned(),
        url => format!("in the privacy settings ({url})"),
    };
    let mut complaint = "You may complain to a data protection authority".to_owned();
    match c.authority.trim() {
        "" => complaint.push_str(" at your place of residence or ours."),
        authority => complaint.push_str(&format!(", for example {authority}.")),
    }
    let mut rights =
        "You have the right to know what is recorded about you and to receive a copy, to have it corrected or \
                      erased, to have its use restricted, to take it elsewhere, and to object."
            .to_owned();
    for (what, how) in [("Write to", &c.email), ("Our data protection officer:", &c.dpo)] {
        if !how.trim().is_empty() {
            rights.push_str(&format!(" {what} {}.", how.trim()));
        }
    }
    Wording {
        title: "Your privacy choices".to_owned(),
        text,
        withdrawal: format!(
            "You can take your choice back at any time and as easily as you gave it, {place}. What was recorded before \
             stays lawful; from then on it is used no more. Your choice holds for {} months; then we ask again.",
            facts.choice_months
        ),
        retention: format!(
            "Visits, pages and events are kept for {} months, personal details for {} days after your last visit, and the \
             record of your choice for {} months after it.{}",
            facts.visits_months,
            facts.personal_days,
            facts.ledger_months,
            facts.proof_months.map_or_else(String::new, |months| format!(
                " If you have your data erased, sealed proof of your decisions is kept for {months} months."
            ))
        ),
        rights,
        complaint,
        purposes: draft.purposes.iter().map(|p| (p.name.clone(), english_purpose(&p.name))).collect(),
    }
}

fn english_purpose(name: &str) -> PurposeWording {
    let (title, text) = match name {
        "measure" => (
            "Measure how the site is used",
            "We record which pages are opened, when, from where the visit came and with which kind of device, under a random \
             identifier, to see what works and to mend what does not.",
        ),
        "personal" => (
            "Keep details you give",
            "We keep details you enter or that belong to your account, such as name and address, together with your visits, to \
             know you again and to help you better.",
        ),
        "profile" => (
            "Form a picture of your interests",
            "We sort visits into groups and estimate what you may be looking for. No decision with legal or similar effect is \
             taken by this.",
        ),
        "engage_support" => (
            "Offer help by ourselves",
            "While you visit we may offer you help, for example a chat, when it seems that something does not work.",
        ),
        "engage_sales" => (
            "Offer advice on products",
            "While you visit we may offer you advice on products or a conversation with our staff.",
        ),
        "share" => (
            "Share with others",
            "We pass records of your visits on to the recipients named in this notice, who use them for purposes of their own.",
        ),
        "marketing" => (
            "Use for advertising",
            "We use your contact details and your visits to send or show you advertising that may suit you.",
        ),
        other => {
            return PurposeWording {
                title: other.to_owned(),
                text: format!(
                    "{UNTRANSLATED} Describe what is done for the purpose {other}, with which data, and why."
                ),
            };
        }
    };
    PurposeWording { title: title.to_owned(), text: text.to_owned() }
}

fn german(facts: &Facts, draft: &Draft) -> Wording {
    let c = &facts.controller;
    let by_consent = draft.purposes.iter().any(|p| p.basis == LawfulBasis::Consent);
    let mut text =
        format!("{} möchte aufzeichnen, wie diese Website genutzt wird.", or(&c.name, "Der Betreiber dieser Website"));
    if by_consent {
        text.push_str(
            " Sie entscheiden, für jeden Zweck einzeln. Ohne Ihre Zustimmung wird für einen Zweck nichts unter einer Kennung \
             von Ihnen aufgezeichnet, und die Website funktioniert gleich, wie immer Sie sich entscheiden.",
        );
    }
    let (processors, others) = (names(draft, Role::Processor), names(draft, Role::ThirdParty));
    if !processors.is_empty() {
        text.push_str(&format!(" In unserem Auftrag verarbeitet die Aufzeichnungen auch {}.", processors.join(", ")));
    }
    if !others.is_empty() {
        text.push_str(&format!(" Stimmen Sie der Weitergabe zu, gehen sie auch an {}.", others.join(", ")));
    }
    let place = match c.privacy_url.trim() {
        "" => "in den Datenschutz-Einstellungen dieser Website".to_owned(),
        url => format!("in den Datenschutz-Einstellungen ({url})"),
    };
    let mut complaint = "Sie können sich bei einer Datenschutz-Aufsichtsbehörde beschweren".to_owned();
    match c.authority.trim() {
        "" => complaint.push_str(", an Ihrem Wohnort oder an unserem Sitz."),
        authority => complaint.push_str(&format!(", zum Beispiel bei: {authority}.")),
    }
    let mut rights = "Sie haben das Recht zu erfahren, was über Sie aufgezeichnet ist, und eine Kopie zu erhalten, es \
                      berichtigen oder löschen zu lassen, seine Nutzung einschränken zu lassen, es mitzunehmen und zu \
                      widersprechen."
        .to_owned();
    for (what, how) in [("Schreiben Sie an", &c.email), ("Unser Datenschutzbeauftragter:", &c.dpo)] {
        if !how.trim().is_empty() {
            rights.push_str(&format!(" {what} {}.", how.trim()));
        }
    }
    Wording {
        title: "Ihre Entscheidung zum Datenschutz".to_owned(),
        text,
        withdrawal: format!(
            "Sie können Ihre Entscheidung jederzeit und so einfach zurücknehmen, wie Sie sie getroffen haben, {place}. Was \
             vorher aufgezeichnet wurde, bleibt rechtmäßig; von da an wird es nicht mehr genutzt. Ihre Entscheidung gilt {} \
             Monate; dann fragen wir erneut.",
            facts.choice_months
        ),
        retention: format!(
            "Besuche, Seiten und Ereignisse werden {} Monate aufbewahrt, persönliche Angaben {} Tage nach Ihrem letzten Besuch, \
             der Nachweis Ihrer Entscheidung {} Monate danach.{}",
            facts.visits_months,
            facts.personal_days,
            facts.ledger_months,
            facts.proof_months.map_or_else(String::new, |months| format!(
                " Lassen Sie Ihre Daten löschen, so bleibt ein versiegelter Nachweis Ihrer Entscheidungen {months} Monate."
            ))
        ),
        rights,
        complaint,
        purposes: draft.purposes.iter().map(|p| (p.name.clone(), german_purpose(&p.name))).collect(),
    }
}

fn german_purpose(name: &str) -> PurposeWording {
    let (title, text) = match name {
        "measure" => (
            "Messen, wie die Website genutzt wird",
            "Wir zeichnen unter einer zufälligen Kennung auf, welche Seiten wann geöffnet werden, woher der Besuch kommt und mit \
             welcher Art von Gerät, um zu sehen, was gelingt, und zu beheben, was nicht gelingt.",
        ),
        "personal" => (
            "Angaben aufbewahren, die Sie machen",
            "Wir bewahren Angaben, die Sie eingeben oder die zu Ihrem Konto gehören, etwa Name und Adresse, zusammen mit Ihren \
             Besuchen auf, um Sie wiederzuerkennen und Ihnen besser zu helfen.",
        ),
        "profile" => (
            "Ein Bild Ihrer Interessen bilden",
            "Wir ordnen Besuche in Gruppen ein und schätzen, wonach Sie suchen. Entscheidungen mit rechtlicher oder ähnlicher \
             Wirkung werden dadurch nicht getroffen.",
        ),
        "engage_support" => (
            "Von uns aus Hilfe anbieten",
            "Während Ihres Besuchs können wir Ihnen Hilfe anbieten, zum Beispiel einen Chat, wenn etwas nicht zu gelingen scheint.",
        ),
        "engage_sales" => (
            "Beratung zu Produkten anbieten",
            "Während Ihres Besuchs können wir Ihnen Beratung zu Produkten oder ein Gespräch mit unserem Personal anbieten.",
        ),
        "share" => (
            "An andere weitergeben",
            "Wir geben Aufzeichnungen Ihrer Besuche an die in diesem Hinweis genannten Empfänger weiter, die sie für eigene \
             Zwecke nutzen.",
        ),
        "marketing" => (
            "Für Werbung nutzen",
            "Wir nutzen Ihre Kontaktangaben und Ihre Besuche, um Ihnen passende Werbung zu senden oder zu zeigen.",
        ),
        other => {
            return PurposeWording {
                title: other.to_owned(),
                text: format!(
                    "{UNTRANSLATED} Beschreiben Sie, was für den Zweck {other} mit welchen Daten geschieht, und warum."
                ),
            };
        }
    };
    PurposeWording { title: title.to_owned(), text: text.to_owned() }
}
