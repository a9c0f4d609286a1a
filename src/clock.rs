//! Time: the only place that reads a clock, and the types that carry time through the pipeline.
//!
//! Two kinds of time travel together. [`UtcMillis`] says *when* something happened, for people and for matching with
//! bookings. [`MonoMillis`] says *how long* something took; it never jumps. Durations are differences of `MonoMillis`.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z. Serialised as RFC 3339 with milliseconds and `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcMillis(pub i64);

/// Milliseconds on a clock that never jumps, origin unspecified. Only differences have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMillis(pub i64);

impl UtcMillis {
    /// This time moved by `ms` (may be negative).
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, negative if `self` is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// RFC 3339 in UTC with milliseconds, e.g. `2026-03-02T03:17:45.212Z`.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => format!("{t:.3}"),
            Err(_) => format!("out-of-range({} ms)", self.0),
        }
    }

    /// Reads RFC 3339 with any offset.
    ///
    /// # Errors
    /// When the text is not an RFC 3339 time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|t| Self(t.as_millisecond()))
            .map_err(|_| format!("{text:?} is not a time like 2026-03-02T10:17:45+07:00"))
    }
}

impl MonoMillis {
    /// Milliseconds from `earlier` to `self`, negative if `self` is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl Serialize for UtcMillis {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for UtcMillis {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for UtcMillis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UtcMillis".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

/// Where the capture time of a frame comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The camera's own clock, through RTCP sender reports (RFC 3550 §6.4.1).
    RtcpNtp,
    /// The box's clock when the picture arrived; at least 500 ms uncertain.
    Arrival,
    /// Position in a recorded file plus the start time given for it (`replay`).
    File,
}

/// The times of one picture. Made at ingest, carried unchanged to the event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameTime {
    /// When the picture was taken, on the clock that `source` names.
    pub utc: UtcMillis,
    /// The same moment on the box's monotonic clock; differences between pictures of one camera are exact.
    pub mono: MonoMillis,
    /// Who said so.
    pub source: TimeSource,
    /// Half-width of the interval in which the true time lies, milliseconds.
    pub uncertainty_ms: u32,
    /// Camera clock minus box clock in milliseconds, where the camera's clock is known.
    pub clock_offset_ms: Option<i64>,
}

impl FrameTime {
    /// Of a picture in a file, or one that was made here: what is given is exactly right.
    #[must_use]
    pub const fn of_file(utc: UtcMillis, mono: MonoMillis) -> Self {
        Self { utc, mono, source: TimeSource::File, uncertainty_ms: 0, clock_offset_ms: None }
    }

    /// Of a picture that arrived `ms` milliseconds after both clocks' zero.
    #[cfg(test)]
    pub fn arrived(ms: i64) -> Self {
        Self {
            utc: UtcMillis(ms),
            mono: MonoMillis(ms),
            source: TimeSource::Arrival,
            uncertainty_ms: 500,
            clock_offset_ms: None,
        }
    }
}

/// The box's wall clock.
#[must_use]
pub fn utc_now() -> UtcMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UtcMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The box's monotonic clock, from the first call in this process.
#[must_use]
pub fn mono_now() -> MonoMillis {
    MonoMillis(i64::try_from(precise_now().as_millis()).unwrap_or(i64::MAX))
}

/// The same clock as [`mono_now`], as fine as the system has it: for measuring what takes less than a millisecond.
#[must_use]
pub fn precise_now() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    ORIGIN.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_text_round_trips_with_milliseconds() {
        let t = UtcMillis::parse_rfc3339("2026-03-02T10:17:45.212+07:00").unwrap();
        assert_eq!(t.to_rfc3339(), "2026-03-02T03:17:45.212Z");
        assert_eq!(UtcMillis(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert!(UtcMillis::parse_rfc3339("yesterday").unwrap_err().contains("yesterday"));
    }
}
