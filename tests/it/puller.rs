//! `wayside pull` and `wayside ack` against a real daemon, also over a line that breaks, lies or is shared.
//! Must never look into the job's memory: what counts is the folder, the exit code, and what the daemon believes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::pull::{pulled, seal, visits};
use crate::support::daemon::files;
use crate::support::*;
use crate::tokens::wayside;

/// A folder with a token, and the words of a job that keeps its batches there.
pub struct Puller {
    folder: TempDir,
    /// Where it pulls from.
    pub from: String,
}

impl Puller {
    pub fn new(address: SocketAddr, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), token).unwrap();
        Puller { folder, from: format!("http://{address}") }
    }

    pub fn to(&self) -> PathBuf {
        self.folder.path().join("batches")
    }

    pub fn command(&self, what: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
        command.args([what, "--from", &self.from, "--token-file", "token", "--to", "batches"]).args(words);
        command.env_remove("WAYSIDE_CONFIG").env_remove("WAYSIDE_DATA_DIR").current_dir(self.folder.path());
        command
    }

    /// Runs a job; its exit code and what it printed.
    #[track_caller]
    pub fn run(&self, what: &str, words: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(what, words).output().unwrap();
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code().unwrap(), text)
    }

    #[track_caller]
    pub fn pulls(&self, words: &[&str]) -> Value {
        let out = self.command("pull", words).arg("--json").output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Lines in files of this ending.
    pub fn lines(&self, ending: &str) -> Vec<Value> {
        let mut out = Vec::new();
        self.each_line(ending, |line| out.push(serde_json::from_str::<Value>(line).unwrap()));
        out
    }

    /// Tells every line in files of this ending.
    pub fn each_line(&self, ending: &str, mut tell: impl FnMut(&str)) {
        for (path, bytes) in files(&self.to()) {
            if path.display().to_string().ends_with(ending) && !path.starts_with(self.to().join("bad")) {
                let text = String::from_utf8(wayside::base::gzip::decompress(&bytes, 1 << 28).unwrap()).unwrap();
                text.lines().for_each(&mut tell);
            }
        }
    }
}

fn events(lines: &[Value]) -> usize {
    lines.iter().filter(|line| line["kind"] == "event").count()
}

/// The batches of a lane that the daemon believes this cursor has, per lane.
fn acked(daemon: &Daemon) -> HashMap<String, i64> {
    let status = wayside(daemon, &["status", "--json"]);
    let lanes = find(&status, "warehouse");
    lanes.into_iter().map(|lane| (lane["lane"].as_str().unwrap().to_owned(), lane["acked"].as_i64().unwrap())).collect()
}

/// Every object of this target, wherever it stands.
pub fn find(value: &Value, target: &str) -> Vec<Value> {
    match value {
        Value::Object(map) if map.get("target").is_some_and(|t| t == target) && map.contains_key("acked") => {
            vec![value.clone()]
        }
        Value::Object(map) => map.values().flat_map(|value| find(value, target)).collect(),
        Value::Array(list) => list.iter().flat_map(|value| find(value, target)).collect(),
        _ => Vec::new(),
    }
}

/// What a line between does to an answer: changes it, and may cut it after so many bytes of its body.
type Meddle = Box<dyn FnMut(&str, Answer) -> (Answer, Option<usize>) + Send>;

/// A line between job and daemon; where it listens, and how many bytes of batches it let through.
fn line(daemon: &Daemon, meddle: Meddle) -> (SocketAddr, Arc<Mutex<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, upstream) = (listener.local_addr().unwrap(), daemon.address);
    let passed = Arc::new(Mutex::new(0));
    let (count, meddle) = (Arc::clone(&passed), Mutex::new(meddle));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let _ = pass(stream, upstream, &meddle, &count);
        }
    });
    (address, passed)
}

fn pass(stream: TcpStream, upstream: SocketAddr, meddle: &Mutex<Meddle>, count: &Mutex<u64>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let mut request = Request::new(method, target);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "host" | "connection" => {}
            _ => request = request.header(name, value),
        }
    }
    if length > 0 {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        request = request.body(body);
    }
    let answer = Client::open(upstream).send(&request);
    let (answer, cut) = meddle.lock().unwrap()(target, answer);
    let mut out =
        format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in answer.headers.iter().filter(|(name, _)| name != "content-length" && name != "connection") {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    let body = &answer.body[..cut.unwrap_or(answer.body.len()).min(answer.body.len())];
    if target.contains("/pages/") {
        *count.lock().unwrap() += body.len() as u64;
    }
    let mut stream = stream;
    stream.write_all(out.as_bytes())?;
    stream.write_all(body)
}

