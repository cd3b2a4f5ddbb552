//! The types of settings, and their text form in a properties file.

use std::{fmt, time::Duration};

/// The type of a setting.
pub(super) trait Value: Sized {
    /// Parses the text. The error is the expected form.
    fn parse(text: &str) -> Result<Self, &'static str>;
    /// Formats the value.
    fn text(&self) -> String;
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false"),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

macro_rules! numbers {
    ($($number:ty: $wanted:literal),*) => {$(
        impl Value for $number {
            fn parse(text: &str) -> Result<Self, &'static str> {
                text.parse().map_err(|_| $wanted)
            }

            fn text(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

numbers!(
    u16: "a number from 0 to 65535",
    u32: "a number from 0 to 4294967295",
    u64: "a number from 0 to 18446744073709551615",
    usize: "a number from 0 to 18446744073709551615",
    i32: "a number from -2147483648 to 2147483647"
);

/// A duration that is written in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub Duration);

impl Value for Millis {
    fn parse(text: &str) -> Result<Self, &'static str> {
        text.parse()
            .map(|millis| Self(Duration::from_millis(millis)))
            .map_err(|_| "a number of milliseconds from 0 to 18446744073709551615")
    }

    fn text(&self) -> String {
        self.0.as_millis().to_string()
    }
}

/// A duration that is written in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Value for Seconds {
    fn parse(text: &str) -> Result<Self, &'static str> {
        // The limit is more than a century: the sum with a point in time does not overflow.
        let seconds: Result<u32, _> = text.parse();
        seconds
            .map(|seconds| Self(Duration::from_secs(seconds.into())))
            .map_err(|_| "a number of seconds from 0 to 4294967295")
    }

    fn text(&self) -> String {
        self.0.as_secs().to_string()
    }
}

/// The role of a member in its broker group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes. A write is acknowledged before slaves have it.
    AsyncMaster,
    /// Takes writes. A write is acknowledged when `inSyncReplicas` members have it.
    SyncMaster,
    /// Follows a master and serves reads.
    Slave,
}

impl Value for Role {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "ASYNC_MASTER" => Ok(Self::AsyncMaster),
            "SYNC_MASTER" => Ok(Self::SyncMaster),
            "SLAVE" => Ok(Self::Slave),
            _ => Err("ASYNC_MASTER, SYNC_MASTER or SLAVE"),
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsyncMaster => "ASYNC_MASTER",
            Self::SyncMaster => "SYNC_MASTER",
            Self::Slave => "SLAVE",
        })
    }
}

/// The durability on disk at which a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The write is in memory. The flush to disk follows within half a second.
    Async,
    /// The write is on disk.
    Sync,
}

impl Value for Flush {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "ASYNC_FLUSH" => Ok(Self::Async),
            "SYNC_FLUSH" => Ok(Self::Sync),
            _ => Err("ASYNC_FLUSH or SYNC_FLUSH"),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Async => "ASYNC_FLUSH".to_owned(),
            Self::Sync => "SYNC_FLUSH".to_owned(),
        }
    }
}
