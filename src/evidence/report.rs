//! The report of a bundle for people: one HTML file without anything from elsewhere, in Vietnamese and English, made for
//! the printer too. It says what the manifest says; the words of both languages are in `report_words.rs`.

use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::Value;

use super::manifest::{Analysed, EventRecord, Footage, Manifest, Verdict};
use super::report_words::{Words, words};
use super::request::Selection;
use crate::clock::UtcMillis;
use crate::event::zone::Zone;

/// Pictures in the report, bytes at most; beyond it the files are only named.
const MAX_PICTURE_BYTES: usize = 48 << 20;
/// Times of one camera that the report lists; the manifest has all.
const MAX_TIMES: usize = 40;
const STYLE: &str = "body{font:15px/1.45 'Segoe UI',Arial,sans-serif;max-width:60rem;margin:1.5rem auto;padding:0 1rem;color:#111}\
h1{font-size:1.5rem}h2{font-size:1.15rem;border-bottom:2px solid #333;margin-top:2rem}h3{font-size:1rem;margin-bottom:.3rem}\
i{color:#444}table{border-collapse:collapse;width:100%;margin:.4rem 0}td,th{border:1px solid #999;padding:.25rem .45rem;text-align:left;vertical-align:top}\
th{background:#eee;font-weight:600}img{max-width:100%;border:1px solid #999}code{font-size:.8rem;word-break:break-all}\
.bad{background:#fde8e8}section{break-inside:avoid}@media print{body{margin:0;max-width:none;font-size:11px}h2{break-after:avoid}}";

/// The report; `picture` gives the bytes of a file of the bundle.
///
/// # Errors
/// When the time zone of the manifest does not exist.
pub fn html(m: &Manifest, picture: &dyn Fn(&str) -> Option<Vec<u8>>) -> anyhow::Result<String> {
    let zone = Zone::new(&m.time_zone)?;
    let mut page = Page { out: String::new(), zone, picture_bytes: 0 };
    let _ = write!(
        page.out,
        "<!doctype html>\n<html lang=\"vi\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head><body>\n",
        escape(&m.request.request.id)
    );
    page.heading("h1", words("title"));
    page.request(m);
    page.footage(m);
    page.coverage(m);
    page.events(m, picture);
    page.missing(m);
    page.custody(m);
    page.digests(m);
    page.out.push_str("</body></html>\n");
    Ok(page.out)
}

struct Page {
    out: String,
    zone: Zone,
    picture_bytes: usize,
}

impl Page {
    fn heading(&mut self, tag: &str, w: Words) {
        let _ = writeln!(self.out, "<{tag}>{} <i>/ {}</i></{tag}>", w.0, w.1);
    }

    fn note(&mut self, w: Words) {
        let _ = writeln!(self.out, "<p>{}<br><i>{}</i></p>", w.0, w.1);
    }

    fn time(&self, at: UtcMillis) -> String {
        format!("{}<br><code>{}</code>", self.zone.label(at), at.to_rfc3339())
    }

    /// A table of names and values; values are HTML.
    fn pairs(&mut self, rows: &[(&str, String)]) {
        self.out.push_str("<table>\n");
        for (key, value) in rows {
            let w = words(key);
            let _ = writeln!(self.out, "<tr><th>{}<br><i>{}</i></th><td>{value}</td></tr>", w.0, w.1);
        }
        self.out.push_str("</table>\n");
    }

