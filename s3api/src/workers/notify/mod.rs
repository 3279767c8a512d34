//! Event notifications: which events a bucket's configuration asks for, and where they go.
//!
//! Invariants: everything in this file is pure; an event goes to each configuration that asks for it
//! once.
//!
//! Not here: the XML form (`document`), the JSON of an event (`message`), where targets are
//! (`target`), what caches are told (`purge`), and how events get there (`queue`, `delivery`).

mod backoff;
pub mod delivery;
pub mod document;
pub mod event;
pub mod message;
pub mod purge;
pub mod queue;
mod sender;
pub mod target;

pub use event::{Cause, Event, EventName};
pub use queue::{EventQueue, Targets};

use serde::{Deserialize, Serialize};

/// A bucket's notification configuration, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub configurations: Vec<Configuration>,
}

/// Where S3's document would send events: the kinds differ in their names only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    Topic,
    Queue,
    Function,
}

/// Some events of some keys, and the target that they go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Unique in its bucket.
    pub id: String,
    pub destination: Destination,
    /// As the client wrote it.
    pub arn: String,
    /// The target's name in the operator's configuration.
    pub target: String,
    /// As the client wrote them; each is known to [`EventName`].
    pub events: Vec<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
}

impl Configuration {
    pub fn asks_for(&self, name: EventName, key: &str) -> bool {
        self.events.iter().any(|pattern| name.is_meant_by(pattern))
            && key.starts_with(self.prefix.as_deref().unwrap_or_default())
            && key.ends_with(self.suffix.as_deref().unwrap_or_default())
    }

    /// Whether some event of some key is asked for by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let shared = EventName::ALL.iter().any(|name| {
            let is_meant = |by: &Self| by.events.iter().any(|pattern| name.is_meant_by(pattern));
            is_meant(self) && is_meant(other)
        });
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (prefix, other_prefix) = (text(&self.prefix), text(&other.prefix));
        let (suffix, other_suffix) = (text(&self.suffix), text(&other.suffix));
        shared
            && (prefix.starts_with(&other_prefix) || other_prefix.starts_with(&prefix))
            && (suffix.ends_with(&other_suffix) || other_suffix.ends_with(&suffix))
    }
}

impl Notification {
    /// The configurations that ask for an event of a key.
    pub fn asking<'a>(
        &'a self,
        name: EventName,
        key: &'a str,
    ) -> impl Iterator<Item = &'a Configuration> {
        self.configurations.iter().filter(move |configuration| configuration.asks_for(name, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(events: &[&str], prefix: &str, suffix: &str) -> Configuration {
        Configuration {
            id: "c".to_owned(),
            destination: Destination::Queue,
            arn: "arn:ringfort:sqs::t:webhook".to_owned(),
            target: "t".to_owned(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            suffix: (!suffix.is_empty()).then(|| suffix.to_owned()),
        }
    }

    #[test]
    fn events_and_keys_are_matched() {
        let images =
            configuration(&["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"], "in/", ".jpg");
        let check = |name, key, expected| assert_eq!(images.asks_for(name, key), expected, "{key}");
        check(EventName::CreatedPut, "in/a.jpg", true);
        check(EventName::CreatedCompleteMultipartUpload, "in/.jpg", true);
        check(EventName::RemovedDelete, "in/a.jpg", true);
        check(EventName::RemovedDeleteMarkerCreated, "in/a.jpg", false);
        check(EventName::CreatedPut, "out/a.jpg", false);
        check(EventName::CreatedPut, "in/a.png", false);
    }

    /// The examples of AWS's guide, "Examples of notification configurations with object key name
    /// filtering".
    #[test]
    fn overlaps_are_told() {
        let check = |left: (&str, &str, &str), right: (&str, &str, &str), expected| {
            let [left, right] = [left, right]
                .map(|(event, prefix, suffix)| configuration(&[event], prefix, suffix));
            assert_eq!(left.overlaps(&right), expected, "{left:?} {right:?}");
            assert_eq!(right.overlaps(&left), expected);
        };
        let (all, put) = ("s3:ObjectCreated:*", "s3:ObjectCreated:Put");
        check((all, "", ""), (put, "", ""), true);
        check((all, "images", ""), (all, "images/a", ""), true);
        check((all, "images/", ""), (all, "logs/", ""), false);
        check((all, "", ".jpg"), (all, "", "jpg"), true);
        check((all, "", ".jpg"), (all, "", ".png"), false);
        check((all, "images", ".jpg"), (all, "images", ".png"), false);
        check((all, "images", ""), (all, "", ".png"), true);
        check((put, "", ""), ("s3:ObjectRemoved:*", "", ""), false);
    }
}
