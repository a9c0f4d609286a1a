//! What boxes say in words, in Vietnamese. A box writes its reasons as English sentences with names, numbers and times in them;
//! the table here has each of them with its holes, that of cameras and parts which are not well is in `said_devices.rs`. What is
//! in neither stays as the box said it. A test reads the sources that write the sentences, so that a new one is missed at once.

use super::said_devices;
use crate::clock::UtcMillis;

/// Sentences and their parts; `{}` is a hole, in the same order in both. The first that fits is taken.
const SENTENCES: &[(&str, &str)] = &[
    // Answers of customs.
    ("{}, container {}: stopped since {} by order {}", "{}, container {}: bị dừng từ {} theo lệnh {}"),
    ("{}: stopped since {} by order {}", "{}: bị dừng từ {} theo lệnh {}"),
    ("{}: stopped since {}", "{}: bị dừng từ {}"),
    ("{}: cancelled", "{}: đã hủy"),
    ("{}: never received", "{}: chưa từng nhận được"),
    ("{}: passed the supervised area at {}", "{}: đã qua khu vực giám sát lúc {}"),
    ("{}: cleared at {}", "{}: thông quan lúc {}"),
    ("{}: released at {}", "{}: giải phóng hàng lúc {}"),
    ("{}: taken for storage at {}", "{}: đưa về bảo quản lúc {}"),
    ("{}: not released, stored or cleared", "{}: chưa giải phóng, chưa đưa về bảo quản, chưa thông quan"),
    ("booking {} of {} is active", "lịch đặt {} của {} đang mở kiểm tra"),
    (
        "booking {} of {} was active; the clearance feed is stale",
        "lịch đặt {} của {} đã mở kiểm tra; dữ liệu thông quan đã cũ",
    ),
    ("no booking of {} is active", "không lịch đặt nào của {} đang mở kiểm tra"),
    (
        "no booking of {} covers this time, and nothing was read there",
        "không lịch đặt nào của {} trùng thời gian này, và ở đó không đọc được gì",
    ),
    ("no booking of {} covers this time", "không lịch đặt nào của {} trùng thời gian này"),
    ("booking {} of {}, {} to {}", "lịch đặt {} của {}, {} đến {}"),
    ("the clearance feed is stale ({})", "dữ liệu thông quan đã cũ ({})"),
    ("the clearance feed is stale", "dữ liệu thông quan đã cũ"),
    ("never heard", "chưa từng nhận"),
    ("last heard {} s ago", "nhận lần cuối {} giây trước"),
    // How events are linked.
    ("officers bound it to different goods: {}", "các cán bộ gắn vào hàng khác nhau: {}"),
    ("{} candidates for {} are too close: {}", "{} phương án cho {} quá gần nhau: {}"),
    ("only plate ({}) and {} more ({}, sure from {})", "chỉ có biển số ({}) và {} căn cứ khác ({}, chắc chắn từ {})"),
    ("only seal ({}) and {} more ({}, sure from {})", "chỉ có số chì ({}) và {} căn cứ khác ({}, chắc chắn từ {})"),
    ("only plate ({}) ({}, sure from {})", "chỉ có biển số ({}) ({}, chắc chắn từ {})"),
    ("only seal ({}) ({}, sure from {})", "chỉ có số chì ({}) ({}, chắc chắn từ {})"),
    ("only {} ({}, sure from {})", "chỉ có {} ({}, chắc chắn từ {})"),
    (
        "booking {} is for other goods than container {}, which no known declaration has",
        "lịch đặt {} là cho hàng khác với container {}, mà không tờ khai nào đã biết có container này",
    ),
    (
        "booking {} is for other goods than container {}, which decides",
        "lịch đặt {} là cho hàng khác với container {}; số container quyết định",
    ),
    (
        "plate or visit stand for other goods than container {}, which no known declaration has",
        "biển số hoặc lượt xe chỉ hàng khác với container {}, mà không tờ khai nào đã biết có container này",
    ),
    ("officer {} ruled out {}", "cán bộ {} đã bác bỏ {}"),
    (
        "{} of {} declarations named here, the rest by the bookings",
        "nêu {} trong {} tờ khai, phần còn lại theo lịch đặt",
    ),
    ("{} of {}, the only one that fits", "{} tại {}, phương án duy nhất phù hợp"),
    ("{} of {}, {} weaker candidate(s) left out: {}", "{} tại {}, bỏ qua {} phương án yếu hơn: {}"),
    ("{} weaker candidate(s) left out: {}", "bỏ qua {} phương án yếu hơn: {}"),
    ("the only one that fits", "phương án duy nhất phù hợp"),
    ("the declaration is cancelled", "tờ khai đã hủy"),
    ("{} more containers", "{} container nữa"),
    ("in the window of booking {} ({} to {})", "trong khung giờ của lịch đặt {} ({} đến {})"),
    ("within the grace time of booking {} ({} to {})", "trong thời gian nới của lịch đặt {} ({} đến {})"),
    ("container {} read at {}, {}", "container {} đọc lúc {}, {}"),
    ("its check digit fits, the reader is not sure", "đúng số kiểm tra, máy đọc không chắc"),
    ("its check digit fits", "đúng số kiểm tra"),
    ("put right by its check digit", "đã sửa theo số kiểm tra"),
    ("its check digit does not fit", "sai số kiểm tra"),
    (
        "but the goods declared in it passed the supervised area long before",
        "nhưng hàng khai trong đó đã qua khu vực giám sát từ lâu",
    ),
    ("seal {} read at {}, of this declaration alone", "chì {} đọc lúc {}, chỉ của tờ khai này"),
    ("plate {} read at {}, {}", "biển số {} đọc lúc {}, {}"),
    ("nearly that of the booked vehicle", "gần giống xe đã đặt lịch"),
    ("nearly that of the visiting vehicle", "gần giống xe đang trong lượt"),
    ("the booked vehicle", "xe đã đặt lịch"),
    ("the visiting vehicle", "xe đang trong lượt"),
    ("inherited from visit {}, {} hop(s)", "theo lượt xe {}, qua {} bước"),
    ("bound by officer {} at {}", "cán bộ {} gắn lúc {}"),
    // By what a candidate is called.
    ("{} and {} more", "{} và {} căn cứ khác"),
    ("only within the grace time of booking {}", "chỉ trong thời gian nới của lịch đặt {}"),
    ("inside booking {}", "trong lịch đặt {}"),
    ("bound by an officer ({})", "cán bộ gắn ({})"),
    ("plate ({})", "biển số ({})"),
    ("seal ({})", "số chì ({})"),
    // Why an order is not taken.
    ("id: there is no hold of this id", "trạm không có lệnh giữ này"),
    ("to: must be after `from`, at most 7 days", "thời gian phải đúng thứ tự và tối đa 7 ngày"),
    ("camera: there is no camera {}", "trạm không có camera {}"),
    ("there are: {}", "hiện có: {}"),
    ("visit {}", "lượt xe {}"),
];

