//! What a box says, as far as the desk must understand it: a message read leniently, since a box may be newer than the
//! desk, and the alert it becomes. Values in, values out.

use serde_json::Value;

use super::db::alerts::{AlertRow, LinkRow};
use super::db::indexed;
use super::db::messages::Message;
use crate::clock::UtcMillis;
use crate::event::zone::Zone;

/// A box's clock may be ahead of the desk's by this much, milliseconds. What lies further ahead did not happen then.
const AHEAD_MS: i64 = 60_000;

/// Reads a message of `office`/`box_id`; the topic says whose it is, the content must agree.
pub(crate) fn read(payload: &[u8], office: &str, box_id: &str) -> Result<Message, String> {
    let body: Value = serde_json::from_slice(payload).map_err(|e| format!("no JSON: {e}"))?;
    let source = text(&body, "/source").ok_or("has no `source`")?;
    if source != format!("/office/{office}/box/{box_id}") {
        return Err(format!("`source` {source:?} is not the box of the topic"));
    }
    let number = |pointer| body.pointer(pointer).and_then(Value::as_i64);
    let epoch = number("/data/sequence/epoch").ok_or("has no `data.sequence.epoch`")?;
    let seq = number("/data/sequence/seq").filter(|n| *n >= 1).ok_or("has no `data.sequence.seq` of 1 or more")?;
    let time = ["/data/capture/best", "/data/at", "/time"].iter().find_map(|p| text(&body, p));
    let at = UtcMillis::parse_rfc3339(&time.ok_or("has no `time`")?)?;
    Ok(Message {
        epoch,
        seq,
        id: text(&body, "/id").filter(|id| (1..=100).contains(&id.len())).ok_or("has no `id`")?,
        revision: number("/data/revision").unwrap_or(1),
        kind: text(&body, "/type").ok_or("has no `type`")?,
        subject: text(&body, "/subject").unwrap_or_default(),
        office: office.into(),
        box_id: box_id.into(),
        severity: number("/data/severity").unwrap_or(1).clamp(1, 4),
        at_ms: at.0,
        source,
        body,
    })
}

/// A body that a row keeps.
pub(crate) fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// A time at a place.
pub(crate) fn moment(value: &Value, pointer: &str) -> Option<UtcMillis> {
    UtcMillis::parse_rfc3339(&text(value, pointer)?).ok()
}

/// A text at a place; without what a database cannot keep.
pub(crate) fn text(body: &Value, pointer: &str) -> Option<String> {
    let found = body.pointer(pointer)?.as_str()?;
    Some(found.chars().filter(|c| *c != '\0').collect())
}

/// `gatewatch.alert.gate_out.v1` is about `gate_out`.
pub(crate) fn rule_of(kind: &str) -> String {
    let without = kind.trim_start_matches("gatewatch.").trim_start_matches("alert.").trim_start_matches("event.");
    let rule = without.rsplit_once(".v").map_or(without, |(rule, _)| rule);
    rule.chars().filter(|c| *c != '\0').collect()
}

/// Whether a person must look at it.
pub(crate) fn is_alert(m: &Message) -> bool {
    m.kind.contains(".alert.")
}

/// Declarations it belongs or may belong to.
pub(crate) fn links(m: &Message) -> Vec<LinkRow> {
    let links = m.body.pointer("/data/link/links").and_then(Value::as_array);
    let read = |l: &Value| {
        let key: String = text(l, "/decl_key")?.chars().take(11).collect();
        let confidence = l.get("confidence").and_then(Value::as_f64).unwrap_or(0.0);
        Some(LinkRow {
            decl_key: Some(key).filter(|k| k.len() == 11 && k.bytes().all(|b| b.is_ascii_digit()))?,
            state: text(l, "/state").unwrap_or_default(),
            method: text(l, "/method").unwrap_or_default(),
            #[allow(clippy::cast_possible_truncation, reason = "0 to 1000")]
            permille: (confidence.clamp(0.0, 1.0) * 1000.0).round() as i64,
            channel: l.get("channel").and_then(Value::as_i64),
        })
    };
    links.into_iter().flatten().filter_map(read).collect()
}

/// What a message says of an inspection bay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BayWord {
    pub area: String,
    pub name: String,
    /// Event that occupies it; `None` = empty.
    pub event: Option<String>,
    /// Occupied or empty since.
    pub since_ms: i64,
}

