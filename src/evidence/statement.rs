//! What the box signs: short texts whose first line says what they are and whose every line is one name and one value, so
//! that they can be read, written anew from the data, and checked with common tools. No keys here (`keys.rs`).

use serde::{Deserialize, Serialize};

use super::chain::Sum;
use super::keys::{BoxKey, PublicKey, Signature};
use crate::clock::UtcMillis;

/// Which box and which of its stores: every statement begins with it, so that none can be used for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Origin {
    /// Office code.
    pub office: String,
    /// Box id.
    #[serde(rename = "box")]
    pub box_id: String,
    /// Incarnation of the store.
    pub epoch: i64,
}

impl Origin {
    fn lines(&self) -> String {
        // Office and box have no white space: the configuration's patterns see to that.
        format!("office {}\nbox {}\nepoch {}\n", self.office, self.box_id, self.epoch)
    }
}

/// The end of the chain at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Head {
    /// Number of the last entry.
    pub n: i64,
    /// Its digest.
    pub sha256: Sum,
    /// When this was said.
    pub at: UtcMillis,
}

impl Head {
    /// The text that is signed.
    #[must_use]
    pub fn statement(&self, origin: &Origin) -> String {
        let from = origin.lines();
        format!("gatewatch chain head v1\n{from}n {}\nsha256 {}\nat {}\n", self.n, self.sha256, self.at.to_rfc3339())
    }

    /// Signed by the box.
    #[must_use]
    pub fn sign(self, origin: &Origin, key: &BoxKey) -> SignedHead {
        let signature = key.sign(&self.statement(origin));
        SignedHead { head: self, key: key.public(), signature }
    }
}

/// A head with its signature, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SignedHead {
    /// What is said.
    #[serde(flatten)]
    pub head: Head,
    /// Who says so.
    pub key: PublicKey,
    /// Ed25519 over the statement.
    pub signature: Signature,
}

impl SignedHead {
    /// Whether the signature is that of the key over this very head.
    #[must_use]
    pub fn holds(&self, origin: &Origin) -> bool {
        self.key.verify(&self.head.statement(origin), &self.signature.0)
    }
}

/// Item of a `key` entry: a key comes into force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyItem {
    /// The key in force from here on.
    pub key: PublicKey,
    /// The key before; `None` in the first.
    pub previous: Option<PublicKey>,
    /// When.
    pub at: UtcMillis,
    /// Who asked for it; `box` when it was the box itself.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// By the new key over the statement.
    pub signature: Signature,
    /// By the key before over the same statement. `None` in the first, and when the old key was lost: then nobody vouches for the new one.
    pub previous_signature: Option<Signature>,
}

impl KeyItem {
    /// The text that is signed by both keys.
    #[must_use]
    pub fn statement(origin: &Origin, key: PublicKey, previous: Option<PublicKey>, at: UtcMillis) -> String {
        let previous = previous.map_or("none".to_owned(), |k| k.to_string());
        let from = origin.lines();
        format!("gatewatch key hand-over v1\n{from}previous {previous}\nkey {key}\nat {}\n", at.to_rfc3339())
    }

    /// What is wrong with it, given the key in force before; `None` = nothing.
    #[must_use]
    pub fn fault(&self, origin: &Origin, before: Option<PublicKey>) -> Option<String> {
        let id = self.key.id();
        let text = Self::statement(origin, self.key, self.previous, self.at);
        if !self.key.verify(&text, &self.signature.0) {
            return Some(format!("key {id} did not sign its own hand-over"));
        }
        let before = before?;
        if self.previous != Some(before) {
            return Some(format!("key {id} does not name key {} as the one before it", before.id()));
        }
        match &self.previous_signature {
            Some(s) if before.verify(&text, &s.0) => None,
            Some(_) => Some(format!("the signature of key {} under the hand-over to key {id} is wrong", before.id())),
            None => Some(format!("key {id} took over without the signature of key {}, which was lost", before.id())),
        }
    }
}

/// What the signature of a bundle is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleStatement {
    /// Whose.
    pub origin: Origin,
    /// The end of the chain that the bundle was made from.
    pub head: Head,
    /// Id of the request.
    pub request: String,
    /// SHA-256 of `manifest.json`.
    pub manifest: Sum,
    /// Who signs.
    pub key: PublicKey,
}

