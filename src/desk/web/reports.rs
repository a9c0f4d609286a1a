//! Reports on tips: figures of a period that open their lists, as page, CSV and spreadsheet, and printed figures with
//! what they would be now. The figures themselves are made in `desk/report.rs`.

use std::collections::HashMap;

use axum::Extension;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use rust_xlsxwriter::{Format, Workbook, XlsxError};

use super::alerts::escaped;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use crate::clock::{UtcMillis, utc_now};
use crate::desk::config::PercentMode;
use crate::desk::db::DbError;
use crate::desk::db::audit::Act;
use crate::desk::db::snapshots::Snapshot;
use crate::desk::db::tips::TipRow;
use crate::desk::report::{self, Fact, Figures, MEASURES, Period, Span, View};
use crate::desk::room::new_id;

/// What the address asks for.
struct Asked {
    span: Span,
    day: Date,
    view: View,
    unit: String,
    office: String,
    period: Period,
}

impl Asked {
    fn read(ctx: &Ctx, query: &HashMap<String, String>) -> Answer<Self> {
        let get = |name: &str| query.get(name).map_or("", |v| v.trim());
        let today = ctx.room.zone.duty_day(UtcMillis(utc_now().0));
        let day: Date = get("at").parse().or_else(|_| today.parse()).map_err(|_| Problem::bad_form(ctx.language))?;
        let span = Span::parse(get("period")).unwrap_or(Span::Year);
        let zone = TimeZone::get(&ctx.room.config.desk.time_zone).unwrap_or(TimeZone::UTC);
        let period = report::period(span, day, &zone).ok_or_else(|| Problem::bad_form(ctx.language))?;
        let code = |name: &str| get(name).chars().filter(char::is_ascii_alphanumeric).take(4).collect();
        Ok(Self { span, day, view: View::parse(get("view")), unit: code("unit"), office: code("office"), period })
    }

    fn address(&self) -> String {
        let (period, view) = (self.span.as_str(), self.view.as_str());
        format!("period={period}&at={}&view={view}&unit={}&office={}", self.day, self.unit, self.office)
    }

    fn title(&self, ctx: &Ctx) -> String {
        let of = [self.unit.as_str(), self.office.as_str()].join(" ");
        let view = ctx.value("report", self.view.as_str());
        [format!("{} {}", ctx.value("report", self.span.as_str()), self.period.name).as_str(), of.trim(), view.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" · ")
    }

    fn holds(&self, fact: &Fact) -> bool {
        (self.unit.is_empty() || fact.unit == self.unit) && (self.office.is_empty() || fact.office == self.office)
    }
}

/// All tips that the reader sees, with their money.
async fn facts(ctx: &Ctx, asked: &Asked) -> Result<(Vec<Fact>, Vec<TipRow>), DbError> {
    let tips = ctx.room.db.issued_tips(&ctx.user.scope).await?;
    let mut money: HashMap<String, Vec<(String, i64, i64)>> = HashMap::new();
    for (tip, kind, amount, at) in ctx.room.db.all_money().await? {
        money.entry(tip).or_default().push((kind, amount, at));
    }
    let fact = |t: &TipRow| Fact {
        id: t.id.clone(),
        unit: t.unit.clone(),
        office: t.office.clone(),
        suspicion: t.suspicion.clone(),
        issued_ms: t.issued_ms.unwrap_or_default(),
        received_ms: t.received_ms,
        settled_ms: t.settled_ms,
        closed_ms: t.closed_ms,
        violation: t.result.as_deref() == Some("violation"),
        money: money.remove(&t.id).unwrap_or_default(),
    };
    let facts: Vec<Fact> = tips.iter().map(fact).filter(|f| asked.holds(f)).collect();
    Ok((facts, tips))
}

/// One line of a report: key of its list, label, figure, more about it.
type Line = (&'static str, &'static str, String, String);

fn rate(ctx: &Ctx, part: i64, whole: i64) -> String {
    report::percent(part, whole, ctx.room.config.reports.percent).map_or_else(|| "–".into(), |p| format!("{p} %"))
}

