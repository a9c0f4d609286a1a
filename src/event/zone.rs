//! The site's time zone: local times on pictures, and the duty day.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::clock::UtcMillis;

/// The duty day changes at this local hour: who comes on duty at 08:00 has what happens until the next 08:00.
pub(crate) const DUTY_STARTS_MS: i64 = 8 * 3_600_000;

/// A time zone that exists.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// The name is not in the time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("site.time_zone: {0:?} is not an IANA time zone; give a name like Asia/Ho_Chi_Minh")]
pub struct UnknownZone(pub String);

impl Zone {
    /// Looks the IANA name up, in the database built in.
    ///
    /// # Errors
    /// When there is no zone of this name.
    pub fn new(name: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(name).map(Self).map_err(|_| UnknownZone(name.into()))
    }

    /// Local date of (start − 08:00), `YYYY-MM-DD`.
    #[must_use]
    pub fn duty_day(&self, start: UtcMillis) -> String {
        self.local(start.plus_ms(-DUTY_STARTS_MS)).strftime("%Y-%m-%d").to_string()
    }

    /// When the duty day of `at` began.
    #[must_use]
    pub fn duty_began(&self, at: UtcMillis) -> UtcMillis {
        let day = self.local(at.plus_ms(-DUTY_STARTS_MS)).start_of_day();
        day.map_or(at, |day| UtcMillis(day.timestamp().as_millisecond() + DUTY_STARTS_MS))
    }

    /// `dd/MM/yyyy HH:mm:ss.mmm UTC+07:00`.
    #[must_use]
    pub fn label(&self, at: UtcMillis) -> String {
        self.local(at).strftime("%d/%m/%Y %H:%M:%S.%3f UTC%:z").to_string()
    }

    /// Local day of the week, 0 = Monday, and minute of the day.
    #[must_use]
    pub fn week(&self, at: UtcMillis) -> (u8, u16) {
        let local = self.local(at);
        let day = local.weekday().to_monday_zero_offset().unsigned_abs();
        (day, u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs()))
    }

    fn local(&self, at: UtcMillis) -> ZonedDateTime {
        Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned_datetime(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duty_day_changes_at_eight_local_time() {
        let zone = Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let day = |text| zone.duty_day(UtcMillis::parse_rfc3339(text).unwrap());
        assert_eq!(day("2026-03-02T07:59:59.999+07:00"), "2026-03-01");
        assert_eq!(day("2026-03-02T08:00:00+07:00"), "2026-03-02");
        assert_eq!(day("2026-03-03T00:30:00+07:00"), "2026-03-02");
        let began = |text| zone.duty_began(UtcMillis::parse_rfc3339(text).unwrap()).to_rfc3339();
        assert_eq!(began("2026-03-02T07:59:59.999+07:00"), "2026-03-01T01:00:00.000Z");
        assert_eq!(began("2026-03-02T08:00:00+07:00"), "2026-03-02T01:00:00.000Z");
    }

    #[test]
    fn local_times_name_their_offset() {
        let zone = Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let at = UtcMillis::parse_rfc3339("2026-03-02T03:17:45.212Z").unwrap();
        assert_eq!(zone.label(at), "02/03/2026 10:17:45.212 UTC+07:00");
        assert!(Zone::new("Asia/Hanoi_City").unwrap_err().to_string().contains("Asia/Hanoi_City"));
    }
}
