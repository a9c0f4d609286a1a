//! Pieces that several pages use: times, ages, money, badges, lists to choose from.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};
use maud::{Markup, html};
use serde_json::Value;

use super::page::Ctx;
use crate::desk::message::{moment, text};

fn zone(ctx: &Ctx) -> TimeZone {
    TimeZone::get(&ctx.room.config.desk.time_zone).unwrap_or(TimeZone::UTC)
}

fn local(ctx: &Ctx, ms: i64, form: &str) -> String {
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned_datetime(zone(ctx)).strftime(form).to_string()
}

/// `dd/MM/yyyy HH:mm:ss`, with the exact time for machines.
pub(crate) fn time(ctx: &Ctx, ms: i64) -> Markup {
    let exact = crate::clock::UtcMillis(ms).to_rfc3339();
    html! { time datetime=(exact) { (local(ctx, ms, "%d/%m/%Y %H:%M:%S")) } }
}

/// A day or a period as people here write it: `2026-03-02` as `02/03/2026`, `2026-03` as `03/2026`, `2026-Q1` as `Q1/2026`, `2026` as it is.
pub(crate) fn day(iso: &str) -> String {
    iso.split('-').rev().collect::<Vec<_>>().join("/")
}

/// As [`time`], or a dash.
pub(crate) fn maybe_time(ctx: &Ctx, ms: Option<i64>) -> Markup {
    match ms {
        Some(ms) => time(ctx, ms),
        None => html! { "–" },
    }
}

/// `dd/MM/yyyy HH:mm:ss` as plain text.
pub(crate) fn time_text(ctx: &Ctx, ms: i64) -> String {
    local(ctx, ms, "%d/%m/%Y %H:%M:%S")
}

/// For `<input type="datetime-local">` where nobody asks for seconds; where they count, [`address_time`] and `step="1"`.
pub(crate) fn input_time(ctx: &Ctx, ms: Option<i64>) -> String {
    ms.map_or_else(String::new, |ms| local(ctx, ms, "%Y-%m-%dT%H:%M"))
}

/// `2026-03-02T10:17:30`, for addresses and for inputs in which seconds count; read back by [`read_time`].
pub(crate) fn address_time(ctx: &Ctx, ms: i64) -> String {
    local(ctx, ms, "%Y-%m-%dT%H:%M:%S")
}

/// A time that somebody typed, `dd/MM/yyyy HH:mm` with or without seconds, or as `<input type="datetime-local">` sends it;
/// `Ok(None)` when it is empty.
pub(crate) fn read_time(ctx: &Ctx, sent: &str) -> Result<Option<i64>, ()> {
    if sent.is_empty() {
        return Ok(None);
    }
    let at = civil_time(sent).ok_or(())?.to_zoned_datetime(zone(ctx)).map_err(|_| ())?;
    Ok(Some(at.timestamp().as_millisecond()))
}

fn civil_time(sent: &str) -> Option<civil::DateTime> {
    let typed = ["%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M"];
    sent.parse().ok().or_else(|| typed.iter().find_map(|form| civil::DateTime::strptime(form, sent).ok()))
}

/// A duration in two units, e.g. `3 giờ 12 phút`.
pub(crate) fn duration(ctx: &Ctx, ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let parts = [
        (seconds / 86_400, "unit.day"),
        (seconds / 3600 % 24, "unit.hour"),
        (seconds / 60 % 60, "unit.minute"),
        (seconds % 60, "unit.second"),
    ];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown = parts.iter().skip(first).take(2).filter(|(n, _)| *n > 0);
    let text: Vec<String> = shown.map(|(n, key)| format!("{n} {}", ctx.t(key))).collect();
    if text.is_empty() { format!("0 {}", ctx.t("unit.second")) } else { text.join(" ") }
}

/// Age that the page's script keeps ticking.
pub(crate) fn age(ctx: &Ctx, ms: i64) -> Markup {
    let now = crate::clock::utc_now().0;
    html! { span.age data-since=(ms) { (duration(ctx, now - ms)) } }
}

/// Colour and word.
pub(crate) fn severity(ctx: &Ctx, severity: i64) -> Markup {
    html! { span.sev data-severity=(severity) { (ctx.value("severity", &severity.to_string())) } }
}