#[test]
fn a_job_takes_everything_once_and_the_daemon_knows() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 30);
    seal(&daemon);
    let job = Puller::new(daemon.address, &token);
    let told = job.pulls(&[]);
    assert_eq!((&told["bad"], &told["more"]), (&json!([]), &json!(false)), "{told}");
    assert_eq!(told["taken"], told["acknowledged"]);
    assert_eq!(events(&job.lines(".ndjson.gz")), 30);
    let verified = wayside(&daemon, &["batches", "verify", "--folder", job.to().to_str().unwrap(), "--json"]);
    assert_eq!((&verified["faults"], &verified["batches"]), (&json!([]), &told["taken"]));
    assert_eq!(job.pulls(&[])["taken"], json!(0), "nothing twice");
    visits(&daemon, "w", 5);
    seal(&daemon);
    assert!(job.pulls(&["--lane", "pages"])["taken"].as_i64().unwrap() >= 1);
    assert_eq!(events(&job.lines(".ndjson.gz")), 35);
    assert_eq!(acked(&daemon)["pages"], 2);
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_was() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 120);
    seal(&daemon);
    let meddle: Meddle = Box::new(|target, answer| {
        let cut = target.contains("/pages/").then_some(1_000);
        (answer, cut)
    });
    let (address, passed) = line(&daemon, meddle);
    let job = Puller::new(address, &token);
    let mut runs = 0;
    loop {
        let (code, text) = job.run("pull", &[]);
        runs += 1;
        assert!(runs < 60 && [0, 75].contains(&code), "{code} after {runs}: {text}");
        if code == 0 {
            break;
        }
    }
    assert_eq!(events(&job.lines(".ndjson.gz")), 120);
    let size: usize = files(&job.to())
        .iter()
        .filter(|(path, _)| path.display().to_string().contains("/pages/0"))
        .map(|(path, bytes)| if path.extension().is_some_and(|e| e == "gz") { bytes.len() } else { 0 })
        .sum();
    assert!(runs > 3, "{runs} runs");
    assert_eq!(*passed.lock().unwrap(), size as u64, "no byte came twice");
}

#[test]
fn what_does_not_verify_is_kept_aside_and_never_acknowledged() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 10);
    daemon.events(&with(page_view("v"), json!({"name": "scroll"})));
    seal(&daemon);
    let meddle: Meddle = Box::new(|target, mut answer| {
        if target.contains("/pages/") && answer.status == 200 {
            let text = wayside::base::gzip::decompress(&answer.body, 1 << 26).unwrap();
            let text = String::from_utf8(text).unwrap().replace("/v/3", "/v/4");
            answer.body = wayside::base::gzip::compress(text.as_bytes(), 2);
            let tag = format!("\"{}\"", wayside::base::text::hex(&wayside::base::digest::sha256(&answer.body)));
            answer.headers.iter_mut().filter(|(name, _)| name == "etag").for_each(|(_, value)| value.clone_from(&tag));
        }
        (answer, None)
    });
    let (address, _) = line(&daemon, meddle);
    let job = Puller::new(address, &token);
    let (code, text) = job.run("pull", &[]);
    assert_eq!(code, 65, "{text}");
    assert!(text.contains("sealed digest"), "{text}");
    let aside: Vec<String> = files(&job.to().join("bad")).iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(aside.len(), 3, "lines, manifest, and why: {aside:?}");
    assert_eq!(events(&job.lines(".ndjson.gz")), 1, "the other lanes went on");
    let lanes = acked(&daemon);
    assert_eq!((lanes["pages"], lanes["fine"]), (0, 1));
    let honest = Puller { from: format!("http://{}", daemon.address), ..job };
    assert_eq!(honest.run("pull", &[]).0, 0);
    assert_eq!((events(&honest.lines(".ndjson.gz")), acked(&daemon)["pages"]), (11, 1), "an honest line brings it");
}