/// Fits nearly anything: it puts together what is a sentence of its own.
const OF_SOMETHING: (&str, &str) = ("{} of {}, {}", "{} tại {}, {}");

/// Longer than what a box of ours ever says in words: shown as it came.
const LONGEST: usize = 4096;
/// Sentences within each other, at most.
const DEEPEST: usize = 6;

/// What a box says, as far as it is known here. `time`: how a time is written.
pub(crate) fn vietnamese(said: &str, time: &dyn Fn(UtcMillis) -> String) -> String {
    if said.len() > LONGEST {
        return said.to_owned();
    }
    said.split("; ").map(|sentence| part(sentence, DEEPEST, time)).collect::<Vec<_>>().join("; ")
}

/// A sentence, or what stands in a hole of one: a time, a sentence again, a list of them, or a name.
fn part(text: &str, depth: usize, time: &dyn Fn(UtcMillis) -> String) -> String {
    let (mut out, mut rest) = (String::new(), text);
    loop {
        if let Some(whole) = whole(rest, depth, time) {
            return out + &whole;
        }
        let Some((first, others)) = rest.split_once(", ") else { return out + rest };
        out.push_str(&whole_or_name(first, depth, time));
        out.push_str(", ");
        rest = others;
    }
}

fn whole_or_name(text: &str, depth: usize, time: &dyn Fn(UtcMillis) -> String) -> String {
    whole(text, depth, time).unwrap_or_else(|| text.to_owned())
}

