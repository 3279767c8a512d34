//! The device by which the root shows that a removal of versions is meant: time-based codes.
//!
//! Invariants: a code opens once, on all cores together; so many wrong ones in half a minute close the
//! device for the rest of it; the secret is shown nowhere.
//!
//! Not here: what needs a code (`ops`).
//!
//! Sources: RFC 6238; AWS, "Configuring MFA delete".

use crate::error::{Code, Result, S3Error};
use crate::limits::MFA_FAILURES_PER_STEP_MAX;
use crate::start_error::StartError;
use std::sync::atomic::{AtomicU64, Ordering};
use totp_rs::{Algorithm, Builder, Secret, Totp};

/// Seconds for which a code is good, and how many of its digits there are, as devices have it.
const STEP_SECONDS: u64 = 30;
const DIGITS: u8 = 6;
/// Codes of so many steps before and behind the present one are good too: clocks differ.
const SKEW_STEPS: u16 = 1;

/// The root's device.
pub struct Mfa {
    totp: Totp,
    /// The newest step whose code was used.
    used: AtomicU64,
    /// The step in which a wrong code came last, and how many came in it.
    failed_step: AtomicU64,
    failures: AtomicU64,
}

impl Mfa {
    /// `secret`: in base32, at least 128 bits, as devices take it.
    pub fn new(secret: &str) -> Result<Self, StartError> {
        let invalid = |reason: String| StartError::Credentials(format!("the MFA secret: {reason}"));
        let secret = Secret::try_from_base32(secret).map_err(|error| invalid(error.to_string()))?;
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_step_duration(STEP_SECONDS)
            .with_skew(SKEW_STEPS)
            .with_secret(secret)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let [used, failed_step, failures] = [const { AtomicU64::new(0) }; 3];
        Ok(Self { totp, used, failed_step, failures })
    }

    /// Takes the value of `x-amz-mfa`: the device's serial number, a space, a code. There is one device,
    /// so any serial number names it. `now`: seconds since the Unix epoch.
    pub fn check(&self, header: &str, now: i64) -> Result<()> {
        // Codes are short: whoever may try many finds one (RFC 4226, section 7.3).
        let present = u64::try_from(now).unwrap_or_default() / STEP_SECONDS;
        if self.failed_step.swap(present, Ordering::AcqRel) != present {
            self.failures.store(0, Ordering::Release);
        }
        if self.failures.load(Ordering::Acquire) >= MFA_FAILURES_PER_STEP_MAX {
            return Err(S3Error::new(
                Code::SlowDown,
                "Too many wrong MFA codes came. Try again in a minute.",
            ));
        }
        let code = header.trim().rsplit_once(' ').map(|(_, code)| code);
        let step = code.and_then(|code| self.totp.check(code, u64::try_from(now).ok()?));
        match step {
            Some(step) if self.used.fetch_max(step, Ordering::AcqRel) < step => Ok(()),
            _ => {
                self.failures.fetch_add(1, Ordering::AcqRel);
                Err(S3Error::new(
                    Code::AccessDenied,
                    "The MFA code is not the device's, or was used already.",
                ))
            }
        }
    }
}

impl std::fmt::Debug for Mfa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mfa")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The secret of RFC 6238, appendix B; its codes have eight digits, of which six are ours.
    fn device() -> Mfa {
        Mfa::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfc_and_open_once() {
        for (now, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            let device = device();
            let header = format!("arn:aws:iam::1:mfa/root {code}");
            assert!(device.check("serial 000000", now).is_err());
            assert_eq!(device.check(&header, now), Ok(()));
            assert!(device.check(&header, now).is_err(), "used twice");
        }
    }

    #[test]
    fn guessing_closes_the_device_for_a_while() {
        let device = device();
        for _ in 0..MFA_FAILURES_PER_STEP_MAX {
            let refused = device.check("x 000000", 59).map_err(|error| error.code);
            assert_eq!(refused, Err(Code::AccessDenied));
        }
        let closed = device.check("x 287082", 59).map_err(|error| error.code);
        assert_eq!(closed, Err(Code::SlowDown));
        assert_eq!(device.check("x 287082", 60), Ok(()));
    }

    #[test]
    fn a_code_is_good_for_a_step_to_either_side() {
        for (now, is_good) in [(59 - 31, true), (59 + 30, true), (59 + 31, false)] {
            assert_eq!(device().check("x 287082", now).is_ok(), is_good, "{now}");
        }
        for header in ["", "287082", "x  ", "x 28708", "x 2870822"] {
            assert!(device().check(header, 59).is_err(), "{header}");
        }
        assert!(Mfa::new("short").is_err());
        assert!(!format!("{:?}", device()).contains("GEZ"));
    }
}
