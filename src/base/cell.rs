//! Sealing of personal values. Owns the ciphers: XChaCha20-Poly1305 under a key we hold, and a sealed box to somebody's public
//! key (X25519). Must never choose a key, keep one, or say why opening failed. Invariant: what was sealed for one place opens
//! at that place only, and a nonce is used once.
//!
//! A cell is `nonce (24) | ciphertext | tag (16)`. A box is `version (1) | ephemeral public key (32) | ciphertext | tag (16)`;
//! the key of a box serves that box alone, so its nonce is zero.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_compact::x25519::{PublicKey, SecretKey};
use zeroize::Zeroize;

use crate::base::digest::HashKey;
use crate::base::error::{Error, Result};
use crate::base::id::random_bytes;
use crate::base::text::{hex, unhex};

/// Bytes of a nonce in front of each cell.
const NONCE_BYTES: usize = 24;
/// Bytes of the tag at the end of a cell or a box.
const TAG_BYTES: usize = 16;
/// By how many bytes a cell is longer than what it holds.
pub const CELL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// The first byte of a box; another layout takes another.
const BOX_VERSION: u8 = 1;
/// By how many bytes a box is longer than what it holds.
pub const BOX_OVERHEAD_BYTES: usize = 1 + 32 + TAG_BYTES;

/// A symmetric key of 32 bytes; overwritten in memory when dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A random key.
    pub fn mint() -> Self {
        Key(random_bytes())
    }

    /// The key of 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// Its bytes, for whoever wraps or writes it.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Where a cell stands: moved to another row, column or table it does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// Table.
    pub table: &'a str,
    /// Column.
    pub column: &'a str,
    /// What tells the row from all others of its table.
    pub row: i64,
}

impl Place<'_> {
    /// The bytes a cell is bound to; each text behind its length, so that none runs into the next.
    fn bound(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.table.len() + self.column.len() + 16);
        for text in [self.table, self.column] {
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(self.row.to_be_bytes());
        bytes
    }
}

/// Seals a value for its place: [`CELL_OVERHEAD_BYTES`] longer than the value.
pub fn seal(key: &Key, place: Place<'_>, value: &[u8]) -> Vec<u8> {
    let nonce: [u8; NONCE_BYTES] = random_bytes();
    let mut cell = Vec::with_capacity(value.len() + CELL_OVERHEAD_BYTES);
    cell.extend(nonce);
    cell.extend(encrypt(key, &nonce, &place.bound(), value));
    cell
}

/// Opens a cell at its place. Errors: `Conflict` with code `sealed` if key or place are not its own, or it was changed.
pub fn open(key: &Key, place: Place<'_>, cell: &[u8]) -> Result<Vec<u8>> {
    let (nonce, rest) = cell.split_first_chunk::<NONCE_BYTES>().ok_or_else(unopened)?;
    decrypt(key, nonce, &place.bound(), rest)
}

/// Opens a cell that holds a key. Errors: as [`open`].
pub fn open_key(key: &Key, place: Place<'_>, cell: &[u8]) -> Result<Key> {
    let mut bytes = open(key, place, cell)?;
    let opened = <[u8; 32]>::try_from(bytes.as_slice()).map(Key::new).map_err(|_| unopened());
    wipe(&mut bytes);
    opened
}

/// Overwrites a secret in memory.
pub fn wipe(bytes: &mut [u8]) {
    bytes.zeroize();
}

/// Somebody's public key, to which values are sealed that only they can open. Its text is 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl Recipient {
    /// The key of 32 public bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Recipient(bytes)
    }

    /// Parses 64 hex digits; white space around them is dropped. Errors: `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        unhex(text.trim()).map(Recipient).map_err(|_| {
            Error::invalid("a recipient's public key is not 64 hex digits")
                .code("recipient")
                .remedy("give the public key as the recipient printed it")
        })
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// The secret half of a [`Recipient`]'s key.
#[derive(Clone, Debug)]
pub struct RecipientKey(Key);

impl RecipientKey {
    /// A random one.
    pub fn mint() -> Self {
        RecipientKey(Key::mint())
    }

    /// The key of 32 secret bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        RecipientKey(Key::new(bytes))
    }

    /// Parses 64 hex digits; white space around them is dropped. Errors: `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        unhex(text.trim()).map(RecipientKey::new).map_err(|_| {
            Error::invalid("a recipient's secret key is not 64 hex digits")
                .code("recipient_key")
                .remedy("name the file that holds the secret key, nothing else in it")
        })
    }

    /// The secret as 64 hex digits, for the file its owner keeps it in.
    pub fn secret_text(&self) -> String {
        hex(self.0.bytes())
    }

    /// The public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(
            *SecretKey::new(*self.0.bytes())
                .recover_public_key()
                .expect("invariant: a clamped scalar times the base point is never zero"),
        )
    }
}

/// Seals a value so that only the recipient opens it; `context` (what it is, and of whom) is bound to it and must be given
/// again. [`BOX_OVERHEAD_BYTES`] longer than the value. Errors: `Invalid` if the public key is a weak one.
pub fn seal_to(to: &Recipient, context: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    let once = RecipientKey::mint();
    let public = once.recipient();
    let key = agreed(to, &once, &public, to)?;
    let mut sealed = Vec::with_capacity(value.len() + BOX_OVERHEAD_BYTES);
    sealed.push(BOX_VERSION);
    sealed.extend(public.bytes());
    sealed.extend(encrypt(&key, &[0; NONCE_BYTES], context, value));
    Ok(sealed)
}

