//! The boxes over HTTP, for what is too large for messages: their footage, asked for when somebody wants to see it. What
//! is asked for whom is decided in `web/footage.rs`.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::Value;

use super::config::BoxConfig;

/// A box that does not take the connection within this is away.
const CONNECT: Duration = Duration::from_secs(4);
/// A box that sends nothing for this long is away. Long, since a masked copy is made before its first byte is sent.
const SILENT: Duration = Duration::from_secs(120);
/// Largest answer that is read as a whole, bytes.
const MAX_JSON_BYTES: usize = 4 * 1024 * 1024;

/// Why a box gave nothing; key of a sentence in `words.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BoxError {
    /// The configuration does not say where it is.
    NoAddress,
    /// Nobody answers there.
    Away,
    /// It does not know the token.
    Refused,
    /// It does not record.
    NotRecorded,
    /// It has no video of this time; why, as it says.
    NoFootage(Value),
    /// It does not know the event.
    UnknownEvent,
    /// Its configuration does not have the camera any more, so that it would have to show what its masks hid.
    MasksUnknown,
    /// The range lies behind the end; `Content-Range` as the box gives it.
    Range(String),
    /// Anything else.
    Trouble,
}

impl BoxError {
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::NoAddress => "clip.no_address",
            Self::Away => "clip.away",
            Self::Refused => "clip.refused",
            Self::NotRecorded => "clip.not_recorded",
            Self::NoFootage(_) => "clip.no_footage",
            Self::UnknownEvent => "clip.unknown_event",
            Self::MasksUnknown => "clip.masks_unknown",
            Self::Range(_) | Self::Trouble => "clip.trouble",
        }
    }
}

impl BoxError {
    /// Whether a clip that the box brought elsewhere may be shown instead: not where somebody must set something right, nor where
    /// it may not be shown.
    pub(crate) fn may_be_elsewhere(&self) -> bool {
        match self {
            Self::Refused | Self::MasksUnknown | Self::Range(_) => false,
            Self::NoAddress
            | Self::Away
            | Self::NotRecorded
            | Self::NoFootage(_)
            | Self::UnknownEvent
            | Self::Trouble => true,
        }
    }
}

#[derive(Debug)]
struct Place {
    url: Url,
    client: Client,
    authorization: Option<HeaderValue>,
}

/// Where the boxes are. By office and box id.
#[derive(Debug, Default)]
pub(crate) struct Boxes(HashMap<(String, String), Place>);

impl Boxes {
    /// Reads tokens and certificates; says which box's cannot be used.
    pub(crate) fn new(configured: &[BoxConfig]) -> Result<Self, String> {
        let mut all = HashMap::new();
        for (i, one) in configured.iter().enumerate() {
            let place = place(one).map_err(|e| format!("box[{i}] ({} {}): {e}", one.office, one.id))?;
            all.insert((one.office.clone(), one.id.clone()), place);
        }
        Ok(Self(all))
    }

    /// Asks a box. `path` begins with a slash; `headers` go with it.
    pub(crate) async fn get(
        &self,
        office: &str,
        box_id: &str,
        path: &str,
        query: &[(&str, String)],
        headers: HeaderMap,
    ) -> Result<Response, BoxError> {
        let place = self.0.get(&(office.to_owned(), box_id.to_owned())).ok_or(BoxError::NoAddress)?;
        let mut url = place.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query.iter().map(|(k, v)| (*k, v.as_str())));
        }
        let mut request = place.client.get(url).headers(headers);
        if let Some(token) = &place.authorization {
            request = request.header(reqwest::header::AUTHORIZATION, token.clone());
        }
        let answer = request.send().await.map_err(|error| {
            // Holds the address, never the token, which is a header.
            tracing::warn!(office, box_id, %error, "a box cannot be asked for footage");
            BoxError::Away
        })?;
        if answer.status().is_success() { Ok(answer) } else { Err(explained(office, box_id, answer).await) }
    }

    /// Asks a box for a JSON.
    pub(crate) async fn json(
        &self,
        office: &str,
        box_id: &str,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, BoxError> {
        let answer = self.get(office, box_id, path, query, HeaderMap::new()).await?;
        serde_json::from_slice(&whole(answer).await?).map_err(|_| BoxError::Trouble)
    }
}

