//! Taking batches: judged, on the disk, acknowledged; forks, gaps, parts, joining.
//! Must never look behind the relay but at its files. Invariant: each refusal leaves everything as it was.

use super::*;

#[test]
fn a_batch_is_on_the_disk_before_its_signed_acknowledgement() {
    let (edge, _) = edge_of(1);
    let centre = Centre::new();
    assert!(centre.join(&edge));
    let batch = batches(&edge).pop().unwrap();
    let Taken::Stored(ack) = centre.put(&batch).unwrap() else { panic!("it is new") };
    let own = centre.world.store.identity().edge.signing.public();
    let said = ack.open(Some(&own)).unwrap();
    assert_eq!((said.batch_no, said.digest.as_str()), (1, batch.digest().as_str()));
    assert_eq!(centre.lines(batch.key).into_bytes(), gzip::decompress(&batch.gz, 1 << 20).unwrap());
    let told = centre.relay.watermarks(batch.key.edge, Some(batch.key.edge)).unwrap();
    assert_eq!((told.watermarks.len(), told.watermarks[0].batch_no), (1, 1));
    assert_eq!(told.watermarks[0].digest, batch.digest());
    let Taken::Same(again) = centre.put(&batch).unwrap() else { panic!("it is here") };
    assert_eq!(again, ack, "the same acknowledgement, word by word");
    let centre = centre.again();
    assert!(matches!(centre.put(&batch).unwrap(), Taken::Same(_)), "after a start too");
}

#[test]
fn a_file_without_its_row_is_no_batch_and_a_row_without_its_file_is_mended() {
    let (edge, _) = edge_of(1);
    let centre = Centre::new();
    centre.join(&edge);
    let batch = batches(&edge).pop().unwrap();
    // cut off between file and row
    let manifest: Manifest = serde_json::from_str(&batch.manifest).unwrap();
    centre.relay.files().write(batch.key, b"half", &manifest).unwrap();
    assert_eq!(centre.relay.watermarks(batch.key.edge, None).unwrap().watermarks, []);
    assert!(matches!(centre.put(&batch).unwrap(), Taken::Stored(_)));
    centre.relay.files().discard(batch.key).unwrap();
    assert!(matches!(centre.put(&batch).unwrap(), Taken::Renewed(_)));
    assert!(centre.lines(batch.key).contains("page_viewed"));
}

#[test]
fn who_has_not_joined_waits_or_was_revoked_sends_nothing() {
    let (edge, _) = edge_of(1);
    let batch = batches(&edge).pop().unwrap();
    let id = batch.key.edge;
    let off = Centre::with(RelayOptions::default());
    assert_eq!(code_of(off.put(&batch)), "relay_off");
    let centre = Centre::with(RelayOptions { enabled: true, approve: Approve::Manual, ..RelayOptions::default() });
    assert_eq!(code_of(centre.put(&batch)), "unknown_edge");
    assert!(!centre.join(&edge), "it waits");
    assert_eq!(code_of(centre.put(&batch)), "not_approved");
    centre.relay.approve(id, false, &Caller::Operator).unwrap();
    let other = EdgeId([9; 16]);
    let foreign = Incoming { by: Some(other), ..batch.incoming() };
    assert_eq!(centre.relay.put(&foreign).unwrap_err().error.code, "unknown_edge", "another edge's token");
    assert!(centre.put(&batch).is_ok());
    centre.relay.revoke(id, &Caller::Operator).unwrap();
    let refusal = centre.put(&batch).unwrap_err();
    assert_eq!((refusal.error.code, refusal.error.kind), ("revoked", Kind::Denied));
    assert_eq!(centre.relay.watermarks(id, Some(id)).unwrap_err().code, "revoked");
}

#[test]
fn what_an_edge_left_behind_comes_from_the_one_after_it() {
    let ((old, _), (new, _)) = (edge_of(1), edge_of(1));
    let centre = Centre::new();
    centre.join(&old);
    centre.join(&new);
    let left = batches(&old).pop().unwrap();
    let (before, after) = (left.key.edge, new.store.identity().edge.id);
    let sent = Incoming { by: Some(after), ..left.incoming() };
    assert_eq!(centre.relay.put(&sent).unwrap_err().error.code, "unknown_edge");
    centre.relay.retire(before, Some(after), &Caller::Operator).unwrap();
    assert!(centre.relay.put(&sent).is_ok());
    assert_eq!(code_of(centre.put(&left)), "revoked", "its own token opens nothing any more");
    assert_eq!(centre.relay.retire(after, Some(after), &Caller::Operator).unwrap_err().code, "edge_successor");
}

