//! Object lock: what keeps a version from being removed, and who may change that.
//!
//! Pure rules; the engine judges them at the moment of the removal or the change, with the attributes
//! that the version then has.
//!
//! Invariants: nobody removes a version under legal hold, or under a retention in compliance mode whose
//! time is not over, nor shortens or weakens that retention; in governance mode only who bypasses it
//! does.
//!
//! Not here: the documents and headers by which clients say it (`ops`), and who may bypass (`access`).
//!
//! Source: AWS, "Locking objects with Object Lock", PutObjectRetention, PutObjectLockConfiguration.

use crate::error::{Code, Refusal, Result};
use crate::limits::RETENTION_DAYS_MAX;
use crate::settings::{BucketSetting, tag};
use serde::{Deserialize, Serialize};

const DAY_SECONDS: i64 = 24 * 60 * 60;
const YEAR_DAYS: u32 = 365;

/// How strictly a version is retained. The number is the one on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mode {
    Governance = 1,
    Compliance = 2,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| mode.name() == text)
    }

    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Governance, Self::Compliance].into_iter().find(|mode| *mode as u8 == number)
    }
}

/// Until when a version is retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub mode: Mode,
    /// Seconds since the Unix epoch.
    pub until: i64,
}

impl Retention {
    fn is_over(self, now: i64) -> bool {
        self.until <= now
    }
}

/// What locks one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lock {
    pub retention: Option<Retention>,
    /// None: it was never set.
    pub legal_hold: Option<bool>,
}

/// A lock refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locked;

impl From<Locked> for engine::ConditionFailure {
    fn from(_: Locked) -> Self {
        Refusal::Locked.into()
    }
}

impl Lock {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the version may be removed now. `bypasses`: the caller may and wants to.
    pub fn may_be_removed(&self, now: i64, bypasses: bool) -> Result<(), Locked> {
        if self.legal_hold == Some(true) {
            return Err(Locked);
        }
        match self.retention {
            Some(retention) if !retention.is_over(now) => match retention.mode {
                Mode::Governance if bypasses => Ok(()),
                _ => Err(Locked),
            },
            _ => Ok(()),
        }
    }

    /// Whether the retention may become this one, or none, now.
    pub fn may_become(
        &self,
        new: Option<Retention>,
        now: i64,
        bypasses: bool,
    ) -> Result<(), Locked> {
        let Some(old) = self.retention.filter(|old| !old.is_over(now)) else { return Ok(()) };
        let is_stricter = new.is_some_and(|new| new.mode == old.mode && new.until >= old.until);
        match old.mode {
            _ if is_stricter => Ok(()),
            Mode::Governance if bypasses => Ok(()),
            _ => Err(Locked),
        }
    }
}

/// How long a new version is retained where its writer says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRetention {
    pub mode: Mode,
    pub period: Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Period {
    Days(u32),
    Years(u32),
}

impl Period {
    /// `InvalidRetentionPeriod` for none at all or more than a hundred years.
    pub fn check(self) -> Result<()> {
        let days = match self {
            Self::Days(days) => Some(days),
            Self::Years(years) => years.checked_mul(YEAR_DAYS),
        };
        match days {
            Some(1..=RETENTION_DAYS_MAX) => Ok(()),
            _ => Err(Code::InvalidRetentionPeriod.into()),
        }
    }

    fn seconds(self) -> i64 {
        let days = match self {
            Self::Days(days) => i64::from(days),
            Self::Years(years) => i64::from(years) * i64::from(YEAR_DAYS),
        };
        days * DAY_SECONDS
    }
}

/// The setting of a bucket that has object lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectLockSetting {
    pub default: Option<DefaultRetention>,
}

impl BucketSetting for ObjectLockSetting {
    const TAG: u16 = tag::OBJECT_LOCK;
}

