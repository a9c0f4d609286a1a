//! Reports on tips and alerts: figures of a period that open their lists, as page, CSV and spreadsheet. The figures themselves are
//! made in `desk/report.rs`, what of them is shown in `report_figures.rs`; printed ones are in `report_printed.rs`.

use std::collections::{HashMap, HashSet};

use axum::Extension;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::alerts::escaped;
use super::form::Post;
use super::page::{Answer, Ctx, OrProblem, Problem, page, token};
use super::parts::{self, Offices};
use super::report_cameras::{Cameras, camera_part, camera_rows, camera_shares, hours_of};
use super::report_figures::{
    Alerts, Report, alert_lines, alert_part, counts_alerts, lines, mode_words, part_rows, part_tables, views,
};
use super::sheet::{self, Cell, Rows};
use crate::clock::{UtcMillis, utc_now};
use crate::desk::db::alert_figures::Counted;
use crate::desk::db::alerts::AlertRow;
use crate::desk::db::tips::TipRow;
use crate::desk::db::{DbError, Scope};
use crate::desk::report::{self, Fact, MEASURES, Period, Span, View};
use crate::desk::tip::SUSPICIONS;

/// What boxes found for a tip, best first; the last where none has answered.
const FOOTAGE: [&str; 4] = ["complete", "partial", "none", "unanswered"];
/// Alerts behind a figure that are listed.
const LISTED: i64 = 1000;

/// Names by which an address or a form says which report it is.
const ASKED: [&str; 8] = ["period", "at", "view", "unit", "office", "suspicion", "type_code", "footage"];
/// Instead of a type code: the tip names no declaration, or the desk does not know its code.
const NO_CODE: [&str; 2] = ["none", "unknown"];

/// What the address asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    span: Span,
    day: Date,
    pub view: View,
    pub unit: String,
    pub office: String,
    pub suspicion: String,
    pub type_code: String,
    pub footage: String,
    pub period: Period,
}

impl Asked {
    pub(crate) fn read(ctx: &Ctx, query: &HashMap<String, String>) -> Answer<Self> {
        let get = |name: &str| query.get(name).map_or("", |v| v.trim());
        let today = ctx.room.zone.duty_day(UtcMillis(utc_now().0));
        let day: Date = get("at").parse().or_else(|_| today.parse()).map_err(|_| Problem::bad_form(ctx.language))?;
        let span = Span::parse(get("period")).unwrap_or(Span::Year);
        let zone = TimeZone::get(&ctx.room.config.desk.time_zone).unwrap_or(TimeZone::UTC);
        let period = report::period(span, day, &zone).ok_or_else(|| Problem::bad_form(ctx.language))?;
        let code = |name: &str| {
            get(name).chars().filter(char::is_ascii_alphanumeric).take(4).collect::<String>().to_uppercase()
        };
        let one = |name: &str, of: &[&str]| of.iter().find(|v| **v == get(name)).map_or("", |v| v).to_owned();
        Ok(Self {
            span,
            day,
            view: View::parse(get("view")),
            unit: code("unit"),
            office: code("office"),
            suspicion: one("suspicion", &SUSPICIONS),
            type_code: code_of(get("type_code")),
            footage: one("footage", &FOOTAGE),
            period,
        })
    }

    /// As [`Asked::read`], of a form.
    pub(crate) fn sent(post: &Post) -> Answer<Self> {
        Self::read(&post.ctx, &ASKED.iter().map(|n| ((*n).to_owned(), post.get(n).to_owned())).collect())
    }

    pub(crate) fn address(&self) -> String {
        let pairs = [
            ("period", self.span.as_str()),
            ("at", &self.day.to_string()),
            ("view", self.view.as_str()),
            ("unit", &self.unit),
            ("office", &self.office),
            ("suspicion", &self.suspicion),
            ("type_code", &self.type_code),
            ("footage", &self.footage),
        ]
        .map(|(name, value)| format!("{name}={}", escaped(value)));
        pairs.join("&")
    }

    /// The address of one part of the report.
    pub(crate) fn of(&self, by: &str, key: &str) -> String {
        let mut part = self.clone();
        let field = match by {
            "unit" => &mut part.unit,
            "office" => &mut part.office,
            "suspicion" => &mut part.suspicion,
            "type_code" => &mut part.type_code,
            _ => &mut part.footage,
        };
        key.clone_into(field);
        part.address()
    }

