//! Files in the age format, version 1 (age-encryption.org/v1): encrypted to public keys, read by any other tool that knows it.
//! Owns keys as text (`age1...`, `AGE-SECRET-KEY-1...`), the header, and the payload in chunks of 64 KiB. Must never hold more
//! than a chunk of a file, nor hand out a byte that was not authenticated. Invariant: a file that was read to its end is whole.
//!
//! The `age` crate brings 180 others (localisation, scrypt, post-quantum keys); this is the part that files need, on the
//! primitives that are here anyway. What other tools write and read stands in `tests/corpus/age`.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use bech32::{Bech32, Hrp, primitives::decode::CheckedHrpstring};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use ed25519_compact::x25519::{PublicKey, SecretKey};

use crate::base::base64::{self, Alphabet};
use crate::base::cell::{Key, wipe};
use crate::base::digest::{hkdf, hmac_plain, same_secret};
use crate::base::error::{Error, Result, io as io_error};
use crate::base::id::random_bytes;

/// The first line of every file.
const VERSION_LINE: &str = "age-encryption.org/v1";
/// What the first line of any version begins with.
const ANY_VERSION: &str = "age-encryption.org/";
/// Plain bytes of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes of a chunk's tag.
const TAG_BYTES: usize = 16;
/// Letters of a full line of base64 in the header.
const LINE_LETTERS: usize = 64;
/// Longest header, bytes: what more recipients than anybody has would take.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Binds a wrapped file key to its use.
const WRAP_INFO: &[u8] = b"age-encryption.org/v1/X25519";
/// What public keys begin with.
const PUBLIC_PREFIX: Hrp = Hrp::parse_unchecked("age");
/// What secret keys begin with.
const SECRET_PREFIX: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// The secret that a file's own keys come from; overwritten when dropped.
struct FileKey([u8; 16]);

impl Drop for FileKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl FileKey {
    /// The authenticator of a header, `---` included.
    fn mac(&self, header: &str) -> [u8; 32] {
        hmac_plain(&hkdf(&self.0, &[], b"header"), header.as_bytes())
    }

    fn payload(&self, nonce: &[u8; 16]) -> ChaCha20Poly1305 {
        cipher(&Key::new(hkdf(&self.0, nonce, b"payload")))
    }
}

fn cipher(key: &Key) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.bytes().into())
}

/// A public key that files are encrypted to: `age1...`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// Parses `age1...`; white space around it is dropped. Errors: `Invalid` with code `recipient`.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = key_bytes(text.trim(), PUBLIC_PREFIX).filter(|_| !text.contains(char::is_uppercase));
        bytes.map(Recipient).ok_or_else(|| {
            Error::invalid("this is no public key of age")
                .code("recipient")
                .remedy("give the whole text that begins with age1, as `wayside carry key` or `age-keygen` printed it")
        })
    }

    /// The stanza that hands a file's key to this recipient. Errors: `Invalid` with code `recipient` for a weak key.
    fn stanza(&self, file_key: &FileKey) -> Result<String> {
        let once = Identity(Key::mint());
        let share = once.recipient();
        let shared = agree(&once, self).ok_or_else(|| {
            Error::invalid("the public key is a weak one").code("recipient").remedy("make another pair of keys")
        })?;
        let mut body = file_key.0.to_vec();
        cipher(&wrap_key(&shared, &share, self))
            .encrypt_in_place(&[0; 12].into(), b"", &mut body)
            .expect("invariant: 16 bytes are not too many");
        let text = |bytes: &[u8]| base64::encode(bytes, Alphabet::Standard);
        Ok(format!("-> X25519 {}\n{}\n", text(&share.0), text(&body)))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32>(PUBLIC_PREFIX, &self.0).expect("invariant: 32 bytes fit"))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// The secret half of a [`Recipient`]; never printed.
#[derive(Clone, Debug)]
pub struct Identity(Key);

impl Identity {
    /// A random one.
    pub fn mint() -> Self {
        Identity(Key::mint())
    }

