//! Campaign of a landing address: utm parameters and the click ids of advertising networks.
//! Owns the table of click ids. Must never see an address, only its decoded parameters.
//! Invariant: no value is empty, longer than [`VALUE_BYTES_MAX`] or holds a control character.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::base::text::{cut, lengths_by_letter, may_be};

/// Longest value that is kept: bytes.
pub const VALUE_BYTES_MAX: usize = 256;

/// What brought a visit, as JourneyCampaign names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Campaign {
    /// `utm_content`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// `utm_medium`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// `utm_campaign`, or `utm_id` where there is none
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `utm_source`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `utm_term`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term: Option<String>,
    /// The click id an advertising network appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// The network the click id belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Click id parameters: parameter, network, whether only advertisements carry it.
/// Facebook and Instagram append theirs to ordinary links too, so those are no proof of payment. Earlier lines win.
const CLICK_IDS: [(&str, &str, bool); 17] = [
    ("gclid", "Google Ads", true),
    ("gbraid", "Google Ads", true),
    ("wbraid", "Google Ads", true),
    ("dclid", "Google Display & Video 360", true),
    ("msclkid", "Microsoft Advertising", true),
    ("ttclid", "TikTok Ads", true),
    ("twclid", "X Ads", true),
    ("li_fat_id", "LinkedIn Ads", true),
    ("yclid", "Yandex Direct", true),
    ("rdt_cid", "Reddit Ads", true),
    ("sccid", "Snapchat Ads", true),
    ("qclid", "Quora Ads", true),
    ("epik", "Pinterest Ads", true),
    ("obclickid", "Outbrain", true),
    ("tblci", "Taboola", true),
    ("fbclid", "Meta", false),
    ("igshid", "Instagram", false),
];

/// Campaign media that are bought, besides everything that begins with `paid`.
const PAID_MEDIA: [&str; 18] = [
    "cpc",
    "ppc",
    "cpm",
    "cpv",
    "cpa",
    "cpp",
    "cpl",
    "sem",
    "ad",
    "ads",
    "display",
    "banner",
    "retargeting",
    "remarketing",
    "interstitial",
    "expandable",
    "programmatic",
    "native",
];

/// The names of click ids, told from nearly all others by first letter and length.
const LENGTHS: [u32; 26] = {
    let mut names = [""; CLICK_IDS.len()];
    let mut n = 0;
    while n < names.len() {
        names[n] = CLICK_IDS[n].0;
        n += 1;
    }
    lengths_by_letter(names)
};

/// Does a parameter of that name, as it is written, tell of a campaign?
pub(crate) fn is_parameter(name: &str) -> bool {
    let begin = name.as_bytes().first_chunk::<4>();
    let utm = begin.is_some_and(|begin| name.len() > 4 && begin.eq_ignore_ascii_case(b"utm_"));
    // names are small; what begins with a capital is looked at whole
    let seldom = begin.is_some_and(|begin| begin[0].is_ascii_uppercase()) || may_be(name, &LENGTHS);
    utm || seldom && CLICK_IDS.iter().any(|(parameter, ..)| parameter.eq_ignore_ascii_case(name))
}

/// The campaign in an address's parameters, given decoded and in their order; `None` when they name none.
/// Of a parameter given twice the first that is not empty counts; parameter names are compared without case.
pub fn from_query<'a>(pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>) -> Option<Campaign> {
    let mut campaign = Campaign::default();
    let mut id = None;
    let mut click = None;
    for (name, value) in pairs {
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name };
        let slot = match name.as_ref() {
            "utm_content" => &mut campaign.content,
            "utm_medium" => &mut campaign.medium,
            "utm_campaign" => &mut campaign.name,
            "utm_source" => &mut campaign.source,
            "utm_term" => &mut campaign.term,
            "utm_id" => &mut id,
            _ => {
                let rank = CLICK_IDS.iter().position(|(parameter, _, _)| *parameter == name);
                if let (Some(rank), Some(value)) = (rank, short_value(&value))
                    && click.as_ref().is_none_or(|(best, _)| rank < *best)
                {
                    click = Some((rank, value));
                }
                continue;
            }
        };
        if slot.is_none() {
            *slot = short_value(&value);
        }
    }
    campaign.name = campaign.name.or(id);
    if let Some((rank, value)) = click {
        campaign.click_id = Some(value);
        campaign.network = CLICK_IDS.get(rank).map(|(_, network, _)| (*network).to_owned());
    }
    (campaign != Campaign::default()).then_some(campaign)
}

