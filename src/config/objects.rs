//! Keys of a store of objects, at the agent (`footage.store`) and at the desk (`store`), and what they mean together.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretSource;

/// Where clips are kept outside the boxes, as the boxes' `footage.store` says. Only read here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsConfig {
    /// `s3://bucket/prefix` of an S3-compatible store, or `file:///folder`, which must be there.
    pub url: String,
    /// Address of the S3 service, `https://host:port`; Amazon's own of `region` without it.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` without it, which most other services take.
    pub region: Option<String>,
    /// Id of the access key of S3.
    pub access_key: SecretSource,
    /// Secret of the access key of S3.
    pub secret_key: SecretSource,
    /// PEM file of the authority that signed the certificate of `endpoint`; system authorities else.
    pub ca_file: Option<PathBuf>,
    /// Also `http://` in `endpoint`, in a network of its own.
    pub allow_http: bool,
}

/// Where clips go, to outlive the box. Clips of cameras with privacy masks go masked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FootageStoreConfig {
    /// `s3://bucket/prefix` of an S3-compatible store, or `file:///folder`, which must be there.
    pub url: String,
    /// Address of the S3 service, `https://host:port`; Amazon's own of `region` without it.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` without it, which most other services take.
    pub region: Option<String>,
    /// Id of the access key of S3.
    pub access_key: SecretSource,
    /// Secret of the access key of S3.
    pub secret_key: SecretSource,
    /// PEM file of the authority that signed the certificate of `endpoint`; system authorities else.
    pub ca_file: Option<PathBuf>,
    /// Also `http://` in `endpoint`, in a network of its own.
    pub allow_http: bool,
    /// Clips of events from this severity on are kept there, beside everything that is held.
    #[schemars(range(min = 1, max = 4))]
    pub min_severity: u8,
    /// Bytes a second that are sent at most.
    #[schemars(range(min = 10_000))]
    pub max_bytes_per_s: u64,
}

impl Default for FootageStoreConfig {
    fn default() -> Self {
        let ObjectsConfig { url, endpoint, region, access_key, secret_key, ca_file, allow_http } =
            ObjectsConfig::default();
        Self {
            url,
            endpoint,
            region,
            access_key,
            secret_key,
            ca_file,
            allow_http,
            min_severity: 3,
            max_bytes_per_s: 1_000_000,
        }
    }
}

impl FootageStoreConfig {
    /// The store itself.
    #[must_use]
    pub fn objects(&self) -> ObjectsConfig {
        ObjectsConfig {
            url: self.url.clone(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            ca_file: self.ca_file.clone(),
            allow_http: self.allow_http,
        }
    }
}

/// What an address of a store means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectsPlace {
    /// Of an S3 service.
    Bucket {
        /// Its name.
        bucket: String,
        /// Below it lies everything; may be empty.
        prefix: String,
    },
    /// A folder of this machine.
    Folder(PathBuf),
}

impl ObjectsConfig {
    /// What `url` means.
    ///
    /// # Errors
    /// What is allowed.
    pub fn place(&self) -> Result<ObjectsPlace, String> {
        let plain = |text: &str| !text.contains(['@', '?', '#', '%', '\\']) && !text.contains(char::is_whitespace);
        if let Some(rest) = self.url.strip_prefix("s3://").filter(|rest| plain(rest)) {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/');
            if !bucket.is_empty() && !bucket.contains(':') && prefix.split('/').all(|p| p != ".." && p != ".") {
                return Ok(ObjectsPlace::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
            }
        }
        match self.url.strip_prefix("file://") {
            Some(folder) if folder.starts_with('/') => Ok(ObjectsPlace::Folder(folder.into())),
            _ => Err("must be like \"s3://bucket/prefix\" or \"file:///srv/clips\", without keys".into()),
        }
    }

    /// What is wrong, by key.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let mut say = |key, what: &str| found.push((key, what.to_owned()));
        let none = SecretSource::default();
        let place = self.place();
        for (key, source) in [("access_key", &self.access_key), ("secret_key", &self.secret_key)] {
            match (&place, source) {
                (_, SecretSource { file: Some(_), env: Some(_) }) => say(key, "give either `file` or `env`, not both"),
                (Ok(ObjectsPlace::Bucket { .. }), source) if *source == none => {
                    say(key, "is needed with s3:// (file or env)");
                }
                _ => {}
            }
        }
        match &place {
            Err(why) => say("url", why),
            Ok(ObjectsPlace::Bucket { .. }) => self.endpoint_problem(&mut say),
            Ok(ObjectsPlace::Folder(_)) => {
                let given = [
                    ("endpoint", self.endpoint.is_some()),
                    ("region", self.region.is_some()),
                    ("access_key", self.access_key != none),
                    ("secret_key", self.secret_key != none),
                    ("ca_file", self.ca_file.is_some()),
                    ("allow_http", self.allow_http),
                ];
                given.into_iter().filter(|(_, is)| *is).for_each(|(key, _)| say(key, "has no effect with file://"));
            }
        }
        found
    }

    fn endpoint_problem(&self, say: &mut impl FnMut(&'static str, &str)) {
        let Some(endpoint) = self.endpoint.as_deref() else { return };
        let host = ["http://", "https://"].iter().find_map(|s| endpoint.strip_prefix(s));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => {
                if endpoint.starts_with("http://") && !self.allow_http {
                    say(
                        "endpoint",
                        "sends clips unencrypted: use https://, or set `allow_http = true` in a network of its own",
                    );
                }
            }
            _ => say("endpoint", "must be an address like \"https://s3.example:9000\", without keys and query"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> ObjectsConfig {
        let secret = SecretSource { file: None, env: Some("X".into()) };
        ObjectsConfig { access_key: secret.clone(), secret_key: secret, ..ObjectsConfig::default() }
    }

    #[test]
    fn addresses_are_buckets_and_folders_and_hold_no_keys() {
        let place = |url: &str| ObjectsConfig { url: url.into(), ..keys() }.place();
        let bucket =
            |bucket: &str, prefix: &str| Ok(ObjectsPlace::Bucket { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!(place("s3://clips"), bucket("clips", ""));
        assert_eq!(place("s3://clips/a/b/"), bucket("clips", "a/b"));
        assert_eq!(place("file:///srv/clips"), Ok(ObjectsPlace::Folder("/srv/clips".into())));
        for bad in ["", "s3://", "s3:///a", "s3://key:hunter2@clips", "s3://c/../d", "file://srv", "http://h/b", "/srv"]
        {
            let said = place(bad).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_named_by_key() {
        let named = |c: &ObjectsConfig| c.problems().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        let s3 = ObjectsConfig { url: "s3://clips".into(), ..keys() };
        assert!(named(&s3).is_empty());
        let plain = ObjectsConfig { endpoint: Some("http://10.1.2.3:9000".into()), ..s3.clone() };
        assert_eq!(named(&plain), ["endpoint"]);
        assert!(named(&ObjectsConfig { allow_http: true, ..plain }).is_empty());
        assert_eq!(named(&ObjectsConfig { endpoint: Some("10.1.2.3".into()), ..s3 }), ["endpoint"]);
        let lacking = ObjectsConfig { url: "s3://clips".into(), ..ObjectsConfig::default() };
        assert_eq!(named(&lacking), ["access_key", "secret_key"]);
        assert_eq!(named(&ObjectsConfig { url: "file:///srv".into(), ..keys() }), ["access_key", "secret_key"]);
    }
}
