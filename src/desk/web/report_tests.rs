//! Reports through their pages, without a socket: the bulletin out of the database, files that add up, what was printed, and what became
//! of alerts. Helpers are in `tip_tests.rs`.

use std::sync::Arc;

use axum::http::StatusCode;

use super::tests::room;
use super::tip_tests::{answered, draft, get, maker, post, sign_in, step, tip_in};
use crate::clock::utc_now;
use crate::desk::access::Role;
use crate::desk::config::PercentMode;
use crate::desk::db::Scope;
use crate::desk::message;
use crate::desk::room::Room;
use crate::desk::tip::{Money, Step};
use crate::desk::tips_duty;

/// The file of a report, as its leader saves it.
async fn exported(room: &Arc<Room>, query: &str) -> String {
    let mut form: Vec<(&str, &str)> = query.split('&').filter_map(|p| p.split_once('=')).collect();
    form.push(("note", "báo cáo Cục"));
    post(room, "leader", "/reports/csv", &form).await.text
}

/// The tips of the bulletin: 107 issued in 2024, 79 settled, 72 with a violation, 2,537,119,004 recovered and 457,311,000 in
/// fines; half of them to each of two offices.
async fn bulletin(room: &Room) {
    let zone = jiff::tz::TimeZone::get("Asia/Ho_Chi_Minh").unwrap();
    let start = crate::desk::report::period(crate::desk::report::Span::Year, jiff::civil::date(2024, 5, 1), &zone);
    let (start, day) = (start.unwrap().from_ms, 86_400_000);
    let maker = sign_in(room, "seed", Role::Supervisor, "*").await;
    for n in 0..107_i64 {
        let office = if n % 2 == 0 { "15BB" } else { "20BB" };
        let tip = tips_duty::create(room, &maker, draft(office), None).await.unwrap();
        let issued = start + n * day;
        let mut tx = room.db.write().await.unwrap();
        let mut row = tx.tip(&tip.id).await.unwrap().unwrap();
        (row.state, row.issued_ms, row.received_ms) = ("issued".into(), Some(issued), Some(issued + 600_000));
        if n < 79 {
            (row.state, row.settled_ms) = ("settled".into(), Some(issued + 3 * day));
            row.result = Some(if n < 72 { "violation" } else { "no_violation" }.into());
        }
        tx.change_tip(&row).await.unwrap();
        let last = n == 71;
        let amounts = [
            ("recovery", if last { 2_537_119_004 - 71 * 35_000_000 } else { 35_000_000 }),
            ("fine", if last { 457_311_000 - 71 * 6_400_000 } else { 6_400_000 }),
        ];
        for (kind, amount_vnd) in amounts.into_iter().filter(|_| n < 72) {
            let line = Money {
                id: format!("{kind}-{n}"),
                kind: kind.into(),
                amount_vnd,
                decision: String::new(),
                decl_key: None,
                at_ms: issued + 3 * day,
                account: "seed".into(),
                reverses: None,
            };
            tx.add_money(&tip.id, &line).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}

/// The rows of a CSV file, as fields.
fn fields(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn the_bulletin_comes_out_of_the_database_as_it_was_printed() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    bulletin(&room).await;
    sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    sign_in(&room, "office", Role::ShiftLeader, "15BB").await;
    let year = "period=year&at=2024-05-01";
    let page = get(&room, "leader", &format!("/reports?{year}")).await.text;
    for text in
        [">107<", ">79<", ">28<", ">72<", "91,13 %", "73,83 %", "2.537.119.004 đồng", "2,5 tỷ đồng", "457.311.000 đồng"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    for (list, n) in [("issued", 107), ("settled", 79), ("open", 28), ("violating", 72), ("recovery", 72)] {
        let listed = get(&room, "leader", &format!("/reports/tips?{year}&list={list}")).await.text;
        assert_eq!(listed.matches("href=\"/tips/0").count(), n, "{list}");
    }
    // Each part opens its list, and its list is the part.
    let part = "period=year&amp;at=2024-05-01&amp;view=cohort&amp;unit=&amp;office=20BB&amp;suspicion=&amp;type_code=&amp;footage=&amp;list=issued";
    assert!(page.contains(part), "{page}");
    let listed = get(&room, "leader", &format!("/reports/tips?{}", part.replace("&amp;", "&"))).await.text;
    assert_eq!(listed.matches("href=\"/tips/0").count(), 53);
    assert!(get(&room, "office", &format!("/reports?{year}")).await.text.contains(">54<"), "of its own office only");
    assert!(get(&room, "leader", &format!("/reports?{year}&unit=a1k2")).await.text.contains(">107<"), "in any case");
}

#[tokio::test]
async fn a_file_adds_up_to_its_figures_whatever_the_period() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    bulletin(&room).await;
    let leader = sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    // Much later money comes in for one of them; and for one that is not settled, which does not count yet.
    let tips = room.db.issued_tips(&Scope::all()).await.unwrap();
    for tip in [&tips[0], &tips[100]] {
        let line = Money {
            id: String::new(),
            kind: "recovery".into(),
            amount_vnd: 12_345_678_901,
            decision: String::new(),
            decl_key: None,
            at_ms: 0,
            account: String::new(),
            reverses: None,
        };
        tips_duty::money(&room, &leader, &tip.id, line).await.unwrap();
    }
    let now = utc_now().to_rfc3339()[..10].to_owned();
    let sums = async |query: String| {
        let rows = fields(&exported(&room, &query).await);
        let figure = |label: &str| rows.iter().find(|r| r[0] == label).map(|r| (r[1].clone(), r[2].clone())).unwrap();
        let head = rows.iter().position(|r| r[0] == "Số tin báo").unwrap();
        let column = |name: &str| rows[head].iter().position(|c| c == name).unwrap();
        let sum = |name: &str| rows[head + 1..].iter().map(|r| r[column(name)].parse::<i64>().unwrap()).sum::<i64>();
        for label in ["Truy thu thuế", "Tiền phạt", "trong đó bổ sung sau thanh khoản"] {
            assert_eq!(figure(label), (sum(label).to_string(), "đồng".into()), "{query} {label}");
        }
        (sum("Truy thu thuế"), figure("Tỷ lệ vi phạm trên số đã thanh khoản"))
    };
    let cohort = sums("period=year&at=2024-05-01".into()).await;
    assert_eq!(cohort, (2_537_119_004 + 12_345_678_901, ("91.13".into(), "%".into())));
    assert_eq!(sums("period=year&at=2024-05-01&view=flow".into()).await.0, 2_537_119_004);
    assert_eq!(sums(format!("period=year&at={now}&view=flow")).await.0, 12_345_678_901);
}

#[tokio::test]
async fn printed_figures_stay_as_printed_for_all_who_see_what_they_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let room_then = room(dir.path()).await;
    bulletin(&room_then).await;
    for (name, offices) in [("leader", "*"), ("second", "*"), ("office", "15BB"), ("narrow", "15BB")] {
        sign_in(&room_then, name, Role::ShiftLeader, offices).await;
    }
    let form = [("period", "year"), ("at", "2024-05-01")];
    let of_all = post(&room_then, "leader", "/reports/print", &form).await.to;
    let of_one = post(&room_then, "office", "/reports/print", &form).await.to;
    // The year after, rates are rounded and one tip is cancelled.
    sqlx::query("UPDATE tip SET state = 'cancelled', settled_ms = NULL, closed_ms = 1, result = NULL WHERE number LIKE '%00001'")
        .execute(&room_then.db.pool)
        .await
        .unwrap();
    let mut room_now = room(dir.path()).await;
    Arc::get_mut(&mut room_now).unwrap().config.reports.percent = PercentMode::Round;
    let page = get(&room_now, "second", &of_all).await;
    assert_eq!(page.status, StatusCode::OK, "whoever sees all offices");
    for text in ["91,13 %", "73,83 %", "cắt bỏ", "đã đổi", "không đổi", "20BB"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    // 78 of 107 is 72.897 %, 71 of 78 is 91.026 %.
    for restated in ["<strong>72,89 %</strong>", "<strong>91,02 %</strong>"] {
        assert!(page.text.contains(restated), "in the way it was printed: {}", page.text);
    }
    assert_eq!(
        get(&room_now, "office", &of_all).await.status,
        StatusCode::NOT_FOUND,
        "of offices that it does not see"
    );
    let page = get(&room_now, "leader", &of_one).await;
    assert!(page.text.contains(">54<") && !page.text.contains("20BB"), "counted over its offices: {}", page.text);
    for (who, known) in [("second", true), ("narrow", false)] {
        let shown = get(&room_now, who, "/reports?period=year&at=2024-11-30").await.text;
        assert!(shown.contains("Kỳ này đã được chốt số liệu") && shown.contains(&of_one), "{shown}");
        assert_eq!(shown.contains(&of_all), known, "{who}");
    }
    assert!(!get(&room_now, "second", "/reports?period=year&at=2025-05-01").await.text.contains("Kỳ này đã được chốt"));
    // What an older desk kept is the figures alone, of whoever printed them.
    let bare = r#"{"issued":107,"settled":79,"open":28,"closed":0,"violating":72,"recovery_vnd":1,"fines_vnd":1,"later_vnd":0,"median_receive_ms":null,"median_settle_ms":null}"#;
    sqlx::query("UPDATE report_snapshot SET scope = '', figures = $1")
        .bind(bare)
        .execute(&room_now.db.pool)
        .await
        .unwrap();
    assert!(get(&room_now, "leader", &of_all).await.text.contains(">107<"));
    assert_eq!(get(&room_now, "second", &of_all).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_report_counts_what_became_of_alerts_and_what_boxes_found() {
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    sign_in(&room, "other", Role::ShiftLeader, "20BB").await;
    let mut tx = room.db.write().await.unwrap();
    for (n, acts) in
        [&["look", "dismiss"][..], &["look", "ack"], &["unseen", "look"], &["unseen"]].into_iter().enumerate()
    {
        let body = message::tests::body(&format!("E{n}"), 1, 1, 2);
        let m = message::read(body.to_string().as_bytes(), "15BB", "gate-01").unwrap();
        tx.add_alert(&message::alert(&m, &room.zone, m.at_ms, 60_000)).await.unwrap();
        for (i, act) in acts.iter().enumerate() {
            let reason = if *act == "dismiss" { "weather" } else { "" };
            let entry = crate::desk::alert::Entry { action: act, reason: reason.into(), note: String::new() };
            let who = if *act == "unseen" { "" } else { "leader" };
            tx.add_alert_action(&format!("{n}-{i}"), &format!("E{n}"), 1, who, &entry).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    let day = "period=duty_day&at=2026-03-02";
    let listed = async |who: &str, list: &str| {
        let page = get(&room, who, &format!("/reports/alerts?{day}&list={list}")).await;
        assert_eq!(page.status, StatusCode::OK, "{list}");
        page.text.matches("href=\"/alerts/E").count()
    };
    for (list, n) in
        [("all", 4), ("dealt", 3), ("ack", 1), ("dismiss&reason=weather", 1), ("dismiss&reason=test", 0), ("unseen", 2)]
    {
        assert_eq!(listed("leader", list).await, n, "{list}");
        assert_eq!(listed("other", list).await, 0, "{list} of another office");
    }
    let page = get(&room, "leader", &format!("/reports?{day}")).await.text;
    let unseen = page.split("list=unseen&amp;reason=\">").nth(1).unwrap();
    assert!(unseen.starts_with("2<"), "also the one that somebody looked at later");
    assert!(exported(&room, day).await.contains("hết ngày trực chưa ai xem,2,Cảnh báo"));
    for footage in ["partial", "complete", "none"] {
        answered(&room, &tip_in(&room, &maker, "15BB", "issued").await, footage).await;
    }
    tip_in(&room, &maker, "15BB", "issued").await;
    let page = get(&room, "leader", "/reports?period=year").await.text;
    for footage in ["đầy đủ", "một phần", "không có", "chưa có trả lời"] {
        assert!(page.contains(&format!("<th scope=\"row\">{footage}</th>")), "{footage}: {page}");
    }
    let found = get(&room, "leader", "/reports/tips?period=year&footage=partial&list=issued").await.text;
    assert_eq!(found.matches("href=\"/tips/0").count(), 1);
}

#[tokio::test]
async fn several_units_issue_at_one_desk_and_are_ranked() {
    let dir = tempfile::tempdir().unwrap();
    let mut room = room(dir.path()).await;
    Arc::get_mut(&mut room).unwrap().config.desk.units = vec!["A3K1".into()];
    let maker = maker(&room).await;
    sign_in(&room, "second", Role::ShiftLeader, "A3K1,15BB").await;
    let form =
        |unit| [("unit", unit), ("office", "15BB"), ("suspicion", "value"), ("decl", "10000001234"), ("subject", "x")];
    assert!(get(&room, "maker", "/tips/new").await.text.contains("<option value=\"A3K1\">"));
    assert!(!get(&room, "second", "/tips/new").await.text.contains("name=\"unit\""), "he has one");
    assert_eq!(post(&room, "second", "/tips/new", &form("A1K2")).await.status, StatusCode::CONFLICT, "not his");
    post(&room, "second", "/tips/new", &form("")).await;
    post(&room, "maker", "/tips/new", &form("A3K1")).await;
    post(&room, "maker", "/tips/new", &form("")).await;
    let wanted = crate::desk::db::tips::Wanted { view: "all".into(), limit: 9, ..Default::default() };
    let mut tips = room.db.tips(&Scope::all(), &wanted).await.unwrap();
    tips.sort_by(|a, b| a.number.cmp(&b.number));
    let numbers: Vec<_> = tips.iter().map(|t| (t.unit.as_str(), &t.number[..4], &t.number[10..])).collect();
    assert_eq!(numbers, [("A1K2", "A1K2", "00001"), ("A3K1", "A3K1", "00001"), ("A3K1", "A3K1", "00002")]);
    for tip in &mut tips {
        tip.due_ms = Some(1);
        let mut tx = room.db.write().await.unwrap();
        tx.change_tip(tip).await.unwrap();
        tx.commit().await.unwrap();
        step(&room, &maker, tip, Step::Issue).await;
    }
    let page = get(&room, "maker", "/reports").await.text;
    let table = page.split("<caption>Theo đơn vị phát</caption>").nth(1).unwrap().split("</table>").next().unwrap();
    assert_eq!(table.matches("<th scope=\"row\">").count(), 2, "{table}");
}

#[tokio::test]
async fn tips_are_divided_by_the_type_code_of_their_declaration_as_far_as_one_may_know_it() {
    use crate::customs::FactKind;
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    let maker = maker(&room).await;
    sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    sign_in(&room, "unit", Role::ShiftLeader, "A1K2").await;
    let mut tx = room.db.write().await.unwrap();
    for (key, version, code) in [("10000000001", 1, "A12"), ("10000000001", 2, " a11 "), ("10000000002", 1, "E21")] {
        let said = serde_json::json!({"decl_no": key, "version": version, "office": "15BB", "type_code": code});
        let fact = crate::customs::Fact::from_json(FactKind::Declaration, said.to_string().as_bytes()).unwrap().value;
        tx.keep_fact("15BB", &fact, version).await.unwrap();
    }
    tx.commit().await.unwrap();
    for decl in [Some("10000000001"), Some("10000000001"), Some("10000000002"), Some("10000000003"), None] {
        let containers = "CSQU3054383".into();
        let draft = tips_duty::Draft { decl_key: decl.map(str::to_owned), containers, ..draft("15BB") };
        let tip = tips_duty::create(&room, &maker, draft, None).await.unwrap();
        step(&room, &maker, &tip, Step::Issue).await;
    }
    let page = get(&room, "leader", "/reports").await.text;
    let table = page.split("<caption>Theo mã loại hình</caption>").nth(1).unwrap().split("</table>").next().unwrap();
    for (code, asked, n) in [
        ("A11", "a11", 2),
        ("E21", "E21", 1),
        ("chưa biết mã loại hình", "unknown", 1),
        ("không nêu tờ khai", "none", 1),
    ] {
        assert!(table.contains(&format!("<th scope=\"row\">{code}</th>")), "{code}: {table}");
        let listed = get(&room, "leader", &format!("/reports/tips?list=issued&type_code={asked}")).await.text;
        assert_eq!(listed.matches("href=\"/tips/0").count(), n, "{code}");
        let form = get(&room, "leader", &format!("/reports?type_code={asked}")).await.text;
        let raw = form.contains("value=\"none\" maxlength") || form.contains("value=\"unknown\" maxlength");
        assert!(
            !raw && form.contains(&format!(">{code}<")) | form.contains(&format!("value=\"{code}\"")),
            "{code}: {form}"
        );
    }
    assert!(!table.contains("A12"), "as the clearance system says now");
    // Nothing of the declarations themselves is read, but of what an older desk kept.
    let codes = async || room.db.type_codes(&Scope::all()).await.unwrap();
    let known = codes().await;
    assert_eq!(known.len(), 2, "each once, however many tips name it: {known:?}");
    sqlx::query("UPDATE fact SET body = '{}' WHERE key = '10000000001'").execute(&room.db.pool).await.unwrap();
    assert_eq!(codes().await, known);
    sqlx::query("UPDATE fact SET type_code = NULL").execute(&room.db.pool).await.unwrap();
    assert_eq!(codes().await, [("10000000002".to_owned(), "E21".to_owned())]);
    sqlx::query("UPDATE fact SET type_code = 'A11' WHERE key = '10000000001'").execute(&room.db.pool).await.unwrap();
    let rows = fields(&exported(&room, "period=year").await);
    let row = |first: &str| rows.iter().find(|r| r[0] == first).unwrap().clone();
    assert_eq!(row("A11")[1..4], ["2", "0", "0"]);
    assert_eq!(row("Theo mã loại hình")[1], "Tin báo đã phát");
    let head = row("Số tin báo");
    assert_eq!(head[3], "Mã loại hình");
    assert_eq!(rows.iter().filter(|r| r.get(3).is_some_and(|c| c == "A11")).count(), 2);
    // Who issues for the unit alone hears nothing of the office's declarations.
    let page = get(&room, "unit", "/reports").await.text;
    assert!(page.contains("chưa biết mã loại hình</th>") && !page.contains(">A11<"), "{page}");
}

#[tokio::test]
async fn cameras_are_reported_by_office_with_how_much_is_known_of_them() {
    use crate::desk::db::availability::Noted;
    let dir = tempfile::tempdir().unwrap();
    let room = room(dir.path()).await;
    sign_in(&room, "leader", Role::ShiftLeader, "*").await;
    sign_in(&room, "other", Role::ShiftLeader, "20BB").await;
    let mut tx = room.db.write().await.unwrap();
    for (office, camera, permille) in
        [("15BB", "gate", &[1000, 1000, 250][..]), ("15BB", "bay", &[0]), ("20BB", "gate", &[990])]
    {
        for (n, permille) in (1..).zip(permille) {
            let noted = [Noted { office, box_id: "gate-01", camera, permille: *permille }];
            tx.add_camera_hours(&noted, "2026-03-02", n).await.unwrap();
        }
    }
    // One that a box has and of which nothing was ever heard, and one of an office of which that is all.
    for (office, birth) in
        [("15BB", r#"{"cameras": [{"id": "gate"}, {"id": "dead"}]}"#), ("30BB", r#"{"cameras": [{"id": "yard"}]}"#)]
    {
        tx.boxes_seen(&std::collections::BTreeMap::from([((office, "gate-01"), Some(1))]), 1, 1).await.unwrap();
        tx.box_birth(office, "gate-01", birth).await.unwrap();
    }
    tx.commit().await.unwrap();
    let day = "period=duty_day&at=2026-03-02";
    let page = get(&room, "leader", &format!("/reports?{day}")).await.text;
    let table = page.split("Camera được phân tích trong kỳ").nth(1).unwrap().split("</table>").next().unwrap();
    // 2250 of 4000 permille in 4 known hours of two cameras, and none of a third, which had 24 each.
    for text in [">3<", ">56 %<", ">4<", ">72<", ">99 %<"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    assert!(table.contains("30BB") && table.contains(">–<"), "{table}");
    let listed = get(&room, "leader", &format!("/reports/cameras?{day}&office=15BB")).await.text;
    for text in ["<th scope=\"row\">bay</th>", "<th scope=\"row\">dead</th>", ">0 %<", ">75 %<", ">3<", ">24<", ">–<"]
    {
        assert!(listed.contains(text), "{text}: {listed}");
    }
    assert!(!listed.contains("20BB"), "{listed}");
    let others = get(&room, "other", &format!("/reports?{day}")).await.text;
    assert!(others.contains(">99 %<") && !others.contains("56 %") && !others.contains("30BB"), "its own office only");
    let none = get(&room, "leader", "/reports?period=duty_day&at=2026-03-03").await.text;
    let none = none.split("Camera được phân tích trong kỳ").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(none.contains("15BB") && !none.contains(" %<"), "nothing is known, and nothing is made up: {none}");
    let rows = fields(&exported(&room, day).await);
    assert!(rows.iter().any(|r| r[0] == "15BB" && r[1..] == ["3", "56", "4", "72"]), "{rows:?}");
    // What was printed keeps it.
    let printed = post(&room, "leader", "/reports/print", &[("period", "duty_day"), ("at", "2026-03-02")]).await.to;
    sqlx::query("DELETE FROM camera_day").execute(&room.db.pool).await.unwrap();
    let printed = get(&room, "leader", &printed).await.text;
    let printed = printed.split("Camera được phân tích trong kỳ").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(printed.contains(">56 %<") && printed.contains("<strong>đã đổi</strong>"), "{printed}");
    assert!(printed.contains(">không đổi<"), "of 30BB nothing is known now either: {printed}");
    assert!(!printed.contains("href"), "the list of now is another one: {printed}");
}
