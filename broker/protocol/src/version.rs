//! Release numbers as RocketMQ counts them: the position in Java's list of releases, each preceded
//! by its snapshot.

/// A release, as commands carry it.
pub type Version = i32;

/// From here on retries carry their own maximum.
pub const V3_4_9: Version = 121;
/// The last release whose ACL signature leaves out `_UNIQUE_KEY_QUERY`.
pub const V4_9_3: Version = 399;
/// From here on clients read routes in standard JSON.
pub const V4_9_4: Version = 401;
/// From here on a compressed registration carries the static-topic part.
pub const V5_0_0: Version = 413;
/// The release whose behaviour this project follows, and what our own commands carry.
pub const CURRENT: Version = 513;
/// [`CURRENT`] in words, as `clusterList` prints it.
pub const CURRENT_NAME: &str = "V5_5_0";

/// The number of 4.0.0. From there on every release has one snapshot before it, and each part of a
/// version counts from 0 to 9.
const V4_0_0: Version = 213;

/// A number in words, as Java's tools and metrics show it: `V5_5_0`, `V5_5_0_SNAPSHOT`. Of older
/// releases than 4.0.0 the number: their list has no rule.
pub fn name(version: Version) -> String {
    if version < V4_0_0 - 1 {
        return version.to_string();
    }
    let release = (version - V4_0_0 + 1) / 2;
    let snapshot = if (version - V4_0_0) % 2 == 0 { "" } else { "_SNAPSHOT" };
    format!("V{}_{}_{}{snapshot}", 4 + release / 100, release / 10 % 10, release % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_names_of_javas_list() {
        for (version, expected) in [
            (CURRENT, CURRENT_NAME),
            (V5_0_0, "V5_0_0"),
            (V4_9_3, "V4_9_3"),
            (412, "V5_0_0_SNAPSHOT"),
            (407, "V4_9_7"),
            (V4_0_0, "V4_0_0"),
            (212, "V4_0_0_SNAPSHOT"),
            (V3_4_9, "121"),
            (-1, "-1"),
        ] {
            assert_eq!(name(version), expected);
        }
        assert!(name(Version::MAX).starts_with('V'));
    }
}