#[test]
fn bytes_changed_under_way_are_asked_for_again() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 3);
    seal(&daemon);
    let meddle: Meddle = Box::new(|target, mut answer| {
        if target.contains("/pages/") && answer.status == 200 {
            answer.body[30] ^= 1;
        }
        (answer, None)
    });
    let (address, _) = line(&daemon, meddle);
    let job = Puller::new(address, &token);
    let (code, text) = job.run("pull", &[]);
    assert_eq!((code, text.contains("changed under way")), (75, true), "{text}");
    assert!(!job.to().join("bad").exists() && acked(&daemon)["pages"] == 0 && acked(&daemon)["consent"] == 1);
}

#[test]
fn only_what_the_command_finished_is_acknowledged() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 3);
    seal(&daemon);
    let job = Puller::new(daemon.address, &token);
    let (code, text) = job.run("pull", &["--then", "cat {files} >> tried; false"]);
    assert_eq!(code, 75, "{text}");
    assert_eq!(acked(&daemon)["consent"], 0);
    assert_eq!(job.run("pull", &["--then", "cat {files} >> loaded"]).0, 0);
    let loaded = std::fs::read(job.folder.path().join("loaded")).unwrap();
    let lines = wayside::base::gzip::decompress(&loaded, 1 << 26).unwrap();
    assert_eq!(lines.iter().filter(|b| **b == b'\n').count(), job.lines(".ndjson.gz").len(), "each batch once");
    assert_eq!((acked(&daemon)["consent"], acked(&daemon)["pages"]), (1, 1));
    assert_eq!(job.run("pull", &["--then", "cat files"]).0, 65, "a command without {{files}}");
}

#[test]
fn without_acknowledgement_it_is_left_to_ack() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 3);
    seal(&daemon);
    let job = Puller::new(daemon.address, &token);
    let told = job.pulls(&["--no-ack"]);
    assert_eq!((&told["acknowledged"], told["taken"].as_i64() > Some(1)), (&json!(0), true), "{told}");
    assert_eq!(acked(&daemon)["pages"], 0);
    assert_eq!(job.pulls(&["--no-ack"])["taken"], json!(0), "what is here is not taken again");
    let (code, text) = job.run("ack", &[]);
    assert_eq!((code, acked(&daemon)["pages"], acked(&daemon)["consent"]), (0, 1, 1), "{text}");
    assert_eq!(job.run("ack", &[]).1.trim(), "0 batches acknowledged");
}

#[test]
fn a_day_lies_in_one_file_and_a_torn_end_is_cut_off() {
    let (daemon, token) = pulled();
    let job = Puller::new(daemon.address, &token);
    for n in 0..3 {
        visits(&daemon, &format!("v{n}"), 4);
        seal(&daemon);
        assert_eq!(job.run("pull", &["--join", "day"]).0, 0);
    }
    let of = |ending: &str| -> Vec<PathBuf> {
        let all = files(&job.to()).into_iter().map(|(path, _)| path);
        all.filter(|path| {
            path.display().to_string().contains("/pages/") && path.display().to_string().ends_with(ending)
        })
        .collect()
    };
    let (data, index) = (of(".ndjson.gz"), of(".index.ndjson"));
    assert!(data.len() <= 2 && data.len() == index.len(), "one of a day, two at midnight: {data:?}");
    assert_eq!(events(&job.lines(".ndjson.gz")), 12);
    let entries = std::fs::read_to_string(index.last().unwrap()).unwrap();
    append(data.last().unwrap(), b"half a member");
    append(index.last().unwrap(), b"{\"key\":\"torn");
    visits(&daemon, "late", 4);
    seal(&daemon);
    assert_eq!(job.run("pull", &["--join", "day"]).0, 0);
    assert_eq!(events(&job.lines(".ndjson.gz")), 16);
    assert!(std::fs::read_to_string(of(".index.ndjson").last().unwrap()).unwrap().starts_with(&entries));
}

