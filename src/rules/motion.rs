//! Whether a foot point can have moved that far: keeps a mixed-up track from crossing lines and leaving areas.

use crate::geometry::Rect;

/// Box sizes a thing may move at once, whatever the time: boxes tremble, and a box half hidden loses its foot.
const FREE: f32 = 0.5;
/// Box sizes a second on top. A car of 4.5 m at 60 km/h, across the picture, makes 3.7; gates are slower.
const PER_SECOND: f32 = 5.0;

/// Whether the movement from one box to the next within `dt_ms` is more than the thing can have made. Size is the
/// larger side of the larger box.
pub(super) fn implausible(before: &Rect, now: &Rect, dt_ms: i64) -> bool {
    let size = [before, now].iter().map(|r| r.width().max(r.height())).fold(0.0, f32::max);
    let (a, b) = (before.foot(), now.foot());
    let seconds = dt_ms.max(0) as f32 / 1000.0;
    (b.x - a.x).hypot(b.y - a.y) > size * (FREE + PER_SECOND * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_car_is_plausible_and_a_leap_over_the_picture_is_not() {
        let car = Rect::from([100.0, 100.0, 220.0, 160.0]);
        let moved = |dx: f32| Rect { x0: car.x0 + dx, x1: car.x1 + dx, ..car };
        assert!(!implausible(&car, &moved(90.0), 200), "3.7 lengths a second");
        assert!(implausible(&car, &moved(500.0), 200));
        assert!(!implausible(&car, &moved(500.0), 2000), "the same way in two seconds");
    }
}