    /// The first `AGE-SECRET-KEY-1...` of a key file's text; lines that begin with `#` are comments.
    /// Errors: `Invalid` with code `identity`.
    pub fn parse(text: &str) -> Result<Self> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
        let bytes = line.and_then(|line| key_bytes(line, SECRET_PREFIX));
        bytes.map(|bytes| Identity(Key::new(bytes))).ok_or_else(|| {
            Error::invalid("there is no secret key of age")
                .code("identity")
                .remedy("name the file that `wayside carry key` or `age-keygen` wrote")
        })
    }

    /// `AGE-SECRET-KEY-1...`, for the file its owner keeps it in.
    pub fn secret_text(&self) -> String {
        bech32::encode_upper::<Bech32>(SECRET_PREFIX, self.0.bytes()).expect("invariant: 32 bytes fit")
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        let public = SecretKey::new(*self.0.bytes()).recover_public_key();
        Recipient(*public.expect("invariant: a clamped scalar times the base point is never zero"))
    }

    /// 32 secret bytes for another use of the same secret, which `use_of` names.
    pub fn derive(&self, use_of: &[u8]) -> [u8; 32] {
        hkdf(self.0.bytes(), b"wayside", use_of)
    }

    /// The file key out of a stanza's share and body, if it was wrapped for this identity.
    fn file_key_in(&self, share: &Recipient, body: &[u8]) -> Option<FileKey> {
        let shared = agree(self, share)?;
        let mut body = body.to_vec();
        let opened =
            cipher(&wrap_key(&shared, share, &self.recipient())).decrypt_in_place(&[0; 12].into(), b"", &mut body);
        let key = opened.ok().and_then(|()| body.as_slice().try_into().ok()).map(FileKey);
        wipe(&mut body);
        key
    }
}

/// What both sides of an agreement arrive at; `None` where the public key is weak.
fn agree(ours: &Identity, theirs: &Recipient) -> Option<Key> {
    let shared = PublicKey::new(theirs.0).dh(&SecretKey::new(*ours.0.bytes())).ok()?;
    Some(Key::new(*shared))
}

fn wrap_key(shared: &Key, share: &Recipient, to: &Recipient) -> Key {
    Key::new(hkdf(shared.bytes(), &[share.0, to.0].concat(), WRAP_INFO))
}

/// The bytes of a key in bech32 under its prefix.
fn key_bytes(text: &str, prefix: Hrp) -> Option<[u8; 32]> {
    let read = CheckedHrpstring::new::<Bech32>(text).ok().filter(|read| read.hrp() == prefix)?;
    read.validate_segwit_padding().ok()?;
    read.byte_iter().collect::<Vec<u8>>().try_into().ok()
}

/// Encrypts what is written to it. Only [`Writer::finish`] makes the file whole.
pub struct Writer<W> {
    out: W,
    cipher: ChaCha20Poly1305,
    chunk: Vec<u8>,
    counter: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file for these recipients, at least one. Errors: `Invalid` with code `recipient`; `Storage`.
    pub fn start(mut out: W, to: &[Recipient]) -> Result<Self> {
        if to.is_empty() {
            return Err(Error::invalid("a file must be encrypted to somebody").code("recipient"));
        }
        let file_key = FileKey(random_bytes());
        let mut header = format!("{VERSION_LINE}\n");
        for recipient in to {
            header.push_str(&recipient.stanza(&file_key)?);
        }
        header.push_str("---");
        let mac = base64::encode(&file_key.mac(&header), Alphabet::Standard);
        let nonce: [u8; 16] = random_bytes();
        let begun = out.write_all(format!("{header} {mac}\n").as_bytes()).and_then(|()| out.write_all(&nonce));
        begun.map_err(|e| io_error("writing an encrypted file", e))?;
        let chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
        Ok(Writer { out, cipher: file_key.payload(&nonce), chunk, counter: 0 })
    }

    /// Writes the last chunk; returns what it was written to. Errors: `Storage`.
    pub fn finish(mut self) -> Result<W> {
        self.put_chunk(true).map_err(|e| io_error("writing an encrypted file", e))?;
        Ok(self.out)
    }

