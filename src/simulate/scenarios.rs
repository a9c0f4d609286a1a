//! The named scenarios: scripts of 44 to 48 s that start anew with new ids. Metres and seconds; shapes are in `mesh`.

use std::f32::consts::PI;

use super::dataset::{PAINTS, prop};
use super::light::{Hour, Light};
use super::mesh::{Actor, Kind, Rgb};
use super::scene::{Key, Marking, Mount, Scene, Script, Zone};
use super::space::{Rng, V3};

/// Names of the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Lane with barrier.
    Lane,
    /// Inspection bay.
    Bay,
    /// Sampling table.
    Sampling,
    /// Yard with containers.
    Yard,
}

const WHITE: Rgb = [0.86, 0.86, 0.83];
const YELLOW: Rgb = [0.86, 0.68, 0.12];
const VEST: Rgb = [0.85, 0.9, 0.15];
const NAVY: Rgb = [0.1, 0.13, 0.22];

impl Scenario {
    /// The scene; `seed` chooses colours and textures.
    #[must_use]
    pub fn scene(self, seed: u64, hour: Hour, rain: bool) -> Scene {
        let mut rng = Rng(seed);
        let mut scene = match self {
            Self::Lane => lane(&mut rng),
            Self::Bay => bay(&mut rng),
            Self::Sampling => sampling(&mut rng),
            Self::Yard => yard(&mut rng),
        };
        let lamps: Vec<(f32, f32)> = scene.props.iter().filter(|p| p.kind == Kind::Lamp).map(|p| p.at).collect();
        scene.light = Light::of(hour, 3.6 + rng.range(-0.4, 0.4), lamps);
        scene.rain = rain;
        scene.seed = rng.bits();
        scene
    }
}

fn base(mount: Mount, period: f32, paved: [f32; 4]) -> Scene {
    let light = Light::of(Hour::Day, 0.0, Vec::new());
    let (props, markings, scripts, zones) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Scene { mount, light, rain: false, props, markings, paved, scripts, period, zones, seed: 0 }
}

/// A mover in a random paint.
fn mover(rng: &mut Rng, kind: Kind, keys: &[Key]) -> Script {
    let (colour, second) = (PAINTS[rng.below(8)], PAINTS[rng.below(10)]);
    Script { kind, colour, second, keys: keys.to_vec(), open: Vec::new(), rest: 0.0 }
}

fn officer(keys: &[Key]) -> Script {
    Script { kind: Kind::Person, colour: VEST, second: NAVY, keys: keys.to_vec(), open: Vec::new(), rest: -1.57 }
}

