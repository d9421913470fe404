//! The receipt in the shape of Kantara's consent receipt 1.1. Must never say more than the DPV form does.
//! Invariant: only purposes that were granted stand in it.

use serde_json::{Value, json};

use crate::base::text::hex;
use crate::base::time::Millis;
use crate::consent::receipt::{Receipt, TakenPurpose, data_of};
use crate::domain::consent::LawfulBasis;
use crate::domain::notice::Role;

impl Receipt {
    /// The Kantara form.
    pub(in crate::consent) fn kantara(&self) -> Value {
        let (c, row) = (&self.controller, &self.row);
        json!({
            "version": "KI-CR-v1.1.0",
            "jurisdiction": c.jurisdiction,
            "consentTimestamp": row.received.0.div_euclid(1_000),
            "collectionMethod": row.method,
            "consentReceiptID": self.id(),
            "language": self.notice_language(),
            "piiPrincipalId": row.subject_ref.to_string(),
            "piiControllers": [{
                "piiController": if c.name.trim().is_empty() { self.told.instead() } else { c.name.as_str() },
                "onBehalf": false,
                "contact": c.dpo,
                "address": {"streetAddress": c.address},
                "email": c.email,
                "phone": c.phone,
                "piiControllerUrl": c.url,
            }],
            "policyUrl": c.privacy_url,
            "services": [{"service": self.site, "purposes": self.kantara_purposes()}],
            "sensitive": false,
            "spiCat": [],
            "noticeVersion": row.notice,
            "noticeDigest": row.notice_digest.map(|digest| hex(&digest)),
        })
    }

    fn kantara_purposes(&self) -> Vec<Value> {
        let others: Vec<&str> =
            self.recipients.iter().filter(|r| r.role == Role::ThirdParty).map(|r| r.name.as_str()).collect();
        let one = |p: &TakenPurpose| {
            let shared = p.name == "share" && !others.is_empty();
            let mut out = json!({
                "purpose": if p.text.is_empty() { &p.title } else { &p.text },
                "purposeCategory": [p.name],
                "consentType": if p.basis == LawfulBasis::Consent { "EXPLICIT" } else { "NOT CONSENT" },
                "piiCategory": data_of(&p.name).0,
                "primaryPurpose": p.name == "measure",
                "termination": self.row.expires.map(Millis::rfc3339),
                "thirdPartyDisclosure": shared,
            });
            if shared {
                out["thirdPartyName"] = others.join(", ").into();
            }
            out
        };
        self.purposes.iter().filter(|p| p.granted).map(one).collect()
    }
}