    fn put_chunk(&mut self, last: bool) -> io::Result<()> {
        self.cipher
            .encrypt_in_place(&nonce(self.counter, last).into(), b"", &mut self.chunk)
            .map_err(|_| io::Error::other("a chunk could not be encrypted"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.counter += 1;
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // a full chunk waits until more comes: only then it is known not to be the last
        if self.chunk.len() == CHUNK_BYTES && !bytes.is_empty() {
            self.put_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a chunk ends when it is full
    }
}

/// The nonce of a chunk: its number, and whether it is the last.
fn nonce(counter: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&counter.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

/// Decrypts what is read from it. What it hands out was authenticated; its end means that the file is whole.
pub struct Reader<R> {
    input: R,
    cipher: ChaCha20Poly1305,
    /// The plain bytes of the chunk in hand, and how many were handed out.
    chunk: Vec<u8>,
    given: usize,
    /// The first byte behind the chunk in hand: whether there is one tells the last chunk.
    next: Option<u8>,
    counter: u64,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Opens a file that one of these identities may read. Errors: `Invalid` with code `not_age`, `age_version`, `age_header`
    /// (altered) or `age_truncated`; `Denied` with code `wrong_key` where it is encrypted to somebody else; `Storage`.
    pub fn open(mut input: R, with: &[Identity]) -> Result<Self> {
        let header = Header::read(&mut input)?;
        let file_key = header.file_key(with)?;
        if !same_secret(&file_key.mac(&header.text), &header.mac) {
            return Err(altered("its header was altered").code("age_header"));
        }
        let mut nonce = [0; 16];
        fill(&mut input, &mut nonce)?;
        let mut reader = Reader {
            cipher: file_key.payload(&nonce),
            input,
            chunk: Vec::new(),
            given: 0,
            next: None,
            counter: 0,
            ended: false,
        };
        reader.next = reader.one_byte()?;
        if reader.next.is_none() {
            return Err(truncated());
        }
        Ok(reader)
    }

    fn one_byte(&mut self) -> Result<Option<u8>> {
        let mut byte = [0];
        Ok((read_up_to(&mut self.input, &mut byte)? == 1).then_some(byte[0]))
    }

    /// Takes the next chunk in hand; false behind the last. Errors: `Invalid` with code `age_altered` or `age_truncated`.
    fn next_chunk(&mut self) -> Result<bool> {
        let Some(first) = self.next.take().filter(|_| !self.ended) else { return Ok(false) };
        let mut sealed = vec![0; CHUNK_BYTES + TAG_BYTES];
        sealed[0] = first;
        let length = 1 + read_up_to(&mut self.input, &mut sealed[1..])?;
        sealed.truncate(length);
        self.next = if length == CHUNK_BYTES + TAG_BYTES { self.one_byte()? } else { None };
        let last = self.next.is_none();
        let again = if last { sealed.clone() } else { Vec::new() };
        let opened = self.cipher.decrypt_in_place(&nonce(self.counter, last).into(), b"", &mut sealed);
        if opened.is_err() {
            self.ended = true;
            let mut again = again;
            let whole =
                last && self.cipher.decrypt_in_place(&nonce(self.counter, false).into(), b"", &mut again).is_ok();
            return Err(if whole { truncated() } else { altered("it was altered, or cut off") });
        }
        if sealed.is_empty() && self.counter > 0 {
            return Err(altered("its last chunk is empty"));
        }
        self.counter += 1;
        self.ended = last;
        (self.chunk, self.given) = (sealed, 0);
        Ok(true)
    }
}

impl<R: BufRead> Read for Reader<R> {
    /// Errors: an [`Error`] inside an I/O error of kind `InvalidData`; [`reason`] gives it back.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.given == self.chunk.len() {
            match self.next_chunk() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
        let taken = bytes.len().min(self.chunk.len() - self.given);
        bytes[..taken].copy_from_slice(&self.chunk[self.given..self.given + taken]);
        self.given += taken;
        Ok(taken)
    }
}

/// Why reading failed: what [`Reader`] found, else the I/O error of `doing`.
pub fn reason(doing: impl fmt::Display, error: io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(found) => found.context(doing),
        Err(error) => io_error(doing, error),
    }
}

fn altered(what: &str) -> Error {
    Error::invalid(format!("the encrypted file cannot be trusted: {what}"))
        .code("age_altered")
        .remedy("copy it again from where it was made")
}

fn truncated() -> Error {
    Error::invalid("the encrypted file ends too early")
        .code("age_truncated")
        .remedy("copy it again from where it was made, to its end")
}

/// Reads until `bytes` is full or the input ends; how many were read.
fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match input.read(&mut bytes[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io_error("reading an encrypted file", e)),
        }
    }
    Ok(read)
}

