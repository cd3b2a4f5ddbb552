//! Numbers as Java reads them from a property: `Integer.valueOf`, `Long.valueOf` and
//! `Double.valueOf`. They accept other texts than Rust's `parse`.

use std::{num::ParseIntError, str::FromStr};

/// The zeros of the decimal digits that `Character.digit` of Java 17 knows within 16 bits, besides
/// `0`. The other nine digits follow each.
const ZEROS: [u16; 36] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50,
    0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50,
    0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

/// The longest text of another script that can be a number: a sign and 19 digits of three bytes.
/// Leading zeros of other scripts beyond it are refused, which Java would skip.
const MAX_FOREIGN: usize = 64;

/// An integer, with a sign or without. `None` if the text is none, or out of range.
pub(super) fn integer<T: FromStr<Err = ParseIntError>>(text: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_ascii() {
        // For ASCII the grammar is Rust's: a sign, then at least one digit, and nothing else.
        return text.parse().ok();
    }
    let mut digits = [0; MAX_FOREIGN];
    let mut len = 0;
    for letter in text.chars() {
        *digits.get_mut(len)? = if letter.is_ascii() { letter as u8 } else { b'0' + foreign_digit(letter)? };
        len += 1;
    }
    std::str::from_utf8(&digits[..len]).ok()?.parse().ok()
}

fn foreign_digit(letter: char) -> Option<u8> {
    let unit = u16::try_from(u32::from(letter)).ok()?;
    let last = ZEROS.partition_point(|zero| *zero <= unit).checked_sub(1)?;
    u8::try_from(unit - ZEROS[last]).ok().filter(|digit| *digit < 10)
}

/// A floating-point number; `None` if the text is none. Characters up to the space are trimmed from
/// both ends, an `f` or `d` may follow, and hexadecimal numbers such as `0x1.8p3` are read.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let value = match digits {
        // Java ignores the sign of what is no number.
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => f64::INFINITY,
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest)?,
        digits => decimal(digits)?,
    };
    Some(if negative { -value } else { value })
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] | [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

/// Removes the letter that gives the type, which does not change the value.
fn without_suffix(text: &[u8]) -> &[u8] {
    match text {
        [rest @ .., b'f' | b'F' | b'd' | b'D'] => rest,
        text => text,
    }
}

fn decimal(text: &[u8]) -> Option<f64> {
    let text = without_suffix(text);
    // Rust also reads words such as "inf" and signs, which have been handled.
    if !text.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
        || matches!(text, [b'+' | b'-', ..])
    {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The part behind `0x`: hexadecimal digits with a point or without, `p`, an exponent of 2.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let text = without_suffix(text);
    let at = text.iter().position(|byte| matches!(byte, b'p' | b'P'))?;
    let (digits, exponent) = (&text[..at], &text[at + 1..]);
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((digits, &[][..]), |at| (&digits[..at], &digits[at + 1..]));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // The first 15 significant digits; a bit for all that follow decides how they are rounded.
    let (mut mantissa, mut scale) = (0_u64, 0_i64);
    for (digit, step) in whole.iter().map(|digit| (digit, 0)).chain(fraction.iter().map(|digit| (digit, -4))) {
        let digit = char::from(*digit).to_digit(16)?;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            scale += step;
        } else {
            mantissa |= u64::from(digit != 0);
            scale += step + 4;
        }
    }
    let exponent = exponent_of_two(exponent)?;
    Some(scaled(mantissa, scale.saturating_add(exponent)))
}

/// Digits with a sign or without. An exponent that is out of range becomes infinity or zero, so its
/// exact value does not matter.
fn exponent_of_two(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |value: i64, digit: &u8| value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
    let value = digits.iter().fold(0, add);
    Some(if negative { -value } else { value })
}

/// `mantissa * 2^exponent`, rounded once, to the nearest and on a tie to the even one.
fn scaled(mantissa: u64, exponent: i64) -> f64 {
    const BITS: i64 = 53;
    const LEAST: i64 = -1074;
    if mantissa == 0 {
        return 0.0;
    }
    let len = i64::from(64 - mantissa.leading_zeros());
    // Bits that do not fit: those beyond 53, and those below the smallest number.
    let excess = (len - BITS).max(LEAST.saturating_sub(exponent)).max(0);
    if excess > 64 {
        return 0.0;
    }
    let wide = u128::from(mantissa);
    let (kept, rest, half) = (wide >> excess, wide & ((1 << excess) - 1), (1_u128 << excess) >> 1);
    let up = excess > 0 && (rest > half || (rest == half && kept & 1 == 1));
    let rounded = (kept + u128::from(up)) as f64;
    let mut exponent = exponent.saturating_add(excess).clamp(-1100, 1100) as i32;
    // Two steps at most, and none of them rounds: the bits fit already.
    let mut value = rounded;
    while exponent != 0 {
        let step = exponent.clamp(-1000, 1000);
        value *= 2_f64.powi(step);
        exponent -= step;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_in_java() {
        let int = |text: &str| integer::<i32>(text.as_bytes());
        assert_eq!(int("+5"), Some(5));
        assert_eq!(int("-2147483648"), Some(i32::MIN));
        assert_eq!(int("007"), Some(7));
        assert_eq!(int("٣٤"), Some(34));
        assert_eq!(int("-１0"), Some(-10));
        for text in ["", "+", "-", " 5", "5 ", "2147483648", "1.0", "1e3", "0x1", "½", "𝟏", "--5", "+-5", "1_0"] {
            assert_eq!(int(text), None, "{text:?}");
        }
        assert_eq!(integer::<i32>(b"\xff1"), None);
        assert_eq!(integer::<i64>(b"9223372036854775807"), Some(i64::MAX));
    }

    #[test]
    fn doubles_are_read_as_in_java() {
        let read = |text: &str| double(text.as_bytes());
        for (text, value) in [
            ("1", 1.0),
            (" \t-1.5\u{1} ", -1.5),
            ("1.", 1.0),
            ("+.5d", 0.5),
            ("1e3F", 1000.0),
            ("1E-2", 0.01),
            ("1e400", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e99999999999999999999", f64::INFINITY),
            ("0x1.8p1", 3.0),
            ("-0X.8P-1d", -0.25),
            ("0xAp0", 10.0),
            ("0x1p99999999999999999999", f64::INFINITY),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.8p-1075", 5e-324),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000000000001p0", 1.000_000_000_000_000_2),
        ] {
            assert_eq!(read(text), Some(value), "{text:?}");
        }
        assert!(read("-NaN").is_some_and(|value| value.is_nan() && value.is_sign_positive()));
        for text in [
            "", " ", "-", ".", "e5", "1e", "1e+", "nan", "inf", "infinity", "1dd", "1 d", "--1", "0x", "0x1", "0x.p1",
            "0x1p",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