    /// Whether another one is the same report, whichever day of the period it names.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let key = |a: &Self| {
            let of = [&a.period.name, &a.unit, &a.office, &a.suspicion, &a.type_code, &a.footage].map(String::clone);
            (a.span, a.view, of)
        };
        key(self) == key(other)
    }

    pub(crate) fn title(&self, ctx: &Ctx) -> String {
        let of = [self.unit.as_str(), self.office.as_str()].join(" ");
        let value = |family: &str, value: &str| if value.is_empty() { String::new() } else { ctx.value(family, value) };
        let parts = [
            format!("{} {}", ctx.value("report", self.span.as_str()), parts::day(&self.period.name)),
            of.trim().to_owned(),
            value("suspicion", &self.suspicion),
            value("type_code", &self.type_code),
            value("footage", &self.footage),
            ctx.value("report", self.view.as_str()),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }

    fn holds(&self, fact: &Fact) -> bool {
        let is = |asked: &str, is: &str| asked.is_empty() || asked == is;
        is(&self.unit, &fact.unit)
            && is(&self.office, &fact.office)
            && is(&self.suspicion, &fact.suspicion)
            && is(&self.type_code, &fact.type_code)
            && is(&self.footage, &fact.footage)
    }
}

/// A type code as it is written, whatever somebody sent or typed.
fn code_of(sent: &str) -> String {
    if NO_CODE.contains(&sent) {
        return sent.to_owned();
    }
    sent.chars().filter(char::is_ascii_alphanumeric).take(6).collect::<String>().to_uppercase()
}

