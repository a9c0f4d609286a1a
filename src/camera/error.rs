//! What can end a camera's life, sorted by what the caller does next.

use super::CameraState;

/// Why a camera gives no pictures. Messages name the camera's address without credentials and say what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CameraError {
    /// User name or password refused. Retry rarely: many cameras lock out.
    #[error("{0} refuses the user name or password; correct `username` and `password` of this camera")]
    Refused(String),
    /// No connection, no answer, or no such stream.
    #[error("cannot reach {0}; check address, path, cable and power")]
    Unreachable(String),
    /// Connected, but no picture within the stall timeout.
    #[error("no picture from {url} for {ms} ms; check the camera's encoder and the network")]
    Stalled {
        /// Address without credentials.
        url: String,
        /// How long was waited.
        ms: u32,
    },
    /// The camera ended the stream, or the connection was cut.
    #[error("the stream of {0} ended; it is tried again")]
    Ended(String),
    /// The certificate of an `rtsps` camera is not signed by an authority we trust.
    #[error("the certificate of {0} is not trusted; set `ca_file` to the authority that signed it")]
    NotTrusted(String),
    /// There is no video, in a coding we cannot decode, or no decoder for it.
    #[error("unsupported stream: {0}")]
    Unsupported(String),
    /// The configuration of this camera cannot work; a retry is useless.
    #[error("camera configuration: {0}")]
    Misconfigured(String),
    /// Recorded video is damaged.
    #[error("the video cannot be decoded: {0}")]
    Undecodable(String),
    /// Anything else inside GStreamer, including a missing plugin.
    #[error("media pipeline: {0}")]
    Pipeline(String),
}

impl CameraError {
    /// The state a camera shows after this error.
    #[must_use]
    pub fn state(&self) -> CameraState {
        match self {
            Self::Refused(_) => CameraState::Refused,
            Self::Stalled { .. } => CameraState::Stalled,
            _ => CameraState::Lost,
        }
    }

    /// Label of metrics: one of a fixed set.
    #[must_use]
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Stalled { .. } => "stalled",
            Self::Ended(_) => "ended",
            Self::NotTrusted(_) => "not_trusted",
            Self::Unsupported(_) => "unsupported",
            Self::Misconfigured(_) => "misconfigured",
            Self::Undecodable(_) => "undecodable",
            Self::Pipeline(_) => "pipeline",
        }
    }
}

/// An address as it may be shown: anything before an `@` in the authority is cut, since some people put passwords there. Some
/// cameras take credentials in the query (never shown) or, like those of XiongMai, as `/user=…&password=…` in the path: from
/// the first part with an `=` on it is not shown either.
#[must_use]
pub fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(address without scheme)".into() };
    let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |i| rest.split_at(i));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let path = match path.find('=') {
        Some(assigned) => format!("{}/…", &path[..path[..assigned].rfind('/').unwrap_or(0)]),
        None => path.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_addresses_hold_no_credentials() {
        assert_eq!(shown_url("rtsp://a:b@cam:554/live"), "rtsp://cam:554/live");
        assert_eq!(shown_url("rtsp://cam/live?user=a&password=b"), "rtsp://cam/live");
        assert_eq!(shown_url("rtsp://a:p%40@cam"), "rtsp://cam");
        assert_eq!(shown_url("rtsp://cam?password=b/c"), "rtsp://cam");
        for path in ["user=admin&password=b&channel=1&stream=0.sdp", "user=admin_password=b_channel=1.sdp?real_stream"]
        {
            assert_eq!(shown_url(&format!("rtsp://10.0.0.5:554/{path}")), "rtsp://10.0.0.5:554/…");
            assert_eq!(shown_url(&format!("rtsp://10.0.0.5/live/{path}/a=1")), "rtsp://10.0.0.5/live/…");
        }
    }

    #[test]
    fn a_refusal_is_its_own_state() {
        assert_eq!(CameraError::Refused("x".into()).state(), CameraState::Refused);
        assert_eq!(CameraError::Ended("x".into()).state(), CameraState::Lost);
    }
}
