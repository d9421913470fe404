//! Duties of the law: what meets each, or why it is refused, and the tests that prove it. `packaging/doc/duties.md` is this table as
//! a page; WAYSIDE_GOLDEN=write writes it anew. Must never name a test that is not there. Invariant: what is built has a test,
//! what is lacking is said.

use std::collections::HashMap;
use std::fmt::Write;

use crate::{root, rust_files};

/// How a duty is met.
enum Met {
    /// All of what software can do.
    Built,
    /// Some of it; this is lacking.
    Partly(&'static str),
    /// Deliberately not, for this reason.
    Refused(&'static str),
}

use Met::{Built, Partly, Refused};

/// One duty.
struct Duty {
    /// The provision.
    point: &'static str,
    /// What it asks of software.
    asks: &'static str,
    /// What wayside does.
    does: &'static str,
    met: Met,
    /// `file: test`.
    tests: &'static [&'static str],
}

const fn duty(
    point: &'static str,
    asks: &'static str,
    does: &'static str,
    met: Met,
    tests: &'static [&'static str],
) -> Duty {
    Duty { point, asks, does, met, tests }
}

const BANNER: &str = "the banner itself is not built; the pages' own consent tool asks";

/// The General Data Protection Regulation.
const GDPR: [Duty; 26] = [
    duty(
        "4(11)",
        "consent is free, specific, informed, unambiguous, by an act",
        "each purpose is chosen by itself, a grant names them and the notice that was shown; there is no method `implied`",
        Partly(BANNER),
        &[
            "src/domain/consent/tests.rs: a_grant_names_its_purposes_and_measure_comes_first",
            "tests/it/bad_input.rs: a_decision_that_is_none_is_refused",
            "tests/it/notices.rs: a_grant_names_the_notice_that_was_shown",
        ],
    ),
    duty(
        "5(1)(b), (c), (e), 5(2)",
        "purpose limitation, minimisation, storage limitation, accountability",
        "every row carries its purposes, personal fields need their own; rows go by age; decisions are in a ledger",
        Built,
        &[
            "src/domain/consent/tests.rs: nothing_is_kept_without_measure_nor_for_a_purpose_without_basis_or_grant",
            "src/daemon/tests/outcomes.rs: personal_fields_need_the_right_and_the_setting",
            "src/upkeep/tests/retention.rs: events_and_visits_go_at_thirteen_months_and_not_before",
            "src/upkeep/tests/retention.rs: personal_fields_and_identities_go_a_month_after_the_last_visit",
        ],
    ),
    duty(
        "6",
        "a lawful basis, not changed afterwards",
        "a basis for each purpose of a site; each row keeps the one it was taken under; another basis in a notice asks anew",
        Built,
        &[
            "src/domain/consent/tests.rs: each_basis_and_standing_decides_what_is_in_force",
            "src/domain/notice/tests.rs: only_what_changed_in_substance_is_asked_again",
            "src/config/tests/checks.rs: purposes_and_their_bases_are_looked_at",
        ],
    ),
    duty(
        "7(1)",
        "consent can be demonstrated",
        "a hash-chained ledger with signed checkpoints, two verifiers, the decision and the notice behind each event, receipts",
        Built,
        &[
            "tests/ledger/main.rs: both_verifiers_find_every_attack_and_its_first_bad_entry",
            "tests/it/notices.rs: a_receipt_is_signed_and_opens_what_the_ledger_committed_to",
            "tests/it/prove.rs: the_page_does_what_it_says",
        ],
    ),
    duty(
        "7(2)",
        "the request is distinguishable and plain",
        "a notice is an object of its own, judged before it is published: controller, purposes, length, what is missing",
        Built,
        &[
            "src/domain/notice/tests.rs: what_the_law_wants_told_is_missed",
            "tests/it/notices.rs: a_notice_with_a_fault_is_not_published",
        ],
    ),
    duty(
        "7(3)",
        "withdrawing is as easy as giving, and told before",
        "one request for either; a kiosk's code alone withdraws; the notice must tell how; nothing leaves afterwards",
        Partly("the control on every page, and the count of clicks, come with the banner"),
        &[
            "tests/it/consent.rs: withdrawal_stops_storing_at_once_and_hides_what_there_was",
            "tests/it/notices.rs: a_kiosks_code_alone_withdraws_and_shows_the_receipt",
            "tests/promise/main.rs: no_order_of_things_breaks_the_promise",
        ],
    ),
    duty(
        "7(4)",
        "not a condition of a service",
        "no setting blocks a page until consent; whoever refuses is answered like everybody",
        Built,
        &[
            "src/config/tests/walls.rs: no_setting_blocks_a_page_until_consent",
            "tests/it/records.rs: whoever_refuses_is_answered_like_everybody_whatever_is_done_without_consent",
        ],
    ),
    duty(
        "8",
        "children",
        "whoever tells to be a minor gets no profile, marketing or offers until a decision grants them",
        Built,
        &[
            "tests/it/personal.rs: a_declared_minor_gets_no_profile_until_a_decision_grants_it",
            "src/domain/personal.rs: a_minor_is_known_by_birth_age_or_statement",
        ],
    ),
    duty(
        "9",
        "special categories",
        "what plainly tells of them is left out of events and named, in three languages; taking it in on explicit consent needs a collector of its own, see rights.md",
        Built,
        &[
            "tests/it/personal.rs: what_tells_of_a_special_category_is_left_out_and_named",
            "src/domain/denied/tests.rs: special_categories_are_found_in_three_languages_and_many_spellings",
        ],
    ),
    duty(
        "12(3)",
        "an answer within a month, extended within it only",
        "a register with due dates of the calendar, extension with its reason, a command for what is due",
        Built,
        &[
            "src/domain/request.rs: a_month_is_one_of_the_calendar_and_is_extended_in_time_only",
            "tests/it/subject.rs: the_register_knows_what_is_due_and_what_may_follow",
        ],
    ),
    duty(
        "12(6), 11",
        "identify no more than needed; say where it cannot be",
        "a device's token reaches that device only; an identity needs an assertion or a recorded verification; `unidentifiable`",
        Built,
        &[
            "tests/it/subject.rs: unknown_and_not_yours_read_alike",
            "src/subject/assertion.rs: an_assertion_holds_once_for_its_site_and_its_time",
            "tests/it/subject.rs: the_register_knows_what_is_due_and_what_may_follow",
        ],
    ),
    duty(
        "13, 14",
        "information at collection",
        "a notice without controller, purposes, basis, recipients, retention, rights, withdrawal or complaint is not published",
        Built,
        &[
            "src/domain/notice/tests.rs: what_the_law_wants_told_is_missed",
            "src/daemon/facts.rs: a_notice_made_from_the_facts_tells_them",
        ],
    ),
    duty(
        "15",
        "a copy, and eight items of information",
        "JSON and a page to read, with consent history and recipients; of people sharing a device each gets their own",
        Built,
        &[
            "tests/it/subject.rs: two_people_in_one_visit_are_told_apart_by_their_sessions",
            "src/subject/page.rs: a_page_shows_every_value_escaped_and_loads_nothing",
        ],
    ),
    duty(
        "16",
        "rectification",
        "sealed fields are overwritten, lines superseded, receivers told",
        Built,
        &["tests/it/subject.rs: a_correction_overwrites_fields_and_supersedes_lines"],
    ),
    duty(
        "17",
        "erasure",
        "rows, files, keys and logs, then a search of every file; a late event brings nobody back",
        Built,
        &[
            "tests/it/erase_bytes.rs: of_two_hundred_people_not_one_byte_is_left_in_any_file",
            "src/daemon/tests/erasure.rs: an_erasure_goes_on_wherever_it_was_cut_off",
            "src/daemon/tests/erasure.rs: a_late_event_brings_nobody_back_and_only_a_new_yes_begins_anew",
        ],
    ),
    duty(
        "18",
        "restriction",
        "nothing leaves, is read, is collected or is removed until the release",
        Built,
        &[
            "src/daemon/tests/restriction.rs: under_restriction_nothing_is_taken_read_or_removed_until_the_release",
            "src/forward/tests/restricted.rs: what_is_restricted_is_held_back_and_leaves_again_under_a_new_number",
        ],
    ),
    duty(
        "19",
        "recipients are told",
        "every target is told by a line and stays open until it acknowledges, or by statements and evidence",
        Built,
        &[
            "src/daemon/tests/erasure.rs: batches_hold_after_an_erasure_and_tell_it_by_reference_and_numbers",
            "src/daemon/tests/erasure.rs: a_target_that_cannot_speak_is_closed_by_evidence",
        ],
    ),
    duty(
        "20",
        "portability",
        "what the person provided under consent or contract, as JSON",
        Built,
        &["tests/it/subject.rs: two_people_in_one_visit_are_told_apart_by_their_sessions"],
    ),
    duty(
        "21",
        "objection; absolute against direct marketing",
        "takes away what rests on legitimate interest, and direct marketing whatever its basis",
        Built,
        &[
            "src/domain/consent/tests.rs: an_objection_takes_what_rests_on_interest_and_direct_marketing_absolutely",
            "tests/it/consent.rs: legitimate_interest_stores_until_somebody_objects",
        ],
    ),
    duty(
        "22",
        "no significant decision by a program alone",
        "no profile is formed and no offer is made; an answer for access says so",
        Partly("model and inputs of a decision will be kept when there are any"),
        &["tests/it/journey.rs: ping_offers_no_actions_yet"],
    ),
    duty(
        "25",
        "data protection by design and by default",
        "without configuration no identifier is stored without consent, no address, nothing leaves the machine",
        Built,
        &[
            "tests/it/consent.rs: a_fresh_install_keeps_no_identifier_without_consent",
            "src/ingest/shape/tests.rs: no_more_of_the_address_is_kept_than_the_site_says",
        ],
    ),
    duty(
        "28",
        "processors",
        "every target says in whose hands it is; a processor stands in the notice, in the record and in the answer for access",
        Built,
        &[
            "src/config/tests/checks.rs: targets_have_names_folders_and_recipients",
            "src/daemon/tests/records.rs: the_record_of_processing_is_the_configuration_and_the_rows",
        ],
    ),
    duty(
        "30(1)",
        "a record of processing",
        "`wayside records`: (a) to (g) from the configuration in force and the rows",
        Built,
        &["src/daemon/tests/records.rs: the_record_of_processing_is_the_configuration_and_the_rows"],
    ),
    duty(
        "30(2)",
        "a processor's record",
        "-",
        Refused(
            "who runs wayside for others knows for whom, and wayside does not: it has one controller. Run one installation for each \
             controller; the record of each is theirs",
        ),
        &[],
    ),
    duty(
        "32, 33, 34",
        "security, regularly tested; the extent of a breach",
        "personal values sealed per person, tokens kept as digests, one scope for each route; `wayside breach` counts people and fields",
        Built,
        &[
            "tests/it/personal.rs: no_personal_value_stands_readable_in_any_file",
            "src/daemon/tests/tokens.rs: every_route_opens_to_its_own_scope_and_to_nothing_else",
            "src/store/keys/tests.rs: after_the_disk_died_backup_copy_and_root_key_open_the_cells",
            "src/daemon/tests/records.rs: a_breach_counts_people_and_fields_and_tells_sealed_from_readable",
        ],
    ),
    duty(
        "35",
        "an impact assessment",
        "`wayside dpia`: a template filled in from the configuration; `required` where anybody is or may be profiled",
        Built,
        &["src/daemon/tests/records.rs: an_assessment_reads_required_as_soon_as_anybody_may_be_profiled"],
    ),
];

