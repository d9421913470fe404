//! Who is known at a relay, and by whose word: its own, an edge's that joined, or that of a relay which vouches.
//! Must never let a word stand where another may not give it. Invariant: a key that is known stays.

use super::*;

#[test]
fn another_key_under_a_known_id_is_refused_and_told_at_both_and_changes_nothing() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(1);
    let (other, _) = edge_of(1);
    let keys = put_all(&chain.first, &edge);
    let well = put_all(&chain.first, &other);
    let thief = Joining { code: &chain.second.code(), edge: keys[0].edge, public_key: [7; 32], label: "thief" };
    chain.second.relay.join(&thief).unwrap();
    assert_eq!(chain.sent(), well, "others go on");
    assert_eq!(chain.known(keys[0].edge).public_key, [7; 32]);
    let about = format!("behind/{}", keys[0].edge);
    assert_eq!(Chain::alarms(&chain.first), [("held".to_owned(), about)]);
    assert_eq!(Chain::alarms(&chain.second), [("wrong_key".to_owned(), keys[0].edge.to_string())]);
    assert_eq!(chain.second.world.store.read(|tx| vouches::of_edge(tx, keys[0].edge)).unwrap(), []);
    let own = edge.store.identity().edge.signing.public();
    let late = Joining { code: &chain.second.code(), edge: well[0].edge, public_key: own, label: "" };
    assert_eq!(chain.second.relay.join(&late).unwrap_err().code, "edge_known", "nor by joining");
}

#[test]
fn a_revoked_edge_is_told_on_and_what_came_before_still_goes() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(2);
    chain.first.join(&edge);
    let all = batches(&edge);
    chain.first.put(&all[0]).unwrap();
    assert_eq!(chain.sent(), [all[0].key]);
    chain.first.put(&all[1]).unwrap();
    let id = all[0].key.edge;
    chain.first.relay.revoke(id, &Caller::Operator).unwrap();
    assert_eq!(chain.sent(), [all[1].key], "taken while it still held");
    assert_eq!(chain.known(id).state, EdgeState::Revoked);
    assert_eq!(code_of(chain.first.put(&all[1])), "revoked");
    chain.first.relay.approve(id, false, &Caller::Operator).unwrap();
    chain.round();
    assert_eq!(chain.known(id).state, EdgeState::Approved);
    chain.second.relay.revoke(id, &Caller::Operator).unwrap();
    chain.first.relay.rename(id, "Branch 13", &Caller::Operator).unwrap();
    chain.round();
    let known = chain.known(id);
    assert_eq!((known.state, known.label.as_str()), (EdgeState::Revoked, "Branch 13"), "our own no stands");
    let by = Some(chain.first.id());
    assert_eq!(code_of(chain.second.relay.put(&Incoming { by, ..all[1].incoming() })), "revoked");
    chain.second.relay.approve(id, false, &Caller::Operator).unwrap();
    chain.second.relay.put(&Incoming { by, ..all[1].incoming() }).unwrap();
    chain.second.relay.revoke(chain.first.id(), &Caller::Operator).unwrap();
    assert_eq!(
        code_of(chain.second.relay.put(&Incoming { by, ..all[1].incoming() })),
        "revoked",
        "the relay as a whole"
    );
    chain.second.relay.approve(chain.first.id(), false, &Caller::Operator).unwrap();
    assert_eq!(
        code_of(chain.second.relay.put(&Incoming { by, ..all[1].incoming() })),
        "unknown_edge",
        "as a plain edge"
    );
}

#[test]
fn who_says_yes_to_each_edge_says_it_to_those_below_a_relay_too() {
    let second = Centre::with(RelayOptions { enabled: true, approve: Approve::Manual, ..RelayOptions::default() });
    let chain = Chain::new(true);
    *chain.there.lock().unwrap() = second.relay_again();
    second.join(&chain.first.world);
    second.relay.approve(chain.first.id(), true, &Caller::Operator).unwrap();
    let (edge, _) = edge_of(1);
    let keys = put_all(&chain.first, &edge);
    let report = chain.round();
    assert_eq!((report.sent.len(), report.failed.len()), (0, 1));
    second.relay.approve(keys[0].edge, false, &Caller::Operator).unwrap();
    assert_eq!(chain.sent(), keys);
}