/// Whether a bay is used, as `bay_occupied` and `bay_empty` say; other rules about a bay do not say it.
pub(crate) fn bay(m: &Message) -> Option<BayWord> {
    let time = |p: &str| moment(&m.body, p).map(|t| t.0);
    let (start, end) = (time("/data/capture/start").unwrap_or(m.at_ms), time("/data/capture/end"));
    let (event, since_ms) = match rule_of(&m.kind).as_str() {
        "bay_occupied" if end.is_none() => (Some(m.id.clone()), start),
        "bay_occupied" | "bay_empty" => (None, end.unwrap_or(m.at_ms)),
        _ => return None,
    };
    let area = text(&m.body, "/data/area/id")?;
    Some(BayWord {
        name: text(&m.body, "/data/area/name").filter(|n| !n.is_empty()).unwrap_or_else(|| area.clone()),
        event,
        since_ms,
        area,
    })
}

/// Ids of the tips it is about.
pub(crate) fn tips(m: &Message) -> Vec<String> {
    let mut found: Vec<String> = m.subject.strip_prefix("tip/").map(str::to_owned).into_iter().collect();
    found.extend(["/data/tip_id", "/data/tip/id"].iter().filter_map(|p| text(&m.body, p)));
    let list = m.body.pointer("/data/tips").and_then(Value::as_array);
    found.extend(list.into_iter().flatten().filter_map(|t| text(t, "/id").or_else(|| t.as_str().map(str::to_owned))));
    found.sort();
    found.dedup();
    found
}

/// Whether closed business must be looked at again: customs answers otherwise, or it is tied otherwise.
pub(crate) fn matters(before: &Value, now: &Value) -> bool {
    ["/data/link/verdict", "/data/check/answer"].iter().any(|p| before.pointer(p) != now.pointer(p))
}

/// When it counts as happened: not later than now, whatever a box's clock says.
pub(crate) fn happened(m: &Message, now_ms: i64) -> i64 {
    if m.at_ms > now_ms + AHEAD_MS { now_ms } else { m.at_ms }
}

/// Whether it comes too late for anybody to do something about the moment. The first word of an event is as old as its picture;
/// a later one as old as itself: what a box says now about something that happened before is no history. All by the box's clock: where
/// that is known to be off, the limit is another one by so much.
pub(crate) fn is_late(m: &Message, now_ms: i64, live_limit_ms: i64) -> bool {
    if m.revision > 1 {
        let said = moment(&m.body, "/time");
        return now_ms - said.map_or(m.at_ms, |t| t.0) > live_limit_ms;
    }
    let told = m.body.pointer("/data/sequence/historical").and_then(Value::as_bool) == Some(true);
    told || now_ms - m.at_ms > live_limit_ms
}

/// Open tips that the box knows to be about the event: id, and the severity that they give it at least.
pub(crate) fn tips_behind(m: &Message) -> Vec<(String, i64)> {
    let list = m.body.pointer("/data/link/tips").and_then(Value::as_array);
    let read = |t: &Value| Some((text(t, "/id")?, t.get("severity").and_then(Value::as_i64)?));
    list.into_iter().flatten().filter_map(read).collect()
}

/// What the message says goes into the row; what people decided stays.
pub(crate) fn describe(row: &mut AlertRow, m: &Message) {
    let data = |p: &str| text(&m.body, &format!("/data{p}"));
    row.rule = rule_of(&m.kind);
    row.revision = m.revision;
    let closed = m.body.pointer("/data/open").and_then(Value::as_bool) == Some(false);
    let ended = closed || m.body.pointer("/data/capture/end").is_some_and(Value::is_string);
    row.phase = if ended { "end".into() } else { data("/phase").unwrap_or_else(|| "new".into()) };
    row.camera = data("/camera/name").or_else(|| data("/camera/id")).or_else(|| data("/camera")).unwrap_or_default();
    row.place = data("/area/name").or_else(|| data("/area/id")).unwrap_or_default();
    row.picture = data("/snapshot/sha256");
    let keys: Vec<String> = links(m).into_iter().map(|l| l.decl_key).collect();
    let camera_id = data("/camera/id").unwrap_or_else(|| row.camera.clone());
    let area_id = data("/area/id").unwrap_or_default();
    let first = keys.first().cloned().unwrap_or_default();
    // A line that fails takes all boxes of an office with it: that is one situation.
    let of_box = if row.rule == super::outage::RULE { "" } else { &m.box_id };
    row.group_key = [m.office.as_str(), of_box, &camera_id, &area_id, &row.rule, &first].join("|");
    row.body = m.body.to_string();
    row.search = indexed(&search_text(row, m, &keys));
}

