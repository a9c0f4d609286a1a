//! The OpenAPI document of the desk: every route with who may use it, what it takes and what it gives. Made from the table
//! of routes and the table here; a test holds that both name the same. `config/schema/desk-openapi.json` is this.

use axum::Json;
use serde_json::{Map, Value, json};

use crate::desk::access::{Need, ROUTES, Role};

/// What a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// A page for people.
    Page,
    /// Takes a form; leads back to a page.
    Form,
    /// Takes a form with a file; leads back to a page.
    Upload,
    Json,
    /// Server-sent events.
    Events,
    /// Takes a form with a reason; gives a file of this media type to keep.
    Saved(&'static str),
    /// A file of this media type.
    File(&'static str),
    /// Words for machines.
    Text,
}

/// Method, path, what it is, what it gives, names in the query or of the form's fields; `!` = it may not be left out, `?` = of a form
/// too it stands in the query.
type Entry = (&'static str, &'static str, &'static str, Gives, &'static [&'static str]);

const SPREADSHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const FILTERS: &[&str] = &["view", "severity", "office", "day", "q", "rule", "after", "similar"];
/// Of an open page: with the newest change that its list has.
const STREAM: &[&str] = &["view", "severity", "office", "day", "q", "rule", "after", "similar", "seen"];
const TIME: &[&str] = &["from", "to", "minutes"];
const CLIP: &[&str] = &["from", "to", "minutes", "stored"];
const REPORT: &[&str] = &["period", "at", "view", "unit", "office", "suspicion", "type_code", "footage"];
const EXPORT: &[&str] = &["note!", "period", "at", "view", "unit", "office", "suspicion", "type_code", "footage"];
const SHIFT: &[&str] = &["from", "to", "leader", "focus", "duty0", "name0"];
const DRAFT: &[&str] =
    &["alert", "unit", "office", "suspicion", "decl", "containers", "plates", "due", "from", "to", "subject"];
const EDIT: &[&str] =
    &["version", "office", "suspicion", "decl", "containers", "plates", "due", "from", "to", "subject"];

const ENTRIES: &[Entry] = &[
    ("GET", "/asset/{name}", "Styles, script and icon", Gives::File("text/css"), &[]),
    ("GET", "/login", "Page to sign in", Gives::Page, &[]),
    ("POST", "/login", "Begins a session", Gives::Form, &["form", "name", "password"]),
    ("POST", "/language", "Chooses the language of pages", Gives::Form, &["language"]),
    ("GET", "/livez", "The process runs", Gives::Text, &[]),
    ("GET", "/readyz", "Broker and database are there, and what arrives is stored", Gives::Json, &[]),
    ("GET", "/", "The first page of a role", Gives::Form, &[]),
    ("POST", "/logout", "Ends the session", Gives::Form, &[]),
    ("GET", "/password", "Page to choose a password", Gives::Page, &[]),
    ("POST", "/password", "Changes the password", Gives::Form, &["now", "new", "again"]),
    (
        "GET",
        "/alerts",
        "Alerts, newest first; `after`: only those older than the alert with this time and id, `MILLISECONDS ID`",
        Gives::Page,
        FILTERS,
    ),
    (
        "GET",
        "/alerts/stream",
        "Changes of alerts: `alert` (JSON with a card), `counts`; `refresh` and `missed`: take the list anew, soon or at once; `broker`: 1 = it is there",
        Gives::Events,
        STREAM,
    ),
    ("GET", "/alerts/{id}", "One alert; opening it counts as having looked", Gives::Page, &[]),
    ("GET", "/alerts/{id}/footage", "What video there is of an alert, and why not", Gives::Page, &[]),
    (
        "GET",
        "/alerts/{id}/clip",
        "The video, handed through from the box, or from the store of clips where the box cannot give it (`gatewatch-footage-source`); one byte range at a time",
        Gives::File("video/mp4"),
        &["stored"],
    ),
    (
        "POST",
        "/alerts/{id}/{step}",
        "Takes a step: ack, dismiss, escalate, close, bind, hold, release",
        Gives::Form,
        &["reason", "note", "facts", "back", "decl", "action", "visit", "from", "to", "hold"],
    ),
    (
        "POST",
        "/alerts/{id}/save",
        "The video as a file, for a reason; of the store with `stored`",
        Gives::Saved("video/mp4"),
        &["note!", "stored?"],
    ),
    (
        "GET",
        "/footage",
        "Chooses a camera and a time, or finds words",
        Gives::Page,
        &["camera", "from", "to", "minutes", "q"],
    ),
    ("GET", "/footage/{office}/{box}/{camera}", "What a box has of a camera and a time", Gives::Page, CLIP),
    (
        "GET",
        "/footage/{office}/{box}/{camera}/clip",
        "The video of a time, handed through from the box, or from the store of clips where the box cannot give it; one byte range at a time",
        Gives::File("video/mp4"),
        CLIP,
    ),
    (
        "GET",
        "/footage/{office}/{box}/{camera}/sheet",
        "Stills of a time on one picture",
        Gives::File("image/jpeg"),
        TIME,
    ),
    ("GET", "/footage/{office}/{box}/{camera}/now", "What the camera sees now", Gives::File("image/jpeg"), &[]),
    (
        "POST",
        "/footage/{office}/{box}/{camera}/save",
        "The video of the time `from` to `to` as a file, for a reason; of the store with `stored`",
        Gives::Saved("video/mp4"),
        &["note!", "from?", "to?", "minutes?", "stored?"],
    ),
    (
        "POST",
        "/footage/{office}/{box}/{camera}/{step}",
        "Takes a step: hold, release",
        Gives::Form,
        &["from", "to", "hold", "note"],
    ),
    ("GET", "/pictures/{event}/{sha256}", "A picture of an alert", Gives::File("image/jpeg"), &[]),
    ("GET", "/declarations", "Finds a declaration", Gives::Page, &["q"]),
    ("GET", "/declarations/{key}", "A declaration's time line", Gives::Page, &[]),
    ("GET", "/tips", "Tips", Gives::Page, &["view", "office", "q"]),
    (
        "GET",
        "/tips/stream",
        "Tips that call for the reader: `calls` (JSON with their number, notices of new ones, and the newest change told, for `seen`)",
        Gives::Events,
        &["seen"],
    ),
    (
        "GET",
        "/tips/new",
        "A new draft, filled from an alert, or a camera and a time",
        Gives::Page,
        &["alert", "camera", "from", "to"],
    ),
    ("POST", "/tips/new", "Writes a draft", Gives::Form, DRAFT),
    ("GET", "/tips/{id}", "One tip", Gives::Page, &[]),
    ("GET", "/tips/{id}/holds/{office}/{box}", "What a box says now of the holds of a tip", Gives::Page, &[]),
    ("POST", "/tips/{id}/edit", "Changes a draft of `version`", Gives::Form, EDIT),
    (
        "POST",
        "/tips/{id}/files",
        "Attaches a PDF, JPEG or PNG of at most 10 MiB; `csrf` stands before `file`",
        Gives::Upload,
        &["note"],
    ),
    ("GET", "/tips/{id}/files/{file}", "An attached PDF, JPEG or PNG, to be kept", Gives::File("*/*"), &[]),
    (
        "POST",
        "/tips/{id}/files/{file}/withdraw",
        "Withdraws a file, for a reason; not what the tip was settled on",
        Gives::Form,
        &["note!"],
    ),
    (
        "POST",
        "/tips/{id}/lead/{step}",
        "Takes a step of the unit that issues, about a `version`: issue, return, settle, reopen, cancel, merge; or release_hold",
        Gives::Form,
        &["version", "reason", "result", "text", "basis", "no_amount", "into", "source", "hold", "note"],
    ),
    (
        "POST",
        "/tips/{id}/work/{step}",
        "Takes a step of the office that checks, about a `version`: receive, start, report; or enters: measure, done, sample, sample_result, money, reverse",
        Gives::Form,
        &[
            "version", "text", "action", "note", "measure", "outcome", "code", "seal", "lab", "sample", "result",
            "kind", "amount", "decision", "decl", "entry",
        ],
    ),
    ("GET", "/yard", "Inspection bays", Gives::Page, &[]),
    ("GET", "/shifts", "Who is on duty, and the roster", Gives::Page, &[]),
    ("POST", "/shifts", "Writes a shift into the roster", Gives::Form, SHIFT),
    ("GET", "/shifts/{id}", "One shift with its hand-over", Gives::Page, &[]),
    (
        "POST",
        "/shifts/{id}/{step}",
        "Takes a step: change (as in the roster, with the `version` that was changed), give, take (`to`: the next shift), send_back; the last two with the hand-over that is meant as `version`",
        Gives::Form,
        &["note", "version", "from", "to", "leader", "focus", "duty0", "name0"],
    ),
    ("GET", "/reports", "Report on tips", Gives::Page, REPORT),
    (
        "GET",
        "/reports/tips",
        "The tips behind a figure",
        Gives::Page,
        &["period", "at", "view", "unit", "office", "suspicion", "footage", "list"],
    ),
    (
        "GET",
        "/reports/alerts",
        "The alerts behind a figure",
        Gives::Page,
        &["period", "at", "office", "list", "reason"],
    ),
    (
        "GET",
        "/reports/cameras",
        "How much of the time each camera was analysed, and of how many hours that is known",
        Gives::Page,
        &["period", "at", "office"],
    ),
    ("POST", "/reports/csv", "Figures and tips as a file, for a reason", Gives::Saved("text/csv"), EXPORT),
    ("POST", "/reports/xlsx", "Figures and tips as a file, for a reason", Gives::Saved(SPREADSHEET), EXPORT),
    ("POST", "/reports/print", "Keeps figures as printed", Gives::Form, REPORT),
    ("GET", "/reports/printed/{id}", "Printed figures beside what they would be now", Gives::Page, &[]),
    ("GET", "/devices", "Boxes and cameras", Gives::Page, &[]),
    ("GET", "/audit", "Who did what", Gives::Page, &["q", "before", "whole"]),
    ("GET", "/accounts", "Accounts", Gives::Page, &[]),
    ("POST", "/accounts", "Makes an account", Gives::Form, &["name", "display", "role", "offices"]),
    (
        "POST",
        "/accounts/{name}",
        "Changes an account, with the `version` that its form named",
        Gives::Form,
        &["what", "version", "display", "role", "offices", "disabled"],
    ),
    ("GET", "/openapi.json", "This document", Gives::Json, &[]),
    (
        "GET",
        "/api/alerts",
        "Alerts, newest first; `after` is `at_ms` and `id` of one, with a space between: those that are older",
        Gives::Json,
        &["view", "severity", "office", "day", "q", "rule", "after", "limit"],
    ),
    ("GET", "/api/alerts/{id}", "One alert with message, history and orders", Gives::Json, &[]),
    ("GET", "/api/tips", "Tips, newest first", Gives::Json, &["view", "office", "q", "limit"]),
    ("GET", "/api/bays", "Inspection bays", Gives::Json, &[]),
    (
        "GET",
        "/api/boxes",
        "Boxes with what they say of themselves, cameras, missing numbers and chains",
        Gives::Json,
        &[],
    ),
];

/// Serves the document.
pub(crate) async fn serve() -> Json<Value> {
    Json(api_document())
}

/// The OpenAPI document of the desk's HTTP interface.
#[must_use]
pub fn api_document() -> Value {
    let mut paths = Map::new();
    for entry in ENTRIES {
        let (method, path, ..) = entry;
        let at = paths.entry(*path).or_insert_with(|| json!({}));
        at[method.to_lowercase()] = operation(entry);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gatewatch desk", "version": env!("CARGO_PKG_VERSION"),
            "description": "Pages and JSON of the duty room. Everything but signing in needs the session's cookie; every form needs the session's token in the field `csrf`. What an account may reach is its role's (`x-roles`), which rows it sees its offices'. Every request that shows or changes something is in the audit; a picture is by itself where its reader was shown no list with it within ten minutes."
        },
        "paths": paths,
        "components": {"securitySchemes": {"session": {"type": "apiKey", "in": "cookie", "name": "gw-session",
            "description": "`__Host-gw-session` over TLS."}}}
    })
}

fn operation((method, path, summary, gives, names): &Entry) -> Value {
    let need = ROUTES.iter().find(|(m, p, _)| m == method && p == path).map(|(_, _, need)| *need);
    let need = need.unwrap_or(Need::Nobody);
    let mut parameters: Vec<Value> = path
        .split('/')
        .filter_map(|level| level.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let mut out = json!({"summary": summary, "responses": responses(*gives, need, *method == "POST")});
    let (query, fields): (Vec<&str>, Vec<&str>) = names.iter().partition(|n| *method == "GET" || n.ends_with('?'));
    let query = query.iter().map(|n| n.trim_end_matches('?'));
    parameters.extend(query.map(|n| json!({"name": n, "in": "query", "schema": {"type": "string"}})));
    if *method != "GET" {
        out["requestBody"] = form_body(*gives, need, &fields);
    }
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    let roles: Vec<&str> = Role::ALL.iter().filter(|r| r.may(need)).map(|r| r.as_str()).collect();
    if need == Need::Nobody {
        out["security"] = json!([]);
    } else {
        out["security"] = json!([{"session": []}]);
        out["x-roles"] = json!(roles);
    }
    out
}

fn form_body(gives: Gives, need: Need, names: &[&str]) -> Value {
    let token = ["csrf!"].into_iter().filter(|_| need != Need::Nobody);
    let file = ["file!"].into_iter().filter(|_| gives == Gives::Upload);
    let all: Vec<&str> = token.chain(names.iter().copied()).chain(file).collect();
    let plain = |n: &str| n.trim_end_matches('!').to_owned();
    let field =
        |n: &str| if n == "file!" { json!({"type": "string", "format": "binary"}) } else { json!({"type": "string"}) };
    let fields: Map<String, Value> = all.iter().map(|n| (plain(n), field(n))).collect();
    let needed: Vec<String> = all.iter().filter(|n| n.ends_with('!')).map(|n| plain(n)).collect();
    let mut schema = json!({"type": "object", "properties": fields});
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    let kind = if gives == Gives::Upload { "multipart/form-data" } else { "application/x-www-form-urlencoded" };
    json!({"content": {kind: {"schema": schema}}})
}

fn responses(gives: Gives, need: Need, form: bool) -> Value {
    let body = |kind: &str| json!({"description": "As asked", "content": {kind: {}}});
    let mut all = Map::new();
    match gives {
        Gives::Page => drop(all.insert("200".into(), body("text/html"))),
        Gives::Json => drop(all.insert("200".into(), body("application/json"))),
        Gives::Events => drop(all.insert("200".into(), body("text/event-stream"))),
        Gives::Text => drop(all.insert("200".into(), body("text/plain"))),
        Gives::Form | Gives::Upload => {
            all.insert("303".into(), json!({"description": "Done; `Location` is the page to go on with"}));
            if gives == Gives::Upload {
                all.insert("413".into(), json!({"description": "The file is too large"}));
            }
        }
        Gives::Saved(kind) => drop(all.insert("200".into(), body(kind))),
        Gives::File(kind) => {
            all.insert("200".into(), body(kind));
            if kind == "video/mp4" {
                all.insert("206".into(), body(kind));
                all.insert("416".into(), json!({"description": "The range lies behind the end"}));
                all.insert("502".into(), json!({"description": "The box does not answer"}));
            }
        }
    }
    let mut say = |code: &str, what: &str| drop(all.insert(code.into(), json!({"description": what})));
    if need != Need::Nobody {
        say("403", "The role may not, or the form's token is wrong");
        say("404", "There is no such thing, or it is another office's");
        if form { say("401", "Not signed in") } else { say("303", "Not signed in: to `/login`") }
    }
    if form {
        say("400", "The form cannot be read");
        say("409", "Not in this state, or something is missing; the page says what");
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let described: Vec<_> = ENTRIES.iter().map(|(m, p, ..)| (*m, *p)).collect();
        for (method, path, _) in ROUTES {
            assert_eq!(described.iter().filter(|d| **d == (*method, *path)).count(), 1, "{method} {path}");
        }
        assert_eq!(described.len(), ROUTES.len());
        let document = api_document();
        let clip = &document["paths"]["/alerts/{id}/clip"]["get"];
        assert!(clip["responses"]["206"].is_object() && clip["parameters"][0]["in"] == "path", "{clip}");
        assert_eq!(clip["x-roles"], json!(["officer", "shift_leader", "supervisor", "auditor"]));
        let form =
            |path: &str, kind: &str| document["paths"][path]["post"]["requestBody"]["content"][kind]["schema"].clone();
        let upload = form("/tips/{id}/files", "multipart/form-data");
        assert_eq!(
            (&upload["required"], &upload["properties"]["file"]["format"]),
            (&json!(["csrf", "file"]), &json!("binary"))
        );
        let withdraw = form("/tips/{id}/files/{file}/withdraw", "application/x-www-form-urlencoded");
        assert_eq!(withdraw["required"], json!(["csrf", "note"]), "a reason");
        for path in ["/reports/csv", "/reports/xlsx", "/alerts/{id}/save", "/footage/{office}/{box}/{camera}/save"] {
            let export = form(path, "application/x-www-form-urlencoded");
            assert_eq!(export["required"], json!(["csrf", "note"]), "{path}: what leaves the desk needs a reason");
            assert!(document["paths"][path].get("get").is_none(), "{path}");
        }
        for (path, asked) in [
            ("/alerts/{id}/save", &["stored"][..]),
            ("/footage/{office}/{box}/{camera}/save", &["from", "to", "minutes", "stored"]),
        ] {
            let all = document["paths"][path]["post"]["parameters"].as_array().unwrap().iter();
            let query: Vec<&str> = all.filter(|p| p["in"] == "query").filter_map(|p| p["name"].as_str()).collect();
            assert_eq!(query, asked, "{path}");
            let fields = form(path, "application/x-www-form-urlencoded")["properties"].clone();
            assert_eq!(fields.as_object().unwrap().len(), 2, "{path}: {fields}");
        }
    }
}
