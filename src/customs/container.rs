//! Container numbers (ISO 6346): normal form and check digit. Reading them from pictures is not here.

/// What a text is as a container number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerNo {
    /// ISO 6346 form and the check digit fits; normalised, 11 characters.
    Valid(String),
    /// ISO 6346 form, but the check digit should be another one.
    WrongCheckDigit {
        /// Normalised, as given.
        text: String,
        /// The digit that would fit.
        expected: u8,
    },
    /// Something else: a shipper's own number, or a misread. Normalised, opaque.
    Opaque(String),
}

impl ContainerNo {
    /// Reads a number as people write it (`CSQU 305438-3`). Never refuses: what is no ISO number is kept as text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let norm = normalise(text);
        if !has_iso_form(&norm) {
            return Self::Opaque(norm);
        }
        let expected = check_digit(&norm[..10]).expect("form was checked");
        if norm.as_bytes()[10] == b'0' + expected {
            Self::Valid(norm)
        } else {
            Self::WrongCheckDigit { text: norm, expected }
        }
    }

    /// Normalised text, whatever it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Valid(s) | Self::Opaque(s) | Self::WrongCheckDigit { text: s, .. } => s,
        }
    }
}

/// A reading of a container number: what was read stays beside what it is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// As read.
    pub raw: String,
    /// Normalised, corrected where that was allowed.
    pub norm: String,
    /// How far it may be believed.
    pub check: CheckState,
}

/// What the check digit says of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// Fits as read.
    Ok,
    /// Fits after confusions of letters and digits were put right.
    Corrected,
    /// Does not fit, or the text is no ISO number.
    Fails,
}

/// Characters changed by a correction, at most.
const MAX_CHANGES: usize = 2;

/// Takes a reading for a number. Letters and digits that readers confuse are put right by the type of their place only
/// (four letters, seven digits), at most two of them, and only when the check digit then fits and the owner is known: the
/// check digit misses one wrong digit in fifty, so a wider search would invent containers.
#[must_use]
pub fn read(raw: &str, owner_known: impl Fn(&str) -> bool) -> Reading {
    let reading = |norm: String, check| Reading { raw: raw.to_owned(), norm, check };
    match ContainerNo::parse(raw) {
        ContainerNo::Valid(norm) => reading(norm, CheckState::Ok),
        ContainerNo::WrongCheckDigit { text, .. } => reading(text, CheckState::Fails),
        ContainerNo::Opaque(norm) => match corrected(&norm).filter(|n| owner_known(&n[..4])) {
            Some(fixed) => reading(fixed, CheckState::Corrected),
            None => reading(norm, CheckState::Fails),
        },
    }
}

fn corrected(norm: &str) -> Option<String> {
    if norm.len() != 11 || !norm.is_ascii() {
        return None;
    }
    let put_right = |(i, c): (usize, char)| if i < 4 { to_letter(c) } else { to_digit(c) };
    let fixed: String = norm.chars().enumerate().map(put_right).collect();
    let changes = fixed.chars().zip(norm.chars()).filter(|(a, b)| a != b).count();
    let fits = matches!(ContainerNo::parse(&fixed), ContainerNo::Valid(_));
    (changes <= MAX_CHANGES && fits).then_some(fixed)
}

fn to_letter(c: char) -> char {
    match c {
        '0' => 'O',
        '1' => 'I',
        '5' => 'S',
        '8' => 'B',
        '2' => 'Z',
        '6' => 'G',
        other => other,
    }
}

fn to_digit(c: char) -> char {
    match c {
        'O' => '0',
        'I' => '1',
        'S' => '5',
        'B' => '8',
        'Z' => '2',
        'G' => '6',
        other => other,
    }
}

/// Upper case, without anything that is not a letter or digit: spaces, dots and dashes are print, not data.
/// Used for containers and plates alike; letters outside ASCII (`Đ`) stay.
#[must_use]
pub fn normalise(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect()
}

