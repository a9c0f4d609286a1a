//! Number plates: normal form, kinds of the Vietnamese grammar, and how far apart two readings are. Reading them from
//! pictures is not here. Chinese, Lao and Cambodian plates are normal at land gates and stay opaque text.

use serde::{Deserialize, Serialize};

/// What a text is as a plate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlateKind {
    /// Car or lorry: `51C12345`.
    Civil,
    /// Trailer or semi-trailer: `51R01234`, from 2023 also `51RM01234`.
    Trailer,
    /// Series of two letters: LD, DA, KT, HC, CD, TĐ, MK.
    Special,
    /// Temporary: `T5112345`.
    Temporary,
    /// Two letters and four digits.
    Military,
    /// No Vietnamese form: foreign, or a misread. Never forced through the grammar.
    ForeignOrUnknown,
}

/// Letters of civil series since 2010, and `Đ`.
const CIVIL: &str = "ABCDEFGHKLMNPSTUVXYZĐ";
/// Characters that readers mistake for each other.
const CONFUSED: [&str; 6] = ["0ODQ", "1IL", "2Z", "5S", "8B", "6G"];
/// Cost of one such mistake; any other is 1.
const CONFUSION_COST: f32 = 0.3;

/// Upper case, digits and the letters A to Z and `Đ` only, when the text is in Latin letters; a plate in another script
/// keeps its letters.
#[must_use]
pub fn normalise(text: &str) -> String {
    super::container::normalise(text)
}

/// Kind of a normalised plate. The two-digit place is not checked: places change with mergers of provinces.
#[must_use]
pub fn kind(norm: &str) -> PlateKind {
    let chars: Vec<char> = norm.chars().collect();
    let digits = |from: usize, counts: &[usize]| {
        chars.get(from..).is_some_and(|rest| counts.contains(&rest.len()) && rest.iter().all(char::is_ascii_digit))
    };
    if chars.first() == Some(&'T') && digits(1, &[7]) {
        return PlateKind::Temporary;
    }
    if chars.len() == 6 && chars[..2].iter().all(char::is_ascii_uppercase) && digits(2, &[4]) {
        return PlateKind::Military;
    }
    if chars.len() < 7 || !chars[..2].iter().all(char::is_ascii_digit) {
        return PlateKind::ForeignOrUnknown;
    }
    series(&chars[2..])
}

/// Kind by what follows the place: series and number.
fn series(rest: &[char]) -> PlateKind {
    let number = |from: usize| {
        let digits = rest.get(from..).unwrap_or_default();
        matches!(digits.len(), 4 | 5) && digits.iter().all(char::is_ascii_digit)
    };
    let two: String = rest[..2].iter().collect();
    match rest[0] {
        'R' if number(1) => PlateKind::Trailer,
        c if CIVIL.contains(c) && number(1) => PlateKind::Civil,
        _ if two == "RM" && number(2) => PlateKind::Trailer,
        _ if ["LD", "DA", "KT", "HC", "CD", "TĐ", "TD", "MK"].contains(&two.as_str()) && number(2) => {
            PlateKind::Special
        }
        // `MK` may have a digit of its own before the number.
        _ if two == "MK" && number(3) => PlateKind::Special,
        _ => PlateKind::ForeignOrUnknown,
    }
}

/// `Đ` read as `D`: readers know no difference.
#[must_use]
pub fn folded(norm: &str) -> String {
    norm.replace('Đ', "D")
}

/// Are these the same plate but for `Đ` and `D`?
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    folded(a) == folded(b)
}

/// Weighted edit distance of two normalised plates: what readers often mistake costs 0.3, anything else 1.
#[must_use]
pub fn distance(a: &str, b: &str) -> f32 {
    let (a, b): (Vec<char>, Vec<char>) = (folded(a).chars().collect(), folded(b).chars().collect());
    let mut row: Vec<f32> = (0..=b.len()).map(|i| i as f32).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = (i + 1) as f32;
        for (j, cb) in b.iter().enumerate() {
            let best = (diagonal + cost(*ca, *cb)).min(row[j] + 1.0).min(row[j + 1] + 1.0);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

fn cost(a: char, b: char) -> f32 {
    if a == b {
        return 0.0;
    }
    if CONFUSED.iter().any(|group| group.contains(a) && group.contains(b)) { CONFUSION_COST } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_of_plates() {
        for (text, expected) in [
            ("51C-123.45", PlateKind::Civil),
            ("29A 1234", PlateKind::Civil),
            ("51R-012.34", PlateKind::Trailer),
            ("15RM-012.34", PlateKind::Trailer),
            ("80LD-123.45", PlateKind::Special),
            ("59TĐ-123.45", PlateKind::Special),
            ("29MK1-123.45", PlateKind::Special),
            ("T51-123.45", PlateKind::Temporary),
            ("TM 12-34", PlateKind::Military),
            ("51I-123.45", PlateKind::ForeignOrUnknown),
            ("桂F12345", PlateKind::ForeignOrUnknown),
            ("ກຂ 1234", PlateKind::ForeignOrUnknown),
            ("", PlateKind::ForeignOrUnknown),
        ] {
            assert_eq!(kind(&normalise(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_readers_confuse_is_near_and_the_rest_is_far() {
        for (a, b, expected) in [
            ("51C12345", "51C12345", 0.0),
            ("51C12345", "5IC12345", 0.3),
            ("51C12345", "SIC12345", 0.6),
            ("51C12345", "51C12346", 1.0),
            ("51C12345", "51C1234", 1.0),
            ("59TĐ12345", "59TD12345", 0.0),
            ("", "51C", 3.0),
        ] {
            assert!((distance(a, b) - expected).abs() < 1e-5, "{a} {b}: {}", distance(a, b));
        }
        assert!(same("59TĐ12345", "59TD12345") && !same("51C12345", "51C12346"));
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_the_same(a in "[0-9A-ZĐ]{0,9}", b in "[0-9A-ZĐ]{0,9}") {
            prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() < 1e-4);
            prop_assert_eq!(distance(&a, &b) == 0.0, same(&a, &b));
        }

        #[test]
        fn any_text_is_taken_without_panic(text in "\\PC{0,20}") {
            let _ = kind(&normalise(&text));
        }
    }
}