impl ObjectLockSetting {
    /// What a version gets whose writer asked for `asked`.
    pub fn lock_of_new(&self, asked: Lock, now: i64) -> Lock {
        let default = self.default.map(|default| Retention {
            mode: default.mode,
            until: now.saturating_add(default.period.seconds()),
        });
        Lock { retention: asked.retention.or(default), ..asked }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: i64 = 1000;

    fn retained(mode: Mode, until: i64) -> Lock {
        Lock { retention: Some(Retention { mode, until }), legal_hold: None }
    }

    #[test]
    fn removal() {
        let hold = |on| Lock { retention: None, legal_hold: Some(on) };
        let both = Lock { legal_hold: Some(true), ..retained(Mode::Governance, NOW + 1) };
        for (lock, plain, bypassing) in [
            (Lock::default(), true, true),
            (hold(false), true, true),
            (hold(true), false, false),
            (both, false, false),
            (retained(Mode::Governance, NOW + 1), false, true),
            (retained(Mode::Governance, NOW), true, true),
            (retained(Mode::Compliance, NOW + 1), false, false),
            (retained(Mode::Compliance, NOW), true, true),
        ] {
            assert_eq!(lock.may_be_removed(NOW, false).is_ok(), plain, "{lock:?}");
            assert_eq!(lock.may_be_removed(NOW, true).is_ok(), bypassing, "{lock:?}");
        }
    }

    #[test]
    fn changes_of_a_retention() {
        use Mode::{Compliance, Governance};
        let to = |mode, until| Some(Retention { mode, until });
        for (lock, new, plain, bypassing) in [
            (Lock::default(), to(Compliance, NOW + 5), true, true),
            (retained(Governance, NOW + 5), to(Governance, NOW + 5), true, true),
            (retained(Governance, NOW + 5), to(Governance, NOW + 9), true, true),
            (retained(Governance, NOW + 5), to(Governance, NOW + 4), false, true),
            (retained(Governance, NOW + 5), to(Compliance, NOW + 9), false, true),
            (retained(Governance, NOW + 5), None, false, true),
            (retained(Governance, NOW), None, true, true),
            (retained(Compliance, NOW + 5), to(Compliance, NOW + 9), true, true),
            (retained(Compliance, NOW + 5), to(Compliance, NOW + 4), false, false),
            (retained(Compliance, NOW + 5), to(Governance, NOW + 9), false, false),
            (retained(Compliance, NOW + 5), None, false, false),
            (retained(Compliance, NOW), to(Governance, NOW + 1), true, true),
        ] {
            assert_eq!(lock.may_become(new, NOW, false).is_ok(), plain, "{lock:?} {new:?}");
            assert_eq!(lock.may_become(new, NOW, true).is_ok(), bypassing, "{lock:?} {new:?}");
        }
    }

    #[test]
    fn a_new_version_gets_the_default_unless_its_writer_says_otherwise() {
        let default = DefaultRetention { mode: Mode::Governance, period: Period::Days(2) };
        let setting = ObjectLockSetting { default: Some(default) };
        let expected = retained(Mode::Governance, NOW + 2 * 86_400);
        assert_eq!(setting.lock_of_new(Lock::default(), NOW), expected);
        let asked = retained(Mode::Compliance, NOW + 7);
        assert_eq!(setting.lock_of_new(asked, NOW), asked);
        let held = Lock { legal_hold: Some(true), ..Lock::default() };
        assert_eq!(setting.lock_of_new(held, NOW).legal_hold, Some(true));
        assert!(ObjectLockSetting::default().lock_of_new(Lock::default(), NOW).is_empty());
    }

    #[test]
    fn periods_are_bounded() {
        for (period, is_allowed) in [
            (Period::Days(0), false),
            (Period::Days(1), true),
            (Period::Days(36_500), true),
            (Period::Days(36_501), false),
            (Period::Years(0), false),
            (Period::Years(100), true),
            (Period::Years(101), false),
            (Period::Years(u32::MAX), false),
        ] {
            assert_eq!(period.check().is_ok(), is_allowed, "{period:?}");
        }
    }
}