fn fill(input: &mut impl Read, bytes: &mut [u8]) -> Result<()> {
    if read_up_to(input, bytes)? == bytes.len() { Ok(()) } else { Err(truncated()) }
}

/// A file's header: who may read it.
struct Header {
    /// All of it that is authenticated, `---` included.
    text: String,
    /// Shares and wrapped keys of the recipients of our kind.
    stanzas: Vec<(Recipient, Vec<u8>)>,
    mac: Vec<u8>,
}

impl Header {
    fn read(input: &mut impl BufRead) -> Result<Header> {
        let mut lines = Lines { input, left: HEADER_BYTES_MAX };
        let first = lines.next().map_err(|e| if e.code.starts_with("age_") { not_age() } else { e })?;
        if first != VERSION_LINE {
            return Err(if first.starts_with(ANY_VERSION) {
                Error::invalid(format!("the file is of {first:?}; {VERSION_LINE:?} is read here"))
                    .code("age_version")
                    .remedy("encrypt it with a version of age that writes v1")
            } else {
                not_age()
            });
        }
        let mut header = Header { text: format!("{first}\n"), stanzas: Vec::new(), mac: Vec::new() };
        let mut line = lines.next()?;
        loop {
            if let Some(mac) = line.strip_prefix("--- ") {
                header.text.push_str("---");
                header.mac = unbase64(mac)?;
                return Ok(header);
            }
            let arguments = line.strip_prefix("-> ").ok_or_else(bad_header)?.to_owned();
            header.text.extend([line.as_str(), "\n"]);
            let mut body = String::new();
            loop {
                line = lines.next()?;
                header.text.extend([line.as_str(), "\n"]);
                body.push_str(&line);
                if line.len() > LINE_LETTERS {
                    return Err(bad_header());
                }
                if line.len() < LINE_LETTERS {
                    break;
                }
            }
            let body = unbase64(&body)?;
            if let Some(share) = arguments.strip_prefix("X25519 ") {
                let share: [u8; 32] = unbase64(share)?.try_into().map_err(|_| bad_header())?;
                header.stanzas.push((Recipient(share), body));
            }
            line = lines.next()?;
        }
    }

    fn file_key(&self, with: &[Identity]) -> Result<FileKey> {
        let mut tried = with.iter().flat_map(|identity| self.stanzas.iter().map(move |stanza| (identity, stanza)));
        tried.find_map(|(identity, (share, body))| identity.file_key_in(share, body)).ok_or_else(|| {
            Error::denied("the file is encrypted to somebody else")
                .code("wrong_key")
                .remedy("read it where the secret key of its recipient is")
        })
    }
}

fn not_age() -> Error {
    Error::invalid("this is no file of age").code("not_age").remedy("give a file that was encrypted with age")
}

fn bad_header() -> Error {
    altered("its header does not parse").code("age_header")
}

/// Lines of a header, each without its end.
struct Lines<'a, R> {
    input: &'a mut R,
    left: usize,
}

impl<R: BufRead> Lines<'_, R> {
    fn next(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let most = u64::try_from(self.left).unwrap_or(u64::MAX);
        (&mut *self.input)
            .take(most)
            .read_until(b'\n', &mut line)
            .map_err(|e| io_error("reading an encrypted file", e))?;
        self.left -= line.len();
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(if self.left == 0 { bad_header() } else { truncated() });
        }
        let text = String::from_utf8(line).ok().filter(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b)));
        text.ok_or_else(bad_header)
    }
}

/// Base64 as the header has it: without padding.
fn unbase64(text: &str) -> Result<Vec<u8>> {
    let plain = Some(text).filter(|text| !text.contains('='));
    plain.and_then(|text| base64::decode(text, Alphabet::Standard)).ok_or_else(bad_header)
}

#[cfg(test)]
mod tests;
