//! Secrets: read from a file or an environment variable, never printed.

use super::SecretSource;

/// A password or token. `Debug` and logs show `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one place that must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl SecretSource {
    /// Reads the secret; `None` when neither source is given.
    ///
    /// # Errors
    /// Names the file or variable that cannot be read or is empty, or says that both are given.
    pub fn resolve(&self) -> Result<Option<Secret>, String> {
        let value = match (&self.file, &self.env) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err("give either `file` or `env`, not both".into()),
            (Some(path), None) => std::fs::read_to_string(path)
                .map_err(|e| format!("cannot read the secret file {}: {e}", path.display()))?,
            (None, Some(name)) => {
                std::env::var(name).map_err(|_| format!("the environment variable {name} is not set (or not UTF-8)"))?
            }
        };
        let value = value.trim_end_matches(['\r', '\n']).to_owned();
        if value.is_empty() {
            return Err("the secret is empty".into());
        }
        Ok(Some(Secret::new(value)))
    }
}
