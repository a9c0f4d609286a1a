//! The agent's own page for the technician at the box: how the parts and cameras are, what a camera sees now, and drawing of
//! areas and lines on it. The frame and its words are made here, what changes is fetched by the script; nothing in the page
//! itself is secret, so that it can ask for the token.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{ApiState, refuse};
use crate::config::Language;
use crate::desk::live::asks_for_loopback;

/// Key, Vietnamese, English.
const WORDS: &[(&str, &str, &str)] = &[
    ("title", "Trạm camera", "Gate box"),
    ("skip", "Đến nội dung", "Skip to content"),
    ("other", "English", "Tiếng Việt"),
    ("state", "Tình trạng", "State"),
    ("part", "Bộ phận", "Part"),
    ("says", "Cho biết", "What it says"),
    ("camera", "Camera", "Camera"),
    ("cameras", "Camera", "Cameras"),
    ("reason", "Lý do", "Reason"),
    ("table", "Bảng", "Table"),
    ("state.connecting", "Đang kết nối", "Connecting"),
    ("state.running", "Đang nhận hình", "Receiving"),
    ("state.stalled", "Không có hình", "No pictures"),
    ("state.refused", "Camera từ chối", "Refused"),
    ("state.lost", "Mất kết nối", "Lost"),
    ("state.stopped", "Đã dừng", "Stopped"),
    ("queue", "Chờ gửi", "To be sent"),
    ("recorded", "Ghi hình đến", "Recorded until"),
    ("now", "Hình hiện tại", "What it sees now"),
    (
        "alt_live",
        "Hình hiện tại của camera với vùng và đối tượng đang theo dõi",
        "What the camera sees now, with areas and what is followed",
    ),
    ("draw", "Vẽ vùng và vạch", "Draw areas and lines"),
    ("token", "Mã truy cập (http.token)", "Token (http.token)"),
    ("enter", "Vào", "Enter"),
    ("new_area", "Thêm vùng", "New area"),
    ("new_line", "Thêm vạch", "New line"),
    ("done", "Xong hình", "Finish shape"),
    ("remove", "Xóa", "Remove"),
    ("id", "Mã", "Id"),
    ("name", "Tên", "Name"),
    ("kind", "Loại", "Kind"),
    ("direction", "Chiều tính", "Direction that counts"),
    ("corners", "Các góc (ngang, dọc; 0 đến 1)", "Corners (right, down; 0 to 1)"),
    ("shapes", "Vùng và vạch", "Areas and lines"),
    ("check", "Kiểm tra, xem TOML", "Check, show TOML"),
    ("save", "Ghi vào tệp cấu hình", "Write into the configuration"),
    ("again", "Nạp lại", "Load again"),
    (
        "saved",
        "Đã ghi vào {file}. Khởi động lại agent để áp dụng.",
        "Written into {file}. Restart the agent to use it.",
    ),
    ("checked", "Hợp lệ. Chưa ghi.", "It is valid. Nothing was written."),
    (
        "restart",
        "Tệp cấu hình khác với cấu hình đang chạy: khởi động lại agent để áp dụng.",
        "The file differs from what runs: restart the agent to use it.",
    ),
    (
        "no_file",
        "Agent này chạy với cấu hình cài sẵn, không có tệp để ghi.",
        "This agent runs with a built-in configuration: there is no file to write.",
    ),
    (
        "need_token",
        "Muốn ghi từ trang này phải đặt http.token; hoặc chép văn bản TOML.",
        "To write from here set http.token; or copy the TOML text.",
    ),
    ("unsaved", "Hình vẽ chưa ghi sẽ mất. Tiếp tục?", "What was drawn and not written is lost. Go on?"),
    (
        "click_area",
        "Bấm lên hình để đặt từng góc, rồi “Xong hình”.",
        "Click on the picture for each corner, then “Finish shape”.",
    ),
    ("click_line", "Bấm hai điểm: đầu và cuối vạch.", "Click two points: where the line begins and ends."),
    (
        "move",
        "Kéo góc để dời; bấm đúp lên cạnh để thêm góc; phím mũi tên dời góc đang chọn, Delete xóa góc.",
        "Drag a corner; double-click an edge for another; arrow keys move the chosen corner, Delete removes it.",
    ),
    (
        "rules_new",
        "Vùng mới có các quy tắc thường dùng của loại đó; chỉnh quy tắc trong tệp cấu hình.",
        "A new area gets the usual rules of its kind; the configuration file is the place to change them.",
    ),
    ("masked", "Vùng che riêng tư đang áp dụng hiện màu đen.", "Privacy masks in force are black."),
    ("lost", "Không kết nối được với agent.", "The agent does not answer."),
    ("dark", "Chưa có hình", "No picture"),
    ("wrong_token", "Mã truy cập không đúng.", "The token is wrong."),
    ("kind.lane", "Làn xe", "Lane"),
    ("kind.inspection_bay", "Ô kiểm hóa", "Inspection bay"),
    ("kind.sampling_table", "Bàn lấy mẫu", "Sampling table"),
    ("kind.scanner_lane", "Làn soi chiếu", "Scanner lane"),
    ("kind.restricted_area", "Khu hạn chế", "Restricted area"),
    ("kind.yard", "Bãi", "Yard"),
    ("kind.ignore_mask", "Vùng bỏ qua", "Ignore mask"),
    ("kind.privacy_mask", "Vùng che riêng tư", "Privacy mask"),
    ("kind.line", "Vạch", "Line"),
    ("kind.barrier_line", "Vạch barie", "Barrier line"),
    ("direction.both", "Cả hai chiều", "Both"),
    ("direction.left_to_right", "Từ trái sang phải", "Left to right"),
    ("direction.right_to_left", "Từ phải sang trái", "Right to left"),
    ("level.ok", "Tốt", "Good"),
    ("level.degraded", "Suy giảm", "Degraded"),
    ("level.failed", "Hỏng", "Failed"),
];

