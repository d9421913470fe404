//! The receiver that the manual prints, run as it stands there.
//! Must never be run against anything but this machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{batch, code, options};
use crate::base::gzip;
use crate::domain::batch::SealedPart;
use crate::forward::http::Http;
use crate::forward::options::TargetOptions;
use crate::forward::retry::Verdict;
use crate::forward::target::{Landed, Parcel, Says, Target};
use crate::forward::{inspect, verify};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The only piece of Python in the manual that listens.
fn program() -> String {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/doc/batches.md")).unwrap();
    let pieces = manual.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    pieces.filter(|piece| piece.contains("HTTPServer")).collect()
}

#[test]
fn the_receiver_of_the_manual_keeps_batches_and_tells_a_fork() {
    let (world, key, rendered) = batch();
    let (dir, file) = (world.dir.path().join("received"), world.dir.path().join("token"));
    std::fs::write(&file, "abc\n").unwrap();
    let mut child = Command::new("python3")
        .args(["-c", &program(), dir.to_str().unwrap(), "abc", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _running = Running(child);
    let url = format!("http://127.0.0.1:{}", line.trim().rsplit(' ').next().unwrap());
    let target = Http::new(&TargetOptions { token_file: Some(file.clone()), ..options(url) });
    for landed in [Landed::New, Landed::Same] {
        assert_eq!(target.put(&Parcel::whole(key, &rendered, false)).unwrap().landed, landed);
    }
    let kept = |ending: &str| std::fs::read(dir.join(format!("{key}{ending}"))).unwrap();
    let inspected = inspect::batch(&kept(".manifest.json"), &kept(".ndjson.gz"), None).unwrap();
    assert_eq!(
        (inspected.part.batch_no, gzip::decompress(&kept(".ndjson.gz"), 1 << 20).unwrap()),
        (1, rendered.ndjson.clone())
    );
    let mut found = verify::Verified::default();
    let how = verify::Looking { only: verify::Only::default(), progress: &|_| () };
    let keys = &world.store.identity().edge.keys;
    verify::files_of(&*world.store, "centre", &dir, keys, &|_| Ok(false), how, &mut found).unwrap();
    assert_eq!((found.files, found.problems), (1, vec![]), "as a folder of ours");
    // other lines under the same key
    let sealed: SealedPart = serde_json::from_str(&rendered.manifest.sealed).unwrap();
    let text = String::from_utf8(rendered.ndjson.clone()).unwrap().replace("A page", "Another");
    let changed = inspect::lines(text.as_bytes()).unwrap();
    let digest = crate::base::text::hex(&crate::domain::line::digest(&changed.hashes));
    let mut other = rendered.clone();
    other.ndjson = text.into_bytes();
    let lying = target.put(&Parcel::whole(key, &other.clone().compress(1), false));
    assert_eq!(code(lying), ("bad_rows", Verdict::Quarantine), "lines that do not fit their manifest");
    other.manifest.sealed = rendered.manifest.sealed.replace(&sealed.digest, &digest);
    let fork = target.put(&Parcel::whole(key, &other.compress(1), false)).unwrap_err();
    assert_eq!((fork.error.code, fork.says), ("fork", Some(Says::Fork { digest: Some(sealed.digest) })));
    std::fs::write(&file, "abd\n").unwrap();
    assert_eq!(code(target.put(&Parcel::whole(key, &rendered, false))), ("auth", Verdict::Hold));
}
