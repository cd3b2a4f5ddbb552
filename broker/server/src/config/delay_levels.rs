//! The delay of each delay level.

use std::time::Duration;

/// The delays of the levels; level 1 is the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DelayLevels(Vec<Duration>);

/// Parses Java's `messageDelayLevel`: delays like `1s 5m 2h 1d`, in order. The error is the first
/// invalid word.
pub(crate) fn parse(text: &str) -> Result<DelayLevels, String> {
    let pauses: Vec<Duration> =
        text.split_whitespace().map(|word| pause(word).ok_or_else(|| word.to_owned())).collect::<Result<_, _>>()?;
    if pauses.is_empty() { Err(String::new()) } else { Ok(DelayLevels(pauses)) }
}

fn pause(word: &str) -> Option<Duration> {
    let unit = match word.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = word[..word.len() - 1].parse().ok()?;
    // More than a century in milliseconds still fits a Java long.
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds <= u64::from(u32::MAX))?;
    Some(Duration::from_secs(seconds))
}

impl DelayLevels {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The highest level.
    pub(crate) fn count(&self) -> i32 {
        self.0.len() as i32
    }

    /// The delay of a level. A level above the highest has the delay of the highest.
    pub(crate) fn pause(&self, level: i32) -> Option<Duration> {
        let at = usize::try_from(level).ok()?.checked_sub(1)?;
        self.0.get(at.min(self.0.len() - 1)).copied()
    }

    /// The delays of all levels.
    pub(crate) fn pauses(&self) -> &[Duration] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_capped() {
        let levels = parse("1s 5m 2h 1d").unwrap();
        assert_eq!(levels.pause(1), Some(Duration::from_secs(1)));
        assert_eq!(levels.pause(2), Some(Duration::from_secs(300)));
        assert_eq!(levels.pause(99), Some(Duration::from_secs(86_400)));
        assert_eq!(levels.pause(0), None);
        assert_eq!(parse("1s 5x"), Err("5x".into()));
        assert_eq!(parse("99999999999d"), Err("99999999999d".into()));
        assert!(parse("").is_err());
    }
}