impl Campaign {
    /// Whether the visit was bought: by its medium, or by a click id that only advertisements carry.
    pub fn is_paid(&self) -> bool {
        let medium = self.medium.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        let clicked = |(_, network, paid): &(&str, &str, bool)| *paid && self.network.as_deref() == Some(*network);
        medium.starts_with("paid")
            || PAID_MEDIA.contains(&medium.as_str())
            || (self.click_id.is_some() && CLICK_IDS.iter().any(clicked))
    }
}

/// A value fit to keep: control characters become spaces, the ends are trimmed, it is cut at [`VALUE_BYTES_MAX`];
/// `None` when nothing is left.
pub(crate) fn short_value(text: &str) -> Option<String> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = cut(text.trim(), VALUE_BYTES_MAX).trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(pairs: &[(&'static str, &'static str)]) -> Option<Campaign> {
        from_query(pairs.iter().map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value))))
    }

    #[test]
    fn utm_parameters_fill_the_campaign() {
        let read = campaign(&[
            ("utm_source", "news letter"),
            ("UTM_Medium", "email"),
            ("utm_campaign", ""),
            ("utm_campaign", "Spring-24"),
            ("utm_campaign", "second"),
            ("utm_term", "a\u{0}b\n"),
            ("utm_content", "top"),
            ("utm_id", "77"),
        ])
        .unwrap();
        assert_eq!(
            serde_json::to_value(&read).unwrap(),
            serde_json::json!({"source": "news letter", "medium": "email", "name": "Spring-24", "term": "a b", "content": "top"})
        );
        assert_eq!(campaign(&[("utm_id", "77")]).unwrap().name.as_deref(), Some("77"));
        assert_eq!(campaign(&[("q", "x"), ("utm_source", "  ")]), None);
    }

    #[test]
    fn click_ids_name_their_network_and_the_paid_one_wins() {
        for (pairs, network, paid) in [
            (&[("gclid", "1")][..], "Google Ads", true),
            (&[("wbraid", "1")], "Google Ads", true),
            (&[("msclkid", "1")], "Microsoft Advertising", true),
            (&[("li_fat_id", "1")], "LinkedIn Ads", true),
            (&[("yclid", "1")], "Yandex Direct", true),
            (&[("ScCid", "1")], "Snapchat Ads", true),
            (&[("fbclid", "1")], "Meta", false),
            (&[("fbclid", "1"), ("gclid", "2")], "Google Ads", true),
        ] {
            let read = campaign(pairs).unwrap();
            assert_eq!((read.network.as_deref(), read.is_paid()), (Some(network), paid), "{pairs:?}");
        }
        let both = campaign(&[("fbclid", "1"), ("gclid", "2")]).unwrap();
        assert_eq!(serde_json::to_value(&both).unwrap(), serde_json::json!({"clickId": "2", "network": "Google Ads"}));
    }

    #[test]
    fn bought_media_are_paid() {
        for (medium, paid) in [
            ("cpc", true),
            ("PPC", true),
            ("paid-social", true),
            ("paidsearch", true),
            ("display", true),
            ("email", false),
            ("organic", false),
            ("unpaid", false),
        ] {
            assert_eq!(campaign(&[("utm_medium", medium)]).unwrap().is_paid(), paid, "{medium}");
        }
    }

    #[test]
    fn values_are_cut_at_the_limit() {
        let long = "ü".repeat(VALUE_BYTES_MAX);
        assert_eq!(short_value(&long).unwrap().len(), VALUE_BYTES_MAX);
        assert_eq!(short_value(&"x".repeat(VALUE_BYTES_MAX)).unwrap().len(), VALUE_BYTES_MAX);
        assert_eq!(short_value(&"x".repeat(VALUE_BYTES_MAX + 1)).unwrap().len(), VALUE_BYTES_MAX);
        assert_eq!(short_value("\u{0}\u{7}\n"), None);
    }
}
