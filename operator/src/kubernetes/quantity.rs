//! Kubernetes quantities (`20Gi`, `1.5e3M`), compared by value: the API server rewrites them
//! (`1024Mi` becomes `1Gi`).

/// Thousandths of a byte, rounded up; `None` for text that is no quantity or is negative. Saturates
/// far beyond any disk.
pub(crate) fn milli_bytes(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (base, exponent) = scale(suffix)?;
    // value = mantissa * base^exponent * 1000 / 10^fraction
    let power = base.checked_pow(exponent.unsigned_abs())?;
    let divisor = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let milli = mantissa.saturating_mul(1000);
    if exponent < 0 {
        return Some(milli.div_ceil(divisor.saturating_mul(power)));
    }
    Some(milli.saturating_mul(power).div_ceil(divisor))
}

/// Base and exponent behind a suffix.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "n" => (1000, -3),
        "u" => (1000, -2),
        "m" => (1000, -1),
        "" => (1000, 0),
        "k" => (1000, 1),
        "M" => (1000, 2),
        "G" => (1000, 3),
        "T" => (1000, 4),
        "P" => (1000, 5),
        "E" => (1000, 6),
        "Ki" => (1024, 1),
        "Mi" => (1024, 2),
        "Gi" => (1024, 3),
        "Ti" => (1024, 4),
        "Pi" => (1024, 5),
        "Ei" => (1024, 6),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10, Some(exponent).filter(|exponent| exponent.abs() <= 24)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::milli_bytes;

    #[test]
    fn equal_sizes_compare_equal_however_written() {
        for (left, right) in
            [("1Gi", "1024Mi"), ("1.5G", "1500M"), ("1e3", "1k"), ("2E", "2000P"), ("0.5Ki", "512"), ("500m", "0.5")]
        {
            assert_eq!(milli_bytes(left), milli_bytes(right), "{left} {right}");
            assert!(milli_bytes(left).is_some());
        }
        assert!(milli_bytes("20Gi") > milli_bytes("20G"));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "Gi", "1 Gi", "1.2.3", "-1Gi", "1gi", "1e999", ".", "much"] {
            assert_eq!(milli_bytes(text), None, "{text}");
        }
    }
}
