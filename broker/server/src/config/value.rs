//! Types that a setting can have, and their text in a properties file.

use std::{fmt, time::Duration};

/// A setting's type.
pub(super) trait Value: Sized {
    /// Reads the text; the error says what is wanted.
    fn parse(text: &str) -> Result<Self, &'static str>;
    /// Writes the text.
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

/// A time span that is written in milliseconds.
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

/// A time span that is written in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Value for Seconds {
    fn parse(text: &str) -> Result<Self, &'static str> {
        // More than a century: what is added to a moment stays one.
        let seconds: Result<u32, _> = text.parse();
        seconds
            .map(|seconds| Self(Duration::from_secs(seconds.into())))
            .map_err(|_| "a number of seconds from 0 to 4294967295")
    }

    fn text(&self) -> String {
        self.0.as_secs().to_string()
    }
}

/// What a member of a broker group does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes; a write is acknowledged before slaves have it.
    AsyncMaster,
    /// Takes writes; a write is acknowledged when `inSyncReplicas` members have it.
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

/// When a write is acknowledged with regard to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// When it is in memory; the disk follows within half a second.
    Async,
    /// When it is on disk.
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