    /// A table with a heading row; values are HTML.
    fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        self.out.push_str("<table>\n<tr>");
        for head in heads {
            let w = words(head);
            let _ = write!(self.out, "<th>{}<br><i>{}</i></th>", w.0, w.1);
        }
        self.out.push_str("</tr>\n");
        for row in rows {
            let cells: String = row.iter().map(|c| format!("<td>{c}</td>")).collect();
            let _ = writeln!(self.out, "<tr>{cells}</tr>");
        }
        self.out.push_str("</table>\n");
    }

    fn request(&mut self, m: &Manifest) {
        let who = &m.request.request.who;
        self.heading("h2", words("request"));
        let place = format!("{} ({}/{})", escape(&m.site), escape(&m.origin.office), escape(&m.origin.box_id));
        self.pairs(&[
            ("place", place),
            ("operator", escape(&who.operator)),
            ("reason", escape(&who.reason)),
            ("asked_at", self.time(m.request.at)),
            ("selection", selection(m)),
            ("request_id", format!("<code>{}</code>", escape(&m.request.request.id))),
        ]);
    }

    fn footage(&mut self, m: &Manifest) {
        self.heading("h2", words("footage"));
        let rows: Vec<Vec<String>> = m.footage.iter().map(|f| self.footage_row(f)).collect();
        self.table(&["camera", "asked", "answer", "gaps", "clock"], &rows);
        self.note(words("footage_note"));
    }

    fn footage_row(&self, f: &Footage) -> Vec<String> {
        let gaps = f.gaps.iter().map(|g| {
            let w = words(&g.why);
            format!("{} – {}<br>{} <i>/ {}</i>", self.time(g.from), self.time(g.to), w.0, w.1)
        });
        let verdict = match f.verdict {
            Verdict::Complete => words("complete"),
            Verdict::Partial => words("partial"),
            Verdict::None => words("none"),
        };
        let offset = f.clock_offset_ms.map_or(String::new(), |(a, b)| format!("<br>{a} … {b} ms"));
        vec![
            format!("{} {}", escape(&f.asked.camera), escape(&f.stream)),
            format!("{} – {}", self.time(f.asked.from), self.time(f.asked.to)),
            format!(
                "{}<br><i>{}</i><br>{} ×",
                verdict.0,
                verdict.1,
                f.segments.iter().filter(|s| s.file.is_some()).count()
            ),
            gaps.collect::<Vec<_>>().join("<br>"),
            format!("{}{offset}", escape(&f.time_sources.join(", "))),
        ]
    }

    fn coverage(&mut self, m: &Manifest) {
        self.heading("h2", words("coverage"));
        let rows: Vec<Vec<String>> = m.coverage.iter().map(|a| self.coverage_row(a)).collect();
        self.table(&["camera", "asked", "watched", "blind"], &rows);
        self.note(words("coverage_note"));
    }

    fn coverage_row(&self, a: &Analysed) -> Vec<String> {
        let watched = a.watched.iter().map(|w| {
            let span = format!("{} – {}", self.time(w.span.from), self.time(w.span.to));
            format!("{span}<br>≤ {} ms", w.interval_ms)
        });
        let blind = a.blind.iter().map(|b| {
            let w = words(&format!("blind_{}", b.reason.as_str()));
            format!("{} – {}<br>{} <i>/ {}</i>", self.time(b.span.from), self.time(b.span.to), w.0, w.1)
        });
        let place = a.area.as_deref().map_or_else(String::new, |area| format!("<br>{}", escape(area)));
        vec![
            format!("{}{place}", escape(&a.asked.camera)),
            format!("{} – {}", self.time(a.asked.from), self.time(a.asked.to)),
            format!("{} s<br>{}", seconds(a.watched_ms), listed(watched)),
            format!("{} s<br>{}", seconds(a.blind_ms), listed(blind)),
        ]
    }

    fn events(&mut self, m: &Manifest, picture: &dyn Fn(&str) -> Option<Vec<u8>>) {
        self.heading("h2", words("events"));
        if m.events.is_empty() {
            self.note(words("no_events"));
        }
        for event in &m.events {
            self.event(event, picture);
        }
    }

    fn event(&mut self, e: &EventRecord, picture: &dyn Fn(&str) -> Option<Vec<u8>>) {
        let _ = writeln!(self.out, "<section><h3>{} – {}</h3>", escape(&e.rule), escape(&e.id));
        let end = e.end.map_or("–".into(), |t| self.time(t));
        let offset = e.clock_offset_ms.map_or("–".into(), |ms| format!("{ms} ms"));
        self.pairs(&[
            ("camera", format!("{} ({})", escape(&e.camera_name), escape(&e.camera))),
            ("area", format!("{} ({})", escape(&e.area_name), escape(&e.area))),
            ("severity", e.severity.to_string()),
            ("start", self.time(e.start)),
            ("end", end),
            ("clock", format!("{} ± {} ms, {offset}", escape(&e.time_source), e.uncertainty_ms)),
            ("declarations", declarations(&e.link)),
        ]);
        let shown = e.messages.iter().rev().find_map(|m| Some((m, m.annotated.as_deref()?)));
        if let Some((message, path)) = shown {
            self.picture(message.clean.as_deref(), path, picture);
        }
        self.out.push_str("</section>\n");
    }

    fn picture(&mut self, clean: Option<&str>, path: &str, picture: &dyn Fn(&str) -> Option<Vec<u8>>) {
        let bytes = picture(path).filter(|b| self.picture_bytes + b.len() <= MAX_PICTURE_BYTES);
        if let Some(bytes) = bytes {
            self.picture_bytes += bytes.len();
            let text = base64::engine::general_purpose::STANDARD.encode(bytes);
            let _ = writeln!(self.out, "<img alt=\"{}\" src=\"data:image/jpeg;base64,{text}\">", escape(path));
        }
        let w = words("original");
        let _ = writeln!(
            self.out,
            "<p><code>{}</code> · {} <i>/ {}</i>: <code>{}</code></p>",
            escape(path),
            w.0,
            w.1,
            escape(clean.unwrap_or("–"))
        );
    }

    fn missing(&mut self, m: &Manifest) {
        self.heading("h2", words("missing"));
        if m.missing.is_empty() {
            return self.note(words("nothing_missing"));
        }
        let rows: Vec<_> = m.missing.iter().map(|x| vec![escape(&x.what), escape(&x.why)]).collect();
        self.table(&["what", "why"], &rows);
    }

    fn custody(&mut self, m: &Manifest) {
        self.heading("h2", words("custody"));
        let row = |r: &super::manifest::CustodyRecord| {
            let action = r.item["do"].as_str().unwrap_or(r.kind.as_str());
            let person = r.item["operator"].as_str().or_else(|| r.item["placed_by"].as_str()).unwrap_or("–");
            let why = r.item["reason"].as_str().or_else(|| r.item["why"].as_str()).unwrap_or("–");
            vec![r.n.to_string(), self.time(r.at), escape(action), escape(person), escape(why)]
        };
        let rows: Vec<_> = m.custody.iter().map(row).collect();
        self.table(&["entry", "when", "action", "operator", "reason"], &rows);
    }

    fn digests(&mut self, m: &Manifest) {
        self.heading("h2", words("digests"));
        let models: Vec<String> =
            m.models.iter().map(|x| format!("{} <code>{}</code>", escape(&x.name), escape(&x.sha256))).collect();
        let head = m.chain.heads.last();
        self.pairs(&[
            ("models", models.join("<br>")),
            ("configurations", format!("<code>{}</code>", escape(&m.config_digests.join(", ")))),
            ("chain_head", head.map_or("–".into(), |h| format!("{} <code>{}</code>", h.head.n, h.head.sha256))),
        ]);
        self.note(words("digest_note"));
    }
}

