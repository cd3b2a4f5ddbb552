//! The two kinds of message id.
//!
//! An *offset id* says where a message lies: address and port of the storing broker, then the
//! physical offset. A *unique id* is made by the producer, so that a message has a name before any
//! broker has seen it. Both are written in upper-case hex digits:
//!
//! ```text
//! offset id   address 4|16   port 4   physical offset 8                              32 or 56 digits
//! unique id   address 4|16   pid 2    salt 4   milliseconds in the month 4   counter 2   32 or 56 digits
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};

use super::Error;

/// Where a message lies: printed and parsed as an offset message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OffsetId {
    /// The broker that stored the message first.
    pub host: SocketAddr,
    /// Byte position in its commit log.
    pub physical_offset: u64,
}

impl fmt::Display for OffsetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Hex::default();
        digits.address(self.host.ip());
        digits.push(&u32::from(self.host.port()).to_be_bytes());
        digits.push(&self.physical_offset.to_be_bytes());
        f.write_str(digits.as_str())
    }
}

impl FromStr for OffsetId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Id(text.into());
        let bytes = unhex(text).ok_or_else(wrong)?;
        let (ip, rest) = address(bytes.as_slice()).ok_or_else(wrong)?;
        let (port, offset) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
        let port = u16::try_from(u32::from_be_bytes(*port)).map_err(|_| wrong())?;
        let physical_offset = u64::from_be_bytes(offset.try_into().map_err(|_| wrong())?);
        if i64::try_from(physical_offset).is_err() {
            return Err(wrong());
        }
        Ok(OffsetId { host: SocketAddr::new(ip, port), physical_offset })
    }
}

/// What a unique id is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UniqueId {
    /// Address of the producer.
    pub ip: IpAddr,
    /// Low half of its process id.
    pub pid: u16,
    /// Java's class loader hash; anything that tells two producers in one process apart.
    pub salt: u32,
    /// Milliseconds since the month began.
    pub millis: u32,
    /// Counts the ids of one producer.
    pub counter: u16,
}

impl UniqueId {
    /// The time in the id: the month is not in it, so it is the latest such time that is not after
    /// `now` (milliseconds since 1970).
    pub fn time_near(&self, now: i64) -> i64 {
        let start = month_start(now);
        let time = start + i64::from(self.millis);
        if time <= now { time } else { month_start(start - 1) + i64::from(self.millis) }
    }
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Hex::default();
        digits.address(self.ip);
        digits.push(&self.pid.to_be_bytes());
        digits.push(&self.salt.to_be_bytes());
        digits.push(&self.millis.to_be_bytes());
        digits.push(&self.counter.to_be_bytes());
        f.write_str(digits.as_str())
    }
}

impl FromStr for UniqueId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Id(text.into());
        let bytes = unhex(text).ok_or_else(wrong)?;
        let (ip, rest) = address(bytes.as_slice()).ok_or_else(wrong)?;
        let rest: &[u8; 12] = rest.try_into().map_err(|_| wrong())?;
        let [p0, p1, s0, s1, s2, s3, m0, m1, m2, m3, c0, c1] = *rest;
        Ok(UniqueId {
            ip,
            pid: u16::from_be_bytes([p0, p1]),
            salt: u32::from_be_bytes([s0, s1, s2, s3]),
            millis: u32::from_be_bytes([m0, m1, m2, m3]),
            counter: u16::from_be_bytes([c0, c1]),
        })
    }
}

/// Makes unique ids for one producer. The clock is the caller's.
#[derive(Debug)]
pub struct UniqueIds {
    ip: IpAddr,
    pid: u16,
    salt: u32,
    counter: AtomicU16,
}

impl UniqueIds {
    /// Ids that begin with this address, process id and salt and count from `first`.
    pub fn new(ip: IpAddr, pid: u32, salt: u32, first: u16) -> Self {
        UniqueIds { ip, pid: pid as u16, salt, counter: AtomicU16::new(first) }
    }