#[test]
fn a_code_lets_one_edge_in_and_the_same_one_again() {
    let (one, two) = (World::new(), World::new());
    let centre = Centre::new();
    let code = centre.code();
    let ask = |world: &World, code: &str| {
        let own = &world.store.identity().edge;
        centre.relay.join(&Joining { code, edge: own.id, public_key: own.signing.public(), label: "" })
    };
    let first = ask(&one, &code).unwrap();
    let lost = ask(&one, &code.to_lowercase()).unwrap();
    assert_ne!(first.token, lost.token, "an answer that was lost is no loss");
    assert_eq!(ask(&two, &code).unwrap_err().code, "bad_code");
    assert_eq!(ask(&two, "AAAAA-AAAAA-AAAAA-AAAAA").unwrap_err().code, "bad_code");
    let late = centre.code();
    centre.world.clock.advance(30 * DAY_MS);
    assert_eq!(ask(&two, &late).unwrap_err().code, "bad_code");
    let own = one.store.identity().edge.id;
    let stolen = Joining { code: &centre.code(), edge: own, public_key: [7; 32], label: "" };
    assert_eq!(centre.relay.join(&stolen).unwrap_err().code, "edge_known", "a key never changes");
    let full = Centre::with(RelayOptions { enabled: true, edges_max: 1, ..RelayOptions::default() });
    full.join(&one);
    let own = &two.store.identity().edge;
    let joining = Joining { code: &full.code(), edge: own.id, public_key: own.signing.public(), label: "" };
    assert_eq!(full.relay.join(&joining).unwrap_err().code, "edge_count");
    let known = full.world.store.read(known_edges::list).unwrap();
    assert_eq!((known.len(), known[0].state), (1, EdgeState::Approved));
}

#[test]
fn what_does_not_fit_its_signature_is_refused() {
    let (edge, _) = edge_of(2);
    let (stranger, _) = edge_of(1);
    let centre = Centre::new();
    centre.join(&edge);
    let all = batches(&edge);
    let (one, two) = (&all[0], &all[1]);
    let changed = |from: &str, to: &str| Batch { manifest: one.manifest.replacen(from, to, 1), ..one.clone() };
    assert_eq!(code_of(centre.put(&changed("\\\"count\\\":2", "\\\"count\\\":3"))), "bad_signature");
    assert_eq!(code_of(centre.put(&changed("\"holes\":0", "\"holes\":1"))), "bad_manifest");
    assert_eq!(code_of(centre.put(&Batch { gz: two.gz.clone(), ..one.clone() })), "digest_mismatch");
    assert_eq!(code_of(centre.put(&Batch { gz: one.gz[..20].to_vec(), ..one.clone() })), "bad_gzip");
    assert_eq!(code_of(centre.put(&Batch { key: one.key.at(2), ..one.clone() })), "bad_manifest");
    let foreign = batches(&stranger).pop().unwrap();
    let posing = Batch { key: Key { edge: one.key.edge, ..foreign.key }, ..foreign };
    assert_eq!(code_of(centre.put(&posing)), "wrong_key");
    assert_eq!(centre.world.store.read(alarms::list).unwrap()[0].code, "wrong_key");
    assert_eq!(centre.relay.watermarks(one.key.edge, None).unwrap().watermarks, [], "nothing of it was kept");
}

#[test]
fn an_unknown_schema_is_left_to_the_edge_and_a_line_too_long_is_named() {
    let (edge, _) = edge_of(1);
    let centre = Centre::new();
    centre.join(&edge);
    let batch = batches(&edge).pop().unwrap();
    let lines = gzip::decompress(&batch.gz, 1 << 20).unwrap();
    assert_eq!(code_of(centre.put(&resealed(&edge, &batch, "2.0", &lines))), "unknown_schema");
    let first: serde_json::Value = serde_json::from_slice(lines.split(|b| *b == b'\n').next().unwrap()).unwrap();
    let seq = first["seq"].as_i64().unwrap();
    let of_length = |bytes: usize| {
        let head = format!(
            "{{\"kind\":\"event\",\"edge\":\"{}\",\"epoch\":\"{}\",\"seq\":{seq},\"x\":\"",
            batch.key.edge, batch.key.epoch
        );
        format!("{head}{}\"}}\n", "y".repeat(bytes - head.len() - 2)).into_bytes()
    };
    let long = resealed(&edge, &batch, "1.0", &of_length(LINE_BYTES_MAX + 1));
    let refusal = centre.put(&long).unwrap_err();
    assert_eq!((refusal.error.code, refusal.more.seqs), ("bad_rows", Some(vec![seq])));
    let refusal = centre.relay.validate(&long.incoming()).unwrap_err();
    assert_eq!(refusal.more.seqs, Some(vec![seq]));
    let fits = resealed(&edge, &batch, "1.0", &of_length(LINE_BYTES_MAX));
    centre.relay.validate(&fits.incoming()).unwrap();
    assert_eq!(centre.relay.watermarks(batch.key.edge, None).unwrap().watermarks, [], "validating keeps nothing");
    assert!(centre.put(&fits).is_ok());
}

