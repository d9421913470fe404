//! The age format against files of the `age` tool, against the tool itself, and against everything that can befall a file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;

const LENGTHS: [usize; 6] = [0, 1, 65_535, 65_536, 65_537, 200_000];

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/age").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(corpus(name)).unwrap()
}

fn identity(name: &str) -> Identity {
    Identity::parse(&std::fs::read_to_string(corpus(name)).unwrap()).unwrap()
}

/// What the files of the corpus hold: the numbers from 1 on, cut.
fn plain(length: usize) -> Vec<u8> {
    let mut text: Vec<u8> = (1..100_000).flat_map(|n: u32| format!("{n}\n").into_bytes()).collect();
    text.truncate(length);
    text
}

fn encrypt(plain: &[u8], to: &[Recipient]) -> Vec<u8> {
    let mut writer = Writer::start(Vec::new(), to).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn decrypt(file: &[u8], with: &[Identity]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Reader::open(file, with)?.read_to_end(&mut out).map_err(|e| reason("reading", e))?;
    Ok(out)
}

fn code(file: &[u8], with: &[Identity]) -> &'static str {
    decrypt(file, with).unwrap_err().code
}

#[test]
fn files_of_the_age_tool_are_read() {
    let key = identity("key.txt");
    for length in LENGTHS {
        let read = decrypt(&bytes(&format!("to-one-{length}.age")), std::slice::from_ref(&key)).unwrap();
        assert!(read == plain(length), "{length}");
    }
    let two = bytes("to-two-1000.age");
    assert_eq!(decrypt(&two, std::slice::from_ref(&key)).unwrap(), plain(1_000));
    assert_eq!(decrypt(&two, &[identity("other.txt")]).unwrap(), plain(1_000));
    let others = bytes("to-other-1000.age");
    assert_eq!(code(&others, std::slice::from_ref(&key)), "wrong_key");
    assert_eq!(decrypt(&others, &[key, identity("other.txt")]).unwrap(), plain(1_000), "one of several keys is enough");
}

#[test]
fn what_is_written_is_what_the_age_tool_writes_byte_for_byte() {
    // everything behind the random parts follows from them: given those of its files, ours must be the same
    let key = identity("key.txt");
    for length in LENGTHS {
        let file = bytes(&format!("to-one-{length}.age"));
        let mut rest = &file[..];
        let header = Header::read(&mut rest).unwrap();
        let file_key = header.file_key(std::slice::from_ref(&key)).unwrap();
        assert_eq!(file_key.mac(&header.text).to_vec(), header.mac);
        let nonce: [u8; 16] = rest[..16].try_into().unwrap();
        for step in [1_000, 65_536, 1 << 20] {
            let (out, cipher) = (Vec::new(), file_key.payload(&nonce));
            let mut writer = Writer { out, cipher, chunk: Vec::new(), counter: 0 };
            plain(length).chunks(step).for_each(|part| writer.write_all(part).unwrap());
            assert!(writer.finish().unwrap() == rest[16..], "{length} in steps of {step}");
        }
    }
}

/// The `age` tool, or words nobody can overlook.
fn tool() -> bool {
    let there = Command::new("age").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!(
            "\n*** SKIPPED: the `age` tool is not installed (apt-get install age); tests/run.sh installs it ***\n"
        );
    }
    there
}

#[test]
fn the_age_tool_reads_ours_and_we_read_its_files_under_keys_of_either() {
    if !tool() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let run = |arguments: &[&str], from: &str, to: &str| {
        let files = (std::fs::File::open(at(from)).unwrap(), std::fs::File::create(at(to)).unwrap());
        Command::new("age").args(arguments).stdin(files.0).stdout(files.1).status().unwrap().success()
    };
    let ours = Identity::mint();
    std::fs::write(at("ours.txt"), format!("# a comment\n{}\n", ours.secret_text())).unwrap();
    let ours_file = at("ours.txt").display().to_string();
    let theirs_file = corpus("key.txt").display().to_string();
    for (identity, file) in [(ours, ours_file), (identity("key.txt"), theirs_file)] {
        for length in LENGTHS {
            std::fs::write(at("sealed"), encrypt(&plain(length), &[identity.recipient()])).unwrap();
            assert!(run(&["-d", "-i", &file], "sealed", "opened"), "{length}");
            assert!(std::fs::read(at("opened")).unwrap() == plain(length), "{length}");
            std::fs::write(at("plain"), plain(length)).unwrap();
            assert!(run(&["-r", &identity.recipient().to_string()], "plain", "sealed"), "{length}");
            let read = decrypt(&std::fs::read(at("sealed")).unwrap(), std::slice::from_ref(&identity)).unwrap();
            assert!(read == plain(length), "{length}");
        }
    }
}