const AREA_KINDS: &[&str] = &[
    "lane",
    "inspection_bay",
    "sampling_table",
    "scanner_lane",
    "restricted_area",
    "yard",
    "ignore_mask",
    "privacy_mask",
];

fn word(language: Language, key: &str) -> &'static str {
    let found = WORDS.iter().find(|(k, _, _)| *k == key);
    found.map_or("", |(_, vi, en)| if language == Language::En { en } else { vi })
}

/// For the script.
fn words(language: Language) -> Value {
    WORDS.iter().map(|(key, _, _)| ((*key).to_owned(), json!(word(language, key)))).collect::<Map<_, _>>().into()
}

/// Page, script and styles; without the token.
pub(super) fn routes() -> Router<ApiState> {
    let asset = |kind: &'static str, body: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], body));
    Router::new()
        .route("/", get(page))
        .route("/asset/desk.css", asset("text/css; charset=utf-8", include_str!("../desk/asset/desk.css")))
        .route("/asset/agent.css", asset("text/css; charset=utf-8", include_str!("asset/agent.css")))
        .route("/asset/agent.js", asset("text/javascript; charset=utf-8", include_str!("asset/agent.js")))
        .route("/asset/icon.svg", asset("image/svg+xml", include_str!("../desk/asset/icon.svg")))
        .layer(middleware::map_response(guard))
}

async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let policy =
        "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Where no token is asked for, only this machine is meant: a foreign site that resolves its name to loopback is refused.
pub(super) async fn own_host(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    if state.token.is_none() && !asks_for_loopback(request.headers()) {
        let message = "without http.token this is open as http://localhost or http://127.0.0.1 only; set http.token for other names";
        return refuse(StatusCode::FORBIDDEN, "foreign_name", message);
    }
    next.run(request).await
}

#[derive(Deserialize)]
struct Wish {
    lang: Option<Language>,
}

async fn page(State(state): State<ApiState>, wish: Result<Query<Wish>, QueryRejection>) -> Markup {
    let site = state.running.as_ref().map(|r| &r.config.site);
    let language = wish.ok().and_then(|w| w.lang).or(site.map(|s| s.language)).unwrap_or_default();
    let t = |key: &str| word(language, key);
    let (code, other) = if language == Language::En { ("en", "vi") } else { ("vi", "en") };
    let place = site.map(|s| format!("{} · {}/{}", s.name, s.office, s.box_id)).unwrap_or_default();
    let cameras: Vec<_> = state.running.iter().flat_map(|r| &r.config.cameras).collect();
    html! {
        (DOCTYPE)
        html lang=(code) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (t("title")) " – gatewatch" }
                link rel="stylesheet" href="/asset/desk.css";
                link rel="stylesheet" href="/asset/agent.css";
                link rel="icon" href="/asset/icon.svg" type="image/svg+xml";
                script src="/asset/agent.js" defer {}
            }
            body data-words=(words(language).to_string()) data-token=[state.token.is_some().then_some("yes")] {
                a.skip href="#main" { (t("skip")) }
                header.top {
                    a.brand href="/" { "gatewatch" }
                    span { (place) }
                    div.who { a href={ "/?lang=" (other) } lang=(other) { (t("other")) } }
                }
                p #lost .alarm role="alert" hidden { (t("lost")) }
                main #main tabindex="-1" {
                    h1 { (t("title")) }
                    form #login .filters hidden {
                        label { (t("token")) input #token type="password" autocomplete="off"; }
                        button.main { (t("enter")) }
                        p #refused .bad role="alert" {}
                    }
                    div #inside hidden { (views(&t, &cameras)) (editor(&t)) (state_tables(&t)) }
                }
            }
        }
    }
}

