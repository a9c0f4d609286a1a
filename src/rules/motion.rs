//! Whether a foot point can have moved that far: keeps a mixed-up track from crossing lines and leaving areas.

use crate::geometry::Rect;
use crate::vision::Label;

/// Box sizes a thing may move at once, whatever the time: boxes tremble, and a box half hidden loses its foot.
const FREE: f32 = 0.5;
/// Box sizes a second on top. A car of 4.5 m at 60 km/h, across the picture, makes 3.7; gates are slower.
const PER_SECOND: f32 = 5.0;

/// How many times larger or smaller a box may become at once: half a thing may come out of hiding.
const GROWS: f32 = 3.0;
/// The same for a box that is of another class from one sight to the next.
const GROWS_AS_ANOTHER: f32 = 1.5;

/// Whether the change from one box (and class) to the next within `dt_ms` is more than one thing can have made. Size is
/// the larger side of the box.
pub(super) fn implausible(before: (&Rect, &Label), now: (&Rect, &Label), dt_ms: i64) -> bool {
    let size = |r: &Rect| r.width().max(r.height()).max(1.0);
    let (larger, smaller) = (size(before.0).max(size(now.0)), size(before.0).min(size(now.0)));
    let (a, b) = (before.0.foot(), now.0.foot());
    let seconds = dt_ms.max(0) as f32 / 1000.0;
    let grows = if before.1 == now.1 { GROWS } else { GROWS_AS_ANOTHER };
    (b.x - a.x).hypot(b.y - a.y) > larger * (FREE + PER_SECOND * seconds) || larger > grows * smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_car_is_plausible_and_a_leap_over_the_picture_is_not() {
        let car = Rect::from([100.0, 100.0, 220.0, 160.0]);
        let moved = |dx: f32| Rect { x0: car.x0 + dx, x1: car.x1 + dx, ..car };
        let label = Label::from("car");
        let leaps = |to: &Rect, dt_ms| implausible((&car, &label), (to, &label), dt_ms);
        assert!(!leaps(&moved(90.0), 200), "3.7 lengths a second");
        assert!(leaps(&moved(500.0), 200));
        assert!(!leaps(&moved(500.0), 2000), "the same way in two seconds");
    }

    #[test]
    fn a_truck_that_becomes_a_person_is_another_thing_and_one_that_becomes_a_bus_is_not() {
        let (truck, person, bus) = (Label::from("truck"), Label::from("person"), Label::from("bus"));
        let long = Rect::from([100.0, 100.0, 300.0, 200.0]);
        let short = Rect::from([180.0, 110.0, 220.0, 200.0]);
        assert!(implausible((&long, &truck), (&short, &person), 200));
        assert!(!implausible((&long, &truck), (&short, &truck), 200), "mostly hidden behind something");
        assert!(!implausible((&long, &truck), (&long, &bus), 200), "the vote has turned");
    }
}
