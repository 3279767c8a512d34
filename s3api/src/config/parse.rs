//! Text to value, one function per kind of field; the error is the reason alone.
//!
//! Pure: nothing is opened, except that a host name in an address is resolved.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{Cores, LogFormat, Placement};
use crate::access::network::Network;
use crate::audit::{AuditTarget, AuditedRequests};
use crate::limits;

type Parsed<T> = Result<T, String>;

pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() {
        return Err("the path is empty".to_string());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    let wrong = || format!("{text:?} is not an address and a port, as in 127.0.0.1:9000");
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)
}

/// Bytes: a whole number, or one with a unit; `KiB` to `TiB` count by 1024, `KB` to `TB` by 1000.
pub(super) fn size(text: &str) -> Parsed<u64> {
    let wrong = || format!("{text:?} is not a size, as in 1048576, 64MiB or 1GB");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
}

pub(crate) fn size_within(text: &str, range: RangeInclusive<u64>) -> Parsed<u64> {
    let bytes = size(text)?;
    if !range.contains(&bytes) {
        let (least, most) = (range.start(), range.end());
        return Err(format!("{text:?} is not between {least} and {most} bytes"));
    }
    Ok(bytes)
}

pub(super) fn io_memory(text: &str) -> Parsed<usize> {
    let bytes = size_within(text, limits::IO_MEMORY_BYTES)?;
    if !bytes.is_multiple_of(4096) {
        return Err(format!("{text:?} is not a multiple of 4096 bytes"));
    }
    usize::try_from(bytes).map_err(|_| format!("{text:?} is too large"))
}

pub(super) fn segment_size(text: &str) -> Parsed<u64> {
    let bytes = size_within(text, limits::SEGMENT_BYTES)?;
    if !bytes.is_power_of_two() {
        return Err(format!("{text:?} is not a power of two"));
    }
    Ok(bytes)
}

pub(super) fn count_within(text: &str, range: RangeInclusive<usize>) -> Parsed<usize> {
    let (least, most) = (*range.start(), *range.end());
    let wrong = || format!("{text:?} is not a number between {least} and {most}");
    text.parse().ok().filter(|count| range.contains(count)).ok_or_else(wrong)
}

pub(super) fn seconds_within(text: &str, range: RangeInclusive<u64>) -> Parsed<Duration> {
    let (least, most) = (*range.start(), *range.end());
    let wrong = || format!("{text:?} is not a number of seconds between {least} and {most}");
    let seconds = text.parse().ok().filter(|s| range.contains(s)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// A count, or a list of CPUs with a comma or a dash in it, as `0,2,4-7`.
pub(super) fn cores(text: &str) -> Parsed<Cores> {
    if !text.contains([',', '-']) {
        return count_within(text, 1..=limits::CORES_MAX).map(Cores::Count);
    }
    let wrong = || format!("{text:?} is neither a count nor a list of CPUs, as in 0,2,4-7");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= limits::CORES_MAX {
            return Err(wrong());
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(Cores::List(cpus))
}

pub(super) fn placement(text: &str) -> Parsed<Placement> {
    match text {
        "pinned" => Ok(Placement::Pinned),
        "unbound" => Ok(Placement::Unbound),
        _ => Err(format!("{text:?} is neither pinned nor unbound")),
    }
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither human nor json")),
    }
}

/// A path, or `-` for standard output.
pub(super) fn audit_target(text: &str) -> Parsed<AuditTarget> {
    match text {
        "-" => Ok(AuditTarget::Stdout),
        _ => path(text).map(AuditTarget::File),
    }
}

pub(super) fn audited_requests(text: &str) -> Parsed<AuditedRequests> {
    match text {
        "all" => Ok(AuditedRequests::All),
        "changes" => Ok(AuditedRequests::Changes),
        _ => Err(format!("{text} is neither all nor changes")),
    }
}

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

pub(super) fn region(text: &str) -> Parsed<String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=limits::REGION_BYTES_MAX).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err(format!("{text:?} is not a region: lower-case letters, digits and dashes"));
    }
    Ok(text.to_string())
}

pub(super) fn network(text: &str) -> Parsed<Network> {
    let reason = "is no address or network, as in 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32";
    Network::parse(text).ok_or_else(|| format!("{text} {reason}"))
}

/// A host name as it stands in a Host header, without a port; kept in lower case.
pub(super) fn domain(text: &str) -> Parsed<String> {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > limits::DOMAIN_BYTES_MAX || !text.split('.').all(label_ok) {
        return Err(format!("{text:?} is not a host name"));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("10B", Some(10)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("2TiB", Some(2 << 40)),
            ("3kb", Some(3000)),
            ("", None),
            ("MiB", None),
            ("64M", None),
            ("-1", None),
            ("1.5GiB", None),
            ("99999999TiB", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn core_lists() {
        for (text, expected) in [
            ("1", Some(Cores::Count(1))),
            ("64", Some(Cores::Count(64))),
            ("0,1", Some(Cores::List(vec![0, 1]))),
            ("3-3", Some(Cores::List(vec![3]))),
            ("0,2,4-6", Some(Cores::List(vec![0, 2, 4, 5, 6]))),
            ("0", None),
            ("", None),
            ("0,", None),
            ("5-4", None),
            ("0,0", None),
            ("0-99999999999", None),
            ("a,b", None),
        ] {
            assert_eq!(cores(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(domain("S3.Example.com"), Ok("s3.example.com".to_string()));
        for text in ["", ".", "a..b", "-a.com", "a-.com", "a.com:9000", "a b"] {
            assert!(domain(text).is_err(), "{text:?}");
        }
        assert!(region("eu-west-1").is_ok());
        for text in ["", "EU", "a/b", "a b"] {
            assert!(region(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn addresses() {
        for text in ["127.0.0.1:0", "[::1]:9000", "0.0.0.0:80"] {
            assert!(address(text).is_ok(), "{text:?}");
        }
        for text in ["", "9000", "127.0.0.1", "127.0.0.1:70000", "::1:9000:x"] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }
}
