//! Delivers a core's lines as objects, in time and once more at a stop.
//!
//! Invariants: lines are let go of only when their object is durable, or when their target bucket is gone,
//! which is counted; what was logged before logging was turned off is still delivered. The object is
//! written as the owner of both buckets.

use super::document::{KeyFormat, Logging};
use super::{AccessLog, Batch, Key};
use crate::dates;
use crate::error::Result;
use crate::limits::ACCESS_LOG_POLL;
use crate::ops;
use crate::services::Services;
use crate::workers::{Origin, Stop, Tasks};
use engine::platform::Platform;
use engine::{Bucket, Engine, Version};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Starts the task of one core.
pub fn start<P: Platform>(
    engine: &Engine<P>,
    services: &Rc<Services>,
    origin: Origin,
    interval: Duration,
    tasks: &Tasks,
) {
    let delivery = Delivery {
        engine: engine.clone(),
        services: Rc::clone(services),
        origin,
        interval,
        stop: tasks.stop(),
    };
    tasks.spawn(engine.platform(), delivery.run());
}

struct Delivery<P: Platform> {
    engine: Engine<P>,
    services: Rc<Services>,
    origin: Origin,
    interval: Duration,
    stop: Stop,
}

impl<P: Platform> Delivery<P> {
    async fn run(self) {
        let platform = self.engine.platform().clone();
        let pause = ACCESS_LOG_POLL.min(self.interval);
        while !self.stop.is_requested() {
            self.stop.sleep(&platform, pause).await;
            self.deliver_due(self.interval).await;
        }
        // Connections have ended: nothing more comes.
        self.deliver_due(Duration::ZERO).await;
    }

    fn log(&self) -> &AccessLog {
        &self.services.access_log
    }

    async fn deliver_due(&self, age: Duration) {
        let now_ns = self.engine.platform().monotonic_ns();
        for batch in self.log().take_due(now_ns, age) {
            let count = batch.lines.len();
            let bucket = batch.key.bucket.as_str();
            let catalog = self.engine.catalog();
            let target = catalog.bucket(&batch.logging.target_bucket);
            let Some(target) = target.filter(|target| self.is_of_same_owner(bucket, target)) else {
                self.log().count_dropped(count);
                tracing::warn!(
                    bucket,
                    lines = count,
                    "lines of an access log were dropped: their target bucket is gone, or is \
                     somebody else's now"
                );
                continue;
            };
            match self.deliver(&batch, target).await {
                Ok(()) => self.log().count_delivered(count),
                Err(error) => {
                    let target = target.name.as_str();
                    tracing::warn!(
                        bucket,
                        destination = target,
                        %error,
                        "an access log could not be delivered and is kept"
                    );
                    self.log().put_back(batch, self.engine.platform().monotonic_ns());
                }
            }
        }
    }

    /// Somebody else's bucket may have taken the target's name since the log was set up.
    fn is_of_same_owner(&self, source: &str, target: &Arc<Bucket>) -> bool {
        let owner =
            |bucket| self.origin.owner_of(&self.services, bucket).ok().map(|it| it.id.clone());
        let catalog = self.engine.catalog();
        // Of a source that is gone nobody knows any more whose it was.
        catalog.bucket(source).is_none_or(|source| owner(source) == owner(target))
    }

    async fn deliver(&self, batch: &Batch, target: &Arc<Bucket>) -> Result<()> {
        let Batch { key, logging, lines } = batch;
        let platform = self.engine.platform();
        let now = dates::seconds(Version(platform.wall_clock_ns()));
        let catalog = self.engine.catalog();
        let source = catalog.bucket(&key.bucket).unwrap_or(target);
        let owner = self.origin.owner_of(&self.services, source)?;
        let account = (owner.id.as_str(), self.origin.region.as_str());
        let name = object_key(account, logging, key, now, platform.random_u64());
        let text = lines.concat();
        ops::internal::put_object(&self.engine, &self.services, target, &name, text.as_bytes())
            .await
    }
}

/// The key of an object, in S3's forms, by the account and region of the bucket that is logged. `now`:
/// the time of delivery.
fn object_key(
    (owner, region): (&str, &str),
    logging: &Logging,
    key: &Key,
    now: i64,
    random: u64,
) -> String {
    let prefix = &logging.target_prefix;
    let time = |seconds: i64, format: &str| {
        let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
        time.strftime(format).to_string()
    };
    let day = if logging.is_by_event_day() { key.day } else { now };
    let stamp = time(day, "%Y-%m-%d-%H-%M-%S");
    match logging.key_format {
        None | Some(KeyFormat::Simple) => format!("{prefix}{stamp}-{random:016X}"),
        Some(KeyFormat::Partitioned(_)) => {
            let (bucket, date) = (&key.bucket, time(day, "%Y/%m/%d"));
            format!("{prefix}{owner}/{region}/{bucket}/{date}/{stamp}-{random:016X}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::DateSource;
    use super::*;

    #[test]
    fn keys_are_those_of_s3() {
        let check = |format: Option<KeyFormat>, expected: &str| {
            let logging = Logging {
                target_bucket: "logs".to_owned(),
                target_prefix: "p/".to_owned(),
                key_format: format,
            };
            let key = Key { bucket: "b".to_owned(), day: 1_549_411_200 - 86_400 };
            assert_eq!(object_key(("me", "eu-1"), &logging, &key, 1_549_411_238, 0xAB), expected);
        };
        let simple = "p/2019-02-06-00-00-38-00000000000000AB";
        check(None, simple);
        check(Some(KeyFormat::Simple), simple);
        let delivery = "p/me/eu-1/b/2019/02/06/2019-02-06-00-00-38-00000000000000AB";
        check(Some(KeyFormat::Partitioned(None)), delivery);
        check(Some(KeyFormat::Partitioned(Some(DateSource::DeliveryTime))), delivery);
        let event = "p/me/eu-1/b/2019/02/05/2019-02-05-00-00-00-00000000000000AB";
        check(Some(KeyFormat::Partitioned(Some(DateSource::EventTime))), event);
    }
}
