//! The words of a bundle's report, Vietnamese and English.

/// Vietnamese, English.
pub type Words = (&'static str, &'static str);

const TABLE: &[(&str, Words)] = &[
    ("title", ("Hồ sơ chứng cứ hình ảnh", "Camera evidence")),
    ("request", ("Yêu cầu trích xuất", "Request")),
    ("place", ("Địa điểm", "Place")),
    ("operator", ("Người thực hiện", "Person")),
    ("reason", ("Lý do", "Reason")),
    ("asked_at", ("Thời điểm yêu cầu", "Asked at")),
    ("selection", ("Phạm vi", "What was asked")),
    ("request_id", ("Mã yêu cầu", "Request id")),
    ("tip", ("Tin báo", "Tip")),
    ("event", ("Sự kiện", "Event")),
    ("footage", ("Video", "Footage")),
    ("camera", ("Camera", "Camera")),
    ("asked", ("Thời gian yêu cầu", "Time asked")),
    ("answer", ("Kết quả", "Found")),
    ("gaps", ("Khoảng trống", "Gaps")),
    ("clock", ("Nguồn giờ, độ lệch", "Clock, offset")),
    ("complete", ("đầy đủ", "complete")),
    ("partial", ("một phần", "partial")),
    ("none", ("không có", "none")),
    ("deleted", ("đã xóa", "deleted")),
    ("lost", ("tệp đã mất", "file lost")),
    ("unfinished", ("đang được ghi khi yêu cầu", "still being written when asked")),
    ("not_recorded", ("không ghi hình", "not recorded")),
    (
        "footage_note",
        (
            "Các đoạn video được giữ nguyên vẹn, có thể bắt đầu trước và kết thúc sau thời gian yêu cầu.",
            "Segments are whole: they may begin before and end after the time asked.",
        ),
    ),
    ("coverage", ("Thời gian được phân tích", "What was analysed")),
    ("watched", ("Có phân tích", "Analysed")),
    ("blind", ("Không phân tích, lý do", "Not analysed, and why")),
    (
        "coverage_note",
        (
            "Không có sự kiện trong thời gian có phân tích nghĩa là không quy tắc nào thấy gì; ngoài thời gian đó, việc không có sự kiện không nói lên điều gì. Số ms: khoảng cách dài nhất giữa hai hình được phân tích.",
            "No event in a time that was analysed means that no rule saw anything; at any other time it means nothing. The ms: longest time between two analysed pictures.",
        ),
    ),
    ("blind_signal", ("mất kết nối camera", "camera not reached")),
    ("blind_stall", ("camera không gửi hình", "the camera sent no pictures")),
    ("blind_decode", ("không giải mã được hình", "pictures could not be decoded")),
    ("blind_overload", ("quá tải", "overload")),
    ("blind_model_failed", ("mô hình nhận dạng không hoạt động", "no working model")),
    ("blind_clock", ("đồng hồ nhảy", "the clock jumped")),
    ("blind_restart", ("hệ thống không chạy hoặc đang khởi động", "the agent did not run or was starting")),
    ("blind_privacy", ("vùng che riêng tư", "under a privacy mask")),
    ("blind_ignored", ("vùng bỏ qua", "under an ignore mask")),
    ("blind_out_of_sight", ("ngoài vùng được quan sát", "outside of what was looked at")),
    ("blind_no_rule", ("không quy tắc nào báo được", "no rule could say anything")),
    ("blind_not_configured", ("chưa cấu hình", "not configured then")),
    ("blind_kept_back", ("có sự kiện bị giữ lại vì quá nhiều", "too many events: some were kept back")),
    (
        "blind_health",
        (
            "hình bị che, mờ, đứng, lệch, quá tối hoặc quá sáng",
            "the picture was covered, blurred, frozen, moved, too dark or too bright",
        ),
    ),
    ("blind_no_record", ("không có ghi nhận", "nothing was written down")),
    ("blind_not_yet", ("chưa ghi nhận khi yêu cầu", "not yet written down when asked")),
    ("events", ("Sự kiện", "Events")),
    ("no_events", ("Không có sự kiện nào trong phạm vi này.", "There is no event in what was asked.")),
    ("area", ("Khu vực", "Area")),
    ("severity", ("Mức độ (1–4)", "Severity (1–4)")),
    ("start", ("Bắt đầu", "Start")),
    ("end", ("Kết thúc", "End")),
    ("declarations", ("Tờ khai", "Declarations")),
    ("original", ("ảnh gốc", "original")),
    ("missing", ("Thiếu", "Missing")),
    ("nothing_missing", ("Không thiếu gì.", "Nothing is missing.")),
    ("what", ("Nội dung", "What")),
    ("why", ("Lý do", "Why")),
    ("custody", ("Nhật ký lưu giữ và trích xuất", "Custody log")),
    ("entry", ("Mục số", "Entry")),
    ("when", ("Thời điểm", "When")),
    ("action", ("Hành động", "Action")),
    ("digests", ("Mã băm", "Digests")),
    ("models", ("Mô hình nhận dạng", "Detector models")),
    ("configurations", ("Cấu hình", "Configurations")),
    ("chain_head", ("Đầu chuỗi khi trích xuất", "Head of the chain")),
    (
        "digest_note",
        (
            "Báo cáo này chỉ để đọc. Giá trị chứng minh nằm ở manifest.json, chữ ký và chuỗi băm; cách kiểm tra: README.txt.",
            "This report is for reading. What proves is manifest.json, its signature and the chain; how to check: README.txt.",
        ),
    ),
];

/// The words of a key; the key itself where there are none, so that a missing word is seen and nothing breaks.
#[must_use]
pub fn words(key: &str) -> Words {
    TABLE.iter().find(|(k, _)| *k == key).map_or(("?", "?"), |(_, w)| *w)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_not_looking_has_words() {
        use crate::coverage::BlindReason::{
            Clock, Decode, Health, Ignored, KeptBack, ModelFailed, NoRecord, NotConfigured, NotYet, OutOfSight,
            Overload, Privacy, Restart, Signal, Stall,
        };
        let all = [Signal, Stall, Decode, Overload, ModelFailed, Clock, Restart, Privacy, Ignored, OutOfSight];
        for reason in all.into_iter().chain([NotConfigured, KeptBack, Health, NoRecord, NotYet]) {
            assert_ne!(words(&format!("blind_{}", reason.as_str())).0, "?", "{reason:?}");
        }
    }

    #[test]
    fn every_key_of_the_report_has_words_in_both_languages() {
        let source = include_str!("report.rs");
        let quoted = source.split('"').skip(1).step_by(2);
        let keys =
            quoted.filter(|t| source.contains(&format!("words(\"{t}\")")) || source.contains(&format!("(\"{t}\", ")));
        let mut seen = 0;
        for key in keys.filter(|k| k.chars().all(|c| c.is_ascii_lowercase() || c == '_') && k.len() > 2) {
            assert_ne!(words(key).0, "?", "{key}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }
}