#[test]
fn an_edge_that_moved_sends_by_itself_and_its_old_relay_brings_what_it_holds() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(3);
    chain.first.join(&edge);
    let all = batches(&edge);
    chain.way.lock().unwrap().down = true;
    for batch in &all[..2] {
        chain.first.put(batch).unwrap();
    }
    assert_eq!(chain.sent(), []);
    chain.second.join(&edge);
    chain.second.put(&all[2]).unwrap();
    chain.way.lock().unwrap().down = false;
    assert_eq!(chain.sent(), [all[0].key, all[1].key], "what lies before the first one there is not taken for had");
    let known = chain.known(all[0].key.edge);
    assert!(known.direct, "it joined by itself");
    let told = chain.second.relay.watermarks(known.edge, Some(known.edge)).unwrap().watermarks;
    assert_eq!((told[0].first_no, told[0].batch_no), (Some(1), 3));
    chain.first.relay.revoke(known.edge, &Caller::Operator).unwrap();
    chain.round();
    assert_eq!(chain.known(known.edge).state, EdgeState::Approved, "the word of a relay it left concerns it no more");
}

#[test]
fn an_edge_of_one_site_sends_no_other() {
    let centre = Centre::new();
    let (edge, _) = edge_of(1);
    let own = &edge.store.identity().edge;
    let batch = batches(&edge).pop().unwrap();
    let only = |site: &str| {
        let codes = Codes { count: 1, days: 1, site: Some(site.to_owned()), ..Codes::default() };
        let code = centre.relay.codes(&codes, &Caller::Operator).unwrap().pop().unwrap();
        let joining = Joining { code: &code, edge: own.id, public_key: own.signing.public(), label: "" };
        centre.relay.join(&joining).unwrap();
    };
    only("elsewhere");
    assert_eq!(code_of(centre.put(&batch)), "other_site");
    assert_eq!(Chain::alarms(&centre), [("other_site".to_owned(), own.id.to_string())]);
    let lines = gzip::decompress(&batch.gz, 1 << 20).unwrap();
    let site = parsed(&lines)[0]["site"].as_str().unwrap().to_owned();
    only(&site);
    centre.put(&batch).unwrap();
    let wrong = Codes { count: 1, days: 1, site: Some("no site".to_owned()), ..Codes::default() };
    assert_eq!(centre.relay.codes(&wrong, &Caller::Operator).unwrap_err().code, "edge_site");
    let both = Codes { site: Some(site), relay: true, ..wrong };
    assert_eq!(centre.relay.codes(&both, &Caller::Operator).unwrap_err().code, "edge_codes");
}

#[test]
fn a_statement_counts_for_its_own_edge_by_its_own_relay_alone() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(1);
    let keys = put_all(&chain.first, &edge);
    let relay = Relay::new(Arc::clone(&chain.first.world.store), chain.first.relay.options());
    let known = chain.first.world.store.read(|tx| known_edges::get(tx, keys[0].edge)).unwrap().unwrap();
    let (word, _) = relay.word_for(&known).unwrap();
    let key = &chain.first.world.store.identity().edge.signing;
    let sender = Some(chain.first.id());
    let code = |edge: EdgeId, word: &crate::domain::relay::Vouch, by: Option<EdgeId>| {
        chain.second.relay.vouch(edge, by, &Signed::of(word, key)).err().map(|error| error.code)
    };
    assert_eq!(code(EdgeId([9; 16]), &word, sender), Some("bad_statement"), "of another edge");
    let foreign = crate::domain::relay::Vouch { by: "0a".repeat(16), ..word.clone() };
    assert_eq!(code(known.edge, &foreign, sender), Some("bad_statement"), "by another relay");
    assert_eq!(code(known.edge, &word, None), Some("no_relay"));
    let other = World::new();
    let forged = Signed::of(&word, &other.store.identity().edge.signing);
    assert_eq!(chain.second.relay.vouch(known.edge, sender, &forged).unwrap_err().code, "bad_signature");
    assert_eq!(code(known.edge, &word, sender), None);
    assert_eq!(code(known.edge, &word, sender), None, "again is nothing new");
    let rows = chain.second.world.store.read(|tx| audit::list(tx, None, 100)).unwrap();
    let told: Vec<_> = rows.iter().filter(|row| row.what == "edge_vouched").collect();
    assert_eq!((told.len(), told[0].who.clone()), (1, format!("edge {}", chain.first.id())));
}

#[test]
fn who_follows_an_edge_that_joined_by_itself_is_not_for_a_relay_to_say() {
    for joined in [false, true] {
        let chain = Chain::new(true);
        let (edge, _) = edge_of(1);
        let keys = put_all(&chain.first, &edge);
        chain.round();
        if joined {
            chain.second.join(&edge);
        }
        let known = chain.first.world.store.read(|tx| known_edges::get(tx, keys[0].edge)).unwrap().unwrap();
        let relay = Relay::new(Arc::clone(&chain.first.world.store), chain.first.relay.options());
        let (mut word, _) = relay.word_for(&known).unwrap();
        word.successor = Some(chain.first.id().to_string());
        let signed = Signed::of(&word, &chain.first.world.store.identity().edge.signing);
        chain.second.relay.vouch(known.edge, Some(chain.first.id()), &signed).unwrap();
        assert_eq!(chain.known(known.edge).successor.is_some(), !joined);
    }
}