/// A time, or a sentence that is known.
fn whole(text: &str, depth: usize, time: &dyn Fn(UtcMillis) -> String) -> Option<String> {
    if let Some(at) = UtcMillis::parse_rfc3339(text).ok().filter(|_| text.contains('T')) {
        return Some(time(at));
    }
    let depth = depth.checked_sub(1)?;
    let mut all = SENTENCES.iter().copied().chain(said_devices::parts()).chain([OF_SOMETHING]);
    let (found, vietnamese) = all.find_map(|(english, vietnamese)| Some((holes(text, english)?, vietnamese)))?;
    let mut found = found.into_iter().map(|hole| part(hole, depth, time));
    let mut out = String::new();
    for (i, piece) in vietnamese.split("{}").enumerate() {
        if i > 0 {
            out.push_str(&found.next().unwrap_or_default());
        }
        out.push_str(piece);
    }
    Some(out)
}

/// What stands in the holes of a sentence, each as short as can be; `None` when the text is another one.
pub(super) fn holes<'a>(text: &'a str, sentence: &str) -> Option<Vec<&'a str>> {
    let mut pieces = sentence.split("{}");
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut found = Vec::new();
    let pieces: Vec<&str> = pieces.collect();
    for (i, piece) in pieces.iter().enumerate() {
        let end = if i + 1 == pieces.len() { rest.strip_suffix(piece)?.len() } else { rest.find(piece)? };
        let hole = rest.get(..end).filter(|hole| !hole.is_empty())?;
        found.push(hole);
        rest = &rest[end + piece.len()..];
    }
    rest.is_empty().then_some(found)
}

