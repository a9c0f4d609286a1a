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

    proptest! {
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
