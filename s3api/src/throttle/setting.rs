//! The limits themselves, as they are set and stored.

use crate::limits::{BURST_REQUESTS, BYTES_PER_SECOND, CONCURRENT_REQUESTS, REQUESTS_PER_SECOND};
use crate::settings::{BucketSetting, tag};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// What is not set is not limited. At least one is set, and a burst only beside its rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once behind a pause; as many as per second, if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_requests: Option<u32>,
    /// Requests under way at the same time, from their head until their answer was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
    /// Of bodies that are received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in_per_second: Option<u64>,
    /// Of objects that are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out_per_second: Option<u64>,
}

impl BucketSetting for TrafficLimits {
    const TAG: u16 = tag::LIMITS;
}

impl TrafficLimits {
    /// # Errors
    /// What is wrong, behind the name of the field.
    pub fn check(&self) -> Result<(), String> {
        let Self { requests_per_second, burst_requests, concurrent_requests, .. } = *self;
        check("requests_per_second", requests_per_second, &REQUESTS_PER_SECOND)?;
        check("burst_requests", burst_requests, &BURST_REQUESTS)?;
        check("concurrent_requests", concurrent_requests, &CONCURRENT_REQUESTS)?;
        check("bytes_in_per_second", self.bytes_in_per_second, &BYTES_PER_SECOND)?;
        check("bytes_out_per_second", self.bytes_out_per_second, &BYTES_PER_SECOND)?;
        if burst_requests.is_some() && requests_per_second.is_none() {
            return Err("burst_requests: it needs requests_per_second beside it".to_owned());
        }
        if *self == Self::default() {
            let fields = "requests_per_second, concurrent_requests, bytes_in_per_second, \
                bytes_out_per_second";
            return Err(format!("{fields}: give at least one of them, or DELETE the limits"));
        }
        Ok(())
    }
}

fn check<T: PartialOrd + Display>(
    name: &str,
    value: Option<T>,
    range: &RangeInclusive<T>,
) -> Result<(), String> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(format!("{name}: it must be a number from {} to {}", range.start(), range.end()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn limits_are_held_to_their_ranges_and_each_error_names_its_field() {
        let check = |limits: [Option<u32>; 3], field: Option<&str>| {
            let [requests_per_second, burst_requests, concurrent_requests] = limits;
            let limits = TrafficLimits {
                requests_per_second,
                burst_requests,
                concurrent_requests,
                ..TrafficLimits::default()
            };
            let error = limits.check().err();
            let found = error.as_deref().and_then(|error| error.split(':').next());
            assert_eq!(found, field, "{limits:?}");
        };
        check([Some(1), None, None], None);
        check([Some(1_000_000), Some(1_000_000), Some(1_000_000)], None);
        check([None, None, Some(1)], None);
        let all =
            "requests_per_second, concurrent_requests, bytes_in_per_second, bytes_out_per_second";
        check([None; 3], Some(all));
        check([Some(0), None, None], Some("requests_per_second"));
        check([Some(1_000_001), None, None], Some("requests_per_second"));
        check([Some(1), Some(0), None], Some("burst_requests"));
        check([None, Some(1), Some(1)], Some("burst_requests"));
        check([None, None, Some(0)], Some("concurrent_requests"));
        let bytes = |received, sent| TrafficLimits {
            bytes_in_per_second: received,
            bytes_out_per_second: sent,
            ..TrafficLimits::default()
        };
        assert_eq!(bytes(Some(65_536), None).check(), Ok(()));
        assert_eq!(bytes(None, Some(1 << 40)).check(), Ok(()));
        let error = bytes(Some(65_535), None).check().unwrap_err();
        assert!(error.starts_with("bytes_in_per_second: "), "{error}");
        let error = bytes(None, Some((1 << 40) + 1)).check().unwrap_err();
        assert!(error.starts_with("bytes_out_per_second: "), "{error}");
    }

    #[test]
    fn what_is_not_set_is_not_stored() {
        let limits = TrafficLimits { concurrent_requests: Some(3), ..TrafficLimits::default() };
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(text, r#"{"concurrent_requests":3}"#);
        assert_eq!(serde_json::from_str::<TrafficLimits>(&text).unwrap(), limits);
    }
}
