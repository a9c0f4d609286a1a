//! Rows of typed cells as CSV and as a spreadsheet: what is a number can be added up there, what is none (a declaration's digits, a
//! tip's number) stays text.

use rust_xlsxwriter::{Format, Workbook, XlsxError};

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Text(String),
    Number(i64),
    /// A number with two decimals.
    Hundredths(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Self::Number(n)
    }
}

/// Rows of a sheet.
pub(crate) type Rows = Vec<Vec<Cell>>;

/// Whole numbers below this are exact in a spreadsheet, whose numbers are floating.
const EXACT: u64 = 1 << 53;

/// Comma separated values, UTF-8 with the mark that spreadsheets need to see it. Decimals have a point: a comma would be read
/// as thousands where that is the custom.
pub(crate) fn csv<'a>(rows: impl Iterator<Item = &'a Vec<Cell>>) -> String {
    let lines: Vec<String> = rows.map(|row| row.iter().map(csv_field).collect::<Vec<_>>().join(",")).collect();
    format!("\u{feff}{}\r\n", lines.join("\r\n"))
}

/// One field. What a spreadsheet would run as a formula is kept text by an apostrophe.
fn csv_field(cell: &Cell) -> String {
    let text = match cell {
        Cell::Number(n) => return n.to_string(),
        Cell::Hundredths(n) => {
            return format!("{}{}.{:02}", if *n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100);
        }
        Cell::Text(text) => text,
    };
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.clone() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// Sheets with a name, their rows, and how many of the first are in bold.
pub(crate) fn workbook(sheets: &[(&str, &Rows, usize)]) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    let (bold, whole, decimal) =
        (Format::new().set_bold(), Format::new().set_num_format("#,##0"), Format::new().set_num_format("0.00"));
    for (name, rows, heads) in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(*name)?;
        for (r, row) in (0_u32..).zip(rows.iter()) {
            for (c, cell) in (0_u16..).zip(row) {
                #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
                match cell {
                    Cell::Text(text) if (r as usize) < *heads => sheet.write_string_with_format(r, c, text, &bold)?,
                    Cell::Text(text) => sheet.write_string(r, c, text)?,
                    Cell::Number(n) if n.unsigned_abs() >= EXACT => sheet.write_string(r, c, n.to_string())?,
                    Cell::Number(n) => sheet.write_number_with_format(r, c, *n as f64, &whole)?,
                    Cell::Hundredths(n) => sheet.write_number_with_format(r, c, *n as f64 / 100.0, &decimal)?,
                };
            }
        }
        sheet.autofit();
    }
    book.save_to_buffer()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn csv_fields_are_quoted_and_never_formulas() {
        let text = |t: &str| csv_field(&t.into());
        assert_eq!(
            ["a", "a,b", "a\"b", "=1+1", "-5", "@x"].map(text),
            ["a", "\"a,b\"", "\"a\"\"b\"", "'=1+1", "'-5", "'@x"]
        );
        let numbers = [Cell::Number(-5), Cell::Number(12_345_678_901), Cell::Hundredths(9113), Cell::Hundredths(-5)];
        assert_eq!(numbers.map(|n| csv_field(&n)), ["-5", "12345678901", "91.13", "-0.05"]);
    }

    /// The first sheet of a spreadsheet.
    fn sheet(bytes: &[u8]) -> String {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut text = String::new();
        archive.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn amounts_are_numbers_however_long_and_declarations_are_text() {
        let row = vec![Cell::from("10000001234"), Cell::Number(12_345_678_901), Cell::Hundredths(9113)];
        let text = sheet(&workbook(&[("Báo cáo", &vec![row], 0)]).unwrap());
        assert!(text.contains(r#"<c r="A1" t="s">"#), "{text}");
        assert!(text.contains("<v>12345678901</v>") && text.contains("<v>91.13</v>"), "{text}");
    }
}