/// What is on people's own devices.
const DEVICES: [Duty; 4] = [
    duty(
        "ePrivacy Directive 5(3)",
        "nothing is stored on or read from a device before consent",
        "wayside has no script and sets no cookie; without consent it counts by what a request carries anyway",
        Built,
        &[
            "tests/it/records.rs: no_answer_sets_a_cookie",
            "src/daemon/tests/records.rs: what_is_kept_in_browsers_is_told_without_rows",
        ],
    ),
    duty(
        "Germany, § 25 TDDDG",
        "exceptions are narrow; a bare counter is harmless",
        "the default without consent is that counter: no identifier, small cells folded. A profile of its own is not needed",
        Built,
        &[
            "tests/it/consent.rs: a_fresh_install_keeps_no_identifier_without_consent",
            "src/domain/count.rs: no_cell_under_five_is_shown",
        ],
    ),
    duty(
        "France, Art. 82 of the law on data processing",
        "audience measurement may be exempt, under conditions the publisher proves",
        "`consent_exempt`: measure alone, ids of 13 months, never sent; `wayside exempt-report` proves settings and rows",
        Built,
        &[
            "src/daemon/tests/rights.rs: an_exempt_id_ends_after_thirteen_months_even_across_restarts",
            "src/forward/tests/promise.rs: exempt_rows_never_leave",
            "src/daemon/tests/records.rs: the_exemption_report_proves_settings_and_rows",
            "tests/it/records.rs: one_row_against_a_condition_fails_the_exemption",
        ],
    ),
    duty(
        "EU, Digital Omnibus (a proposal)",
        "a no holds six months; signals of browsers are honoured",
        "both already hold; no banner is promised to be needless",
        Built,
        &[
            "tests/it/notices.rs: after_a_no_nobody_is_asked_again_before_its_time",
            "src/daemon/tests/choices.rs: a_no_never_turns_into_a_yes_by_its_age",
            "tests/it/consent.rs: privacy_signals_lower_the_bits_they_cover",
        ],
    ),
];

