//! What the configuration does, in the words a notice must tell it in.
//! Must never judge a notice (`domain::notice::lint`). Invariant: every purpose in use and every recipient outside is there.

use crate::config::Config;
use crate::domain::consent::{LawfulBasis, STANDARD};
use crate::domain::notice::Role;
use crate::domain::notice::lint::Facts;
use crate::domain::site::SiteOptions;
use crate::forward::options::{Recipient, TargetOptions};

/// Whose hands a target is in, where a notice must name them.
pub fn role(target: &TargetOptions) -> Option<Role> {
    match target.recipient {
        Recipient::Own => None,
        Recipient::Processor => Some(Role::Processor),
        Recipient::ThirdParty => Some(Role::ThirdParty),
    }
}

/// The facts of each site.
pub fn of(config: &Config) -> Vec<Facts> {
    config.sites.iter().map(|site| of_site(config, site)).collect()
}

fn of_site(config: &Config, site: &SiteOptions) -> Facts {
    let mut recipients: Vec<(String, Role)> = Vec::new();
    for target in &config.targets {
        let named = target.recipient_name.as_deref().unwrap_or(&target.name).trim().to_owned();
        if let Some(role) = role(target)
            && !recipients.iter().any(|(name, other)| *name == named && *other == role)
        {
            recipients.push((named, role));
        }
    }
    let basis = |name: &str| {
        let set = site.purposes.iter().find(|p| p.name == name);
        let assessment = set.and_then(|p| p.assessment.clone()).unwrap_or_default();
        (name.to_owned(), set.map_or(LawfulBasis::Consent, |p| p.basis), assessment)
    };
    let mut purposes = vec![basis("measure")];
    let mut add = |name: &str| {
        if !purposes.iter().any(|(known, ..)| known == name) {
            purposes.push(basis(name));
        }
    };
    site.purposes.iter().for_each(|p| add(&p.name));
    if recipients.iter().any(|(_, role)| *role == Role::ThirdParty) {
        add("share");
    }
    let own = site.purposes.iter().filter(|p| p.bit.is_some()).map(|p| p.name.clone());
    Facts {
        site: site.id.clone(),
        controller: config.controller.clone(),
        purposes,
        words: STANDARD.iter().map(|(name, _)| (*name).to_owned()).chain(own).collect(),
        recipients,
        visits_months: config.retention.visits_months,
        personal_days: config.retention.personal_days,
        ledger_months: config.retention.ledger_months,
        choice_months: site.choice_months,
        proof_months: config.erase.recipient().ok().flatten().map(|_| config.erase.proof_months),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::{lint, template};
    use crate::domain::site::PurposeOptions;

    #[test]
    fn a_notice_made_from_the_facts_tells_them() {
        let mut config = Config::default();
        config.controller.name = "Example Ltd".to_owned();
        config.controller.email = "privacy@shop.example".to_owned();
        config.targets.push(TargetOptions {
            name: "analytics".to_owned(),
            recipient: Recipient::ThirdParty,
            recipient_name: Some("Example Analytics".to_owned()),
            ..TargetOptions::default()
        });
        config.sites[0].purposes.push(PurposeOptions {
            name: "newsletter".to_owned(),
            bit: Some(16),
            basis: LawfulBasis::Consent,
            assessment: None,
            on_withdrawal: None,
        });
        let facts = of(&config).remove(0);
        let names: Vec<&str> = facts.purposes.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["measure", "newsletter", "share"]);
        assert_eq!(facts.recipients, [("Example Analytics".to_owned(), Role::ThirdParty)]);
        let mut draft = template::draft(&facts, "1", &["en".to_owned()], &[]);
        let open: Vec<String> = lint::check(&draft, &facts).into_iter().filter(|f| f.error).map(|f| f.place).collect();
        assert_eq!(open, ["language.en.purposes.newsletter.text"], "only the operator knows what it is for");
        draft.languages.get_mut("en").unwrap().purposes.get_mut("newsletter").unwrap().text =
            "We write to you.".to_owned();
        assert!(lint::check(&draft, &facts).iter().all(|f| !f.error));
    }

    #[test]
    fn a_proof_that_stays_after_an_erasure_is_told_where_one_is_kept() {
        let told = |config: &Config| {
            let facts = of(config).remove(0);
            let draft = template::draft(&facts, "1", &["en".to_owned(), "de".to_owned()], &[]);
            ["en", "de"].map(|lang| {
                draft.languages[lang].retention.contains("sealed proof of your decisions is kept for 36")
                    || draft.languages[lang].retention.contains("Nachweis Ihrer Entscheidungen 36 Monate")
            })
        };
        let mut config = Config::default();
        assert_eq!(told(&config), [false; 2], "without a key nothing is kept");
        config.erase.proof_key = Some(crate::base::cell::RecipientKey::mint().recipient().to_string());
        assert_eq!(told(&config), [true; 2]);
        config.erase.keep_proof = crate::consent::proofs::KeepProof::None;
        assert_eq!(told(&config), [false; 2]);
    }
}