/// Opens what [`seal_to`] sealed. Errors: `Conflict` with code `sealed` if key or context are not its own, or it was changed.
pub fn open_sealed(with: &RecipientKey, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let rest = sealed.strip_prefix(&[BOX_VERSION]).ok_or_else(unopened)?;
    let (public, rest) = rest.split_first_chunk::<32>().ok_or_else(unopened)?;
    let public = Recipient(*public);
    let key = agreed(&public, with, &public, &with.recipient()).map_err(|_| unopened())?;
    decrypt(&key, &[0; NONCE_BYTES], context, rest)
}

/// The key both sides of a box arrive at: bound to the ephemeral key and to the recipient's.
fn agreed(theirs: &Recipient, ours: &RecipientKey, ephemeral: &Recipient, to: &Recipient) -> Result<Key> {
    let shared = PublicKey::new(theirs.0).dh(&SecretKey::new(*ours.0.bytes())).map_err(|_| {
        Error::invalid("a recipient's public key is a weak one").code("recipient").remedy("mint another key pair")
    })?;
    Ok(Key::new(HashKey::new(&shared).hmac(&[b"wayside box 1", ephemeral.bytes(), to.bytes()])))
}

fn encrypt(key: &Key, nonce: &[u8; NONCE_BYTES], bound: &[u8], value: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(key.bytes().into())
        .encrypt(&XNonce::from(*nonce), Payload { msg: value, aad: bound })
        .expect("invariant: a value is shorter than 256 GiB")
}

fn decrypt(key: &Key, nonce: &[u8; NONCE_BYTES], bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    XChaCha20Poly1305::new(key.bytes().into())
        .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound })
        .map_err(|_| unopened())
}

fn unopened() -> Error {
    Error::conflict("a sealed value does not open with this key at this place")
        .code("sealed")
        .remedy("the key is another one, or the value was changed or moved; restore both from one backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'_> = Place { table: "personal", column: "value", row: 7 };

    #[test]
    fn a_cell_opens_with_its_key_at_its_place_only() {
        let key = Key::mint();
        let cell = seal(&key, HERE, "Zoë".as_bytes());
        assert_eq!(cell.len(), "Zoë".len() + CELL_OVERHEAD_BYTES);
        assert_eq!(open(&key, HERE, &cell).unwrap(), "Zoë".as_bytes());
        for elsewhere in [
            Place { row: 8, ..HERE },
            Place { column: "field", ..HERE },
            Place { table: "identities", ..HERE },
            Place { table: "persona", column: "lvalue", ..HERE },
        ] {
            assert_eq!(open(&key, elsewhere, &cell).unwrap_err().code, "sealed", "{elsewhere:?}");
        }
        assert!(open(&Key::mint(), HERE, &cell).is_err());
    }

    #[test]
    fn each_changed_or_missing_byte_is_noticed() {
        let key = Key::mint();
        let cell = seal(&key, HERE, b"value");
        for at in 0..cell.len() {
            let mut changed = cell.clone();
            changed[at] ^= 1;
            assert!(open(&key, HERE, &changed).is_err(), "byte {at}");
            assert!(open(&key, HERE, &cell[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn equal_values_seal_to_different_cells() {
        let key = Key::mint();
        assert_ne!(seal(&key, HERE, b"same"), seal(&key, HERE, b"same"));
    }

    #[test]
    fn a_box_opens_for_its_recipient_and_context_only() {
        let (anna, bert) = (RecipientKey::mint(), RecipientKey::mint());
        let sealed = seal_to(&anna.recipient(), b"proof 12", b"what was agreed").unwrap();
        assert_eq!(sealed.len(), b"what was agreed".len() + BOX_OVERHEAD_BYTES);
        assert_eq!(open_sealed(&anna, b"proof 12", &sealed).unwrap(), b"what was agreed");
        assert!(open_sealed(&anna, b"proof 13", &sealed).is_err());
        assert!(open_sealed(&bert, b"proof 12", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            // X25519 takes no notice of the top bit of a public key, but the agreed key is bound to all of it
            assert!(open_sealed(&anna, b"proof 12", &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn public_keys_are_those_of_x25519() {
        // reckoned apart from this program, from RFC 7748's formulas
        let secret: Vec<u8> = (0..32).collect();
        let public = RecipientKey::new(secret.try_into().unwrap()).recipient().to_string();
        assert_eq!(public, "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f");
    }

    #[test]
    fn weak_public_keys_are_refused() {
        assert_eq!(seal_to(&Recipient::new([0; 32]), b"", b"x").unwrap_err().code, "recipient");
    }

    #[test]
    fn keys_have_a_text_and_read_back() {
        let key = RecipientKey::mint();
        assert_eq!(Recipient::parse(&format!(" {}\n", key.recipient())).unwrap(), key.recipient());
        assert_eq!(RecipientKey::parse(&key.secret_text()).unwrap().recipient(), key.recipient());
        assert_eq!(Recipient::parse("age1abc").unwrap_err().code, "recipient");
        assert_eq!(format!("{key:?}"), "RecipientKey(Key(..))");
    }
}