#[test]
fn who_only_shows_that_another_batch_lies_there_makes_both_known_and_is_told() {
    let centre = Centre::new();
    let (edge, _) = edge_of(1);
    centre.join(&edge);
    let batch = batches(&edge).pop().unwrap();
    let nothing = gzip::compress(&[], 1);
    let shown = |batch: &Batch| centre.relay.validate(&Batch { gz: nothing.clone(), ..batch.clone() }.incoming());
    shown(&batch).unwrap();
    centre.put(&batch).unwrap();
    shown(&batch).unwrap();
    let fewer = format!("{}\n", edge.lines(Lane::Pages, 1)[0]);
    let other = resealed(&edge, &batch, "1.0", fewer.as_bytes());
    assert_eq!(shown(&other).unwrap_err().more.digest, Some(batch.digest()));
    let pairs = centre.relay.edges().unwrap().remove(0).pairs;
    let both = (hex(&pairs[0].fork.digest), hex(&pairs[0].lies.as_ref().unwrap().digest));
    assert_eq!((pairs.len(), both), (1, (other.digest(), batch.digest())));
    let alarms = centre.world.store.read(alarms::list).unwrap();
    assert_eq!(alarms.iter().map(|alarm| alarm.code.as_str()).collect::<Vec<_>>(), ["fork"]);
    shown(&batch).unwrap();
}