fn lines(ctx: &Ctx, f: &Figures) -> Vec<Line> {
    let money = |n: i64| (format!("{} {}", parts::grouped(n), ctx.t("report.dong")), parts::amount_words(ctx, n));
    let span = |ms: Option<i64>| ms.map_or_else(|| "–".into(), |ms| parts::duration(ctx, ms));
    let (recovery, fines, later) = (money(f.recovery_vnd), money(f.fines_vnd), money(f.later_vnd));
    let of = |n: i64, whole: i64| format!("{n}/{whole}");
    vec![
        ("issued", "report.issued", f.issued.to_string(), String::new()),
        ("settled", "report.settled", f.settled.to_string(), String::new()),
        ("open", "report.open", f.open.to_string(), String::new()),
        ("closed", "report.closed", f.closed.to_string(), String::new()),
        ("settled", "report.settlement_rate", rate(ctx, f.settled, f.issued), of(f.settled, f.issued)),
        ("violating", "report.violating", f.violating.to_string(), String::new()),
        ("violating", "report.violation_rate", rate(ctx, f.violating, f.settled), of(f.violating, f.settled)),
        ("recovery", "report.recovery", recovery.0, recovery.1),
        ("fines", "report.fines", fines.0, fines.1),
        ("later", "report.later", later.0, later.1),
        ("issued", "report.median_receive", span(f.median_receive_ms), String::new()),
        ("settled", "report.median_settle", span(f.median_settle_ms), String::new()),
    ]
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    super::audit::viewed(&ctx, "report", &asked.address(), "").await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let (facts, _) = facts(&ctx, &asked).await.or_problem(&ctx)?;
    let printed = ctx.room.db.snapshots(&ctx.user.name).await.or_problem(&ctx)?;
    let figures = report::figures(&facts, &asked.period, asked.view);
    let by = |title: &str, key: fn(&Fact) -> &str, name: &dyn Fn(&str) -> String| {
        part_table(&ctx, ctx.t(title), &report::parts(&facts, key, &asked.period, asked.view), name)
    };
    let content = html! {
        (form(&ctx, &asked))
        h2 { (asked.title(&ctx)) }
        dl.figures { @for (list, label, figure, more) in lines(&ctx, &figures) {
            div.figure { dt { (ctx.t(label)) } dd { a href={ "/reports/tips?" (asked.address()) "&list=" (list) } { (figure) }
                @if !more.is_empty() { small { (more) } } } }
        } }
        p.hint { (mode(&ctx)) }
        (by("report.by_unit", |f| &f.unit, &|k| offices.name(k)))
        (by("report.by_office", |f| &f.office, &|k| offices.name(k)))
        (by("report.by_suspicion", |f| &f.suspicion, &|k| ctx.value("suspicion", k)))
        (exports(&ctx, &asked))
        @if !printed.is_empty() {
            h2.noprint { (ctx.t("report.printed")) }
            ul.noprint { @for s in &printed { li { a href={ "/reports/printed/" (s.id) } { (s.title) } " · " (parts::time(&ctx, s.printed_ms)) } } }
        }
    };
    Ok(page(&ctx, ctx.t("report.title"), "/reports", &content))
}

fn mode(ctx: &Ctx) -> &'static str {
    match ctx.room.config.reports.percent {
        PercentMode::Truncate => ctx.t("report.mode.truncate"),
        PercentMode::Round => ctx.t("report.mode.round"),
    }
}

fn form(ctx: &Ctx, asked: &Asked) -> Markup {
    let spans = parts::options(ctx, "report", &Span::ALL.map(Span::as_str));
    let views = parts::options(ctx, "report", &["cohort", "flow"]);
    html! {
        form.filters method="get" action="/reports" {
            label { (ctx.t("report.period")) (parts::select("period", asked.span.as_str(), None, &spans)) }
            label { (ctx.t("report.at")) input type="date" name="at" value=(asked.day); }
            label { (ctx.t("report.view")) (parts::select("view", asked.view.as_str(), None, &views)) }
            label { (ctx.t("unit")) input name="unit" value=(asked.unit) maxlength="4" size="6"; }
            label { (ctx.t("tip.target")) input name="office" value=(asked.office) maxlength="4" size="6"; }
            button { (ctx.t("filter")) }
        }
    }
}