/// All tips of a scope, with their money, what boxes found and the type codes of their declarations.
async fn facts(ctx: &Ctx, asked: &Asked, scope: &Scope) -> Result<(Vec<Fact>, Vec<TipRow>), DbError> {
    let tips = ctx.room.db.issued_tips(scope).await?;
    let mut money: HashMap<String, Vec<(String, i64, i64)>> = HashMap::new();
    for (tip, kind, amount, at) in ctx.room.db.all_money().await? {
        money.entry(tip).or_default().push((kind, amount, at));
    }
    let place = |footage: &str| FOOTAGE.iter().position(|f| *f == footage).unwrap_or(FOOTAGE.len() - 1);
    let mut found: HashMap<String, usize> = HashMap::new();
    for (tip, footage) in ctx.room.db.footage_found().await? {
        let best = found.entry(tip).or_insert(FOOTAGE.len() - 1);
        *best = place(&footage).min(*best);
    }
    let codes: HashMap<String, String> = ctx.room.db.type_codes(scope).await?.into_iter().collect();
    let type_code = |decl: &Option<String>| match decl {
        None => NO_CODE[0].to_owned(),
        Some(key) => codes.get(key).map(|c| code_of(c)).filter(|c| !c.is_empty()).unwrap_or_else(|| NO_CODE[1].into()),
    };
    let fact = |t: &TipRow| Fact {
        type_code: type_code(&t.decl_key),
        id: t.id.clone(),
        unit: t.unit.clone(),
        office: t.office.clone(),
        suspicion: t.suspicion.clone(),
        footage: FOOTAGE[found.get(&t.id).copied().unwrap_or(FOOTAGE.len() - 1)].into(),
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

/// The report of a scope, with the tips behind it.
pub(crate) async fn made(ctx: &Ctx, asked: &Asked, scope: &Scope) -> Result<(Report, Vec<Fact>, Vec<TipRow>), DbError> {
    let (facts, tips) = facts(ctx, asked, scope).await?;
    let (alerts, cameras) = if counts_alerts(asked) {
        let shares = camera_shares(ctx, asked, scope).await?;
        (Some(alerts(ctx, asked, scope).await?), Cameras::of(&shares, hours_of(asked)))
    } else {
        (None, Vec::new())
    };
    Ok((Report::of(&facts, asked, ctx.room.config.reports.percent, alerts, cameras), facts, tips))
}

/// Duty days of the report: the first one, and the first one after it.
pub(super) fn duty_days(ctx: &Ctx, asked: &Asked) -> (String, String) {
    let day = |ms| ctx.room.zone.duty_day(UtcMillis(ms));
    (day(asked.period.from_ms), day(asked.period.to_ms))
}

async fn alerts(ctx: &Ctx, asked: &Asked, scope: &Scope) -> Result<Alerts, DbError> {
    let (from, to) = duty_days(ctx, asked);
    let counted = Counted { scope, office: &asked.office, from: &from, to: &to };
    let (all, dealt, acts) = ctx.room.db.alert_figures(&counted).await?;
    Ok(Alerts { all, dealt, acts })
}

/// The page.
pub(crate) async fn show(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    super::audit::viewed(&ctx, "report", &asked.address(), "").await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let (report, _, _) = made(&ctx, &asked, &ctx.user.scope).await.or_problem(&ctx)?;
    let mode = ctx.room.config.reports.percent;
    let content = html! {
        (form(&ctx, &asked))
        h2 { (asked.title(&ctx)) }
        dl.figures { @for line in lines(&report.figures) {
            @let more = line.value.more(&ctx);
            div.figure { dt { (ctx.t(line.label)) } dd { a href={ "/reports/tips?" (asked.address()) "&list=" (line.list) } { (line.value.text(&ctx, mode)) }
                @if !more.is_empty() { small { (more) } } } }
        } }
        p.hint { (mode_words(&ctx, mode)) }
        (part_tables(&ctx, &offices, &report, mode, &asked, None))
        @if let Some(alerts) = &report.alerts { (alert_part(&ctx, &asked, alerts)) }
        (camera_part(&ctx, &offices, &asked, &report.cameras, None))
        (exports(&ctx, &asked))
        (super::report_printed::list(&ctx, &asked).await.or_problem(&ctx)?)
    };
    Ok(page(&ctx, ctx.t("report.title"), "/reports", &content))
}

fn form(ctx: &Ctx, asked: &Asked) -> Markup {
    let spans = parts::options(ctx, "report", &Span::ALL.map(Span::as_str));
    let views = parts::options(ctx, "report", &views());
    html! {
        form.filters method="get" action="/reports" {
            label { (ctx.t("report.period")) (parts::select("period", asked.span.as_str(), None, &spans)) }
            label { (ctx.t("report.at")) input type="date" name="at" value=(asked.day); }
            label { (ctx.t("report.view")) (parts::select("view", asked.view.as_str(), None, &views)) }
            label { (ctx.t("unit")) input name="unit" value=(asked.unit) maxlength="4" size="6"; }
            label { (ctx.t("tip.target")) input name="office" value=(asked.office) maxlength="4" size="6"; }
            label { (ctx.t("tip.suspicion")) (parts::select("suspicion", &asked.suspicion, Some(ctx.t("all")), &parts::options(ctx, "suspicion", &SUSPICIONS))) }
            label { (ctx.t("type_code")) @if NO_CODE.contains(&asked.type_code.as_str()) {
                (parts::select("type_code", &asked.type_code, Some(ctx.t("all")), &parts::options(ctx, "type_code", &NO_CODE)))
            } @else { input name="type_code" value=(asked.type_code) maxlength="7" size="6"; } }
            label { (ctx.t("footage")) (parts::select("footage", &asked.footage, Some(ctx.t("all")), &parts::options(ctx, "footage", &FOOTAGE))) }
            button { (ctx.t("filter")) }
        }
    }
}

fn exports(ctx: &Ctx, asked: &Asked) -> Markup {
    let day = asked.day.to_string();
    let (span, view) = (asked.span.as_str(), asked.view.as_str());
    let values = [span, &day, view, &asked.unit, &asked.office, &asked.suspicion, &asked.type_code, &asked.footage];
    let same = html! { (token(ctx)) @for (name, value) in ASKED.iter().zip(values) { input type="hidden" name=(name) value=(value); } };
    html! {
        h2.noprint { (ctx.t("report.export")) }
        form.filters.noprint method="post" action="/reports/csv" {
            (same)
            label { (ctx.t("report.export_why")) input name="note" required maxlength="1000" size="48" autocomplete="off"; }
            button { "CSV" } button formaction="/reports/xlsx" { "XLSX" }
        }
        form.noprint method="post" action="/reports/print" { (same) button { (ctx.t("report.print")) } }
    }
}

/// The tips behind a figure.
pub(crate) async fn list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    let measure = query.get("list").map_or("issued", String::as_str);
    let measure = MEASURES.into_iter().find(|m| *m == measure).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "report.list", &asked.address(), measure).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let (facts, tips) = facts(&ctx, &asked, &ctx.user.scope).await.or_problem(&ctx)?;
    let counted = facts.iter().filter(|f| report::counts(f, measure, &asked.period, asked.view));
    let counted: HashSet<&str> = counted.map(|f| f.id.as_str()).collect();
    let tips: Vec<TipRow> = tips.into_iter().filter(|t| counted.contains(t.id.as_str())).collect();
    let content = html! {
        p { a href={ "/reports?" (asked.address()) } { (asked.title(&ctx)) } " · " strong { (ctx.value("report", measure)) ": " (tips.len()) } }
        (super::tips::table(&ctx, &offices, &tips))
    };
    Ok(page(&ctx, ctx.t("report.list"), "/reports", &content))
}