fn search_text(row: &AlertRow, m: &Message, keys: &[String]) -> String {
    let containers = m.body.pointer("/data/link/links").and_then(Value::as_array).into_iter().flatten();
    let containers = containers.filter_map(|l| l.get("containers")).map(Value::to_string);
    let mut words = vec![m.office.clone(), m.box_id.clone(), row.camera.clone(), row.place.clone(), row.rule.clone()];
    // Both languages, so that whoever searches finds it by the words on his page.
    words.extend(["vi", "en"].map(|l| super::words::term(l, &format!("rule.{}", row.rule)).to_owned()));
    words.extend(text(&m.body, "/data/object/label"));
    words.extend(keys.iter().cloned());
    words.extend(containers);
    words.extend(read_there(m));
    words.join(" ")
}

/// Numbers of plates, containers, seals and bookings that its links rest on: they stand in their reasons only.
fn read_there(m: &Message) -> Vec<String> {
    let links = m.body.pointer("/data/link/links").and_then(Value::as_array).into_iter().flatten();
    let mut reasons: Vec<String> = links.filter_map(|l| text(l, "/reason")).collect();
    reasons.extend(text(&m.body, "/data/link/reason"));
    let numbers = reasons.iter().flat_map(|r| r.split([' ', ',', ';', '(', ')']));
    let is_number = |w: &&str| w.len() >= 4 && w.contains(|c: char| c.is_ascii_digit()) && !w.contains(':');
    let mut found: Vec<String> = numbers.filter(is_number).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

/// A new alert. One that says it happened in the future happened now: it would stand above all others until then.
pub(crate) fn alert(m: &Message, zone: &Zone, now_ms: i64, live_limit_ms: i64) -> AlertRow {
    let at_ms = happened(m, now_ms);
    let ahead = at_ms != m.at_ms;
    let said_day = text(&m.body, "/data/duty_day").filter(|_| !ahead);
    let mut row = AlertRow {
        id: m.id.clone(),
        office: m.office.clone(),
        box_id: m.box_id.clone(),
        camera: String::new(),
        place: String::new(),
        rule: String::new(),
        severity: m.severity,
        revision: m.revision,
        phase: String::new(),
        at_ms,
        opened_ms: now_ms,
        duty_day: said_day.unwrap_or_else(|| zone.duty_day(UtcMillis(at_ms))),
        historical: i64::from(is_late(m, now_ms, live_limit_ms)),
        group_key: String::new(),
        picture: None,
        pictured: 0,
        search: String::new(),
        body: String::new(),
        state: "new".into(),
        outcome: None,
        escalated_ms: None,
        asked_by: None,
        closed_ms: None,
        version: 1,
    };
    describe(&mut row, m);
    row
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn body(id: &str, seq: i64, revision: i64, severity: i64) -> Value {
        json!({
            "specversion": "1.0", "id": id, "source": "/office/15BB/box/gate-01",
            "type": "gatewatch.alert.gate_out_not_released.v1", "subject": "decl/10000001234",
            "time": "2026-03-02T03:17:45.212Z",
            "data": {
                "revision": revision, "phase": "new", "severity": severity, "office": "15BB", "box": "gate-01",
                "camera": {"id": "gate", "name": "Cổng ra"}, "area": {"id": "out", "name": "Vạch Đông"},
                "capture": {"start": "2026-03-02T03:17:40Z", "best": "2026-03-02T03:17:41Z", "end": null},
                "duty_day": "2026-03-02", "object": {"label": "truck", "score": 0.9},
                "check": {"question": "may_leave", "answer": "no", "basis": ["not released"]},
                "link": {"verdict": "linked", "links": [{"decl_key": "10000001234", "method": "booking",
                    "confidence": 0.8, "state": "linked", "containers": ["CSQU3054383"], "channel": 3, "reason": "r"}]},
                "snapshot": null, "sequence": {"epoch": 7, "seq": seq, "historical": false}
            }
        })
    }

    fn read_it(b: &Value) -> Result<Message, String> {
        read(b.to_string().as_bytes(), "15BB", "gate-01")
    }

    #[test]
    fn a_message_becomes_an_alert_with_its_place_and_declarations() {
        let m = read_it(&body("E1", 3, 1, 4)).unwrap();
        assert_eq!((m.epoch, m.seq, m.revision, m.severity), (7, 3, 1, 4));
        let zone = Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let row = alert(&m, &zone, m.at_ms + 1000, 60_000);
        assert_eq!((row.camera.as_str(), row.place.as_str(), row.historical), ("Cổng ra", "Vạch Đông", 0));
        assert!(
            row.search.contains("vach dong")
                && row.search.contains("10000001234")
                && row.search.contains("csqu3054383")
        );
        assert_eq!(alert(&m, &zone, m.at_ms + 61_000, 60_000).historical, 1, "late is history");
        // The box says now what customs answers now about a picture of an hour ago.
        let mut later = body("E1", 4, 2, 4);
        later["time"] = json!("2026-03-02T04:17:45.212Z");
        later["data"]["sequence"]["historical"] = json!(true);
        let later = read_it(&later).unwrap();
        assert_eq!(alert(&later, &zone, m.at_ms + 3_605_000, 60_000).historical, 0);
        assert_eq!(alert(&later, &zone, m.at_ms + 3_705_000, 60_000).historical, 1);
        let found = links(&m);
        assert_eq!((found[0].permille, found[0].channel, found[0].method.as_str()), (800, Some(3), "booking"));
    }

    #[test]
    fn what_says_that_it_happened_in_the_future_happened_now() {
        let m = read_it(&body("E1", 3, 1, 4)).unwrap();
        let zone = Zone::new("Asia/Ho_Chi_Minh").unwrap();
        let at = |now: i64| {
            let row = alert(&m, &zone, now, 60_000);
            (row.at_ms, row.duty_day, row.historical)
        };
        let day = 86_400_000;
        assert_eq!(at(m.at_ms - 30_000), (m.at_ms, "2026-03-02".into(), 0), "clocks differ");
        assert_eq!(at(m.at_ms - day), (m.at_ms - day, "2026-03-01".into(), 0));
    }

    #[test]
    fn what_cannot_be_placed_is_refused_with_its_reason() {
        for (pointer, value, says) in [
            ("/source", json!("/office/15BB/box/other"), "not the box of the topic"),
            ("/data/sequence/seq", json!(0), "seq"),
            ("/id", json!(""), "`id`"),
            ("/data/capture/best", json!("yesterday"), "yesterday"),
        ] {
            let mut b = body("E1", 3, 1, 4);
            *b.pointer_mut(pointer).unwrap() = value;
            assert!(read_it(&b).unwrap_err().contains(says), "{pointer}");
        }
        assert!(read(b"\xff{", "15BB", "gate-01").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn a_bay_is_used_from_its_event_to_its_end() {
        let mut b = body("E1", 3, 1, 1);
        assert_eq!(bay(&read_it(&b).unwrap()), None, "another rule");
        b["type"] = json!("gatewatch.event.bay_occupied.v1");
        let word = bay(&read_it(&b).unwrap()).unwrap();
        assert_eq!((word.area.as_str(), word.event.as_deref()), ("out", Some("E1")));
        b["data"]["capture"]["end"] = json!("2026-03-02T03:20:00Z");
        let word = bay(&read_it(&b).unwrap()).unwrap();
        assert_eq!((word.event, word.since_ms), (None, UtcMillis::parse_rfc3339("2026-03-02T03:20:00Z").unwrap().0));
    }

    #[test]
    fn another_answer_matters_and_a_new_picture_does_not() {
        let (a, mut b) = (body("E1", 1, 1, 4), body("E1", 2, 2, 4));
        assert!(!matters(&a, &b));
        b["data"]["check"]["answer"] = json!("yes");
        assert!(matters(&a, &b));
        assert_eq!(rule_of("gatewatch.alert.gate_out.v1"), "gate_out");
        assert_eq!(rule_of("gatewatch.camera.signal_lost.v1"), "camera.signal_lost");
    }
}