/// The first of them, and how many more there are.
fn listed(times: impl ExactSizeIterator<Item = String>) -> String {
    let more = times.len().saturating_sub(MAX_TIMES);
    let mut all: Vec<String> = times.take(MAX_TIMES).collect();
    if more > 0 {
        all.push(format!("… + {more} (manifest.json)"));
    }
    all.join("<br>")
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn selection(m: &Manifest) -> String {
    let super::request::Action::Export { selection, .. } = &m.request.request.action else { return "–".into() };
    match selection {
        Selection::Tip { tip } => format!("{} / tip <b>{}</b>", words("tip").0, escape(tip)),
        Selection::Event { event, .. } => format!("{} / event <b>{}</b>", words("event").0, escape(event)),
        Selection::Window { cameras, from, to } => {
            format!("{}<br>{} – {}", escape(&cameras.join(", ")), from.to_rfc3339(), to.to_rfc3339())
        }
    }
}

/// The declarations of an event with how sure they are.
fn declarations(link: &Value) -> String {
    let links = link["links"].as_array().into_iter().flatten();
    let each = links.map(|l| {
        let sure = l["confidence"].as_f64().map_or(String::new(), |c| format!(", {c:.2}"));
        let (key, method) = (l["decl_key"].as_str().unwrap_or("?"), l["method"].as_str().unwrap_or("?"));
        format!("<b>{}</b> ({}{sure})", escape(key), escape(method))
    });
    let list: Vec<String> = each.collect();
    let verdict = escape(link["verdict"].as_str().unwrap_or("–"));
    if list.is_empty() { verdict } else { format!("{verdict}: {}", list.join(", ")) }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