/// Channel of a declaration.
pub(crate) fn channel(ctx: &Ctx, channel: Option<i64>) -> Markup {
    let known = channel.filter(|c| (1..=3).contains(c)).map(|c| c.to_string());
    let name = known.unwrap_or_else(|| "unknown".into());
    html! { span.channel data-channel=(name) { (ctx.value("channel", &name)) } }
}

/// A declaration's number with a link to its page.
pub(crate) fn declaration(key: &str) -> Markup {
    html! { a.decl href={ "/declarations/" (key) } { (key) } }
}

/// What customs answered to the rule's question.
pub(crate) fn answer(ctx: &Ctx, body: &Value) -> Markup {
    let ask = |p| text(body, p);
    let (Some(question), Some(answer)) = (ask("/data/check/question"), ask("/data/check/answer")) else {
        return html! {};
    };
    html! { span.answer data-answer=(answer) { (ctx.value("answer", &format!("{question}.{answer}"))) } }
}

/// Why a box is away and for how long, of the desk's own alert about it.
pub(crate) fn away(ctx: &Ctx, body: &Value) -> Markup {
    let Some(why) = text(body, "/data/away/why") else { return html! {} };
    let at = |pointer| moment(body, pointer).map(|at| at.0);
    let (from, to) = (at("/data/capture/start").unwrap_or_default(), at("/data/capture/end"));
    let is = |pointer| body.pointer(pointer).and_then(Value::as_bool);
    let (exact, gone) = (is("/data/away/exact") != Some(false), is("/data/away/gone") == Some(true));
    html! {
        p.line {
            span { (ctx.value("away", &why)) " " @if !exact { (ctx.t("away.not_later")) " " } (time(ctx, from)) }
            @if let Some(last) = at("/data/away/last") { span { (ctx.t("away.last")) " " (time(ctx, last)) } }
            @match to {
                Some(to) => {
                    @if gone { span { (ctx.t("away.gone")) " " (time(ctx, to)) } }
                    @else { span.good { (ctx.t("away.back")) " " (time(ctx, to)) } }
                    span { (ctx.t("away.for")) " " @if !exact { (ctx.t("away.at_least")) " " } (duration(ctx, (to - from).max(0))) }
                },
                None => span.bad { (ctx.t("away.lasts")) },
            }
        }
    }
}

/// Characters that are shown of what a box says in words.
pub(crate) const MAX_SAID: usize = 400;

/// What a box says in words, as much of it as is shown: boxes speak English, their times are UTC.
pub(crate) fn said(ctx: &Ctx, sentence: &str) -> String {
    // Cut first: what is made of it takes time by its length.
    let sentence = short(sentence, MAX_SAID);
    let time = |at: crate::clock::UtcMillis| time_text(ctx, at.0);
    if ctx.language == "en" { sentence.to_owned() } else { crate::desk::said::vietnamese(sentence, &time) }
}

/// The first characters of a text, at most so many.
pub(crate) fn short(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What a thing in the picture is, as the model calls it.
pub(crate) fn object(ctx: &Ctx, label: &str) -> String {
    ctx.value("label", label)
}

/// A list to choose from: `(value, label)`.
pub(crate) fn select(name: &str, chosen: &str, first: Option<&str>, options: &[(String, String)]) -> Markup {
    html! {
        select name=(name) {
            @if let Some(first) = first { option value="" { (first) } }
            @for (value, label) in options { option value=(value) selected[value == chosen] { (label) } }
        }
    }
}

/// Values of a family with their words, for [`select`].
pub(crate) fn options(ctx: &Ctx, family: &str, values: &[&str]) -> Vec<(String, String)> {
    values.iter().map(|v| ((*v).to_owned(), ctx.value(family, v))).collect()
}

/// Name of an office in the reader's language, with its code.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offices(Vec<(String, String, String)>);

impl Offices {
    /// All that are known.
    pub(crate) async fn load(ctx: &Ctx) -> Result<Self, crate::desk::db::DbError> {
        let rows = ctx.room.db.offices().await?;
        let name = |o: crate::desk::db::places::OfficeRow| {
            let name = if ctx.language == "en" { o.name_en } else { o.name_vi };
            (o.code, name, o.search)
        };
        Ok(Self(rows.into_iter().map(name).collect()))
    }

    /// `15BB Hữu Nghị`, or the code alone.
    pub(crate) fn name(&self, code: &str) -> String {
        match self.0.iter().find(|(c, ..)| c == code) {
            Some((c, name, _)) if c != name => format!("{c} {name}"),
            _ => code.to_owned(),
        }
    }

    /// Its names as they are searched.
    pub(crate) fn search(&self, code: &str) -> &str {
        self.0.iter().find(|(c, ..)| c == code).map_or("", |(.., search)| search)
    }

    /// For [`select`]: those of the scope.
    pub(crate) fn options(&self, ctx: &Ctx) -> Vec<(String, String)> {
        let seen = self.0.iter().filter(|(c, ..)| ctx.user.scope.holds(c));
        seen.map(|(c, ..)| (c.clone(), self.name(c))).collect()
    }
}

/// `2.500.000`.
pub(crate) fn grouped(amount: i64) -> String {
    let digits = amount.unsigned_abs().to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('.');
        }
        out.push(c);
    }
    if amount < 0 { format!("-{out}") } else { out }
}