/// Where each test stands: its name after the file it is in.
fn tests() -> HashMap<String, usize> {
    let mut all = HashMap::new();
    for file in ["src", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let path = file.strip_prefix(root()).expect("a file below the root").to_string_lossy().replace('\\', "/");
        for name in names(&text) {
            *all.entry(format!("{path}: {name}")).or_insert(0) += 1;
        }
    }
    all
}

/// The names of the tests in a text: functions under `#[test]`, whatever other attribute stands between.
fn names(text: &str) -> Vec<&str> {
    let (mut found, mut test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
            Some(name) if test => found.push(name),
            _ => {}
        }
        test = line == "#[test]" || test && line.starts_with("#[");
    }
    found
}

fn page() -> String {
    let mut out = String::from(
        "# Duties, and the tests that prove them\n\nWhat the law asks of software that records people, as far as we read it; no legal \
         advice. *Built* means all of it that software can do. Written by `tests/house/duties.rs`, which also looks whether each test \
         is there.\n",
    );
    for (title, duties) in [("General Data Protection Regulation", &GDPR[..]), ("People's own devices", &DEVICES[..])] {
        // writing to a string cannot fail
        let _ = write!(out, "\n## {title}\n\n| article | asks | wayside | state | tests |\n|---|---|---|---|---|\n");
        for d in duties {
            let state = match d.met {
                Built => "built".to_owned(),
                Partly(lacks) => format!("partly: {lacks}"),
                Refused(reason) => format!("refused: {reason}"),
            };
            let tests: Vec<String> = d.tests.iter().map(|test| format!("`{test}`")).collect();
            let tests = if tests.is_empty() { "-".to_owned() } else { tests.join("<br>") };
            let _ = writeln!(out, "| {} | {} | {} | {state} | {tests} |", d.point, d.asks, d.does);
        }
    }
    out
}

