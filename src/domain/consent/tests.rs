//! What decisions amount to and what the Gate lets through: tables of every case, then random histories against an oracle.

use super::*;
use crate::base::id::random_bytes;
use crate::base::time::DAY_MS;

const NOW: Millis = Millis(1_800_000_000_000);
const BASES: [LawfulBasis; 4] =
    [LawfulBasis::Consent, LawfulBasis::LegitimateInterest, LawfulBasis::Contract, LawfulBasis::LegalObligation];

fn standing(granted: Purposes, denied: Purposes) -> Standing {
    Standing { granted, denied, ..Standing::default() }
}

fn bases(pairs: &[(Purposes, LawfulBasis)]) -> BasisTable {
    let mut table = BasisTable::default();
    for (set, basis) in pairs {
        table.set(*set, *basis);
    }
    table
}

fn gate(pairs: &[(Purposes, LawfulBasis)]) -> Gate {
    Gate { bases: bases(pairs), without_consent: WithoutConsent::Count }
}

fn ask(standing: &Standing) -> Ask<'_> {
    Ask { at: NOW, first_seen: None, standing: Some(standing), denials: &[], signals: Signals::default(), claim: None }
}

fn kept(verdict: Verdict) -> Option<Purposes> {
    match verdict {
        Verdict::Keep { purposes, .. } => Some(purposes),
        Verdict::Refuse(_) => None,
    }
}

fn decision(action: Action, purposes: Purposes) -> Decision {
    Decision {
        id: None,
        action,
        purposes,
        method: Method::Api,
        notice: "none".to_owned(),
        notice_digest: None,
        evidence: Default::default(),
        language: None,
        signal_shown: false,
        client_at: None,
        sent_at: None,
    }
}

fn decided(action: Action, purposes: Purposes, standing: &Standing, table: &BasisTable) -> Change {
    decide(&decision(action, purposes), NOW, standing, &[], table).unwrap()
}

const M: Purposes = Purposes::MEASURE;
const P: Purposes = Purposes::SHARE;
const NONE: Purposes = Purposes::NONE;

#[test]
fn each_basis_and_standing_decides_what_is_in_force() {
    // (granted, denied) of the purpose; is it in force under consent, legitimate interest, contract, law?
    for (granted, denied, in_force) in [
        (NONE, NONE, [false, true, true, true]),
        (P, NONE, [true, true, true, true]),
        (NONE, P, [false, false, true, true]),
    ] {
        for (basis, expected) in BASES.into_iter().zip(in_force) {
            let state = standing(granted.with(M), denied);
            let rights = kept(gate(&[(P, basis)]).evaluate(&ask(&state))).unwrap();
            assert_eq!(rights.has(P), expected, "{basis:?}, granted {granted:?}, denied {denied:?}");
            // the same for measure itself: with it all else stands and falls
            let of = |p: Purposes| if p.is_none() { NONE } else { M };
            let state = standing(of(granted).with(P), of(denied));
            let rights = kept(gate(&[(M, basis)]).evaluate(&ask(&state)));
            assert_eq!(rights, expected.then_some(M.with(P)), "measure on {basis:?}");
        }
    }
}