fn exports(ctx: &Ctx, asked: &Asked) -> Markup {
    html! {
        div.line.noprint {
            a.button href={ "/reports/csv?" (asked.address()) } { "CSV" }
            a.button href={ "/reports/xlsx?" (asked.address()) } { "XLSX" }
            form method="post" action="/reports/print" { (token(ctx))
                input type="hidden" name="period" value=(asked.span.as_str()); input type="hidden" name="at" value=(asked.day);
                input type="hidden" name="view" value=(asked.view.as_str()); input type="hidden" name="unit" value=(asked.unit);
                input type="hidden" name="office" value=(asked.office);
                button { (ctx.t("report.print")) } }
        }
    }
}

fn part_table(ctx: &Ctx, title: &str, parts: &[(String, Figures)], name: &dyn Fn(&str) -> String) -> Markup {
    html! {
        @if !parts.is_empty() { div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            caption { (title) }
            thead { tr { th.num scope="col" { (ctx.t("report.rank")) } th scope="col" { (title) } th.num scope="col" { (ctx.t("report.issued")) }
                th.num scope="col" { (ctx.t("report.settled")) } th.num scope="col" { (ctx.t("report.violating")) }
                th.num scope="col" { (ctx.t("report.violation_rate")) } th.num scope="col" { (ctx.t("report.recovery")) } th.num scope="col" { (ctx.t("report.fines")) } } }
            tbody { @for (i, (key, f)) in parts.iter().enumerate() {
                tr { td.num { (i + 1) } th scope="row" { (name(key)) } td.num { (f.issued) } td.num { (f.settled) } td.num { (f.violating) }
                    td.num { (rate(ctx, f.violating, f.settled)) " "
                        meter min="0" max="100" value=(f.violating * 100 / f.settled.max(1)) aria-hidden="true" {} }
                    td.num { (parts::grouped(f.recovery_vnd)) } td.num { (parts::grouped(f.fines_vnd)) } }
            } }
        } } }
    }
}

/// The tips behind a figure.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    let measure = query.get("list").map_or("issued", String::as_str);
    let measure = MEASURES.into_iter().find(|m| *m == measure).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "report.list", &asked.address(), measure).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let (facts, tips) = facts(&ctx, &asked).await.or_problem(&ctx)?;
    let behind =
        |t: &TipRow| facts.iter().any(|f| f.id == t.id && report::counts(f, measure, &asked.period, asked.view));
    let tips: Vec<TipRow> = tips.iter().filter(|t| behind(t)).cloned().collect();
    let content = html! {
        p { a href={ "/reports?" (asked.address()) } { (asked.title(&ctx)) } " · " strong { (ctx.value("report", measure)) ": " (tips.len()) } }
        (super::tips::table(&ctx, &offices, &tips))
    };
    Ok(page(&ctx, ctx.t("report.list"), "/reports", &content))
}

/// Figures and list as rows of text: the same for CSV and spreadsheet.
async fn rows(ctx: &Ctx, asked: &Asked) -> Answer<(Vec<Vec<String>>, Vec<Vec<String>>)> {
    let (facts, tips) = facts(ctx, asked).await.or_problem(ctx)?;
    let mut figures = vec![vec![asked.title(ctx)], vec![ctx.t("report.measure").into(), ctx.t("report.value").into()]];
    let made = report::figures(&facts, &asked.period, asked.view);
    figures.extend(lines(ctx, &made).into_iter().map(|(_, label, figure, _)| vec![ctx.t(label).to_owned(), figure]));
    figures.push(vec![mode(ctx).to_owned()]);
    let head = [
        "tip.number",
        "state",
        "declaration",
        "tip.subject",
        "tip.target",
        "tip.issued",
        "tip.settled",
        "result",
        "report.recovery",
        "report.fines",
    ];
    let mut list = vec![head.map(|k| ctx.t(k).to_owned()).to_vec()];
    for t in &tips {
        let Some(fact) = facts.iter().find(|f| f.id == t.id) else { continue };
        if MEASURES.iter().any(|m| report::counts(fact, m, &asked.period, asked.view)) {
            list.push(tip_row(ctx, t, fact));
        }
    }
    Ok((figures, list))
}

