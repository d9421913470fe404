//! `wayside pull` where the way is longer: over TLS, of one edge of several, and on to another receiver. Must never look into the
//! job: what counts is what lies there, what it ends with, and what the daemon believes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::pull::{pulled, seal, visits};
use crate::puller::Puller;
use crate::support::daemon::files;
use crate::support::*;
use crate::tokens::{make, wayside};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tls").join(name)
}

/// Batches that a cursor of this name has acknowledged, over all lanes.
fn acked(daemon: &Daemon, cursor: &str) -> i64 {
    let status = wayside(daemon, &["status", "--json"]);
    crate::puller::find(&status, cursor).iter().map(|lane| lane["acked"].as_i64().unwrap()).sum()
}

#[test]
fn over_tls_a_job_takes_from_whom_it_can_trust_and_from_nobody_else() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 12);
    seal(&daemon);
    let home = daemon.stop();
    let config = home.data().with_file_name("wayside.toml");
    let (cert, key) = (corpus("server.pem"), corpus("server.key"));
    let door = format!(
        "[door]\ntls_cert_file = {:?}\ntls_key_file = {:?}\n",
        cert.display().to_string(),
        key.display().to_string()
    );
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{door}{before}")).unwrap();
    let daemon = home.start();
    let mut job = Puller::new(daemon.address, &token);
    job.from = format!("https://localhost:{}", daemon.address.port());
    let stranger = job.run("pull", &[]);
    assert_eq!(stranger.0, 78, "an authority this system does not know: {}", stranger.1);
    let other = job.run("pull", &["--ca", corpus("other-ca.pem").to_str().unwrap()]);
    assert_eq!(other.0, 78, "another authority's: {}", other.1);
    assert!(files(&job.to()).iter().all(|(path, _)| !path.display().to_string().ends_with(".gz")));
    assert_eq!(acked(&daemon, "warehouse"), 0);
    let ca = corpus("ca.pem");
    let told = job.pulls(&["--ca", ca.to_str().unwrap()]);
    assert_eq!((&told["bad"], told["taken"] == told["acknowledged"]), (&json!([]), true), "{told}");
    assert_eq!(job.lines(".ndjson.gz").iter().filter(|line| line["kind"] == "event").count(), 12);
    assert_eq!(acked(&daemon, "warehouse"), told["taken"].as_i64().unwrap());
    job.from = format!("http://localhost:{}", daemon.address.port());
    let clear = job.run("pull", &[]);
    assert!(clear.0 == 65 && clear.1.contains("speaks TLS"), "in clear it is told that TLS is spoken here: {clear:?}");
}

/// A relay that jobs pull from, and edges that joined and sent there.
fn relay() -> (Daemon, String) {
    let relay = Daemon::with("[relay]\nenabled = true\n[[target]]\nname = \"warehouse\"\nkind = \"pull\"\n");
    let (_, token) = make(&relay, "warehouse job", "sync");
    (relay, token)
}

/// Lets an edge join; it sends from its next start on.
fn join(edge: &Daemon, relay: &Daemon) -> String {
    let code = wayside(relay, &["edge", "code", "--json"])["codes"][0].as_str().unwrap().to_owned();
    wayside(edge, &["join", &format!("http://{}", relay.address), "--code", &code, "--json"]);
    edge.value("SELECT edge FROM epochs").as_str().unwrap().to_owned()
}

#[test]
fn a_job_that_wants_one_edge_takes_that_one_and_leaves_the_others_to_later() {
    let (relay, token) = relay();
    let mut edges = Vec::new();
    for (n, visitor) in ["one", "two"].iter().enumerate() {
        let edge = Daemon::with("");
        let id = join(&edge, &relay);
        let edge = edge.stop().start();
        visits(&edge, visitor, 3 + n);
        until(PATIENCE, "sending", || {
            seal(&edge);
            relay.value(&format!("SELECT count(*) FROM streams WHERE edge = '{id}' AND lane = 2")) == json!(1)
        });
        edges.push(id);
    }
    let job = Puller::new(relay.address, &token);
    let of = |lines: &[Value], edge: &str| {
        lines.iter().filter(|line| line["kind"] == "event" && line["edge"] == edge).count()
    };
    let told = job.pulls(&["--edge", &edges[1]]);
    let lines = job.lines(".ndjson.gz");
    assert_eq!((of(&lines, &edges[0]), of(&lines, &edges[1])), (0, 4), "{told}");
    assert_eq!(job.pulls(&["--edge", &edges[1]])["taken"], json!(0), "nothing twice");
    job.pulls(&[]);
    let lines = job.lines(".ndjson.gz");
    assert_eq!((of(&lines, &edges[0]), of(&lines, &edges[1])), (3, 4), "the other was left, not passed over");
    let (code, text) = job.run("pull", &["--edge", &"ab".repeat(16)]);
    assert_eq!((code, text.contains("0 batches taken")), (0, true), "{text}");
}

#[test]
fn a_job_that_passes_batches_on_acknowledges_what_the_receiver_has_and_nothing_else() {
    let (edge, token) = pulled();
    let (relay, _) = relay();
    join(&edge, &relay); // it goes on without a restart: nothing is pushed, and the job has the token
    visits(&edge, "v", 9);
    seal(&edge);
    let push = std::fs::read_to_string(edge.home.data().join("upstream.token")).unwrap();
    let work = tempfile::tempdir().unwrap();
    for (name, text) in [("pull", token.as_str()), ("push", push.trim()), ("other", "0123456789abcdef")] {
        std::fs::write(work.path().join(name), text).unwrap();
    }
    let run = |to: &str, with: &str| {
        let from = format!("http://{}", edge.address);
        let words = ["pull", "--from", &from, "--token-file", "pull", "--cursor", "warehouse", "--to", to];
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_wayside"));
        command.args(words).args(["--to-token-file", with, "--state", "state", "--json"]);
        let out = command.current_dir(work.path()).output().unwrap();
        let told = serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default();
        (out.status.code().unwrap(), told, String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let there = |relay: &Daemon| relay.count("received");
    let to = format!("http://{}", relay.address);
    let nobody = run("http://127.0.0.1:1", "push");
    assert_eq!((nobody.0, acked(&edge, "warehouse")), (75, 0), "{nobody:?}");
    let stranger = run(&to, "other");
    assert_eq!((stranger.0, acked(&edge, "warehouse"), there(&relay)), (77, 0, 0), "{stranger:?}");
    let went = run(&to, "push");
    assert_eq!(went.0, 0, "{went:?}");
    let taken = went.1["taken"].as_i64().unwrap();
    assert!(taken >= 2 && went.1["acknowledged"] == taken, "{went:?}");
    assert_eq!((acked(&edge, "warehouse"), there(&relay)), (taken, taken));
    let lines = relay.value("SELECT sum(line_count) FROM received r JOIN streams s USING (stream_id) WHERE s.lane = 2");
    assert_eq!(lines, json!(9));
    assert_eq!(run(&to, "push").1["taken"], json!(0), "nothing twice");
    // the job forgets where it was: what the receiver has is the same batch
    std::fs::remove_dir_all(work.path().join("state")).unwrap();
    visits(&edge, "w", 2);
    seal(&edge);
    let more = run(&to, "push");
    assert_eq!(more.0, 0, "{more:?}");
    assert_eq!(there(&relay), acked(&edge, "warehouse"));
}
