//! Hashes, keyed hashes and signatures. Owns SHA-256, HMAC and Ed25519; must never choose what is hashed.
//! Invariant: secrets are compared in constant time.

use ed25519_compact::{KeyPair, PublicKey, Seed, Signature};
use ring::digest::{Context, SHA256, digest};
use ring::hmac;
use subtle::ConstantTimeEq;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Hash {
    fixed(digest(&SHA256, bytes).as_ref())
}

fn fixed(hash: &[u8]) -> Hash {
    hash.try_into().expect("invariant: SHA-256 has 32 bytes")
}

/// SHA-256 fed piece by piece.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Hasher(Context::new(&SHA256))
    }
}

impl Hasher {
    /// An empty hasher.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they are.
    pub fn add(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds bytes behind their length (u32, big endian), so that neighbouring fields cannot run together.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.add(bytes)
    }

    /// The hash of all that was added.
    pub fn finish(self) -> Hash {
        fixed(self.0.finish().as_ref())
    }
}

/// A secret key for keyed hashes; keeps the expanded state so that each use costs one block less.
#[derive(Clone)]
pub struct HashKey {
    mac: hmac::Key,
    short: [u64; 2],
}

impl HashKey {
    /// A key from 32 secret bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut key = HashKey { mac, short: [0; 2] };
        let derived = key.hmac(&[b"short-hashes"]);
        key.short = [word(&derived[..8]), word(&derived[8..16])];
        key
    }

    /// HMAC-SHA256 over the parts, each behind its length.
    pub fn hmac(&self, parts: &[&[u8]]) -> Hash {
        let mut mac = hmac::Context::with_key(&self.mac);
        for part in parts {
            mac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            mac.update(part);
        }
        fixed(mac.sign().as_ref())
    }

    /// A keyed hash of 64 bits over the parts, each behind its length (SipHash-2-4), as the signed number SQLite keeps: for
    /// telling things apart, not for proofs; a tenth of [`HashKey::hmac`]'s work.
    pub fn hash64(&self, parts: &[&[u8]]) -> i64 {
        let mut hash = self.short();
        for part in parts {
            hash.field(part);
        }
        hash.finish()
    }

    /// [`HashKey::hash64`] fed part by part.
    pub fn short(&self) -> ShortHash {
        ShortHash(SipHash::new(self.short))
    }
}

/// A keyed hash of 64 bits while it is fed ([`HashKey::short`]).
pub struct ShortHash(SipHash);

impl ShortHash {
    /// Adds a part behind its length.
    pub fn field(&mut self, part: &[u8]) {
        self.0.add(u64::from(u32::try_from(part.len()).unwrap_or(u32::MAX)), 4);
        self.0.write(part);
    }

    /// The hash of all parts.
    pub fn finish(self) -> i64 {
        i64::from_le_bytes(self.0.finish().to_le_bytes())
    }
}

/// HMAC-SHA256 over the bytes as they are (RFC 2104): what other programs compute too.
pub fn hmac_plain(secret: &[u8], bytes: &[u8]) -> Hash {
    fixed(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes).as_ref())
}

/// 32 bytes of key out of a secret (HKDF with SHA-256, RFC 5869): another `salt` or `info`, another key.
pub fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> [u8; 32] {
    // a missing salt is one of zeros, which is what HMAC makes of an empty key
    hmac_plain(&hmac_plain(salt, secret), &[info, &[1]].concat())
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012). Its values are stored, so it must never change; the standard library's own
/// may, and cannot be given a key.
struct SipHash {
    v: [u64; 4],
    /// The bytes that fill no block yet, the first lowest; zeros above them.
    tail: u64,
    /// Their number.
    held: usize,
    length: usize,
}

impl SipHash {
    fn new(key: [u64; 2]) -> Self {
        let [k0, k1] = key;
        let v = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
        SipHash { v: [v[0] ^ k0, v[1] ^ k1, v[2] ^ k0, v[3] ^ k1], tail: 0, held: 0, length: 0 }
    }

    /// Adds up to eight bytes, the first lowest, with zeros above them.
    fn add(&mut self, bytes: u64, count: usize) {
        let bits = 8 * self.held;
        self.length += count;
        self.held += count;
        self.tail |= bytes << bits;
        if self.held >= 8 {
            block(&mut self.v, self.tail);
            self.tail = bytes >> 1 >> (63 - bits); // in two steps, since one may be of 64 bits
            self.held -= 8;
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        // what `add` does, with all of it at hand: this is where the time goes
        let (mut v, mut tail, bits) = (self.v, self.tail, 8 * self.held);
        for eight in &mut words {
            let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
            block(&mut v, tail | word << bits);
            tail = word >> 1 >> (63 - bits);
        }
        (self.v, self.tail) = (v, tail);
        let rest = words.remainder();
        self.length += bytes.len() - rest.len();
        match rest {
            [] => {}
            [a, b, c, d, more @ ..] => {
                self.add(u64::from(u32::from_le_bytes([*a, *b, *c, *d])) | word(more) << 32, rest.len());
            }
            few => self.add(word(few), few.len()),
        }
    }

    fn finish(mut self) -> u64 {
        block(&mut self.v, (self.length as u64) << 56 | self.tail);
        self.v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut self.v);
        }
        self.v.into_iter().fold(0, |all, v| all ^ v)
    }
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *v;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *v = [a, b, c, d];
}

