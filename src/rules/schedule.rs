//! Times of the week at which something is so: an area closed, a camera wanted in full.

use jiff::civil::Time;

use crate::clock::UtcMillis;
use crate::config::{TimeOfWeek, Weekday};
use crate::event::Zone;

/// Times of the week, by the wall clock of the site.
#[derive(Debug, Clone)]
pub struct Schedule {
    zone: Zone,
    /// Empty = always.
    windows: Vec<Window>,
}

/// Minutes of the day, `from..to`; over midnight when `to` is not after `from`.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Bit 0 is Monday.
    days: u8,
    from: u16,
    to: u16,
}

impl Schedule {
    /// Reads the checked configuration.
    #[must_use]
    pub fn new(zone: Zone, times: &[TimeOfWeek]) -> Self {
        let window = |t: &TimeOfWeek| Window { days: days(&t.days), from: minutes(&t.from), to: minutes(&t.to) };
        Self { zone, windows: times.iter().map(window).collect() }
    }

    /// Whether this moment is one of them; always, where there are none.
    #[must_use]
    pub fn holds(&self, at: UtcMillis) -> bool {
        let (day, minute) = self.zone.week(at);
        self.windows.is_empty() || self.windows.iter().any(|w| w.holds(day, minute))
    }
}

impl Window {
    fn holds(self, day: u8, minute: u16) -> bool {
        let on = |day: u8| self.days & (1 << day) != 0;
        if self.from < self.to {
            return on(day) && (self.from..self.to).contains(&minute);
        }
        (on(day) && minute >= self.from) || (on((day + 6) % 7) && minute < self.to)
    }
}

fn days(named: &[Weekday]) -> u8 {
    if named.is_empty() { 0x7f } else { named.iter().fold(0, |bits, day| bits | 1 << (*day as u8)) }
}

/// `HH:MM`, `24:00` included; the configuration's schema has refused everything else.
fn minutes(text: &str) -> u16 {
    let time = Time::strptime("%H:%M", text).ok();
    time.and_then(|t| u16::try_from(i16::from(t.hour()) * 60 + i16::from(t.minute())).ok()).unwrap_or(24 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-02 is a Monday.
    fn holds(windows: &[(&[Weekday], &str, &str)], at: &str) -> bool {
        let config: Vec<_> = windows
            .iter()
            .map(|(days, from, to)| TimeOfWeek { days: days.to_vec(), from: (*from).into(), to: (*to).into() })
            .collect();
        let zone = Zone::new("Asia/Ho_Chi_Minh").unwrap();
        Schedule::new(zone, &config).holds(UtcMillis::parse_rfc3339(at).unwrap())
    }

    #[test]
    fn windows_begin_at_their_minute_and_end_before_theirs_in_local_time() {
        let day: &[(&[Weekday], &str, &str)] = &[(&[Weekday::Mon], "08:00", "17:30")];
        assert!(!holds(day, "2026-03-02T07:59:59.999+07:00"));
        assert!(holds(day, "2026-03-02T08:00:00+07:00"));
        assert!(holds(day, "2026-03-02T17:29:59+07:00"));
        assert!(!holds(day, "2026-03-02T17:30:00+07:00"));
        assert!(!holds(day, "2026-03-03T09:00:00+07:00"), "a Tuesday");
        assert!(holds(day, "2026-03-02T01:00:00Z"), "08:00 at the gate");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night: &[(&[Weekday], &str, &str)] = &[(&[Weekday::Fri, Weekday::Sun], "22:00", "06:00")];
        assert!(holds(night, "2026-03-06T23:00:00+07:00"), "Friday night");
        assert!(holds(night, "2026-03-07T05:59:00+07:00"), "Saturday morning, still Friday's night");
        assert!(!holds(night, "2026-03-07T23:00:00+07:00"), "Saturday night");
        assert!(holds(night, "2026-03-02T03:00:00+07:00"), "Monday morning, Sunday's night over the week's end");
        assert!(!holds(night, "2026-03-02T06:00:00+07:00"));
    }

    #[test]
    fn without_windows_it_is_always_and_a_day_ends_at_24() {
        assert!(holds(&[], "2026-03-02T12:00:00Z"));
        let sunday: &[(&[Weekday], &str, &str)] = &[(&[Weekday::Sun], "00:00", "24:00")];
        assert!(holds(sunday, "2026-03-01T23:59:59+07:00"));
        assert!(!holds(sunday, "2026-03-02T00:00:00+07:00"));
    }

    #[test]
    fn the_wall_clock_counts_when_the_clocks_are_changed() {
        let config = TimeOfWeek { days: Vec::new(), from: "22:00".into(), to: "06:00".into() };
        let schedule = Schedule::new(Zone::new("Europe/Berlin").unwrap(), &[config]);
        let at = |text| schedule.holds(UtcMillis::parse_rfc3339(text).unwrap());
        assert!(at("2026-03-28T04:59:00Z") && !at("2026-03-28T05:00:00Z"), "06:00 in winter time");
        assert!(at("2026-03-29T03:59:00Z") && !at("2026-03-29T04:00:00Z"), "06:00 in summer time, an hour earlier");
    }
}
