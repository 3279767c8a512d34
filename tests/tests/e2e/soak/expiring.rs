//! Objects that a lifecycle takes away: none before its day, all in the end.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::wait_within;

use super::actors::Signal;
use crate::kill::keys::{Failure, carried_out};
use crate::kill::oracle::Object;

pub(super) const BUCKET: &str = "/soak-expiring";
pub(super) const DAY_SECONDS_MIN: u64 = 3;
const SIZES: [usize; 3] = [100, 20_000, 200_000];
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
struct Written {
    object: Object,
    /// Its age counts from a moment not before this.
    since: SystemTime,
    is_acknowledged: bool,
}

/// Every key is written once.
#[derive(Debug)]
pub(super) struct Expiring {
    seed: u64,
    day: Duration,
    number: u64,
    keys: BTreeMap<String, Written>,
    expired: u64,
}

impl Expiring {
    pub(super) fn new(seed: u64, day_seconds: u64) -> Self {
        let day = Duration::from_secs(day_seconds);
        Self { seed, day, number: 0, keys: BTreeMap::new(), expired: 0 }
    }

    pub(super) fn prepare(&self, client: &mut Client) {
        client.put(BUCKET, "").expect(200);
        let rule = "<LifecycleConfiguration><Rule><ID>day</ID><Filter><Prefix></Prefix></Filter>\
                    <Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>\
                    </LifecycleConfiguration>";
        client.put(&format!("{BUCKET}?lifecycle="), rule).expect(200);
    }

    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    pub(super) fn step(&mut self, client: &mut Client, signal: &Signal) -> Result<(), Failure> {
        self.number += 1;
        let key = format!("{:08}", self.number);
        let seed = self.seed << 40 | 0xe << 36 | self.number;
        let size = SIZES[self.number as usize % SIZES.len()];
        let object = Object { seed, size };
        let written = Written { object, since: SystemTime::now(), is_acknowledged: false };
        self.keys.insert(key.clone(), written);
        let request = Request::new("PUT", &format!("{BUCKET}/{key}")).body(object.content());
        match carried_out(client.send(&request)?, 200, true) {
            Ok(_) => self.keys.get_mut(&key).unwrap().is_acknowledged = true,
            Err(Failure::Refused) => {
                self.keys.remove(&key);
                return Err(Failure::Refused);
            }
            Err(cut) => return Err(cut),
        }
        signal.pause(PAUSE);
        Ok(())
    }

    /// Those that are too young are there; those that are there have their content.
    pub(super) fn verify(&mut self, client: &mut Client) {
        let Self { keys, day, expired, .. } = self;
        keys.retain(|key, written| {
            let answer = client.get(&format!("{BUCKET}/{key}"));
            if answer.status == 404 {
                let age = written.since.elapsed().unwrap_or_default();
                let may_be_gone = age >= *day || !written.is_acknowledged;
                assert!(may_be_gone, "{key} is gone after {age:?}: {written:?}");
                *expired += u64::from(written.is_acknowledged);
                return false;
            }
            assert!(answer.expect(200).body == written.object.content(), "{key}: wrong bytes");
            true
        });
    }

    /// A day, the rest of another to its midnight, and the pass.
    pub(super) fn wait_until_all_is_gone(&mut self, client: &mut Client) {
        let patience = self.day * 4 + ringfort_tests::harness::PATIENCE;
        wait_within(patience, "the lifecycle to remove all", || {
            self.verify(client);
            self.keys.is_empty()
        });
        let page = client.get(&format!("{BUCKET}?list-type=2")).expect(200).text();
        assert!(!page.contains("<Key>"), "{page}");
    }
}