fn stripe(x: [f32; 2], y: [f32; 2], colour: Rgb) -> Marking {
    Marking { corners: vec![(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], colour }
}

/// The outline of a rectangle as four stripes.
fn outline(r: [f32; 4], colour: Rgb) -> [Marking; 4] {
    let [x0, y0, x1, y1] = r;
    let w = 0.2;
    [
        stripe([x0, x1], [y0, y0 + w], colour),
        stripe([x0, x1], [y1 - w, y1], colour),
        stripe([x0, x0 + w], [y0, y1], colour),
        stripe([x1 - w, x1], [y0, y1], colour),
    ]
}

fn lamp(x: f32, y: f32, heading: f32) -> Actor {
    prop(Kind::Lamp, (x, y), heading, [0.5; 3])
}

fn lane(rng: &mut Rng) -> Scene {
    let mount = Mount { eye: V3(-5.5, 0.0, 6.5), yaw: 0.2, pitch: 0.24, fov: 1.1 };
    let mut s = base(mount, 48.0, [-9.0, -30.0, 12.0, 80.0]);
    s.props =
        vec![prop(Kind::Booth, (-2.6, 20.0), 0.0, [0.75, 0.74, 0.68]), lamp(-4.5, 14.0, 0.0), lamp(10.0, 30.0, PI)];
    s.markings = (0..12).map(|i| stripe([4.5, 4.68], [i as f32 * 6.0, i as f32 * 6.0 + 3.0], WHITE)).collect();
    s.markings.push(stripe([0.2, 0.38], [0.0, 78.0], WHITE));
    s.markings.push(stripe([9.0, 9.18], [0.0, 78.0], WHITE));
    s.markings.push(stripe([0.4, 4.4], [17.2, 17.6], WHITE));
    s.scripts = vec![
        mover(rng, Kind::Truck, &[(0.0, 2.3, 68.0), (7.0, 2.3, 24.4), (14.0, 2.3, 24.4), (21.0, 2.3, -8.0)]),
        mover(rng, Kind::Car, &[(16.0, 2.3, 70.0), (23.0, 2.3, 20.4), (29.0, 2.3, 20.4), (33.0, 2.3, -4.0)]),
        mover(rng, Kind::TwoWheeler, &[(30.0, 2.3, 60.0), (37.0, 2.3, 19.4), (41.0, 2.3, 19.4), (45.0, 2.3, -4.0)]),
        mover(rng, Kind::Bus, &[(9.0, 6.8, -8.0), (19.0, 6.8, 74.0)]),
        mover(rng, Kind::Truck, &[(34.0, 6.8, -9.0), (47.0, 6.8, 74.0)]),
        officer(&[
            (5.0, -0.7, 22.0),
            (8.0, -0.4, 25.0),
            (12.0, -0.4, 27.5),
            (14.5, -0.7, 22.0),
            (23.0, -0.4, 20.5),
            (29.0, -0.5, 21.0),
            (31.0, -0.7, 22.0),
        ]),
        Script {
            open: vec![
                (13.5, 0.0),
                (14.5, 1.0),
                (19.5, 1.0),
                (20.5, 0.0),
                (28.0, 0.0),
                (29.0, 1.0),
                (32.5, 1.0),
                (33.5, 0.0),
                (40.0, 0.0),
                (41.0, 1.0),
                (43.5, 1.0),
                (44.5, 0.0),
            ],
            ..mover(rng, Kind::Barrier, &[(0.0, -0.3, 16.6)])
        },
    ];
    s.zones = vec![Zone::Rect("lane-in", [0.0, 12.0, 4.5, 36.0]), Zone::Line("barrier-in", [-0.4, 15.5, 4.8, 15.5])];
    s
}

fn bay(rng: &mut Rng) -> Scene {
    let mount = Mount { eye: V3(-10.0, 0.0, 6.2), yaw: 0.44, pitch: 0.27, fov: 1.1 };
    let mut s = base(mount, 48.0, [-45.0, -30.0, 45.0, 40.0]);
    s.props = vec![prop(Kind::Booth, (6.0, 27.0), -1.57, [0.7, 0.7, 0.72]), lamp(-9.0, 23.0, 0.0), lamp(9.0, 23.0, PI)];
    s.markings.extend(outline([-8.0, 14.3, 8.5, 20.5], YELLOW));
    s.markings.push(stripe([-45.0, 45.0], [11.5, 11.7], WHITE));
    let mut truck =
        mover(rng, Kind::Truck, &[(0.0, -32.0, 17.4), (7.0, 0.0, 17.4), (38.0, 0.0, 17.4), (45.0, 36.0, 17.4)]);
    truck.open = vec![(9.5, 0.0), (12.0, 1.0), (33.0, 1.0), (35.0, 0.0)];
    s.scripts = vec![
        truck,
        officer(&[
            (5.0, 5.0, 11.0),
            (9.0, -7.8, 14.8),
            (12.0, -8.8, 16.0),
            (19.0, -8.8, 17.2),
            (24.0, 4.0, 14.8),
            (29.0, -4.0, 14.6),
            (35.0, -7.8, 15.0),
            (41.0, 5.0, 11.0),
        ]),
        officer(&[
            (8.0, 9.0, 23.0),
            (14.0, 7.5, 16.0),
            (20.0, 1.0, 14.8),
            (26.0, -8.4, 17.8),
            (32.0, -8.4, 18.4),
            (40.0, 9.0, 23.0),
        ]),
        mover(
            rng,
            Kind::Forklift,
            &[(14.0, -24.0, 12.8), (20.0, -12.0, 16.0), (26.0, -12.0, 16.5), (33.0, -26.0, 12.8)],
        ),
        mover(rng, Kind::Car, &[(39.0, 30.0, 9.6), (47.0, -30.0, 9.6)]),
        mover(rng, Kind::Container, &[(0.0, -4.0, 30.0)]),
    ];
    s.zones = vec![Zone::Rect("bay-1", [-9.5, 13.0, 9.0, 20.8]), Zone::Line("bay-gate", [-9.0, 12.0, -9.0, 20.0])];
    s
}

fn sampling(rng: &mut Rng) -> Scene {
    let mount = Mount { eye: V3(-1.0, 0.0, 4.6), yaw: 0.08, pitch: 0.3, fov: 1.15 };
    let mut s = base(mount, 44.0, [-30.0, -30.0, 30.0, 32.0]);
    s.props = vec![
        prop(Kind::Table, (0.0, 12.5), 0.0, [0.62, 0.64, 0.66]),
        prop(Kind::Booth, (-9.0, 21.0), 0.0, [0.76, 0.7, 0.6]),
        lamp(-5.0, 17.0, 0.0),
        lamp(6.0, 18.0, PI),
    ];
    s.markings.extend(outline([-3.4, 9.8, 3.4, 15.0], YELLOW));
    let plain = |rng: &mut Rng, keys: &[Key]| mover(rng, Kind::Person, keys);
    let mut lift = mover(
        rng,
        Kind::Forklift,
        &[
            (4.0, 18.0, 16.5),
            (10.0, 5.0, 12.6),
            (15.0, 3.0, 12.6),
            (16.0, 3.0, 12.6),
            (24.0, 5.0, 22.0),
            (28.0, 20.0, 22.0),
        ],
    );
    lift.colour = [0.9, 0.62, 0.08];
    lift.open = vec![(14.0, 1.0), (15.0, 0.0)];
    s.scripts = vec![
        lift,
        officer(&[(1.0, -9.0, 14.0), (6.0, -1.0, 13.6), (30.0, -0.4, 13.6), (36.0, -10.0, 14.0)]),
        plain(rng, &[(8.0, -4.0, 7.5), (12.0, 0.6, 11.3), (26.0, 0.9, 11.4), (32.0, -4.0, 6.5)]),
        plain(rng, &[(28.0, 8.0, 10.0), (33.0, 1.6, 11.6), (39.0, 1.6, 11.6), (43.5, 8.0, 15.0)]),
        mover(rng, Kind::Car, &[(22.0, -26.0, 18.6), (28.0, 1.0, 18.6), (36.0, 1.0, 18.6), (42.0, 26.0, 18.6)]),
        mover(rng, Kind::Truck, &[(0.0, 36.0, 27.0), (12.0, -36.0, 27.0)]),
    ];
    s.zones = vec![Zone::Rect("table-1", [-3.4, 9.8, 3.8, 15.0]), Zone::Line("table-gate", [-5.0, 9.0, -5.0, 16.0])];
    s
}

fn yard(rng: &mut Rng) -> Scene {
    let mount = Mount { eye: V3(0.0, 0.0, 8.5), yaw: 0.0, pitch: 0.3, fov: 1.2 };
    let mut s = base(mount, 46.0, [-45.0, -30.0, 45.0, 62.0]);
    s.props = vec![lamp(-15.0, 24.0, 0.0), lamp(15.0, 30.0, PI), lamp(0.0, 46.0, -1.57)];
    s.markings =
        (0..6).map(|i| stripe([-13.0 + i as f32 * 4.4, -12.85 + i as f32 * 4.4], [31.0, 40.0], WHITE)).collect();
    s.markings.push(stripe([-45.0, 45.0], [15.0, 15.2], WHITE));
    let stack = [(-15.0, 36.0), (-10.8, 36.0), (-2.0, 36.0), (6.8, 36.0), (15.0, 21.0)];
    s.scripts =
        stack.iter().map(|c| Script { rest: 1.57, ..mover(rng, Kind::Container, &[(0.0, c.0, c.1)]) }).collect();
    s.scripts.extend([
        mover(rng, Kind::Truck, &[(0.0, -34.0, 20.0), (9.0, -2.0, 20.0), (22.0, -2.0, 20.0), (31.0, 36.0, 20.0)]),
        mover(rng, Kind::Truck, &[(20.0, 38.0, 27.0), (30.0, 2.0, 27.0), (36.0, 2.0, 27.0), (45.0, -38.0, 27.0)]),
        officer(&[
            (4.0, 10.0, 14.0),
            (12.0, -2.0, 17.4),
            (20.0, -8.5, 18.0),
            (28.0, -8.0, 24.0),
            (38.0, 6.0, 24.2),
            (45.0, 11.0, 15.0),
        ]),
        mover(rng, Kind::Person, &[(10.0, -13.0, 17.0), (24.0, -5.0, 31.0), (40.0, 8.0, 31.0)]),
        mover(rng, Kind::TwoWheeler, &[(30.0, -24.0, 13.0), (40.0, 24.0, 13.0)]),
        mover(rng, Kind::Forklift, &[(6.0, 24.0, 24.0), (13.0, 8.0, 28.0), (20.0, 4.0, 31.0), (32.0, 24.0, 30.0)]),
    ]);
    s.zones = vec![Zone::Rect("yard-1", [-11.0, 15.5, 11.0, 32.0]), Zone::Line("yard-in", [-8.0, 10.0, -8.0, 33.0])];
    s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UtcMillis;
    use crate::simulate::Renderer;
    use crate::simulate::scene::AreaShape;

    const ALL: [Scenario; 4] = [Scenario::Lane, Scenario::Bay, Scenario::Sampling, Scenario::Yard];

    #[test]
    fn each_round_has_enters_exits_and_a_crossing() {
        for scenario in ALL {
            let scene = scenario.scene(1, Hour::Day, false);
            let period = scene.period;
            let mut r = Renderer::new(scene, (320, 180)).unwrap();
            let happened: Vec<_> =
                (0..(period * 4.0) as i32).flat_map(|i| r.draw(f64::from(i) / 4.0, UtcMillis(0)).happened).collect();
            let count = |what: &str| happened.iter().filter(|h| h.what.starts_with(what)).count();
            let seen = (count("enter"), count("exit"), count("cross"));
            assert!(seen.0 >= 2 && seen.1 >= 1 && seen.2 >= 1, "{scenario:?}: {seen:?}");
        }
    }

    #[test]
    fn areas_lie_in_the_picture_and_are_large_enough_to_matter() {
        for scenario in ALL {
            for area in scenario.scene(1, Hour::Day, false).areas() {
                if let AreaShape::Area(p) = area.shape {
                    assert!(p.area() > 0.01, "{} of {scenario:?} covers {}", area.id, p.area());
                    assert!(p.0.iter().all(|c| (0.0..=1.0).contains(&c.x) && (0.0..=1.0).contains(&c.y)));
                }
            }
        }
    }

    #[test]
    fn the_box_of_a_truck_differs_from_the_empty_picture_and_the_rest_does_not() {
        let scene = Scenario::Bay.scene(3, Hour::Day, false);
        let empty = Scene { scripts: Vec::new(), ..scene.clone() };
        let mut with = Renderer::new(scene, (640, 360)).unwrap();
        let truth = with.draw(30.0, UtcMillis(0));
        let mut without = Renderer::new(empty, (640, 360)).unwrap();
        without.draw(30.0, UtcMillis(0));
        let (a, b) = (with.rgb(), without.rgb());
        let changed =
            |x: usize, y: usize| (0..3).any(|c| a[(y * 640 + x) * 3 + c].abs_diff(b[(y * 640 + x) * 3 + c]) > 40);
        let truck = truth.objects.iter().find(|o| o.label == "truck").unwrap().rect;
        let inside = (truck.y0 as usize..truck.y1 as usize)
            .flat_map(|y| (truck.x0 as usize..truck.x1 as usize).map(move |x| (x, y)))
            .filter(|p| changed(p.0, p.1))
            .count();
        assert!(inside as f32 > truck.area() * 0.4, "{inside} of {}", truck.area());
        let sky = (0..640).flat_map(|x| (0..30).map(move |y| (x, y))).filter(|p| changed(p.0, p.1)).count();
        assert_eq!(sky, 0);
    }

    #[test]
    fn the_same_seed_draws_the_same_picture() {
        let draw = || {
            let mut r = Renderer::new(Scenario::Lane.scene(5, Hour::Night, true), (320, 180)).unwrap();
            let truth = r.draw(10.0, UtcMillis(0));
            (r.i420(), truth)
        };
        assert_eq!(draw(), draw());
    }
}