/// A text of a source with `§` where something is put in.
#[cfg(test)]
pub(super) fn marked(text: &str) -> String {
    let mut out = String::new();
    for (i, piece) in text.split('{').enumerate() {
        out.push_str(if i == 0 { piece } else { "§" });
        out.push_str(if i == 0 { "" } else { piece.split_once('}').map_or("", |(_, rest)| rest) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        vietnamese(text, &|at| format!("[{}]", at.0 / 1000))
    }

    #[test]
    fn sentences_with_names_times_and_each_other_inside() {
        for (english, vietnamese) in [
            (
                "10000001234: not released, stored or cleared",
                "10000001234: chưa giải phóng, chưa đưa về bảo quản, chưa thông quan",
            ),
            (
                "10000001234: stopped since 1970-01-01T00:00:10Z by order S-4; the clearance feed is stale",
                "10000001234: bị dừng từ [10] theo lệnh S-4; dữ liệu thông quan đã cũ",
            ),
            (
                "inside booking b1 and 2 more of bay-1, the only one that fits",
                "trong lịch đặt b1 và 2 căn cứ khác tại bay-1, phương án duy nhất phù hợp",
            ),
            (
                "inside booking b1 of bay-1, 2 weaker candidate(s) left out: plate (observation:x), visit V-7",
                "trong lịch đặt b1 tại bay-1, bỏ qua 2 phương án yếu hơn: biển số (observation:x), lượt xe V-7",
            ),
            (
                "only plate (observation:x) (0.55, sure from 0.80)",
                "chỉ có biển số (observation:x) (0.55, chắc chắn từ 0.80)",
            ),
            (
                "container CSQU3054383 read at 1970-01-01T00:00:10Z, its check digit fits, the reader is not sure",
                "container CSQU3054383 đọc lúc [10], đúng số kiểm tra, máy đọc không chắc",
            ),
            ("id: there is no hold of this id", "trạm không có lệnh giữ này"),
            (
                "media pipeline: the GStreamer element x is missing; install the base, good, bad and libav plugins of GStreamer",
                "bộ xử lý hình: thiếu phần tử GStreamer x; cài các phần bổ trợ base, good, bad và libav của GStreamer",
            ),
            (
                "pictures arrive; frozen since 1970-01-01T00:00:10Z, too_dark since 1970-01-01T00:00:20Z",
                "đang có hình; hình camera bị đứng từ [10], hình camera quá tối từ [20]",
            ),
            (
                "broker mqtt://b:1883 cannot be reached: Connection refused (os error 111); check mqtt.url, the network and that the broker runs",
                "không kết nối được máy chủ tin nhắn mqtt://b:1883: bị từ chối kết nối (os error 111); kiểm tra mqtt.url, mạng và máy chủ có đang chạy",
            ),
            (
                "camera gate is not recorded: cannot write into /v/a.mp4: No space left on device (os error 28); check owner and permissions",
                "camera gate không được ghi: không ghi vào được /v/a.mp4: ổ đĩa hết chỗ (os error 28); kiểm tra chủ sở hữu và quyền",
            ),
            ("refused", "từ chối đăng nhập"),
            ("cannot juggle /v/a.mp4: no hands", "cannot juggle /v/a.mp4: no hands"),
            ("something new", "something new"),
            ("", ""),
        ] {
            assert_eq!(said(english), vietnamese);
        }
    }

    #[test]
    fn what_somebody_makes_up_to_keep_the_desk_busy_is_shown_as_it_came() {
        let long = "model x: ".repeat(LONGEST);
        assert_eq!(said(&long), long);
        assert!(said(&"a, ".repeat(LONGEST / 3)).starts_with("a, a"));
        let deep = "unsupported stream: ".repeat(LONGEST / 20);
        assert!(said(&deep).ends_with("unsupported stream: "), "as deep as is looked into");
    }

    /// Text literals of a source that are words: what it puts into sentences.
    fn written(file: &str) -> Vec<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/customs/").to_owned() + file;
        let source = std::fs::read_to_string(path).unwrap();
        let source = source.split("#[cfg(test)]").next().unwrap();
        let code: Vec<&str> = source.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        let literals = code.join("\n").split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let words = literals.iter().map(|text| {
            let text = marked(text);
            text.trim_start_matches("§;").trim_matches([' ', ';', ',']).to_owned()
        });
        words.filter(|text| text.contains(' ') && text.contains(char::is_alphabetic)).collect()
    }

    #[test]
    fn every_sentence_that_a_box_writes_is_in_the_table() {
        // Parts that are put together before they are a sentence.
        let parts = [
            "taken for storage",
            "in the window of",
            "within the grace time of",
            "§: § at §",
            "§ booking § (§ to §)",
            "container §§",
            "container §",
            "§ of §, §",
        ];
        // A sentence of the table, or several of them.
        fn told(text: &str) -> bool {
            let of_table = SENTENCES.iter().any(|s| holes(text, s.0).is_some());
            of_table || text.split_once(", ").is_some_and(|(first, rest)| told(first) && told(rest))
        }
        let texts: Vec<String> =
            ["check.rs", "link.rs", "clue.rs", "weigh.rs"].iter().flat_map(|f| written(f)).collect();
        assert!(texts.len() > 40, "the sources were read: {texts:?}");
        let known = |text: &String| {
            // A suffix of its own: ` and 2 more`, `, container X`.
            let text = text.trim_end_matches("§§").to_owned() + if text.ends_with("§§") { "§" } else { "" };
            let text = text.replace("§§", "§").replace(")§", ")");
            let text = if text.starts_with("and ") { format!("§ {text}") } else { text };
            parts.contains(&text.as_str()) || told(&text)
        };
        let missing: Vec<&String> = texts.iter().filter(|t| !known(t)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