impl BundleStatement {
    /// The text, which is the file `signed.txt` of a bundle.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "gatewatch evidence bundle v1\n{}n {}\nsha256 {}\nat {}\nrequest {}\nmanifest {}\nkey {}\n",
            self.origin.lines(),
            self.head.n,
            self.head.sha256,
            self.head.at.to_rfc3339(),
            self.request,
            self.manifest,
            self.key,
        )
    }

    /// Reads the text back; anything but exactly what [`BundleStatement::text`] writes is refused.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "gatewatch evidence bundle v1" {
            return None;
        }
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let origin = Origin { office: value("office")?, box_id: value("box")?, epoch: value("epoch")?.parse().ok()? };
        let head = Head {
            n: value("n")?.parse().ok()?,
            sha256: Sum::parse(&value("sha256")?).ok()?,
            at: UtcMillis::parse_rfc3339(&value("at")?).ok()?,
        };
        let (request, manifest) = (value("request")?, Sum::parse(&value("manifest")?).ok()?);
        let read = Self { origin, head, request, manifest, key: PublicKey(Sum::parse(&value("key")?).ok()?.0) };
        (read.text() == text).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::keys::KeyFolder;

    fn origin() -> Origin {
        Origin { office: "15BB".into(), box_id: "gate-01".into(), epoch: 7 }
    }

    #[test]
    fn a_head_is_of_one_box_and_one_store() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyFolder::of_store(dir.path()).make_next().unwrap();
        let head = Head { n: 3, sha256: Sum::of(b"x"), at: UtcMillis(0) };
        assert_eq!(
            head.statement(&origin()),
            format!(
                "gatewatch chain head v1\noffice 15BB\nbox gate-01\nepoch 7\nn 3\nsha256 {}\nat 1970-01-01T00:00:00.000Z\n",
                Sum::of(b"x")
            )
        );
        let signed = head.sign(&origin(), &key);
        assert!(signed.holds(&origin()) && !signed.holds(&Origin { epoch: 8, ..origin() }));
        let text = serde_json::to_string(&signed).unwrap();
        assert_eq!(serde_json::from_str::<SignedHead>(&text).unwrap(), signed);
    }

    #[test]
    fn a_bundles_statement_is_read_back_and_nothing_else_is() {
        let statement = BundleStatement {
            origin: origin(),
            head: Head { n: 3, sha256: Sum::of(b"x"), at: UtcMillis(1) },
            request: "01J".into(),
            manifest: Sum::of(b"m"),
            key: PublicKey([7; 32]),
        };
        let text = statement.text();
        assert_eq!(BundleStatement::parse(&text), Some(statement));
        for bad in
            [text.replace("n 3", "n 03"), text.replace("v1", "v2"), format!("{text}more\n"), text[5..].to_owned()]
        {
            assert_eq!(BundleStatement::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn both_keys_sign_a_hand_over() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let old = KeyFolder::of_store(a.path()).make_next().unwrap();
        let new = KeyFolder::of_store(b.path()).make_next().unwrap();
        let text = KeyItem::statement(&origin(), new.public(), Some(old.public()), UtcMillis(5));
        let good = KeyItem {
            key: new.public(),
            previous: Some(old.public()),
            at: UtcMillis(5),
            operator: "box".into(),
            reason: "yearly".into(),
            signature: new.sign(&text),
            previous_signature: Some(old.sign(&text)),
        };
        assert_eq!(good.fault(&origin(), Some(old.public())), None);
        let lost = KeyItem { previous_signature: None, ..good.clone() };
        assert!(lost.fault(&origin(), Some(old.public())).unwrap().contains("which was lost"));
        let forged = KeyItem { previous_signature: Some(new.sign(&text)), ..good.clone() };
        assert!(forged.fault(&origin(), Some(old.public())).unwrap().contains("is wrong"));
        let other = KeyItem { at: UtcMillis(6), ..good.clone() };
        assert!(other.fault(&origin(), Some(old.public())).unwrap().contains("did not sign"));
        assert!(good.fault(&origin(), Some(new.public())).unwrap().contains("does not name"));
    }
}