fn tip_row(ctx: &Ctx, t: &TipRow, fact: &Fact) -> Vec<String> {
    let sum = |kind: &str| fact.money.iter().filter(|(k, _, _)| k == kind).map(|(_, n, _)| n).sum::<i64>().to_string();
    let at = |ms: Option<i64>| ms.map_or_else(String::new, |ms| parts::time_text(ctx, ms));
    vec![
        t.number.clone(),
        ctx.value("tip_state", &t.state),
        t.decl_key.clone().unwrap_or_default(),
        t.subject.clone(),
        t.office.clone(),
        at(t.issued_ms),
        at(t.settled_ms),
        t.result.as_ref().map(|r| ctx.value("result", r)).unwrap_or_default(),
        sum("recovery"),
        sum("fine"),
    ]
}

/// One field of CSV. What a spreadsheet would run as a formula is kept text by an apostrophe.
fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Audit of an export, and the headers of its file.
async fn export(
    ctx: &Ctx,
    asked: &Asked,
    kind: &'static str,
    name: &'static str,
) -> Answer<[(header::HeaderName, String); 2]> {
    super::audit::viewed(ctx, "export", &asked.address(), kind).await.or_problem(ctx)?;
    let file = format!("attachment; filename=\"gatewatch-{}.{kind}\"", asked.period.name);
    Ok([(header::CONTENT_TYPE, name.to_owned()), (header::CONTENT_DISPOSITION, file)])
}

/// Comma separated values, UTF-8 with the mark that spreadsheets need to see it.
pub(crate) async fn csv(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let asked = Asked::read(&ctx, &query)?;
    let headers = export(&ctx, &asked, "csv", "text/csv; charset=utf-8").await?;
    let (figures, list) = rows(&ctx, &asked).await?;
    let blank = Vec::new();
    let all = figures.iter().chain([&blank]).chain(&list);
    let lines: Vec<String> = all.map(|row| row.iter().map(|f| csv_field(f)).collect::<Vec<_>>().join(",")).collect();
    Ok((headers, format!("\u{feff}{}\r\n", lines.join("\r\n"))).into_response())
}

/// A spreadsheet with two sheets.
pub(crate) async fn xlsx(
    Extension(ctx): Extension<Ctx>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer<Response> {
    let asked = Asked::read(&ctx, &query)?;
    let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let headers = export(&ctx, &asked, "xlsx", kind).await?;
    let (figures, list) = rows(&ctx, &asked).await?;
    let book = workbook(&[(ctx.t("reports"), &figures, 2), (ctx.t("tips"), &list, 1)]).map_err(|error| {
        tracing::error!(%error, "a spreadsheet cannot be made");
        Problem::bad_form(ctx.language)
    })?;
    Ok((headers, book).into_response())
}

/// Sheets of text; whole numbers as numbers, so that they can be added up; the first rows in bold.
fn workbook(sheets: &[(&str, &Vec<Vec<String>>, usize)]) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    let bold = Format::new().set_bold();
    for (name, rows, heads) in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(*name)?;
        for (r, row) in (0_u32..).zip(rows.iter()) {
            for (c, text) in (0_u16..).zip(row) {
                // Numbers of more than 15 digits and declaration numbers are no amounts.
                let number = text.parse::<i64>().ok().filter(|n| n.abs() < 1_000_000_000_000_000 && text.len() != 11);
                match number {
                    _ if (r as usize) < *heads => sheet.write_string_with_format(r, c, text, &bold)?,
                    #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
                    Some(n) => sheet.write_number(r, c, n as f64)?,
                    None => sheet.write_string(r, c, text)?,
                };
            }
        }
        sheet.autofit();
    }
    book.save_to_buffer()
}