fn place(one: &BoxConfig) -> Result<Place, String> {
    let url = Url::parse(&one.url).map_err(|e| format!("url: {e}"))?;
    let token = one.token.resolve().map_err(|e| format!("token: {e}"))?;
    let authorization = match token {
        Some(token) => {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| "token: has characters that no header may have".to_owned())?;
            value.set_sensitive(true);
            Some(value)
        }
        None => None,
    };
    // No redirects: a box answers itself, and its token goes nowhere else. No proxy: boxes are in the customs network.
    let mut client =
        Client::builder().connect_timeout(CONNECT).read_timeout(SILENT).redirect(redirect::Policy::none()).no_proxy();
    if let Some(file) = &one.ca_file {
        let pem = std::fs::read(file).map_err(|e| format!("ca_file {}: {e}", file.display()))?;
        let authority = reqwest::Certificate::from_pem(&pem).map_err(|e| format!("ca_file {}: {e}", file.display()))?;
        client = client.add_root_certificate(authority);
    }
    let client = client.build().map_err(|e| e.to_string())?;
    Ok(Place { url, client, authorization })
}

async fn whole(mut answer: Response) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| BoxError::Away)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_JSON_BYTES {
            return Err(BoxError::Trouble);
        }
    }
    Ok(bytes)
}

/// What a refusal of a box means.
async fn explained(office: &str, box_id: &str, answer: Response) -> BoxError {
    let status = answer.status();
    let range = text(answer.headers(), &reqwest::header::CONTENT_RANGE);
    let body: Value = whole(answer).await.ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or(Value::Null);
    let error = match (status, body["error"].as_str().unwrap_or_default()) {
        (_, "masks_unknown") => BoxError::MasksUnknown,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => BoxError::Refused,
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => BoxError::Range(range),
        (_, "not_recorded") => BoxError::NotRecorded,
        (_, "no_footage") => BoxError::NoFootage(body["gaps"].clone()),
        (_, "unknown_event") => BoxError::UnknownEvent,
        _ => BoxError::Trouble,
    };
    if matches!(error, BoxError::Refused | BoxError::Trouble) {
        tracing::warn!(office, box_id, %status, error = %body["error"], "a box does not give its footage");
    }
    error
}

/// A header as text; empty without it.
pub(crate) fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_that_cannot_be_used_is_named_and_a_token_is_not_shown() {
        crate::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "hunter2\n").unwrap();
        let token = crate::config::SecretSource { file: Some(file.clone()), env: None };
        let good = BoxConfig {
            office: "15BB".into(),
            id: "gate-01".into(),
            url: "http://127.0.0.1:1".into(),
            token,
            ca_file: None,
        };
        let shown = format!("{:?}", Boxes::new(std::slice::from_ref(&good)).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        std::fs::remove_file(&file).unwrap();
        let said = Boxes::new(&[good]).unwrap_err();
        assert!(said.contains("box[0] (15BB gate-01): token:"), "{said}");
    }

    #[tokio::test]
    async fn a_box_nobody_knows_and_one_that_is_away_are_told_apart() {
        crate::install_crypto();
        let away = BoxConfig {
            office: "15BB".into(),
            id: "gate-01".into(),
            url: "http://127.0.0.1:1".into(),
            ..BoxConfig::default()
        };
        let boxes = Boxes::new(&[away]).unwrap();
        assert_eq!(boxes.json("15BB", "gate-01", "/x", &[]).await, Err(BoxError::Away));
        assert_eq!(boxes.json("15BB", "gate-02", "/x", &[]).await, Err(BoxError::NoAddress));
    }
}