#[test]
fn a_file_cut_off_at_any_byte_is_refused() {
    let key = Identity::mint();
    let small = encrypt(b"a few words", &[key.recipient()]);
    for end in 0..small.len() {
        let code = code(&small[..end], std::slice::from_ref(&key));
        assert!(["not_age", "age_truncated", "age_header", "age_altered"].contains(&code), "{end}: {code}");
    }
    // at the border of a chunk every byte that is left is authentic, and still the file is not whole
    let long = encrypt(&plain(200_000), &[key.recipient()]);
    let payload = long.len() - (200_000 + 4 * TAG_BYTES);
    for chunks in [1, 2, 3] {
        let cut = &long[..payload + chunks * (CHUNK_BYTES + TAG_BYTES)];
        let mut out = Vec::new();
        let failed = Reader::open(cut, std::slice::from_ref(&key)).unwrap().read_to_end(&mut out).unwrap_err();
        assert_eq!(reason("reading", failed).code, "age_truncated");
        assert!(plain(200_000).starts_with(&out) && out.len() < 200_000, "no more is handed out than was there");
    }
    assert_eq!(code(&long[..long.len() - 1], &[key]), "age_altered");
}

#[test]
fn a_file_altered_at_any_byte_is_refused() {
    let key = Identity::mint();
    let good = encrypt(b"a few words", &[Identity::mint().recipient(), key.recipient()]);
    assert_eq!(decrypt(&good, std::slice::from_ref(&key)).unwrap(), b"a few words");
    for at in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(decrypt(&bad, std::slice::from_ref(&key)).is_err(), "byte {at} ^ {flip}");
        }
    }
    let longer = [&good[..], b"x"].concat();
    assert_eq!(code(&longer, std::slice::from_ref(&key)), "age_altered");
    // chunks in another order
    let long = encrypt(&plain(200_000), &[key.recipient()]);
    let payload = long.len() - (200_000 + 4 * TAG_BYTES);
    let chunk = CHUNK_BYTES + TAG_BYTES;
    let (head, body) = long.split_at(payload);
    let swapped = [head, &body[chunk..2 * chunk], &body[..chunk], &body[2 * chunk..]].concat();
    assert_eq!(code(&swapped, &[key]), "age_altered");
}

#[test]
fn an_empty_last_chunk_behind_others_is_refused() {
    let (key, nonce) = (FileKey([7; 16]), [9; 16]);
    let mut writer = Writer { out: Vec::new(), cipher: key.payload(&nonce), chunk: vec![0; CHUNK_BYTES], counter: 0 };
    writer.put_chunk(false).unwrap();
    let sealed = writer.finish().unwrap();
    let mut input = &sealed[1..];
    let mut reader = Reader {
        cipher: key.payload(&nonce),
        input: &mut input,
        chunk: Vec::new(),
        given: 0,
        next: Some(sealed[0]),
        counter: 0,
        ended: false,
    };
    assert!(reader.next_chunk().unwrap());
    assert_eq!(reader.next_chunk().unwrap_err().code, "age_altered");
}

#[test]
fn other_headers_are_refused_with_their_reason() {
    let key = [identity("key.txt")];
    assert_eq!(code(b"PK\x03\x04 a zip\n", &key), "not_age");
    assert_eq!(code(b"", &key), "not_age");
    assert_eq!(code(&[b'x'; 200_000], &key), "not_age", "no more is read than a header may have");
    assert_eq!(code(b"age-encryption.org/v2\n", &key), "age_version");
    assert_eq!(code(b"age-encryption.org/v1\nhello\n", &key), "age_header");
    let endless = format!("{VERSION_LINE}\n-> x\n{}", format!("{}\n", "A".repeat(64)).repeat(2_000));
    assert_eq!(code(endless.as_bytes(), &key), "age_header");
    // a passphrase is no key of ours
    let phrase =
        format!("{VERSION_LINE}\n-> scrypt c2FsdHNhbHRzYWx0c2FsdA 18\n{}\n--- {}\n", "A".repeat(43), "A".repeat(43));
    assert_eq!(code(phrase.as_bytes(), &key), "wrong_key");
    // stanzas of a kind that is not known are passed over
    let text = String::from_utf8_lossy(&bytes("to-one-1.age")).into_owned();
    let with_grease = text.replacen("-> X25519", "-> a-grease b c\n\n-> X25519", 1);
    assert_eq!(code(with_grease.as_bytes(), &key), "age_header", "read, but not what was authenticated");
}

#[test]
fn keys_are_read_as_they_are_written_and_nothing_else() {
    let key = Identity::mint();
    let (secret, public) = (key.secret_text(), key.recipient().to_string());
    assert!(secret.starts_with("AGE-SECRET-KEY-1") && public.starts_with("age1"), "{public}");
    assert_eq!(Identity::parse(&format!("# made today\n\n{secret}\n")).unwrap().recipient(), key.recipient());
    assert_eq!(Recipient::parse(&format!(" {public}\n")).unwrap(), key.recipient());
    let mut typo = public.clone();
    typo.replace_range(10..11, if &public[10..11] == "q" { "p" } else { "q" });
    for bad in [typo.as_str(), &secret, "", "age1", &public.to_uppercase(), &public[..public.len() - 1]] {
        assert_eq!(Recipient::parse(bad).unwrap_err().code, "recipient", "{bad}");
    }
    for bad in [public.as_str(), "# only a comment", ""] {
        assert_eq!(Identity::parse(bad).unwrap_err().code, "identity", "{bad}");
    }
    assert!(!format!("{key:?}").contains(&secret[20..]), "a secret is never printed");
    let weak = Recipient([0; 32]);
    assert_eq!(Writer::start(Vec::new(), &[weak]).map(|_| ()).unwrap_err().code, "recipient");
    assert_ne!(key.derive(b"a"), key.derive(b"b"));
}