#[test]
fn each_action_changes_what_its_basis_allows() {
    use Action::{Give, Refuse, Withdraw};
    // before: (granted, denied); after: (granted, denied), floors, lifted, stands, current
    type Row = (Action, (Purposes, Purposes), (Purposes, Purposes), Purposes, Purposes, Purposes, bool);
    let optional: [Row; 9] = [
        (Give, (NONE, NONE), (P, NONE), NONE, NONE, NONE, true),
        (Give, (P, NONE), (P, NONE), NONE, NONE, NONE, true),
        (Give, (NONE, P), (P, NONE), NONE, P, NONE, true),
        (Refuse, (NONE, NONE), (NONE, P), P, NONE, NONE, true),
        (Refuse, (P, NONE), (NONE, P), P, NONE, NONE, true),
        (Refuse, (NONE, P), (NONE, P), NONE, NONE, NONE, true),
        (Withdraw, (NONE, NONE), (NONE, P), P, NONE, NONE, true),
        (Withdraw, (P, NONE), (NONE, P), P, NONE, NONE, true),
        (Withdraw, (NONE, P), (NONE, P), NONE, NONE, NONE, true),
    ];
    let standing_firm: [Row; 4] = [
        (Give, (NONE, NONE), (P, NONE), NONE, NONE, NONE, true),
        (Refuse, (NONE, NONE), (NONE, NONE), NONE, NONE, P, false),
        (Withdraw, (P, NONE), (P, NONE), NONE, NONE, P, false),
        (Withdraw, (NONE, NONE), (NONE, NONE), NONE, NONE, P, false),
    ];
    for basis in BASES {
        let optional_basis = matches!(basis, LawfulBasis::Consent | LawfulBasis::LegitimateInterest);
        let rows: &[Row] = if optional_basis { &optional } else { &standing_firm };
        for (action, before, after, floors, lifted, stands, current) in rows {
            let state = standing(before.0.with(M), before.1);
            let change = decided(*action, P, &state, &bases(&[(P, basis)]));
            let named = format!("{action:?} on {basis:?} from {before:?}");
            assert_eq!(change.before, before.0.with(M), "{named}");
            assert_eq!((change.standing.granted, change.standing.denied), (after.0.with(M), after.1), "{named}");
            assert_eq!((change.floors, change.lifted, change.stands), (*floors, *lifted, *stands), "{named}");
            assert_eq!((change.current, change.denied), (*current, *floors), "{named}");
        }
    }
}

#[test]
fn all_others_require_measure() {
    let all = standing(Purposes::ALL, NONE);
    for action in [Action::Refuse, Action::Withdraw] {
        let change = decided(action, M, &all, &BasisTable::default());
        assert_eq!((change.standing.granted, change.standing.denied), (NONE, Purposes::ALL));
        assert_eq!(kept(gate(&[]).evaluate(&ask(&change.standing))), None);
    }
    // naming another purpose leaves measure alone
    let change = decided(Action::Withdraw, P, &all, &BasisTable::default());
    assert_eq!(change.standing.granted, Purposes::ALL.without(P));
    // measure on a contract stands, and so does what was not named
    let table = bases(&[(M, LawfulBasis::Contract)]);
    let change = decided(Action::Withdraw, M, &all, &table);
    assert_eq!((change.standing.granted, change.stands, change.current), (Purposes::ALL, M, false));
    // a purpose on contract does not carry what was never measured
    let nothing = standing(NONE, NONE);
    assert_eq!(kept(gate(&[(P, LawfulBasis::Contract)]).evaluate(&ask(&nothing))), None);
}

#[test]
fn a_no_without_purposes_means_all_that_can_be_taken_back() {
    let table = bases(&[(P, LawfulBasis::LegalObligation), (Purposes::PROFILE, LawfulBasis::LegitimateInterest)]);
    let change = decided(Action::Withdraw, NONE, &standing(M.with(P), NONE), &table);
    assert_eq!(change.standing.granted, P);
    assert_eq!(change.standing.denied, Purposes::ALL.without(P));
    assert_eq!(change.stands, P);
}

#[test]
fn a_grant_names_its_purposes_and_measure_comes_first() {
    let table = BasisTable::default();
    let nothing = standing(NONE, NONE);
    let tried = |d: &Decision, state: &Standing, table: &BasisTable| decide(d, NOW, state, &[], table);
    assert!(tried(&decision(Action::Give, NONE), &nothing, &table).is_err());
    assert!(tried(&decision(Action::Give, P), &nothing, &table).is_err());
    assert!(tried(&decision(Action::Give, P), &standing(M, NONE), &table).is_ok());
    let interest = bases(&[(M, LawfulBasis::LegitimateInterest)]);
    assert!(tried(&decision(Action::Give, P), &nothing, &interest).is_ok());
    assert!(tried(&decision(Action::Give, P), &standing(NONE, M), &interest).is_err(), "measure was objected to");
}

