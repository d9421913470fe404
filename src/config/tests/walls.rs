//! No setting makes a page, an answer or a service wait for consent (GDPR Art. 7(4), recital 42: no wall).
//! Must never look at values alone: a key is what an operator can be tempted by. Invariant: a new key of a site is looked at by
//! somebody before this test passes again.

use super::*;

/// What such a key would be called.
const WALLS: [&str; 12] = [
    "wall",
    "paywall",
    "block",
    "blocks",
    "blocking",
    "gate",
    "require",
    "requires",
    "force",
    "mandatory",
    "must",
    "forbid",
];

/// Each key of a site, looked at: none of them changes what a page gets for somebody who refuses.
const LOOKED_AT: [&str; 21] = [
    "aliases",
    "allowed_events",
    "allowed_origins",
    "choice_months",
    "consent_source",
    "debug",
    "excluded_query_parameters",
    "id",
    "internal_hosts",
    "ip_filters",
    "keep_fragment",
    "keep_ip",
    "purposes",
    "purposes.assessment",
    "purposes.basis",
    "purposes.bit",
    "purposes.name",
    "purposes.on_withdrawal",
    "search_query_parameters",
    "time_zone",
    "without_consent",
];

#[test]
fn no_setting_blocks_a_page_until_consent() {
    let mut all = Vec::new();
    keys(&read::shape(), "", &mut all);
    assert!(all.len() > 80, "the keys were not found: {all:?}");
    for key in &all {
        let words: Vec<&str> = key.split(['.', '_']).collect();
        let wall = words.iter().find(|word| WALLS.contains(word));
        assert!(wall.is_none(), "{key} sounds like a wall before a page: {wall:?}");
    }
    let mut of_site: Vec<&str> = all.iter().filter_map(|key| key.strip_prefix("site.")).collect();
    of_site.sort_unstable();
    assert_eq!(
        of_site, LOOKED_AT,
        "look at the new key: may it make anybody wait for consent? Then write it down here"
    );
}
