//! What is kept in people's browsers: the table for a privacy policy. What wayside sets itself, and what a page must keep so that
//! wayside knows a browser again. Must never leave a key out. Invariant: an answer of wayside sets no cookie, and what
//! `KEYS` does not name is not set.

use serde::Serialize;

use crate::base::time::DAY_MS;
use crate::domain::consent::EXEMPT_LIFE_MS;
use crate::records::Setup;
use crate::records::paper::{Paper, plain};

/// A key in somebody's browser.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its name; in angle brackets where the page chooses it.
    pub name: String,
    /// Who sets it: `wayside`, or `page`.
    pub set_by: &'static str,
    /// Cookie, local storage, or as the page likes.
    pub place: &'static str,
    /// What for.
    pub purpose: &'static str,
    /// How long it should live.
    pub lives: String,
    /// What may be said of it under the law of terminal equipment (ePrivacy Directive Art. 5(3)).
    pub needs: &'static str,
}

/// The keys wayside sets by itself, today: none. There is no script of wayside's, and the pixel and every answer set no cookie.
pub const KEYS: [Key; 0] = [];

/// What is kept in browsers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cookies {
    /// Keys of wayside's own.
    pub wayside: Vec<Key>,
    /// Keys that a page keeps for it, by site.
    pub page: Vec<SiteKeys>,
}

/// The keys of one site's pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteKeys {
    /// The site.
    pub site: String,
    /// What its pages keep.
    pub keys: Vec<Key>,
}

/// The table, from the configuration alone.
pub fn cookies(setup: &Setup) -> Cookies {
    let page = setup.sites.iter().map(|site| {
        let o = &site.options;
        let exempt = o.without_consent == crate::domain::consent::WithoutConsent::ConsentExempt;
        let id_lives = match exempt {
            true => format!("{} days at most, not renewed, then counted only", EXEMPT_LIFE_MS / DAY_MS),
            false => format!(
                "as the page decides; its rows go {} months after they were received",
                setup.limits.visits_months
            ),
        };
        let id_needs = if exempt { "inform, and offer an objection" } else { "consent first" };
        let key = |name: &str, purpose, lives: String, needs| Key {
            name: name.to_owned(),
            set_by: "page",
            place: "as the page likes",
            purpose,
            lives,
            needs,
        };
        let keys = vec![
            key("<visitor> (Journey: <customerCookieId>)", "knows the browser again", id_lives, id_needs),
            key(
                "<visitorToken>",
                "proves that a later decision is of the same browser",
                "as long as the id".to_owned(),
                "with the id",
            ),
            key(
                "<choice>",
                "keeps the page from asking again",
                format!("{} months, yes or no", o.choice_months),
                "strictly necessary: it keeps what the person chose",
            ),
        ];
        SiteKeys { site: site.id().to_owned(), keys }
    });
    Cookies { wayside: KEYS.to_vec(), page: page.collect() }
}

impl Cookies {
    /// The table as a page.
    pub fn markdown(&self) -> String {
        let mut page = Paper::default();
        page.heading(1, "What is kept in your browser");
        page.heading(2, "By wayside itself");
        if self.wayside.is_empty() {
            page.say("Nothing: wayside sets no cookie and keeps nothing in the browser. The pixel sets none either.");
        }
        table(&mut page, &self.wayside);
        for site in &self.page {
            page.heading(2, &format!("By the pages of site {}", plain(&site.site)));
            page.say("What pages keep so that wayside knows a browser again. Put in the names your pages use; leave out what they do not keep.");
            table(&mut page, &site.keys);
        }
        page.done()
    }
}

fn table(page: &mut Paper, keys: &[Key]) {
    let row = |k: &Key| {
        [
            plain(&k.name),
            k.set_by.to_owned(),
            k.place.to_owned(),
            k.purpose.to_owned(),
            k.lives.clone(),
            k.needs.to_owned(),
        ]
    };
    page.table(["name", "set by", "where", "what for", "how long", "needs"], keys.iter().map(row).collect());
}
