//! Two machines with a router between them (network namespaces): an edge that pushes, a relay that takes, and a link that is
//! cut at either end, swallows packets, or leads to nobody. Must never touch the network of the machine the tests run on.
//! Invariant: the namespaces are gone at the end, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child::{Daemon, Home, SHOP, WAYSIDE};
use crate::support::{Dice, in_ci, pass, say, skipped, until};

const EDGE: &str = "10.77.1.2";
const RELAY: &str = "10.77.2.2";
/// Most that may pass from the return of the link to the first batch, on a machine that has other things to do. The schedule
/// promises two seconds.
const RETURN: Duration = Duration::from_secs(4);
/// Longest until the edge notices that nobody is there: where a put was under way, that is when its answer is given up (30 s).
const NOTICE: Duration = Duration::from_secs(50);
/// How often the edge's own link is cut.
const CUTS: usize = 3;

/// Three namespaces: `a` and `b`, and the router `r` between them.
struct Net(String);

impl Net {
    /// `None` where this process may not make them.
    fn make() -> Option<Net> {
        let net = Net(format!("wayside-{}-", std::process::id()));
        let made = ["a", "r", "b"].iter().all(|one| net.ip(&format!("netns add {}", net.of(one))));
        if !made {
            return None;
        }
        for (one, address, other) in [("a", EDGE, "10.77.1.1"), ("b", RELAY, "10.77.2.1")] {
            let (near, far) = (net.of(one), net.of("r"));
            net.must(&format!("link add way0 netns {near} type veth peer name to-{one} netns {far}"));
            net.must(&format!("-n {near} link set lo up"));
            net.must(&format!("-n {near} addr add {address}/24 dev way0"));
            net.must(&format!("-n {far} addr add {other}/24 dev to-{one}"));
            net.must(&format!("-n {far} link set to-{one} up"));
            net.link(one, true);
        }
        let far = net.of("r");
        net.must(&format!("netns exec {far} sh -c echo 1 > /proc/sys/net/ipv4/ip_forward"));
        Some(net)
    }

    fn of(&self, one: &str) -> String {
        format!("{}{one}", self.0)
    }

    /// Words are parted by spaces; what follows `-c` is one.
    fn ip(&self, words: &str) -> bool {
        let (words, script) = words.split_once(" -c ").map_or((words, None), |(words, script)| (words, Some(script)));
        let mut command = Command::new("ip");
        command.args(words.split(' ')).args(script.map(|script| ["-c", script]).into_iter().flatten());
        command.output().is_ok_and(|out| out.status.success())
    }

    #[track_caller]
    fn must(&self, words: &str) {
        assert!(self.ip(words), "ip {words}");
    }

    /// Takes the link of one end down, and with it its routes; or brings both back.
    fn link(&self, one: &str, up: bool) {
        let (ns, word) = (self.of(one), if up { "up" } else { "down" });
        self.must(&format!("-n {ns} link set way0 {word}"));
        if up {
            let router = if one == "a" { "10.77.1.1" } else { "10.77.2.1" };
            self.must(&format!("-n {ns} route add default via {router}"));
        }
    }

    /// The router swallows what goes to either end, and says nothing; or no longer.
    fn swallow(&self, yes: bool) {
        let (ns, word) = (self.of("r"), if yes { "add" } else { "del" });
        for address in [EDGE, RELAY] {
            self.must(&format!("-n {ns} route {word} blackhole {address}/32"));
        }
    }

    /// A daemon at one end.
    #[track_caller]
    fn start(&self, one: &str, home: &Home) -> Daemon {
        let mut command = home.through("ip", &["netns", "exec", &self.of(one), WAYSIDE]);
        command.env("WAYSIDE_LISTEN", format!("{}:8787", if one == "a" { EDGE } else { RELAY }));
        home.start_by(command)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for one in ["a", "r", "b"] {
            self.ip(&format!("netns del {}", self.of(one)));
        }
    }
}

/// Where a row was born: edge, epoch, number.
type Origin = (String, String, i64);

/// Events that the relay has passed on, by id, each with its identities.
fn passed_on(relay: &Home) -> BTreeMap<String, BTreeSet<Origin>> {
    let mut out: BTreeMap<String, BTreeSet<Origin>> = BTreeMap::new();
    let mut seen = |path: &Path| {
        let gz = fs::read(path).unwrap();
        let ndjson = wayside::base::gzip::decompress(&gz, 1 << 26).unwrap();
        for line in ndjson.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).unwrap();
            if line["kind"] == "event" {
                let text = |key: &str| line[key].as_str().unwrap().to_owned();
                let origin = (text("edge"), text("epoch"), line["seq"].as_i64().unwrap());
                assert!(out.entry(text("event_id")).or_default().insert(origin), "one row in two lines: {line}");
            }
        }
    };
    walk(&relay.data().join("outbox"), &mut seen);
    out
}

fn walk(folder: &Path, seen: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, seen);
        } else if path.to_string_lossy().ends_with(".ndjson.gz") {
            seen(&path);
        }
    }
}

/// Batches that have reached the relay.
fn received(relay: &Home) -> usize {
    let mut count = 0;
    walk(&relay.data().join("relay"), &mut |_| count += 1);
    count
}