    /// The next id, at `now` milliseconds since 1970. Distinct for 65,536 calls within one
    /// millisecond.
    pub fn next(&self, now: i64) -> UniqueId {
        UniqueId {
            ip: self.ip,
            pid: self.pid,
            salt: self.salt,
            millis: u32::try_from(now - month_start(now)).unwrap_or_default(),
            counter: self.counter.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// Milliseconds since 1970 at which the month of `now` began, in UTC.
///
/// Java takes the local time zone. Nothing but a debugging print depends on it, and UTC has no
/// gaps.
fn month_start(now: i64) -> i64 {
    const DAY: i64 = 86_400_000;
    // Days are counted from 0000-03-01: then the leap day ends a year and month lengths follow one
    // formula.
    let day = now.div_euclid(DAY);
    let shifted = day + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (day - day_of_month) * DAY
}

const LONGEST: usize = 28;

/// Hex digits of at most [`LONGEST`] bytes, without a heap.
struct Hex {
    digits: [u8; 2 * LONGEST],
    len: usize,
}

impl Default for Hex {
    fn default() -> Self {
        Hex { digits: [b'0'; 2 * LONGEST], len: 0 }
    }
}

impl Hex {
    fn push(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in bytes {
            self.digits[self.len] = DIGITS[usize::from(byte >> 4)];
            self.digits[self.len + 1] = DIGITS[usize::from(byte & 15)];
            self.len += 2;
        }
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.push(&ip.octets()),
            IpAddr::V6(ip) => self.push(&ip.octets()),
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..self.len]).unwrap_or_default()
    }
}

struct Unhexed {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Unhexed {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The bytes behind 32 or 56 hex digits of either case.
fn unhex(text: &str) -> Option<Unhexed> {
    let len = text.len() / 2;
    if text.len() != 32 && text.len() != 56 {
        return None;
    }
    let mut bytes = [0; LONGEST];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(Unhexed { bytes, len })
}

/// Splits the address off: the length of an id tells whether it has 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<(IpAddr, &[u8])> {
    if bytes.len() == LONGEST {
        let (ip, rest) = bytes.split_first_chunk::<16>()?;
        Some((IpAddr::V6(Ipv6Addr::from(*ip)), rest))
    } else {
        let (ip, rest) = bytes.split_first_chunk::<4>()?;
        Some((IpAddr::V4(Ipv4Addr::from(*ip)), rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn offset_ids_look_like_those_of_java() {
        let id = OffsetId { host: "127.0.0.1:10911".parse().unwrap(), physical_offset: 0x1234_5678 };
        assert_eq!(id.to_string(), "7F00000100002A9F0000000012345678");
        let id = OffsetId { host: "[::1]:10911".parse().unwrap(), physical_offset: 1 };
        assert_eq!(id.to_string(), "0000000000000000000000000000000100002A9F0000000000000001");
    }

    #[test]
    fn months_begin_where_the_calendar_says() {
        for (now, start) in [
            (0, 0),
            (1_709_164_799_999, 1_706_745_600_000), // 2024-02-28 23:59:59.999
            (1_709_251_199_999, 1_706_745_600_000), // 2024-02-29, the leap day's last millisecond
            (1_709_251_200_000, 1_709_251_200_000), // 2024-03-01
            (951_782_400_000, 949_363_200_000),     // 2000-02-29
            (1_735_689_599_000, 1_733_011_200_000), // 2024-12-31
            (-1, -2_678_400_000),                   // 1969-12-31
        ] {
            assert_eq!(month_start(now), start, "{now}");
        }
    }

    #[test]
    fn a_unique_id_tells_when_it_was_made() {
        let ids = UniqueIds::new("10.1.2.3".parse().unwrap(), 70_000, 7, 65_535);
        let made = 1_709_251_200_500;
        let (first, second) = (ids.next(made), ids.next(made));
        assert_eq!((first.counter, second.counter), (65_535, 0));
        assert_eq!(first.time_near(made + 20_000), made);
        // Read in the next month, in the part of it that the id has not reached yet.
        assert_eq!(first.time_near(1_711_929_600_100), made);
    }

    #[test]
    fn wrong_ids_are_errors() {
        for text in [
            "",
            "7F",
            "7F00000100002A9F000000001234567G",
            "7F00000100012A9F0000000012345678",
            "é0000000000000000000000000000000",
        ] {
            assert!(text.parse::<OffsetId>().is_err(), "{text}");
        }
        assert!("7F00000100002A9FFFFFFFFFFFFFFFFF".parse::<OffsetId>().is_err());
        let whole = "7F00000100002A9F0000000012345678";
        for end in 0..whole.len() {
            assert!(whole[..end].parse::<OffsetId>().is_err());
            assert!(whole[..end].parse::<UniqueId>().is_err());
        }
    }

    fn any_ip() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #[test]
        fn offset_ids_come_back(ip in any_ip(), port: u16, offset in 0u64..=i64::MAX as u64) {
            let id = OffsetId { host: SocketAddr::new(ip, port), physical_offset: offset };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(id.to_string().to_lowercase().parse(), Ok(id));
        }

        #[test]
        fn unique_ids_come_back(ip in any_ip(), pid: u16, salt: u32, millis: u32, counter: u16) {
            let id = UniqueId { ip, pid, salt, millis, counter };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
