//! What stands on a picture, in words, in both languages. How it is drawn is elsewhere.

use crate::clock::TimeSource;
use crate::config::Language;
use crate::customs::{Answer, LinkMethod, LinkVerdict};
use crate::event::message::{EventData, EventMessage};
use crate::event::zone::Zone;
use crate::geometry::CrossDirection;
use crate::rules::RuleKind;

/// Declaration numbers named at most; the message has them all.
const MAX_NUMBERS: usize = 3;

fn pick(language: Language, vi: &'static str, en: &'static str) -> &'static str {
    match language {
        Language::Vi => vi,
        Language::En => en,
    }
}

/// `xe tải 87 %`.
pub(super) fn object(data: &EventData, language: Language) -> String {
    seen(data.object.label.as_str(), data.object.score, language)
}

/// The same of a class and score, 0 to 1.
pub(super) fn seen(label: &str, score: f32, language: Language) -> String {
    format!("{} {:.0} %", class(label, language), score * 100.0)
}

/// Name of a class; its own name when it is not known here.
fn class(label: &str, language: Language) -> &str {
    match label {
        "person" => pick(language, "người", "person"),
        "truck" => pick(language, "xe tải", "truck"),
        "car" => pick(language, "ô tô con", "car"),
        "bus" => pick(language, "xe khách", "bus"),
        "two_wheeler" => pick(language, "xe hai bánh", "two-wheeler"),
        "container" => pick(language, "công-ten-nơ", "container"),
        "forklift" => pick(language, "xe nâng", "forklift"),
        other => other,
    }
}

/// By what a declaration was found.
fn method(method: LinkMethod, language: Language) -> &'static str {
    match method {
        LinkMethod::Officer => pick(language, "do cán bộ gắn", "by an officer"),
        LinkMethod::ContainerOcr => pick(language, "theo số container", "by container number"),
        LinkMethod::Seal => pick(language, "theo số chì", "by seal number"),
        LinkMethod::PlateOcr => pick(language, "theo biển số", "by plate"),
        LinkMethod::Booking => pick(language, "theo lịch đặt chỗ", "by booking"),
        LinkMethod::Visit => pick(language, "theo lượt xe vào", "by the vehicle's visit"),
    }
}

/// How serious it is.
pub(super) fn severity(severity: u8, language: Language) -> &'static str {
    match severity {
        0 | 1 => pick(language, "THÔNG TIN", "INFORMATION"),
        2 => pick(language, "CHÚ Ý", "NOTICE"),
        3 => pick(language, "NGHIÊM TRỌNG", "SERIOUS"),
        _ => pick(language, "KHẨN CẤP", "CRITICAL"),
    }
}

/// What happened, with how long, how many or which way, and what customs could not answer.
pub(super) fn rule(data: &EventData, language: Language) -> String {
    let (vi, en) = named(data.rule);
    let mut text = String::from(pick(language, vi, en));
    if let (true, Some(ms)) = (says_how_long(data.rule), data.dwell_ms) {
        text.push_str(&format!(" · {}", duration(ms, language)));
    }
    if let Some(count) = data.count {
        text.push_str(&format!(" · {count}"));
    }
    text.push_str(match data.direction {
        Some(CrossDirection::LeftToRight) => pick(language, " · từ trái sang phải", " · left to right"),
        Some(CrossDirection::RightToLeft) => pick(language, " · từ phải sang trái", " · right to left"),
        None => "",
    });
    // The name of that rule says so itself.
    let unknown = data.check.as_ref().is_some_and(|c| c.answer == Answer::Unknown);
    if unknown && data.rule != RuleKind::GateOutUnchecked {
        text.push_str(pick(language, " · chưa đối chiếu được", " · could not be checked"));
    }
    if data.implausible_jump {
        text.push_str(pick(language, " · nghi nhầm đối tượng", " · objects may be mixed up"));
    }
    text
}