#[test]
fn a_grant_older_than_the_newest_no_is_recorded_only() {
    let denials = [Denial { purposes: M.with(P), from: NOW, until: None }];
    let state = standing(NONE, M.with(P));
    let give = |at: Millis, purposes| {
        decide(&decision(Action::Give, purposes), at, &state, &denials, &BasisTable::default()).unwrap()
    };
    let late = give(NOW.plus(-1), M.with(P));
    assert!(!late.current && late.lifted.is_none() && late.standing == state);
    let on_time = give(NOW, M);
    assert!(on_time.current);
    assert_eq!((on_time.standing.granted, on_time.standing.denied, on_time.lifted), (M, P, M));
    // what the no did not name needs measure too, and measure is outdated in it
    let other = give(NOW.plus(-1), M.with(Purposes::PERSONAL));
    assert!(!other.current && other.standing == state, "{other:?}");
}

#[test]
fn a_grant_older_than_a_no_that_is_over_changes_nothing_either() {
    let denials = [Denial { purposes: M, from: NOW, until: Some(NOW.plus(10)) }];
    let state = standing(M, NONE);
    let late = decide(&decision(Action::Give, M), NOW.plus(-1), &state, &denials, &BasisTable::default()).unwrap();
    assert!(!late.current && late.standing == state);
}

#[test]
fn between_a_no_and_the_next_yes_the_right_is_missing_whenever_the_event_arrives() {
    let denials = [Denial { purposes: M, from: NOW, until: Some(NOW.plus(100)) }];
    let state = standing(M, NONE);
    for (at, expected) in [
        (NOW.plus(-1), None),
        (NOW, Some(Refusal::DeniedThen)),
        (NOW.plus(99), Some(Refusal::DeniedThen)),
        (NOW.plus(100), None),
    ] {
        let verdict = gate(&[]).evaluate(&Ask { at, denials: &denials, ..ask(&state) });
        match expected {
            None => assert_eq!(kept(verdict), Some(M), "{at:?}"),
            Some(refusal) => assert_eq!(verdict, Verdict::Refuse(refusal), "{at:?}"),
        }
    }
    // of another purpose only that one is missing; one that stands on contract never is
    let denials = [Denial { purposes: P.with(Purposes::PERSONAL), from: NOW, until: None }];
    let state = standing(M.with(P), NONE);
    let asked = Ask { denials: &denials, ..ask(&state) };
    assert_eq!(kept(gate(&[]).evaluate(&asked)), Some(M));
    assert_eq!(kept(gate(&[(P, LawfulBasis::Contract)]).evaluate(&asked)), Some(M.with(P)));
}

#[test]
fn the_reason_names_what_is_missing() {
    let refused = |verdict| match verdict {
        Verdict::Refuse(refusal) => refusal,
        Verdict::Keep { .. } => panic!("{verdict:?}"),
    };
    let (none, no) = (standing(NONE, NONE), standing(NONE, M));
    assert_eq!(refused(gate(&[]).evaluate(&Ask { standing: None, ..ask(&none) })), Refusal::NoVisitor);
    assert_eq!(refused(gate(&[]).evaluate(&ask(&none))), Refusal::NoDecision);
    assert_eq!(refused(gate(&[]).evaluate(&ask(&no))), Refusal::Denied);
    let yes = standing(M, NONE);
    assert_eq!(refused(gate(&[]).evaluate(&Ask { claim: Some(P), ..ask(&yes) })), Refusal::Claim);
}

#[test]
fn signals_lower_five_purposes_unless_they_were_shown() {
    let lowered = Purposes::SHARE
        .with(Purposes::PROFILE)
        .with(Purposes::MARKETING)
        .with(Purposes::ENGAGE_SUPPORT)
        .with(Purposes::ENGAGE_SALES);
    for (gpc, dnt) in [(true, false), (false, true), (true, true)] {
        let signals = Signals { gpc, dnt };
        for pairs in [&[][..], &[(Purposes::ALL, LawfulBasis::Contract)]] {
            let state = standing(Purposes::ALL, NONE);
            let verdict = gate(pairs).evaluate(&Ask { signals, ..ask(&state) });
            assert_eq!(kept(verdict), Some(Purposes::ALL.without(lowered)));
        }
        let shown = Standing { signal_shown: true, ..standing(Purposes::ALL, NONE) };
        assert_eq!(kept(gate(&[]).evaluate(&Ask { signals, ..ask(&shown) })), Some(Purposes::ALL));
    }
    let nothing = standing(NONE, NONE);
    assert_eq!(kept(gate(&[]).evaluate(&ask(&nothing))), None, "absence of a signal grants nothing");
}

