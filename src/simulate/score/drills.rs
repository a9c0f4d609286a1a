//! The drills: one scene a group of rules, with the configuration of the camera and what the clearance side says when.
//! All are seen by the same camera over a road with a bay; scripts are metres and seconds. Vehicles drive at some 4 m/s
//! (14 km/h), people walk at up to 1.8 m/s: one picture a second must be enough to follow them.

use serde_json::{Value, json};

use crate::clock::UtcMillis;
use crate::config::CameraConfig;
use crate::rules::RuleKind;
use crate::simulate::light::{Hour, Light};
use crate::simulate::mesh::Kind;
use crate::simulate::scene::{AreaShape, Key, Mount, Scene, Script, Zone};
use crate::simulate::space::V3;

/// 2026-03-02 10:00:00 in Vietnam, a Monday: the start of every drill.
pub const START: UtcMillis = UtcMillis(1_772_420_400_000);

/// What holds when, seconds, as the script means it; written by hand beside the facts that should lead to it.
#[derive(Debug, Clone, Default)]
pub struct Windows {
    /// The area is closed.
    pub closed: Vec<(f64, f64)>,
    /// A booking of the bay is known.
    pub booked: Vec<(f64, f64)>,
    /// From when on it is known that the vehicle then in the bay is not the booked one.
    pub wrong: Option<f64>,
    /// An inspection is open.
    pub inspection: Vec<(f64, f64)>,
    /// What leaving means.
    pub leaving: Vec<(f64, f64, RuleKind)>,
}