#[test]
fn parts_become_one_batch_and_are_acknowledged_once() {
    let (edge, _) = edge_of(1);
    let centre = Centre::new();
    centre.join(&edge);
    let batch = batches(&edge).pop().unwrap();
    let lines = gzip::decompress(&batch.gz, 1 << 20).unwrap();
    let pieces: Vec<Vec<u8>> = lines.split_inclusive(|b| *b == b'\n').map(|line| gzip::compress(line, 3)).collect();
    assert_eq!(pieces.len(), 2);
    let put = |no: usize, body: &[u8]| {
        let part = Some(Part { no: u32::try_from(no).unwrap(), count: 2 });
        centre.relay.put(&Incoming { part, body, ..batch.incoming() })
    };
    assert_eq!(put(2, &pieces[1]).unwrap(), Taken::Waiting(vec![1]));
    assert_eq!(put(2, &pieces[1]).unwrap(), Taken::Waiting(vec![1]), "again changes nothing");
    assert_eq!(centre.relay.watermarks(batch.key.edge, None).unwrap().watermarks, []);
    assert_eq!(code_of(put(1, &pieces[1])), "bad_line", "parts that make no batch are forgotten");
    assert_eq!(put(1, &pieces[0]).unwrap(), Taken::Waiting(vec![2]));
    assert!(matches!(put(2, &pieces[1]).unwrap(), Taken::Stored(_)));
    assert_eq!(centre.lines(batch.key).into_bytes(), lines);
    assert!(matches!(centre.put(&batch).unwrap(), Taken::Same(_)), "whole or in parts, it is the same");
    let mut left = Vec::new();
    crate::store::traces::walk(&centre.relay.files().root().join("parts"), &mut |path| left.push(path.to_owned()))
        .unwrap();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_gap_holds_the_watermark_and_is_counted_until_it_is_filled() {
    let (edge, _) = edge_of(4);
    let centre = Centre::new();
    centre.join(&edge);
    let all = batches(&edge);
    let upto = || centre.relay.watermarks(all[0].key.edge, None).unwrap().watermarks[0].batch_no;
    let gaps = || centre.relay.edges().unwrap()[0].gaps();
    centre.put(&all[1]).unwrap();
    assert_eq!((upto(), gaps()), (2, 0), "the first to come is where it begins: what was before went elsewhere");
    centre.put(&all[3]).unwrap();
    assert_eq!((upto(), gaps()), (2, 1));
    centre.put(&all[2]).unwrap();
    assert_eq!(upto(), 4);
    centre.put(&all[0]).unwrap();
    assert_eq!(upto(), 4);
    let (told, key) = (centre.world.store.read(|tx| held::list(tx, held::Which::default(), 10)).unwrap(), held::key);
    assert_eq!(told.iter().map(|one| key(one).batch_no).collect::<Vec<_>>(), [2, 4, 3, 1], "in the order they came");
}

#[test]
fn two_databases_under_one_epoch_are_both_held_until_the_operator_says_which_goes_on() {
    for keep_first in [true, false] {
        let (edge, visitor) = edge_of(1);
        let centre = Centre::new();
        centre.join(&edge);
        let shared = batches(&edge).pop().unwrap();
        centre.put(&shared).unwrap();
        // the clone seals other rows under the same number
        let second = |times: usize| {
            for _ in 0..times {
                edge.page(visitor);
            }
            edge.round(&edge.forwarder());
            batches(&edge).pop().unwrap()
        };
        let ours = second(1);
        let lines = gzip::decompress(&ours.gz, 1 << 20).unwrap();
        let changed = String::from_utf8(lines).unwrap().replace("A page", "A twin");
        let theirs = resealed(&edge, &ours, "1.0", changed.as_bytes());
        centre.put(&ours).unwrap();
        let refusal = centre.put(&theirs).unwrap_err();
        assert_eq!((refusal.error.code, refusal.more.digest), ("fork", Some(ours.digest())));
        assert_eq!(centre.world.store.read(alarms::list).unwrap()[0].code, "fork");
        assert!(matches!(centre.put(&ours).unwrap(), Taken::Same(_)), "what is here is here");
        let next = second(1);
        assert_eq!(code_of(centre.put(&next)), "fork", "neither of them goes on");
        let id = shared.key.edge;
        let word = |keep: &str, renew: &str| centre.relay.resolve(id, &Word { keep, renew }, &Caller::Operator);
        assert_eq!(word("000000", "111111").unwrap_err().code, "no_fork");
        let (ours_digest, theirs_digest) = (ours.digest(), theirs.digest());
        if keep_first {
            assert_eq!(word(&ours_digest[..8], &theirs_digest[..8]).unwrap(), 1);
            assert_eq!(code_of(centre.put(&theirs)), "renew");
            assert!(matches!(centre.put(&next).unwrap(), Taken::Stored(_)));
        } else {
            assert_eq!(word(&theirs_digest[..8], &ours_digest[..8]).unwrap(), 1);
            assert_eq!(code_of(centre.put(&ours)), "renew");
            assert!(matches!(centre.put(&theirs).unwrap(), Taken::Stored(_)));
            assert!(centre.lines(theirs.key).contains("A twin"));
            let chained = centre.put(&next).unwrap_err();
            assert_eq!(chained.error.code, "fork", "what follows the one that gave way does not fit");
        }
        assert_eq!(centre.world.store.read(alarms::list).unwrap().len(), usize::from(!keep_first));
    }
}

#[test]
fn a_batch_whose_chain_does_not_fit_is_a_fork_too() {
    let (edge, _) = edge_of(2);
    let centre = Centre::new();
    centre.join(&edge);
    let all = batches(&edge);
    let lines = gzip::decompress(&all[0].gz, 1 << 20).unwrap();
    let changed = String::from_utf8(lines).unwrap().replace("A page", "A twin");
    let twin = resealed(&edge, &all[0], "1.0", changed.as_bytes());
    centre.put(&twin).unwrap();
    let refusal = centre.put(&all[1]).unwrap_err();
    assert_eq!((refusal.error.code, refusal.more.digest), ("fork", None), "no other lies under its own key");
    let pairs = centre.relay.edges().unwrap().remove(0).pairs;
    assert_eq!(pairs[0].lies.as_ref().map(|lies| hex(&lies.digest)), Some(twin.digest()));
}

#[test]
fn completeness_tells_how_many_branches_have_told_all_of_a_day() {
    let ((one, _), (two, _)) = (edge_of(2), edge_of(1));
    let centre = Centre::new();
    centre.join(&one);
    centre.join(&two);
    let day = |ms: i64| centre.relay.complete_until(Millis(1_780_000_000_000 + ms)).unwrap();
    assert_eq!((day(-DAY_MS).complete, day(-DAY_MS).edges), (0, 2));
    for batch in batches(&one) {
        centre.put(&batch).unwrap();
    }
    assert_eq!((day(-DAY_MS).complete, day(-DAY_MS).lacking.len()), (1, 1));
    assert_eq!(day(DAY_MS).complete, 0, "tomorrow is not over");
    let id = one.store.identity().edge.id;
    let idle = super::super::complete::Idle { lane: Lane::Pages, until: Millis(1_780_000_000_000 + 2 * DAY_MS) };
    centre.world.clock.advance(2 * DAY_MS);
    centre.relay.idle(id, Some(id), vec![idle]).unwrap();
    assert_eq!(day(DAY_MS).complete, 1, "an edge with nothing to send says so");
    let rows = centre.world.store.read(received::room).unwrap();
    assert_eq!(rows.0, 2);
    centre.relay.retire(two.store.identity().edge.id, None, &Caller::Operator).unwrap();
    assert_eq!(day(-DAY_MS).edges, 1, "nothing is expected of one that is gone");
}