/// An edge with events to send, and a relay.
struct Scene {
    net: Net,
    edge_home: Home,
    relay_home: Home,
    edge: Daemon,
    posted: usize,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// The edge has joined the relay; both run. Returns the relay's daemon beside it.
    fn new(net: Net) -> (Scene, Daemon) {
        let relay_home = Home::new(&format!(
            "trusted_proxies = [\"{EDGE}/32\"]\n{SHOP}\n[relay]\nenabled = true\nonward = [\"outbox\"]\n"
        ));
        let folder = tempfile::tempdir().unwrap();
        let edge_home = Home::at(folder.path(), SHOP);
        edge_home.start().stop(); // who it is, it finds out at its first start
        let relay = net.start("b", &relay_home);
        let token = join(&edge_home, &relay_home, &relay);
        fs::write(edge_home.folder().join("token"), token).unwrap();
        let target = format!(
            "{SHOP}\n[[target]]\nname = \"upstream\"\nkind = \"http\"\nurl = \"http://{RELAY}:8787\"\nplain = true\n\
             token_file = \"{}\"\nconnect_seconds = 2\n",
            edge_home.folder().join("token").display()
        );
        let edge_home = Home::at(edge_home.folder(), &target);
        let edge = net.start("a", &edge_home);
        (Scene { net, edge_home, relay_home, edge, posted: 0, _folder: folder }, relay)
    }

    /// The edge takes them, whatever its link is like.
    fn post(&mut self, count: usize) {
        let one = |n: usize| json!({"visitor": format!("v{}", n % 5), "name": "page_viewed", "url": "https://shop.example/", "eventId": format!("event-{n}")});
        let body: Vec<Value> = (self.posted..self.posted + count).map(one).collect();
        let answer = self.edge.control().post("/v1/events", &Value::from(body).to_string()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.results().len(), count);
        self.posted += count;
    }

    #[track_caller]
    fn all_arrived(&self) {
        until("everything has arrived", || passed_on(&self.relay_home).len() == self.posted);
        let there = passed_on(&self.relay_home);
        let twice: Vec<_> = there.iter().filter(|(_, rows)| rows.len() != 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    /// Until the edge has found out that nobody is there.
    #[track_caller]
    fn notices(&self, before: usize) {
        until("the edge notices that nobody is there", || {
            self.edge_home.log().get(before..).is_some_and(|log| log.contains("forwarding") && log.contains("upstream"))
        });
    }
}

/// Lets the edge in at the relay's own socket: its token.
fn join(edge: &Home, relay: &Home, door: &Daemon) -> String {
    let codes = relay.run(&["edge", "code", "--json"]);
    let codes: Value = serde_json::from_slice(&codes.stdout).unwrap();
    let record: Value = serde_json::from_slice(&fs::read(edge.data().join("edge.json")).unwrap()).unwrap();
    let newest = record["epochs"].as_array().unwrap().last().unwrap();
    let body = json!({
        "code": codes["codes"][0], "edge": newest["edge"], "public_key": newest["public_key"], "label": "branch 12"
    });
    let answer = door.control().post("/v1/edges/join", &body.to_string()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_link_that_is_cut_loses_nothing_doubles_nothing_and_is_used_again_at_once() {
    let Some(net) = Net::make() else {
        assert!(
            !(in_ci() && rustix::process::geteuid().is_root()),
            "no network namespace can be made here, although this is root"
        );
        return skipped(
            "a_link_that_is_cut_loses_nothing_doubles_nothing_and_is_used_again_at_once",
            "network namespaces need root and the command ip (iproute2)",
        );
    };
    let (mut scene, relay) = Scene::new(net);
    scene.post(50);
    scene.all_arrived();
    own_link_cut(&mut scene);
    let relay = relay_gone_without_a_word(&mut scene, relay);
    let relay = relay_out(&mut scene, relay);
    swallowed_under_way(&mut scene);
    scene.edge.stop();
    relay.stop();
}

/// The edge's own link goes down and comes back: the first batch leaves soon, though nothing told the edge.
fn own_link_cut(scene: &mut Scene) {
    let (mut noticed, mut waited) = (Vec::new(), Vec::new());
    for _ in 0..CUTS {
        let before = scene.edge_home.log().len();
        scene.net.link("a", false);
        scene.post(200);
        let cut = Instant::now();
        scene.notices(before);
        noticed.push(cut.elapsed());
        let had = received(&scene.relay_home);
        scene.net.link("a", true);
        let back = Instant::now();
        until("the first batch arrives", || received(&scene.relay_home) > had);
        waited.push(back.elapsed());
        scene.all_arrived();
    }
    noticed.sort();
    waited.sort();
    say(&format!("until the cut was noticed: {noticed:?}; from the return of the link to the first batch: {waited:?}"));
    assert!(noticed[CUTS - 1] < NOTICE && waited[CUTS / 2] < RETURN, "{noticed:?} {waited:?}");
}

/// Packets are swallowed, and the relay ends meanwhile: the edge's connection is one to nobody.
fn relay_gone_without_a_word(scene: &mut Scene, relay: Daemon) -> Daemon {
    scene.net.swallow(true);
    scene.post(100);
    relay.kill();
    let relay = scene.net.start("b", &scene.relay_home);
    scene.post(100);
    scene.net.swallow(false);
    scene.all_arrived();
    relay
}

/// Nobody listens there for a while.
fn relay_out(scene: &mut Scene, relay: Daemon) -> Daemon {
    let before = scene.edge_home.log().len();
    relay.kill();
    scene.post(100);
    scene.notices(before);
    let relay = scene.net.start("b", &scene.relay_home);
    scene.all_arrived();
    relay
}

/// Packets are swallowed again and again while batches are under way.
fn swallowed_under_way(scene: &mut Scene) {
    let mut dice = Dice::new(77);
    for _ in 0..4 {
        scene.post(500);
        pass(dice.ms(0, 1_500));
        scene.net.swallow(true);
        pass(dice.ms(100, 3_000));
        scene.net.swallow(false);
    }
    scene.all_arrived();
}