#[inline(always)]
fn block(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// Are two secrets equal? Takes the same time whatever they hold.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    bool::from(sha256(a).ct_eq(&sha256(b)))
}

/// An Ed25519 key that signs.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// The key of 32 secret bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        SigningKey(KeyPair::from_seed(Seed::new(seed)))
    }

    /// 64 bytes of signature over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        *self.0.sk.sign(message, None)
    }

    /// The 32 bytes others verify with.
    pub fn public(&self) -> [u8; 32] {
        *self.0.pk
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Did the owner of `public` sign `message`?
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    PublicKey::new(*public).verify(message, &Signature::new(*signature)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_abc_is_the_published_one() {
        assert_eq!(sha256(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        let mut piecewise = Hasher::new();
        piecewise.add(b"a").add(b"bc");
        assert_eq!(piecewise.finish(), sha256(b"abc"));
    }

    #[test]
    fn hmac_is_that_of_the_standard() {
        // RFC 4231, test case 2
        let told = hmac_plain(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(told[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        let part = [&5u32.to_be_bytes()[..], b"parts"].concat();
        assert_eq!(
            HashKey::new(&[4; 32]).hmac(&[b"parts"]),
            hmac_plain(&[4; 32], &part),
            "each part behind its length"
        );
    }

    #[test]
    fn short_hashes_are_the_published_siphash() {
        // the example of the paper's appendix: key 00..0f, message 00..0e
        let key = [word(&[0, 1, 2, 3, 4, 5, 6, 7]), word(&[8, 9, 10, 11, 12, 13, 14, 15])];
        let message: Vec<u8> = (0..15).collect();
        for cuts in [&[15][..], &[1, 14], &[7, 8], &[8, 7], &[3, 3, 3, 3, 3]] {
            let (mut sip, mut rest) = (SipHash::new(key), &message[..]);
            for cut in cuts {
                let (part, after) = rest.split_at(*cut);
                sip.write(part);
                rest = after;
            }
            assert_eq!(sip.finish(), 0xa129_ca61_49be_45e5, "{cuts:?}");
        }
    }

    #[test]
    fn however_it_is_fed_a_short_hash_is_that_of_all_bytes_in_one_piece() {
        let seed = u64::from_be_bytes(crate::base::id::random_bytes()) | 1;
        let mut state = seed;
        let mut below = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % n
        };
        let key = HashKey::new(&[3; 32]);
        for _ in 0..2_000 {
            let parts: Vec<Vec<u8>> =
                (0..below(6)).map(|_| (0..below(30)).map(|_| below(256) as u8).collect()).collect();
            let mut whole = Vec::new();
            for part in &parts {
                whole.extend_from_slice(&(part.len() as u32).to_le_bytes());
                whole.extend_from_slice(part);
            }
            let mut sip = SipHash::new(key.short);
            whole.chunks(8).for_each(|some| sip.add(word(some), some.len()));
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            assert_eq!(key.hash64(&parts) as u64, sip.finish(), "seed {seed}");
        }
    }

    #[test]
    fn derived_keys_are_those_of_the_rfc() {
        // RFC 5869, test cases 1 and 3: the first 32 of 42 bytes
        let salt: Vec<u8> = (0..13).collect();
        let info: Vec<u8> = (0xf0..0xfa).collect();
        let first = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        let third = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(crate::base::text::hex(&hkdf(&[0x0b; 22], &salt, &info)), first);
        assert_eq!(crate::base::text::hex(&hkdf(&[0x0b; 22], &[], &[])), third);
    }

    #[test]
    fn fields_cannot_run_together() {
        let hash = |a: &[u8], b: &[u8]| {
            let mut h = Hasher::new();
            h.field(a).field(b);
            h.finish()
        };
        assert_ne!(hash(b"ab", b"c"), hash(b"a", b"bc"));
    }

    #[test]
    fn a_signature_holds_for_its_message_only() {
        let key = SigningKey::from_seed([7; 32]);
        let signature = key.sign(b"sealed");
        assert!(verify(&key.public(), b"sealed", &signature));
        assert!(!verify(&key.public(), b"sealer", &signature));
    }

    #[test]
    fn keyed_hashes_depend_on_the_key() {
        let (a, b) = (HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        assert_eq!(a.hash64(&[b"x"]), a.hash64(&[b"x"]));
        assert_ne!(a.hash64(&[b"x"]), b.hash64(&[b"x"]));
        assert!(same_secret(b"token", b"token") && !same_secret(b"token", b"tokem"));
    }
}