/// Check digit of the first ten characters (four letters, six digits), 0..=9; `None` when they have another form.
#[must_use]
pub fn check_digit(first_ten: &str) -> Option<u8> {
    let b = first_ten.as_bytes();
    let form = b.len() == 10 && b[..4].iter().all(u8::is_ascii_uppercase) && b[4..].iter().all(u8::is_ascii_digit);
    if !form {
        return None;
    }
    let sum: u32 = b.iter().enumerate().map(|(i, c)| char_value(*c) << i).sum();
    // Remainder 10 is written as 0 (ISO 6346 annex A): such numbers exist though not recommended.
    u8::try_from(sum % 11 % 10).ok()
}

/// Letters count from 10 and skip the multiples of 11.
fn char_value(c: u8) -> u32 {
    if c.is_ascii_digit() {
        return u32::from(c - b'0');
    }
    let n = u32::from(c - b'A');
    10 + n + n.div_ceil(10)
}

fn has_iso_form(norm: &str) -> bool {
    // U, J, Z by ISO 6346; A, B, D, E, K are European intermodal units (EN 13044).
    norm.len() == 11
        && norm.is_ascii()
        && check_digit(&norm[..10]).is_some()
        && matches!(norm.as_bytes()[3], b'U' | b'J' | b'Z' | b'A' | b'B' | b'D' | b'E' | b'K')
        && norm.as_bytes()[10].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn letter_values_are_those_of_the_standard() {
        let values: Vec<u32> = (b'A'..=b'Z').map(char_value).collect();
        let standard =
            [10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 34, 35, 36, 37, 38];
        assert_eq!(values, standard);
    }

    #[test]
    fn known_numbers() {
        assert_eq!(ContainerNo::parse("csqu 305438-3"), ContainerNo::Valid("CSQU3054383".into()));
        assert_eq!(check_digit("MWCU605978"), Some(4));
        assert_eq!(check_digit("MSKU000008"), Some(0), "remainder 10 is 0");
        let wrong = ContainerNo::WrongCheckDigit { text: "CSQU3054384".into(), expected: 3 };
        assert_eq!(ContainerNo::parse("CSQU3054384"), wrong);
        assert_eq!(ContainerNo::parse("xe tải 1"), ContainerNo::Opaque("XETẢI1".into()));
    }

    #[test]
    fn corrections_go_by_the_type_of_the_place_only() {
        let known = |owner: &str| owner == "CSQU";
        let case = |raw: &str| {
            let r = read(raw, known);
            assert_eq!(r.raw, raw);
            (r.norm, r.check)
        };
        assert_eq!(case("CSQU 305438 3"), ("CSQU3054383".into(), CheckState::Ok));
        assert_eq!(case("C5QU3O54383"), ("CSQU3054383".into(), CheckState::Corrected), "two changes");
        assert_eq!(case("C5QU3O5438E").1, CheckState::Fails, "E is no digit and nothing it is confused with");
        assert_eq!(case("C5QU3OS4383").1, CheckState::Fails, "three changes");
        assert_eq!(case("CSQU3054384"), ("CSQU3054384".into(), CheckState::Fails), "a digit is never another digit");
        assert_eq!(read("C5QU3054383", |_| false).check, CheckState::Fails, "the owner is not known");
    }

    proptest! {
        #[test]
        fn what_is_corrected_is_valid_and_near(raw in "[A-Z0-9]{11}") {
            let r = read(&raw, |_| true);
            if r.check != CheckState::Fails {
                prop_assert_eq!(ContainerNo::parse(&r.norm), ContainerNo::Valid(r.norm.clone()));
            }
            prop_assert!(r.norm.chars().zip(raw.chars()).filter(|(a, b)| a != b).count() <= MAX_CHANGES);
        }

        #[test]
        fn parsing_is_stable_and_spaces_do_not_matter(letters in "[A-Z]{3}[UJZ]", digits in "[0-9]{7}") {
            let once = ContainerNo::parse(&format!("{letters} {digits}"));
            prop_assert_eq!(&ContainerNo::parse(once.as_str()), &once);
            prop_assert_eq!(once.as_str(), format!("{letters}{digits}"));
        }

        #[test]
        fn any_text_is_taken_without_panic(text in "\\PC{0,20}") {
            let _ = ContainerNo::parse(&text);
        }
    }
}