/// A scene with its rules.
#[derive(Debug, Clone)]
pub struct Drill {
    /// Short name.
    pub name: &'static str,
    /// What moves.
    pub scene: Scene,
    /// How long it is played.
    pub seconds: u32,
    /// Areas and rules.
    pub camera: CameraConfig,
    /// Feeds by the second at which they come.
    pub facts: Vec<(f64, Value)>,
    /// What holds when.
    pub windows: Windows,
    /// Seconds at which two things of these classes exchange their names whatever the seed, where names are exchanged at all.
    pub swaps: Vec<(f64, [&'static str; 2])>,
}

/// All drills; together they have every rule.
#[must_use]
pub fn all() -> Vec<Drill> {
    vec![visits(), gate(), closed(), crowd(), standing(), bay(), inspection(), objects()]
}

/// Somebody far behind the lane stands in view of every drill, so that there is always another name to be mixed up with. Too
/// small there to be taken for anything that matters, and of another class.
fn bystander(kind: Kind, seconds: u32) -> Script {
    script(kind, &[(0.0, -12.0, 50.0), (seconds as f32, -12.0, 50.0)])
}

/// Metres between the camera's foot and the lane that vehicles drive on.
const LANE: f32 = 25.0;

fn scene(scripts: Vec<Script>) -> Scene {
    Scene {
        mount: Mount { eye: V3(0.0, 0.0, 9.0), yaw: 0.0, pitch: 0.32, fov: 1.25 },
        light: Light::of(Hour::Day, 3.6, Vec::new()),
        rain: false,
        props: Vec::new(),
        markings: Vec::new(),
        paved: [-60.0, -30.0, 60.0, 60.0],
        scripts,
        period: 100_000.0,
        zones: vec![Zone::Rect("bay-1", [-6.0, 21.0, 6.0, 29.0]), Zone::Line("gate", [9.0, 19.0, 9.0, 31.0])],
        seed: 1,
    }
}

fn script(kind: Kind, keys: &[Key]) -> Script {
    Script { kind, colour: [0.7, 0.2, 0.2], second: [0.3; 3], keys: keys.to_vec(), open: Vec::new(), rest: 0.0 }
}

/// Along the lane: (seconds, metres from the middle).
fn drive(kind: Kind, keys: &[(f32, f32)]) -> Script {
    script(kind, &keys.iter().map(|(t, x)| (*t, *x, LANE)).collect::<Vec<_>>())
}

/// On foot, in front of the lane.
fn walk(keys: &[(f32, f32)]) -> Script {
    script(Kind::Person, &keys.iter().map(|(t, x)| (*t, *x, 22.5)).collect::<Vec<_>>())
}

/// Past the gate in 12 s from `start`; over the line some 8 s after the start when outwards.
fn pass(kind: Kind, start: f32, outwards: bool) -> Script {
    let x = if outwards { 24.0 } else { -24.0 };
    drive(kind, &[(start, -x), (start + 12.0, x)])
}

/// A camera with the scene's area and line and these rules; nothing of either when its rules are `null`.
fn camera(scene: &Scene, area: &Value, line: &Value) -> CameraConfig {
    let (mut areas, mut lines) = (Vec::new(), Vec::new());
    for shape in scene.areas() {
        let (base, rules, list) = match &shape.shape {
            AreaShape::Area(p) => (json!({"id": shape.id, "kind": "inspection_bay", "polygon": p}), area, &mut areas),
            AreaShape::Line(l) => (json!({"id": shape.id, "points": l, "severity": 1}), line, &mut lines),
        };
        let Some(rules) = rules.as_object() else { continue };
        let mut base = base;
        for (key, value) in rules {
            base[key] = value.clone();
        }
        list.push(base);
    }
    let whole = json!({"id": "drill", "url": "rtsp://camera.invalid/1", "area": areas, "line": lines});
    serde_json::from_value(whole).expect("the drills' own configuration is valid")
}

fn drill(name: &'static str, seconds: u32, mut scripts: Vec<Script>, area: &Value, line: &Value) -> Drill {
    let other = if scripts.iter().any(|s| s.kind == Kind::Person) { Kind::TwoWheeler } else { Kind::Person };
    scripts.push(bystander(other, seconds));
    let scene = scene(scripts);
    let camera = camera(&scene, area, line);
    Drill { name, scene, seconds, camera, facts: Vec::new(), windows: Windows::default(), swaps: Vec::new() }
}

fn at(second: i64) -> String {
    START.plus_ms(second * 1000).to_rfc3339()
}

/// A booking of `area` for a declaration, from and to these seconds.
fn booking(id: &str, version: i64, area: &str, decl: &str, window: (i64, i64), state: &str) -> Value {
    json!({"id": id, "version": version, "area": area, "decl_keys": [decl], "start": at(window.0), "end": at(window.1),
        "state": state})
}

fn visits() -> Drill {
    let scripts = vec![
        drive(Kind::Truck, &[(0.0, -26.0), (6.5, 0.0), (26.0, 0.0), (32.5, 26.0)]),
        drive(Kind::Car, &[(34.0, -22.0), (45.0, 22.0)]),
        drive(Kind::Car, &[(48.0, -22.0), (54.5, 3.0), (70.0, 3.0), (75.5, 24.0)]),
        walk(&[(77.0, -14.0), (97.0, 14.0)]),
        drive(Kind::Bus, &[(98.0, -26.0), (104.5, 0.0), (110.0, 0.0), (116.5, 26.0)]),
    ];
    let rules = json!({"enter": {"severity": 1}, "exit": {"severity": 1}, "dwell": {"limit_s": 10.0, "severity": 2}});
    drill("visits", 125, scripts, &rules, &json!({}))
}

fn gate() -> Drill {
    let scripts = vec![
        pass(Kind::Truck, 0.0, true),
        pass(Kind::Truck, 25.0, true),
        pass(Kind::Car, 50.0, true),
        pass(Kind::Truck, 75.0, true),
        pass(Kind::Car, 100.0, false),
        pass(Kind::Car, 125.0, true),
        pass(Kind::Truck, 128.0, true),
        pass(Kind::Car, 155.0, true),
        pass(Kind::Truck, 160.5, true),
    ];
    let line = json!({"direction": "left_to_right", "gate_out": {}, "wrong_way": {}, "tailgating": {"within_s": 4.0}});
    let mut d = drill("gate", 180, scripts, &Value::Null, &line);
    let cleared = |decl: &str| json!({"decl_no": decl, "version": 1, "cleared_at": at(-3600)});
    let declarations = json!([
        cleared("10000000001"),
        {"decl_no": "10000000002", "version": 1, "registered_at": at(-3600)},
        {"decl_no": "10000000003", "version": 1, "cleared_at": at(-3600), "stopped_at": at(-60)},
        cleared("10000000005"),
    ]);
    let windows = [(-10, 20), (20, 45), (45, 70), (70, 95), (120, 190)];
    let book = |(i, w): (usize, &(i64, i64))| {
        booking(&format!("b{i}"), 1, "gate", &format!("1000000000{}", i + 1), *w, "planned")
    };
    let bookings: Vec<Value> = windows.iter().enumerate().map(book).collect();
    d.facts = vec![(0.0, json!({"declarations": declarations, "bookings": bookings}))];
    d.windows.leaving = vec![
        (0.0, 20.0, RuleKind::GateOut),
        (20.0, 70.0, RuleKind::GateOutNotReleased),
        (70.0, 95.0, RuleKind::GateOutUnchecked),
        (120.0, 190.0, RuleKind::GateOut),
    ];
    // The car has crossed, and the truck behind it is about to.
    d.swaps = vec![(134.6, ["car", "truck"])];
    d
}

fn closed() -> Drill {
    let visit = |from: f32, to: f32| walk(&[(from - 7.0, -12.0), (from, -2.0), (to, -2.0), (to + 7.0, -12.0)]);
    let scripts = vec![visit(40.0, 80.0), visit(72.0, 88.0), visit(112.0, 150.0), visit(172.0, 176.0)];
    let rules = json!({"restricted": {"closed": [{"days": ["mon"], "from": "10:01", "to": "10:02"}]}});
    let mut d = drill("closed", 190, scripts, &rules, &Value::Null);
    d.windows.closed = vec![(60.0, 120.0)];
    d
}

fn crowd() -> Drill {
    let stay =
        |from: f32, x: f32, to: f32| drive(Kind::Car, &[(from - 7.0, -24.0), (from, x), (to, x), (to + 7.0, -24.0)]);
    // The nearest to the way out comes last and leaves first; the fourth only drives past, in front of the others. Cars are
    // 4.4 m long and stand 0.9 m apart: bumper to bumper, but not one inside the other.
    let past = script(Kind::Car, &[(68.0, -20.0, 21.8), (78.0, 20.0, 21.8)]);
    let scripts = vec![stay(8.0, 5.3, 97.0), stay(18.0, 0.0, 85.0), stay(30.0, -5.3, 50.0), past];
    let rules = json!({"occupancy": {"limit": 2, "after_s": 5.0}});
    drill("crowd", 105, scripts, &rules, &Value::Null)
}

fn standing() -> Drill {
    let scripts = vec![
        drive(Kind::Truck, &[(0.0, 0.0), (40.0, 0.0), (46.5, 26.0)]),
        drive(Kind::Car, &[(48.0, -22.0), (51.5, -8.0), (65.5, 8.0), (69.0, 22.0)]),
        drive(Kind::Car, &[(72.0, -22.0), (77.5, 0.0), (97.5, 0.0), (103.0, 22.0)]),
        drive(Kind::Car, &[(106.0, -22.0), (111.5, 0.0), (116.5, 0.0), (122.0, 22.0)]),
    ];
    drill("standing", 125, scripts, &json!({"stopped": {"after_s": 10.0}}), &Value::Null)
}

fn bay() -> Drill {
    let visit =
        |from: f32, to: f32| drive(Kind::Truck, &[(from - 6.5, -26.0), (from, 0.0), (to, 0.0), (to + 6.5, 26.0)]);
    let scripts = vec![visit(8.0, 40.0), visit(58.0, 90.0), visit(108.0, 130.0), pass(Kind::Car, 140.0, true)];
    let mut d = drill("bay", 155, scripts, &json!({"bay": {"after_s": 5.0}, "unbooked": {}}), &Value::Null);
    // The second one is booked late, and stays longer than that.
    let (first, late) = ((-10, 50), (50, 84));
    let mut booked = booking("a", 1, "bay-1", "10000000001", first, "planned");
    booked["containers"] = json!(["CSQU3054383"]);
    let read = json!({"id": "o", "kind": "container", "raw": "MSKU 000008 0", "area": "bay-1",
        "at": START.plus_ms(20_000).to_rfc3339(), "confidence": 0.97});
    d.facts = vec![
        (0.0, json!({"bookings": [booked]})),
        (20.0, json!({"observations": [read]})),
        (70.0, json!({"bookings": [booking("b", 1, "bay-1", "10000000002", late, "planned")]})),
    ];
    d.windows.booked = vec![(0.0, 50.0), (70.0, 84.0)];
    d.windows.wrong = Some(20.0);
    d
}

fn inspection() -> Drill {
    let mut truck = drive(Kind::Truck, &[(0.0, -26.0), (6.5, 0.0), (110.0, 0.0), (116.5, 26.0)]);
    truck.open = vec![
        (19.0, 0.0),
        (20.0, 1.0),
        (30.0, 1.0),
        (31.0, 0.0),
        (49.0, 0.0),
        (50.0, 1.0),
        (60.0, 1.0),
        (61.0, 0.0),
        (65.0, 0.0),
        (66.0, 1.0),
        (80.0, 1.0),
        (81.0, 0.0),
    ];
    // The delivered detector does not find people in front of a vehicle in the colour of their clothes.
    let visit = |from: f32, to: f32| Script {
        colour: [0.16, 0.3, 0.6],
        ..walk(&[(from - 6.0, -15.0), (from, -4.0), (to, -4.0), (to + 6.0, -15.0)])
    };
    let scripts = vec![truck, visit(14.0, 25.0), visit(46.0, 60.0), visit(90.0, 98.0)];
    let rules = json!({"person_without_inspection": {}, "opened_without_inspection": {"classes": ["open_doors"]}});
    let mut d = drill("inspection", 120, scripts, &rules, &Value::Null);
    let book = |version, state| json!({"bookings": [booking("a", version, "bay-1", "10000000001", (0, 200), state)]});
    d.facts = vec![(0.0, book(1, "planned")), (40.0, book(2, "active")), (70.0, book(3, "done"))];
    d.windows.inspection = vec![(40.0, 70.0)];
    d
}

fn objects() -> Drill {
    let scripts = vec![
        script(Kind::TwoWheeler, &[(26.0, -18.0, 22.0), (34.0, 3.0, 22.0), (70.0, 3.0, 22.0), (77.0, 20.0, 22.0)]),
        script(Kind::Container, &[(0.0, -0.5, 27.5), (115.0, -0.5, 27.5)]),
        script(Kind::Truck, &[(80.0, -26.0, 22.2), (93.0, 26.0, 22.2)]),
        // Another one stands behind a truck until that drives off.
        script(Kind::Container, &[(0.0, -5.2, 25.0), (132.0, -5.2, 25.0)]),
        script(Kind::Truck, &[(0.0, -5.2, 21.5), (18.0, -5.2, 21.5), (24.0, -28.7, 21.5)]),
    ];
    let rules = json!({
        "object_left": {"after_s": 10.0, "classes": ["two_wheeler", "container"]},
        "object_removed": {"after_s": 5.0, "classes": ["container"]},
    });
    drill("objects", 132, scripts, &rules, &Value::Null)
}