/// Name of a rule in Vietnamese and English.
fn named(rule: RuleKind) -> (&'static str, &'static str) {
    match rule {
        RuleKind::Enter => ("Vào khu vực", "Entered the area"),
        RuleKind::Exit => ("Rời khu vực", "Left the area"),
        RuleKind::Dwell => ("Ở lại quá thời hạn", "Stayed too long"),
        RuleKind::LineCross => ("Qua vạch", "Crossed the line"),
        RuleKind::WrongWay => ("Đi ngược chiều", "Wrong way"),
        RuleKind::Tailgating => ("Bám đuôi qua barrier", "Tailgating"),
        RuleKind::GateOut => ("Ra cổng, được phép", "Left the gate, allowed"),
        RuleKind::GateOutNotReleased => ("RA CỔNG KHI CHƯA ĐƯỢC PHÉP", "LEFT THE GATE WITHOUT RELEASE"),
        RuleKind::GateOutUnchecked => ("Ra cổng, chưa đối chiếu được", "Left the gate, could not be checked"),
        RuleKind::Restricted => ("Trong khu vực cấm", "In a closed area"),
        RuleKind::Occupancy => ("Quá số lượng cho phép", "Too many in the area"),
        RuleKind::Stopped => ("Dừng đỗ", "Stopped"),
        RuleKind::BayOccupied => ("Ô kiểm tra có xe", "Bay occupied"),
        RuleKind::BayEmpty => ("Ô kiểm tra đã trống", "Bay empty"),
        RuleKind::BayUnbooked => ("Xe trong ô không có lịch đặt", "Bay occupied without a booking"),
        RuleKind::BayWrongVehicle => ("XE TRONG Ô KHÔNG ĐÚNG LỊCH ĐẶT", "NOT THE BOOKED VEHICLE IN THE BAY"),
        RuleKind::PersonWithoutInspection => ("Có người khi chưa mở kiểm tra", "People without an inspection"),
        RuleKind::OpenedWithoutInspection => ("MỞ HÀNG KHI CHƯA MỞ KIỂM TRA", "OPENED WITHOUT AN INSPECTION"),
        RuleKind::ObjectLeft => ("Vật bị bỏ lại", "Object left"),
        RuleKind::ObjectRemoved => ("Vật bị lấy đi", "Object removed"),
    }
}

fn says_how_long(rule: RuleKind) -> bool {
    !matches!(rule, RuleKind::Enter | RuleKind::Exit)
}

fn duration(ms: i64, language: Language) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
    match (language, minutes) {
        (Language::Vi, 0) => format!("{seconds} giây"),
        (Language::Vi, _) => format!("{minutes} phút {seconds:02} giây"),
        (Language::En, 0) => format!("{seconds} s"),
        (Language::En, _) => format!("{minutes} min {seconds:02} s"),
    }
}

/// Which declarations, and how sure.
pub(super) fn declarations(event: &EventMessage, language: Language) -> String {
    let link = &event.data.link;
    let mut numbers: Vec<&str> = Vec::new();
    for candidate in &link.links {
        if !numbers.contains(&candidate.decl_key.0.as_str()) {
            numbers.push(&candidate.decl_key.0);
        }
    }
    let more = numbers.len().saturating_sub(MAX_NUMBERS);
    let mut listed = numbers.iter().take(MAX_NUMBERS).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        listed.push_str(&format!(" +{more}"));
    }
    let percent = link.links.first().map_or(0.0, |l| l.confidence * 100.0);
    let text = match link.verdict {
        LinkVerdict::Linked => {
            let how = link.links.first().map_or("", |l| method(l.method, language));
            format!("{} {listed} ({how}, {percent:.0} %)", pick(language, "Tờ khai", "Declaration"))
        }
        LinkVerdict::Proposed => {
            let how = pick(language, "đề xuất", "proposed");
            format!("{} {listed} ({how}, {percent:.0} %)", pick(language, "Tờ khai", "Declaration"))
        }
        LinkVerdict::Ambiguous => {
            format!("{}: {listed}", pick(language, "Nhiều tờ khai phù hợp", "Several declarations fit"))
        }
        LinkVerdict::Unlinked => pick(language, "Chưa gắn tờ khai", "No declaration linked").into(),
    };
    let stale = pick(language, " · dữ liệu thông quan cũ", " · clearance data is old");
    if link.feed_stale { text + stale } else { text }
}

/// Local time of the picture and whose clock said so.
pub(super) fn time(data: &EventData, zone: &Zone, language: Language) -> String {
    let source = match data.capture.time_source {
        TimeSource::RtcpNtp => pick(language, "giờ camera", "camera clock"),
        TimeSource::Arrival => pick(language, "giờ nhận", "arrival time"),
        TimeSource::File => pick(language, "giờ tệp", "file time"),
    };
    format!("{} ({source})", zone.label(data.capture.best))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_by_what_its_declaration_was_found() {
        let visit = include_str!("../../../tests/data/event_visit.json");
        let events: Vec<EventMessage> = serde_json::from_str(visit).expect("kept messages");
        let mut event = events.into_iter().find(|e| e.data.link.verdict == LinkVerdict::Linked).expect("a linked one");
        assert!(declarations(&event, Language::Vi).contains("theo lịch đặt chỗ"));
        event.data.link.links[0].method = LinkMethod::Officer;
        assert!(declarations(&event, Language::Vi).contains("do cán bộ gắn"));
        assert!(declarations(&event, Language::En).contains("by an officer"));
    }
}