/// The alerts behind a figure.
pub(crate) async fn alert_list(Extension(ctx): Extension<Ctx>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let asked = Asked::read(&ctx, &query)?;
    let wanted = (query.get("list").map_or("all", |v| v), query.get("reason").map_or("", |v| v));
    let mut known = alert_lines(&ctx, &Alerts::default()).into_iter();
    let (act, reason, label, _) = known.find(|(act, reason, ..)| (*act, *reason) == wanted).or_problem(&ctx)?;
    super::audit::viewed(&ctx, "report.alerts", &asked.address(), &format!("{act} {reason}")).await.or_problem(&ctx)?;
    let offices = Offices::load(&ctx).await.or_problem(&ctx)?;
    let (from, to) = duty_days(&ctx, &asked);
    let counted = Counted { scope: &ctx.user.scope, office: &asked.office, from: &from, to: &to };
    let rows = ctx.room.db.alerts_behind(&counted, act, reason, LISTED).await.or_problem(&ctx)?;
    let content = html! {
        p { a href={ "/reports?" (asked.address()) } { (asked.title(&ctx)) } " · " strong { (label) ": " (rows.len()) } }
        @if i64::try_from(rows.len()) == Ok(LISTED) { p.up { (ctx.t("report.cut")) } }
        (alert_table(&ctx, &offices, &rows))
    };
    Ok(page(&ctx, ctx.t("report.alerts"), "/reports", &content))
}

fn alert_table(ctx: &Ctx, offices: &Offices, rows: &[AlertRow]) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
            thead { tr { th scope="col" { (ctx.t("when")) } th scope="col" { (ctx.t("severity")) } th scope="col" { (ctx.t("rule")) }
                th scope="col" { (ctx.t("camera")) } th scope="col" { (ctx.t("office")) } th scope="col" { (ctx.t("state")) } } }
            tbody { @for a in rows {
                tr { td { (parts::time(ctx, a.at_ms)) } td { (parts::severity(ctx, a.severity)) }
                    td { a href={ "/alerts/" (a.id) } { (ctx.value("rule", &a.rule)) } } td { (a.camera) } td { (offices.name(&a.office)) }
                    td { (ctx.value("state", &a.state)) @if let Some(outcome) = &a.outcome { " · " (ctx.value("outcome", outcome)) } } }
            } }
        } }
    }
}