fn state_tables(t: &dyn Fn(&str) -> &'static str) -> Markup {
    html! {
        section aria-labelledby="h-state" {
            h2 #h-state { (t("state")) }
            div.scroll tabindex="0" role="group" aria-label=(t("table")) { table { thead { tr { th { (t("part")) } th { (t("state")) } th { (t("says")) } } } tbody #parts {} } }
            h2 { (t("cameras")) }
            div.scroll tabindex="0" role="group" aria-label=(t("table")) { table { thead { tr { th { (t("camera")) } th { (t("state")) } th { (t("reason")) } th { (t("recorded")) } } } tbody #cameras {} } }
            p { (t("queue")) ": " span #queue {} }
        }
    }
}

fn views(t: &dyn Fn(&str) -> &'static str, cameras: &[&crate::config::CameraConfig]) -> Markup {
    html! {
        section aria-labelledby="h-now" {
            h2 #h-now { (t("now")) }
            div.filters {
                label { (t("camera"))
                    select #camera {
                        @for c in cameras {
                            option value=(c.id) { (if c.name.is_empty() { &c.id.0 } else { &c.name }) }
                        }
                    }
                }
                button #edit type="button" { (t("draw")) }
            }
            figure.picture { img #live alt=(t("alt_live")); figcaption #when {} }
        }
    }
}

fn editor(t: &dyn Fn(&str) -> &'static str) -> Markup {
    html! {
        section #editor aria-labelledby="h-draw" hidden {
            h2 #h-draw { (t("draw")) }
            p #pending .bad role="status" hidden { (t("restart")) }
            p.hint { (t("move")) " " (t("masked")) }
            div.draw {
                div #stage { img #still alt=""; svg #shapes-on viewBox="0 0 1000 1000" preserveAspectRatio="none" role="application" aria-label=(t("draw")) tabindex="0" {} }
                div {
                    div.quick {
                        button #new-area type="button" { (t("new_area")) }
                        button #new-line type="button" { (t("new_line")) }
                        button #done type="button" hidden { (t("done")) }
                        button #again type="button" { (t("again")) }
                    }
                    p #how .hint role="status" {}
                    label { (t("shapes")) select #shapes size="6" {} }
                    div #fields .stack hidden {
                        label { (t("id")) input #f-id pattern="[a-z0-9][a-z0-9\\-]{0,31}" maxlength="32"; }
                        label { (t("name")) input #f-name maxlength="100"; }
                        label { (t("kind"))
                            select #f-area-kind { @for k in AREA_KINDS { option value=(k) { (t(&format!("kind.{k}"))) } } }
                            select #f-line-kind { @for k in ["line", "barrier_line"] { option value=(k) { (t(&format!("kind.{k}"))) } } }
                        }
                        label #f-direction-of { (t("direction"))
                            select #f-direction { @for d in ["both", "left_to_right", "right_to_left"] { option value=(d) { (t(&format!("direction.{d}"))) } } }
                        }
                        label { (t("corners")) textarea #f-corners rows="5" spellcheck="false" {} }
                        button #remove type="button" { (t("remove")) }
                    }
                    p.hint { (t("rules_new")) }
                    p #cannot .hint {}
                    div.quick {
                        button #check type="button" { (t("check")) }
                        button #save .main type="button" { (t("save")) }
                    }
                    p #answer role="status" {}
                }
            }
            pre #toml hidden tabindex="0" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages_and_once() {
        let mut keys: Vec<_> = WORDS.iter().map(|(key, _, _)| key).collect();
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(WORDS.iter().all(|(_, vi, en)| !vi.is_empty() && !en.is_empty()));
        let script = include_str!("asset/agent.js");
        let calls = script.match_indices("t('").filter(|(at, _)| !script[..*at].ends_with(char::is_alphanumeric));
        for used in calls.map(|(at, call)| script[at + call.len()..].split('\'').next().unwrap()) {
            assert!(!word(Language::Vi, used).is_empty(), "{used}");
        }
    }
}
