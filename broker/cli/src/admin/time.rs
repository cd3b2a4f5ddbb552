//! Times as people write and read them.

use jiff::Timestamp;

/// Milliseconds since 1970, from those or from a date such as `2026-11-23T04:00:00Z`.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|_| {
        format!("{text:?} is no time: write milliseconds since 1970, or a date such as 2026-11-23T04:00:00Z")
    })
}

/// A date in UTC; `-` for times that never were.
pub(super) fn text(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(time) if millis > 0 => time.to_string(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms_and_written_as_dates() {
        assert_eq!(parse("1795407636533"), Ok(1_795_407_636_533));
        assert_eq!(parse("2026-11-23T04:00:00Z"), Ok(1_795_406_400_000));
        assert!(parse("yesterday").unwrap_err().contains("write milliseconds"));
        assert_eq!(
            (text(1_795_406_400_000).as_str(), text(0).as_str(), text(-1).as_str()),
            ("2026-11-23T04:00:00Z", "-", "-")
        );
    }
}