#[test]
fn the_decision_in_force_tells_whether_the_signal_was_shown() {
    let table = BasisTable::default();
    let shown = Decision { signal_shown: true, ..decision(Action::Give, M.with(P)) };
    let after = decide(&shown, NOW, &standing(NONE, NONE), &[], &table).unwrap().standing;
    assert!(after.signal_shown);
    let again = decided(Action::Give, M.with(P), &after, &table);
    assert!(!again.standing.signal_shown, "the later grant was given without it");
    // what a partial withdrawal leaves rests on that decision
    let less = Decision { signal_shown: false, ..decision(Action::Withdraw, P) };
    assert!(!decide(&less, NOW, &after, &[], &table).unwrap().standing.signal_shown);
    let shown_again = Decision { signal_shown: true, ..less.clone() };
    assert!(decide(&shown_again, NOW, &after, &[], &table).unwrap().standing.signal_shown);
    // but one that changes nothing is not in force
    let lawful = gate(&[(P, LawfulBasis::LegalObligation)]).bases;
    assert!(decide(&less, NOW, &after, &[], &lawful).unwrap().standing.signal_shown);
}

#[test]
fn an_absent_claim_narrows_nothing_and_a_present_one_only_narrows() {
    let state = standing(M.with(P), NONE);
    let with = |claim| kept(gate(&[]).evaluate(&Ask { claim, ..ask(&state) }));
    assert_eq!(with(None), Some(M.with(P)));
    assert_eq!(with(Some(M)), Some(M));
    assert_eq!(with(Some(Purposes::ALL)), Some(M.with(P)), "a claim grants nothing");
    assert_eq!(with(Some(NONE)), None);
}

#[test]
fn an_exempt_id_is_measured_only_and_for_thirteen_months() {
    let exempt = Gate { without_consent: WithoutConsent::ConsentExempt, ..gate(&[]) };
    let fresh = standing(NONE, NONE);
    let at_age = |age: i64| exempt.evaluate(&Ask { first_seen: Some(NOW.plus(-age)), ..ask(&fresh) });
    let measured = Verdict::Keep { purposes: M, exempt: true };
    assert_eq!(exempt.evaluate(&ask(&fresh)), measured, "a first event");
    assert_eq!(at_age(396 * DAY_MS - 1), measured);
    assert_eq!(at_age(396 * DAY_MS), Verdict::Refuse(Refusal::ExemptExpired));
    // a yes is better than the exemption, a no goes before it
    let yes = standing(M.with(P), NONE);
    let verdict = exempt.evaluate(&Ask { first_seen: Some(Millis(0)), ..ask(&yes) });
    assert_eq!(verdict, Verdict::Keep { purposes: M.with(P), exempt: false });
    assert_eq!(exempt.evaluate(&ask(&standing(NONE, M))), Verdict::Refuse(Refusal::Denied));
    let denials = [Denial { purposes: M, from: NOW, until: Some(NOW.plus(1)) }];
    let verdict = exempt.evaluate(&Ask { denials: &denials, ..ask(&yes) });
    assert_eq!(verdict, Verdict::Refuse(Refusal::DeniedThen));
    // what stands on contract besides is not pursued under the exemption
    let contract = Gate { bases: bases(&[(P, LawfulBasis::Contract)]), ..exempt.clone() };
    assert_eq!(contract.evaluate(&ask(&fresh)), measured);
    assert_eq!(exempt.evaluate(&Ask { claim: Some(P), ..ask(&fresh) }), Verdict::Refuse(Refusal::Claim));
}

/// Random bits; the seed is in every message.
struct Dice(u64);

impl Dice {
    fn seeded() -> (Dice, u64) {
        let seed = u64::from_be_bytes(random_bytes()) | 1;
        (Dice(seed), seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.roll() >> 11) % n
    }

    fn set(&mut self) -> Purposes {
        Purposes(u32::try_from(self.roll() >> 32).unwrap()).and(Purposes::ALL)
    }
}