/// Figures and list as rows: the same for CSV and spreadsheet. The list adds up to the figures.
async fn rows(ctx: &Ctx, asked: &Asked) -> Answer<(Rows, Rows)> {
    let (report, facts, tips) = made(ctx, asked, &ctx.user.scope).await.or_problem(ctx)?;
    let mode = ctx.room.config.reports.percent;
    let mut figures: Rows = vec![
        vec![asked.title(ctx).into()],
        ["report.measure", "report.value", "report.unit"].map(|k| ctx.t(k).into()).into(),
    ];
    figures.extend(lines(&report.figures).into_iter().map(|line| {
        let [number, unit] = line.value.cells(ctx, mode);
        vec![ctx.t(line.label).into(), number, unit]
    }));
    figures.push(vec![mode_words(ctx, mode).into()]);
    let alerts = report.alerts.iter().flat_map(|a| alert_lines(ctx, a));
    figures.extend(alerts.map(|(_, _, label, n)| vec![label.into(), n.into(), ctx.t("alert").into()]));
    let offices = Offices::load(ctx).await.or_problem(ctx)?;
    for block in [part_rows(ctx, &offices, &report, mode), camera_rows(ctx, &offices, &report.cameras)] {
        figures.push(Vec::new());
        figures.extend(block);
    }
    let head = [
        "tip.number",
        "state",
        "declaration",
        "type_code",
        "tip.subject",
        "tip.target",
        "tip.issued",
        "tip.settled",
        "result",
        "report.recovery",
        "report.fines",
        "report.later",
    ];
    let mut list: Rows = vec![head.map(|k| ctx.t(k).into()).into()];
    let by_id: HashMap<&str, &Fact> = facts.iter().map(|f| (f.id.as_str(), f)).collect();
    for t in &tips {
        let Some(fact) = by_id.get(t.id.as_str()) else { continue };
        if MEASURES.iter().any(|m| report::counts(fact, m, &asked.period, asked.view)) {
            list.push(tip_row(ctx, asked, t, fact));
        }
    }
    Ok((figures, list))
}

fn tip_row(ctx: &Ctx, asked: &Asked, t: &TipRow, fact: &Fact) -> Vec<Cell> {
    let sum = |kind: &str| report::amount(fact, kind, &asked.period, asked.view).into();
    let at = |ms: Option<i64>| ms.map_or_else(String::new, |ms| parts::time_text(ctx, ms));
    vec![
        t.number.clone().into(),
        ctx.value("tip_state", &t.state).into(),
        t.decl_key.clone().unwrap_or_default().into(),
        ctx.value("type_code", &fact.type_code).into(),
        t.subject.clone().into(),
        t.office.clone().into(),
        at(t.issued_ms).into(),
        at(t.settled_ms).into(),
        t.result.as_ref().map(|r| ctx.value("result", r)).unwrap_or_default().into(),
        sum("recovery"),
        sum("fine"),
        report::later(fact, &asked.period, asked.view).into(),
    ]
}

/// Audit of an export with its reason, and the headers of its file.
async fn export(
    post: &Post,
    asked: &Asked,
    kind: &'static str,
    name: &'static str,
) -> Answer<[(header::HeaderName, String); 2]> {
    let ctx = &post.ctx;
    let why: String = post.get("note").chars().take(1000).collect();
    if why.is_empty() {
        return Err(Problem::refused(ctx.language, "refusal.export"));
    }
    super::audit::viewed(ctx, "export", &asked.address(), &format!("{kind}: {why}")).await.or_problem(ctx)?;
    let file = format!("attachment; filename=\"gatewatch-{}.{kind}\"", asked.period.name);
    Ok([(header::CONTENT_TYPE, name.to_owned()), (header::CONTENT_DISPOSITION, file)])
}

/// Comma separated values, UTF-8 with the mark that spreadsheets need to see it.
pub(crate) async fn csv(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let asked = Asked::sent(&post)?;
    let headers = export(&post, &asked, "csv", "text/csv; charset=utf-8").await?;
    let (figures, list) = rows(ctx, &asked).await?;
    let blank = Vec::new();
    Ok((headers, sheet::csv(figures.iter().chain([&blank]).chain(&list))).into_response())
}

/// A spreadsheet with two sheets.
pub(crate) async fn xlsx(post: Post) -> Answer<Response> {
    let ctx = &post.ctx;
    let asked = Asked::sent(&post)?;
    let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let headers = export(&post, &asked, "xlsx", kind).await?;
    let (figures, list) = rows(ctx, &asked).await?;
    let book = sheet::workbook(&[(ctx.t("reports"), &figures, 2), (ctx.t("tips"), &list, 1)]).map_err(|error| {
        tracing::error!(%error, "a spreadsheet cannot be made");
        Problem::bad_form(ctx.language)
    })?;
    Ok((headers, book).into_response())
}