#[test]
fn every_duty_names_tests_that_are_there() {
    let there = tests();
    assert!(there.len() > 900, "only {} tests were found", there.len());
    for d in GDPR.iter().chain(&DEVICES) {
        assert!(!d.tests.is_empty() || matches!(d.met, Refused(_)), "{}: what is built has a test", d.point);
        for test in d.tests {
            assert_eq!(there.get(*test), Some(&1), "{}: there is not one test {test}", d.point);
        }
    }
}

#[test]
fn the_page_of_duties_is_the_table() {
    let file = root().join("packaging/doc/duties.md");
    if std::env::var("WAYSIDE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&file, page()).expect("a file to write");
    }
    let kept = std::fs::read_to_string(&file).expect("packaging/doc/duties.md");
    assert!(
        kept == page(),
        "packaging/doc/duties.md differs: run this test with WAYSIDE_GOLDEN=write, and read what changed"
    );
}

#[test]
fn no_article_is_left_out_or_told_twice() {
    let articles = "4 5 6 7 8 9 11 12 13 14 15 16 17 18 19 20 21 22 25 28 30 32 33 34 35";
    let told: Vec<&str> = GDPR.iter().map(|d| d.point).collect();
    for article in articles.split(' ') {
        let named = |point: &&str| point.split(", ").any(|p| p.split('(').next() == Some(article));
        assert!(told.iter().any(named), "Art. {article}");
    }
    let mut once = told.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), told.len());
}

#[test]
fn a_test_is_known_by_its_attribute() {
    let text = "#[test]\nfn one() {}\nfn two() {}\n#[test]\n#[should_panic]\n    fn three(a: u8) {}\n#[test]\n// fn four\nfn five() {}\n";
    assert_eq!(names(text), ["one", "three"]);
}