/// Is this single purpose in force, by the letter of contract 2?
fn in_force(gate: &Gate, ask: &Ask<'_>, state: &Standing, one: Purposes) -> bool {
    let denied_then = ask
        .denials
        .iter()
        .any(|d| d.purposes.has(one) && d.from <= ask.at && d.until.is_none_or(|until| ask.at < until));
    match BASES.into_iter().find(|basis| gate.bases.on(*basis).has(one)) {
        Some(LawfulBasis::Contract | LawfulBasis::LegalObligation) => true,
        Some(LawfulBasis::LegitimateInterest) => !state.denied.has(one) && !denied_then,
        _ => state.granted.has(one) && !state.denied.has(one) && !denied_then,
    }
}

fn check(gate: &Gate, ask: &Ask<'_>, state: &Standing, told: &str) {
    let measured = in_force(gate, ask, state, M);
    let claimed = ask.claim.is_none_or(|claim| claim.has(M));
    let Verdict::Keep { purposes, exempt } = gate.evaluate(ask) else {
        assert!(!measured || !claimed, "refused with the right to measure: {told}");
        return;
    };
    assert!(purposes.has(M) && claimed, "kept without measure: {told}");
    assert!(Purposes::ALL.has(purposes), "{told}");
    assert!(ask.claim.is_none_or(|claim| claim.has(purposes)), "a claim widened: {told}");
    if (ask.signals.gpc || ask.signals.dnt) && !state.signal_shown {
        assert!(!purposes.any(Purposes::BY_SIGNAL), "{told}");
    }
    if exempt {
        assert_eq!(purposes, M, "{told}");
        assert!(!measured && gate.without_consent == WithoutConsent::ConsentExempt, "{told}");
        assert!(!state.denied.has(M), "{told}");
    } else {
        assert!(purposes.each().all(|one| in_force(gate, ask, state, one)), "without basis or grant: {told}");
    }
}

#[test]
fn nothing_is_kept_without_measure_nor_for_a_purpose_without_basis_or_grant() {
    let (mut dice, seed) = Dice::seeded();
    let bit = |case: u32, n: u32| case >> n & 1 == 1;
    // 2^14 combinations of everything that has few values; what has many is thrown
    for case in 0..1u32 << 14 {
        let pick = |n: u32| BASES[usize::from(bit(case, n)) + 2 * usize::from(bit(case, n + 1))];
        let mut table = bases(&[(Purposes(dice.set().0), BASES[dice.below(4) as usize])]);
        table.set(M, pick(0));
        table.set(P, pick(2));
        let modes = [WithoutConsent::Count, WithoutConsent::Drop, WithoutConsent::ConsentExempt];
        let gate = Gate { bases: table, without_consent: modes[dice.below(3) as usize] };
        let only = |on: bool, set: Purposes| if on { set } else { NONE };
        let spice = dice.set().without(M.with(P));
        let state = Standing {
            restricted: false,
            granted: only(bit(case, 4), M).with(only(bit(case, 5), P)).with(spice),
            denied: only(bit(case, 6), M).with(only(bit(case, 7), P)),
            consent_seq: Seq(1),
            signal_shown: bit(case, 8),
            valid_until: None,
        };
        let denials = [Denial {
            purposes: dice.set(),
            from: NOW.plus(if bit(case, 9) { -5 } else { 5 }),
            until: bit(case, 10).then_some(NOW.plus(dice.below(3) as i64 - 1)),
        }];
        let ask = Ask {
            signals: Signals { gpc: bit(case, 11), dnt: bit(case, 12) },
            claim: bit(case, 13).then(|| dice.set()),
            first_seen: Some(NOW.plus(-(dice.below(800) as i64) * DAY_MS)),
            denials: &denials,
            ..ask(&state)
        };
        check(&gate, &ask, &state, &format!("seed {seed}, case {case}: {gate:?} {ask:?}"));
    }
}