fn append(path: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn once_says_that_more_waits_and_another_job_keeps_this_one_out() {
    let (daemon, token) = pulled();
    for n in 0..4 {
        visits(&daemon, &format!("v{n}"), 2);
        seal(&daemon);
    }
    let job = Puller::new(daemon.address, &token);
    assert_eq!(job.run("pull", &["--once", "--limit", "1"]).0, 10);
    let bearer = format!("Bearer {token}");
    let lease = |ttl: i64| {
        let body = json!({"holder": "somebody else", "ttl_seconds": ttl});
        daemon.send(&post("/v1/leases").header("Authorization", &bearer).json(&body))
    };
    assert_eq!(lease(60).status, 200);
    let (code, text) = job.run("pull", &[]);
    assert_eq!((code, text.contains("somebody else")), (75, true), "{text}");
    assert_eq!(lease(0).status, 200);
    assert_eq!(job.run("pull", &[]).0, 0);
    assert_eq!(events(&job.lines(".ndjson.gz")), 8);
    let nobody = Puller { from: "http://127.0.0.1:1".to_owned(), ..job };
    assert_eq!(nobody.run("pull", &[]).0, 75);
    let stranger = Puller::new(daemon.address, "0123456789abcdef");
    assert_eq!(stranger.run("pull", &[]).0, 77);
    let clear = Puller { from: "http://192.0.2.1:8787".to_owned(), ..stranger };
    assert_eq!(clear.run("pull", &[]).0, 78);
}

#[test]
fn a_waiting_job_takes_what_comes_until_it_is_told_to_end() {
    let (daemon, token) = pulled();
    let job = Puller::new(daemon.address, &token);
    let mut child = job.command("pull", &["--wait"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    visits(&daemon, "v", 3);
    seal(&daemon);
    until(PATIENCE, "taking what came", || acked(&daemon)["pages"] == 1);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(events(&job.lines(".ndjson.gz")), 3);
}

#[test]
fn cat_prints_what_verifies_and_nothing_else() {
    let (daemon, token) = pulled();
    visits(&daemon, "v", 5);
    seal(&daemon);
    let job = Puller::new(daemon.address, &token);
    assert_eq!(job.run("pull", &[]).0, 0);
    let apart = Puller { from: job.from.clone(), folder: tempfile::tempdir().unwrap() };
    let cat = |words: &[&str], input: Option<&[u8]>| -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
        command.args(["batch", "cat"]).args(words).current_dir(job.to());
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.unwrap_or_default());
        let out = child.wait_with_output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
    };
    let all = files(&job.to());
    let pages = all.iter().find(|(path, _)| {
        path.display().to_string().ends_with(".ndjson.gz") && path.display().to_string().contains("/pages/")
    });
    let (path, gz) = pages.unwrap();
    let key = path.strip_prefix(job.to()).unwrap().display().to_string().replace(".ndjson.gz", "");
    let manifest = path.display().to_string().replace(".ndjson.gz", ".manifest.json");
    let whole = cat(&[path.to_str().unwrap()], None);
    assert_eq!((whole.0, whole.1.lines().count()), (0, 5));
    assert_eq!(cat(&[&key, "--folder", "."], None), whole);
    assert_eq!(cat(&["-", "--manifest", &manifest], Some(gz)), whole);
    assert!(cat(&[&key, "--folder", ".", "--check"], None).1.contains("5 lines, 0 of them holes"));
    let edge: Value =
        serde_json::from_str(&std::fs::read_to_string(daemon.home.data().join("edge.json")).unwrap()).unwrap();
    let own = edge["epochs"][0]["public_key"].as_str().unwrap().to_owned();
    assert_eq!(cat(&[&key, "--folder", ".", "--key", &own], None), whole);
    assert_eq!(cat(&[&key, "--folder", ".", "--key", &"ab".repeat(32)], None), (65, String::new()));
    let mut changed = gz.clone();
    let at = changed.len() / 2;
    changed[at] ^= 1;
    assert_eq!(cat(&["-", "--manifest", &manifest], Some(&changed)), (65, String::new()), "no line of it");
    assert_eq!(cat(&["-"], Some(gz)).0, 65);
    assert_eq!(cat(&["nothing.ndjson.gz"], None).0, 66);

    std::fs::write(apart.folder.path().join("token"), &token).unwrap();
    visits(&daemon, "w", 4);
    seal(&daemon);
    assert_eq!(apart.run("pull", &["--join", "day"]).0, 0);
    let joined = files(&apart.to()).into_iter().map(|(path, _)| path);
    let joined: Vec<PathBuf> = joined
        .filter(|p| p.display().to_string().contains("/pages/") && p.extension().is_some_and(|e| e == "gz"))
        .collect();
    let lines = cat(&[joined[0].to_str().unwrap()], None);
    assert_eq!((lines.0, lines.1.lines().count()), (0, 4));
    let second = key.replace("000000000001", "000000000002");
    assert_eq!(cat(&[&second, "--folder", apart.to().to_str().unwrap()], None), lines);
}