/// Keeps the figures as they are printed now.
pub(crate) async fn print(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let names = ["period", "at", "view", "unit", "office"];
    let query: HashMap<String, String> = names.iter().map(|n| ((*n).to_owned(), post.get(n).to_owned())).collect();
    let asked = Asked::read(ctx, &query)?;
    let (facts, _) = facts(ctx, &asked).await.or_problem(ctx)?;
    let figures = report::figures(&facts, &asked.period, asked.view);
    let now = utc_now().0;
    let snapshot = Snapshot {
        id: new_id(now),
        title: asked.title(ctx),
        query: asked.address(),
        printed_ms: now,
        account: ctx.user.name.clone(),
        figures: serde_json::to_string(&figures).unwrap_or_default(),
    };
    let mut tx = ctx.room.db.write().await.or_problem(ctx)?;
    tx.add_snapshot(&snapshot).await.or_problem(ctx)?;
    let act = Act {
        account: &ctx.user.name,
        office: "",
        action: "report.print",
        object: &snapshot.query,
        // Not the figures: they are of all offices that he sees who printed them.
        detail: &snapshot.id,
    };
    tx.audit(act).await.or_problem(ctx)?;
    tx.commit().await.or_problem(ctx)?;
    Ok(Redirect::to(&format!("/reports/printed/{}", snapshot.id)).into_response())
}

/// Printed figures beside what they are now.
pub(crate) async fn printed(Extension(ctx): Extension<Ctx>, Path(id): Path<String>) -> Answer {
    let own = |s: &Snapshot| s.account == ctx.user.name;
    let snapshot = ctx.room.db.snapshot(&id).await.or_problem(&ctx)?.filter(own).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "report.printed", &snapshot.query, &snapshot.id).await.or_problem(&ctx)?;
    let pairs = snapshot.query.split('&').filter_map(|p| p.split_once('='));
    let query: HashMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let asked = Asked::read(&ctx, &query)?;
    let (facts, _) = facts(&ctx, &asked).await.or_problem(&ctx)?;
    let now = lines(&ctx, &report::figures(&facts, &asked.period, asked.view));
    let then: Figures = serde_json::from_str(&snapshot.figures).unwrap_or_default();
    let content = html! {
        p { (ctx.t("report.printed_at")) " " (parts::time(&ctx, snapshot.printed_ms)) " · " (snapshot.account)
            " · " a href={ "/reports?" (asked.address()) } { (ctx.t("act.open")) } }
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("report.measure")) } th.num scope="col" { (ctx.t("report.then")) } th.num scope="col" { (ctx.t("report.now")) } } }
            tbody { @for (then, now) in lines(&ctx, &then).iter().zip(&now) {
                tr { th scope="row" { (ctx.t(then.1)) } td.num { (then.2) } td.num { @if then.2 == now.2 { (now.2) } @else { strong { (now.2) } } } }
            } }
        } }
        p.hint { (mode(&ctx)) " " (escaped(&snapshot.id)) }
    };
    Ok(page(&ctx, &snapshot.title, "/reports", &content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_and_never_formulas() {
        assert_eq!(
            ["a", "a,b", "a\"b", "=1+1", "-5", "@x"].map(csv_field),
            ["a", "\"a,b\"", "\"a\"\"b\"", "'=1+1", "-5", "'@x"]
        );
    }

    #[test]
    fn a_spreadsheet_is_one() {
        let rows = vec![vec!["Số".to_owned()], vec!["12".to_owned(), "10000001234".to_owned()]];
        let bytes = workbook(&[("Báo cáo", &rows, 1)]).unwrap();
        assert!(bytes.starts_with(b"PK"));
    }
}