/// The store's side of a change: what runs is ended by a grant, a no begins another.
fn remember(denials: &mut Vec<Denial>, change: &Change, at: Millis) {
    let mut rest = Vec::new();
    for denial in denials.iter_mut().filter(|d| d.until.is_none() && d.purposes.any(change.lifted)) {
        rest.push(Denial { purposes: denial.purposes.without(change.lifted), ..*denial });
        *denial = Denial { purposes: denial.purposes.and(change.lifted), until: Some(at.max(denial.from)), ..*denial };
    }
    denials.extend(rest.into_iter().filter(|d| !d.purposes.is_none()));
    if !change.denied.is_none() {
        denials.push(Denial { purposes: change.denied, from: at, until: None });
    }
}

#[test]
fn random_histories_never_leave_a_yes_beside_a_no() {
    let (mut dice, seed) = Dice::seeded();
    for history in 0..400 {
        let mut table = BasisTable::default();
        for basis in &BASES[1..] {
            table.set(dice.set().and(dice.set()).and(dice.set()), *basis);
        }
        let gate = Gate { bases: table, without_consent: WithoutConsent::Count };
        let (mut state, mut denials) = (Standing::default(), Vec::new());
        for step in 0..12 {
            let told = format!("seed {seed}, history {history}, step {step}: {state:?} {denials:?}");
            let action = [Action::Give, Action::Refuse, Action::Withdraw][dice.below(3) as usize];
            let purposes = if dice.below(4) == 0 { NONE } else { dice.set().with(only_sometimes(&mut dice)) };
            let at = NOW.plus(step * 10 - dice.below(40) as i64);
            let Ok(change) = decide(&decision(action, purposes), at, &state, &denials, &gate.bases) else { continue };
            remember(&mut denials, &change, at);
            state = change.standing.clone();
            assert!(!state.granted.any(state.denied), "{told}");
            assert!(!state.denied.any(gate.bases.standing()), "what stands was taken: {told}");
            assert_eq!(change.floors, change.denied, "{told}");
            if state.denied.has(M) {
                assert!(gate.bases.standing().has(state.granted), "all others require measure: {told}");
            }
            for at in [at, NOW, NOW.plus(step * 10 + 1)] {
                check(&gate, &Ask { at, denials: &denials, ..ask(&state) }, &state, &told);
            }
        }
    }
}

fn only_sometimes(dice: &mut Dice) -> Purposes {
    if dice.below(2) == 0 { M } else { NONE }
}

#[test]
fn an_objection_takes_what_rests_on_interest_and_direct_marketing_absolutely() {
    let site = gate(&[
        (M, LawfulBasis::Contract),
        (P, LawfulBasis::LegitimateInterest),
        (Purposes::MARKETING, LawfulBasis::Contract),
    ]);
    let change = decided(Action::Object, Purposes::NONE, &Standing::default(), &site.bases);
    assert_eq!(change.standing.denied, P.with(Purposes::DIRECT_MARKETING));
    let ask = Ask {
        at: NOW,
        first_seen: None,
        standing: Some(&change.standing),
        denials: &[],
        signals: Signals::default(),
        claim: None,
    };
    let Verdict::Keep { purposes, .. } = site.evaluate(&ask) else { panic!("measured by contract") };
    assert!(purposes.has(M) && !purposes.any(P.with(Purposes::DIRECT_MARKETING)), "{purposes:?}");
    let only = decided(Action::Object, M.with(P), &Standing::default(), &site.bases);
    assert_eq!((only.stands, only.standing.denied), (M, P), "a contract stands");
}

#[test]
fn restriction_and_release_touch_no_purpose() {
    let table = BasisTable::default();
    let granted = Standing { granted: M, ..Standing::default() };
    let change = decided(Action::Restrict, Purposes::NONE, &granted, &table);
    assert_eq!(
        (change.restricts, change.current, change.floors, change.standing.granted),
        (Some(true), true, Purposes::NONE, M)
    );
    let ask = Ask {
        at: NOW,
        first_seen: None,
        standing: Some(&change.standing),
        denials: &[],
        signals: Signals::default(),
        claim: None,
    };
    assert_eq!(Gate::default().evaluate(&ask), Verdict::Refuse(Refusal::Restricted));
    let again = decided(Action::Restrict, Purposes::NONE, &change.standing, &table);
    assert_eq!((again.restricts, again.current), (None, false));
    let released = decided(Action::Release, Purposes::NONE, &change.standing, &table);
    assert_eq!((released.restricts, released.standing.restricted), (Some(false), false));
}