/// `12,3 GB`: powers of a thousand, one decimal from a kilobyte on.
pub(crate) fn bytes(ctx: &Ctx, count: i64) -> String {
    byte_text(count, ctx.language)
}

fn byte_text(count: i64, language: &str) -> String {
    let count = count.max(0);
    let units = [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) => format!("{} {unit}", tenths(count / (size / 10), language)),
        None => format!("{count} B"),
    }
}

/// `+0,3 s`: a difference of two clocks.
pub(crate) fn offset(ctx: &Ctx, ms: i64) -> String {
    let sign = match ms / 100 {
        0 => "±",
        1.. => "+",
        _ => "−",
    };
    let tenth = i64::try_from(ms.unsigned_abs() / 100).unwrap_or(i64::MAX);
    format!("{sign}{} s", tenths(tenth, ctx.language))
}

/// A number of tenths as people here write it.
fn tenths(n: i64, language: &str) -> String {
    format!("{}{}{}", n / 10, if language == "en" { '.' } else { ',' }, n % 10)
}

/// `2,5 tỷ đồng`, `457 triệu đồng`, nothing below a million: cut off after one decimal, as the bulletin does ("more than").
pub(crate) fn amount_words(ctx: &Ctx, amount: i64) -> String {
    let tenths = |unit: i64| {
        let n = amount / (unit / 10);
        if n % 10 == 0 { (n / 10).to_string() } else { format!("{},{}", n / 10, (n % 10).abs()) }
    };
    match amount.abs() {
        1_000_000_000.. => format!("{} {}", tenths(1_000_000_000), ctx.t("report.billion")),
        1_000_000.. => format!("{} {}", tenths(1_000_000), ctx.t("report.million")),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_here_write_them_and_as_browsers_send_them() {
        let read = |text| civil_time(text).map(|t| t.to_string());
        let at = Some("2026-03-02T08:05:00".to_owned());
        for text in
            ["02/03/2026 08:05", "2/3/2026 8:05", "02/03/2026 08:05:00", "2026-03-02T08:05", "2026-03-02T08:05:00"]
        {
            assert_eq!(read(text), at, "{text}");
        }
        assert_eq!((read("31/02/2026 08:05"), read("02/03/2026"), read("8 giờ")), (None, None, None));
    }

    #[test]
    fn days_and_periods_are_written_as_people_here_write_them() {
        let written = [("2026-03-02", "02/03/2026"), ("2026-03", "03/2026"), ("2026-Q1", "Q1/2026"), ("2026", "2026")];
        for (name, words) in written {
            assert_eq!(day(name), words);
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!([short("đứng", 2), short("đứng", 4), short("đứng", 9), short("", 0)], ["đứ", "đứng", "đứng", ""]);
        assert_eq!(short("đứng", 0), "");
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        let of = |n| byte_text(n, "vi");
        assert_eq!([of(-1), of(999), of(1000), of(1_950_000)], ["0 B", "999 B", "1,0 kB", "1,9 MB"]);
        assert_eq!((of(i64::MAX), byte_text(12_345_678_901, "en")), ("9223372,0 TB".into(), "12.3 GB".into()));
    }

    #[test]
    fn amounts_are_grouped_with_dots() {
        assert_eq!(
            [0, 999, 1000, 2_500_000_123, -12_345].map(grouped),
            ["0", "999", "1.000", "2.500.000.123", "-12.345"]
        );
    }
}
