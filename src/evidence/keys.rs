//! The box's Ed25519 key: its file, its public half, signing and checking. The private half stays in a file of mode 0600 in
//! the store's folder and in this type; it is never logged and has no text form. What is signed is in `statement.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::chain::Sum;

/// The key in force, PKCS#8 in DER.
const CURRENT: &str = "box.pk8";
/// The key to come, while a rotation is under way.
const NEXT: &str = "box-next.pk8";
/// DER of a SubjectPublicKeyInfo up to the 32 bytes of an Ed25519 key (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The disk says no.
    #[error("cannot {action} the key file {path}: {source}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read it.
    #[error("the key file {path} can be read by others (mode {mode:03o}); run `chmod 600 {path}`, and `gatewatch evidence rotate-key` if somebody may have read it", path = path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Damaged, or something else.
    #[error("the key file {path} holds no Ed25519 key in PKCS#8; restore it from a copy, or move it away: the box then makes a new key and says that the old one does not vouch for it", path = path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// No randomness.
    #[error("the system gave no random numbers for a key")]
    Random,
}

/// A public key; 64 hex digits in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Short name: the first 16 hex digits of the SHA-256 of its 32 bytes.
    #[must_use]
    pub fn id(&self) -> String {
        Sum::of(&self.0).to_string()[..16].to_owned()
    }

    /// As other tools read it (RFC 7468).
    #[must_use]
    pub fn to_pem(&self) -> String {
        use base64::Engine as _;
        let der = [SPKI.as_slice(), &self.0].concat();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// Reads PEM or 64 hex digits.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        use base64::Engine as _;
        let text = text.trim();
        if let Ok(sum) = Sum::parse(text) {
            return Ok(Self(sum.0));
        }
        let body = text.strip_prefix("-----BEGIN PUBLIC KEY-----").and_then(|t| t.split("-----END").next());
        let body: String = body.unwrap_or_default().split_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
        let key = der.strip_prefix(SPKI.as_slice()).and_then(|k| k.try_into().ok());
        key.map(Self).ok_or_else(|| "this is neither an Ed25519 public key in PEM nor 64 hex digits".to_owned())
    }

    /// Whether `signature` is this key's over `text`.
    #[must_use]
    pub fn verify(&self, text: &str, signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(text.as_bytes(), signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Sum::deserialize(d).map(|s| Self(s.0))
    }
}

impl schemars::JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

/// A signature; hex in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(pub Vec<u8>);

impl Serialize for Signature {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(d)?).map(Self).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Signature {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Signature".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{128}$"})
    }
}

/// The private key.
pub struct BoxKey(Ed25519KeyPair);

impl std::fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BoxKey(public {})", self.public().id())
    }
}

impl BoxKey {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs a text. Ed25519 is deterministic: the same text gives the same signature.
    #[must_use]
    pub fn sign(&self, text: &str) -> Signature {
        Signature(self.0.sign(text.as_bytes()).as_ref().to_vec())
    }
}

/// The folder of the key files.
#[derive(Debug, Clone)]
pub struct KeyFolder(PathBuf);

impl KeyFolder {
    /// In the folder of a store.
    #[must_use]
    pub fn of_store(dir: &Path) -> Self {
        Self(dir.join("keys"))
    }

    /// The key in force; `None` when there is no file.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn current(&self) -> Result<Option<BoxKey>, KeyError> {
        read(&self.0.join(CURRENT))
    }

    /// The key of a rotation that is under way.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn next(&self) -> Result<Option<BoxKey>, KeyError> {
        read(&self.0.join(NEXT))
    }

    /// Makes the key to come and its file. It is in force after [`KeyFolder::adopt_next`].
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn make_next(&self) -> Result<BoxKey, KeyError> {
        let path = self.0.join(NEXT);
        let io = |action| move |source| KeyError::Io { path: self.0.join(NEXT), action, source };
        fs::create_dir_all(&self.0).map_err(io("make the folder of"))?;
        self.drop_next()?;
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io("create"))?;
        file.write_all(pkcs8.as_ref()).and_then(|()| file.sync_all()).map_err(io("write"))?;
        sync(&self.0)?;
        read(&path)?.ok_or(KeyError::Damaged { path })
    }

    /// The key to come replaces the one in force, whose private half is gone with that.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn adopt_next(&self) -> Result<(), KeyError> {
        let path = self.0.join(CURRENT);
        fs::rename(self.0.join(NEXT), &path).map_err(|source| KeyError::Io { path, action: "replace", source })?;
        sync(&self.0)
    }

    /// Removes the key of a rotation that did not take place.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn drop_next(&self) -> Result<(), KeyError> {
        let path = self.0.join(NEXT);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(KeyError::Io { path, action: "remove", source }),
            _ => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Option<BoxKey>, KeyError> {
    let io = |source| KeyError::Io { path: path.into(), action: "read", source };
    let mut file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io)?,
    };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Open { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let pair = Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| KeyError::Damaged { path: path.into() })?;
    Ok(Some(BoxKey(pair)))
}

fn sync(folder: &Path) -> Result<(), KeyError> {
    let done = File::open(folder).and_then(|f| f.sync_all());
    done.map_err(|source| KeyError::Io { path: folder.into(), action: "sync the folder of", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_kept_to_its_owner_and_signs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = KeyFolder::of_store(dir.path());
        assert!(folder.current().unwrap().is_none());
        let made = folder.make_next().unwrap();
        folder.adopt_next().unwrap();
        let key = folder.current().unwrap().unwrap();
        assert_eq!(key.public(), made.public());
        let path = dir.path().join("keys/box.pk8");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let signature = key.sign("text");
        assert_eq!(signature, made.sign("text"), "deterministic");
        assert!(key.public().verify("text", &signature.0) && !key.public().verify("texT", &signature.0));
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.public().id()) && shown.len() < 40, "{shown}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = folder.current().unwrap_err().to_string();
        assert!(open.contains("mode 640") && open.contains("chmod 600"), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"nonsense").unwrap();
        assert!(matches!(folder.current(), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn public_keys_travel_as_pem_and_hex() {
        let dir = tempfile::tempdir().unwrap();
        let public = KeyFolder::of_store(dir.path()).make_next().unwrap().public();
        assert_eq!(PublicKey::parse(&public.to_pem()).unwrap(), public);
        assert_eq!(PublicKey::parse(&format!("{public}\n")).unwrap(), public);
        for bad in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "abc"] {
            assert!(PublicKey::parse(bad).is_err(), "{bad}");
        }
    }
}
