//! The events that happen here, their names, and what an operation tells of one.

use engine::{Etag, Version};

/// Declares [`EventName`]: the variant, its name, and the version of the message's form that AWS uses
/// for it.
macro_rules! events {
    ($($variant:ident $name:literal $form:literal,)*) => {
        /// What can happen to an object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum EventName {
            $($variant,)*
        }

        impl EventName {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As messages carry it; configurations put `s3:` before it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// `eventVersion` of its message.
            pub fn form(self) -> &'static str {
                match self {
                    $(Self::$variant => $form,)*
                }
            }
        }
    };
}

events! {
    CreatedPut "ObjectCreated:Put" "2.1",
    CreatedPost "ObjectCreated:Post" "2.1",
    CreatedCopy "ObjectCreated:Copy" "2.1",
    CreatedCompleteMultipartUpload "ObjectCreated:CompleteMultipartUpload" "2.1",
    RemovedDelete "ObjectRemoved:Delete" "2.1",
    RemovedDeleteMarkerCreated "ObjectRemoved:DeleteMarkerCreated" "2.1",
    TaggingPut "ObjectTagging:Put" "2.3",
    TaggingDelete "ObjectTagging:Delete" "2.3",
    AclPut "ObjectAcl:Put" "2.3",
    LifecycleDelete "LifecycleExpiration:Delete" "2.3",
    LifecycleDeleteMarkerCreated "LifecycleExpiration:DeleteMarkerCreated" "2.3",
}

/// Families of AWS's events that never happen here: nobody is to wait for them.
const FOREIGN: &[&str] = &[
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectRestore:",
    "s3:Replication:",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ObjectAnnotation",
];

/// What a configuration's event is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    Known,
    /// AWS has it, and we do not.
    Foreign,
    Unknown,
}

impl Pattern {
    pub fn of(text: &str) -> Self {
        if EventName::ALL.iter().any(|name| name.is_meant_by(text)) {
            Self::Known
        } else if FOREIGN.iter().any(|family| text.starts_with(family)) {
            Self::Foreign
        } else {
            Self::Unknown
        }
    }
}

impl EventName {
    /// Whether a configuration's event means this one: `s3:` and its name, or its family with `*`.
    pub fn is_meant_by(self, pattern: &str) -> bool {
        let Some(pattern) = pattern.strip_prefix("s3:") else { return false };
        let family = self.name().split_inclusive(':').next().unwrap_or_default();
        pattern == self.name() || pattern.strip_suffix('*') == Some(family)
    }
}

/// What happened to an object, as the operation that did it tells.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub name: EventName,
    pub key: &'a str,
    /// None where it says nothing of the event, as of a deletion.
    pub size: Option<u64>,
    pub etag: Option<Etag>,
    /// As answers show it; none in a bucket that keeps no versions.
    pub version_id: Option<&'a str>,
    /// What orders the events of one key: the version that was made, where one was.
    pub version: Option<Version>,
}

impl<'a> Event<'a> {
    pub fn new(name: EventName, key: &'a str) -> Self {
        Self { name, key, size: None, etag: None, version_id: None, version: None }
    }

    /// With what is known of the object that was made.
    #[must_use]
    pub fn object(mut self, size: u64, etag: Etag, version: Version) -> Self {
        (self.size, self.etag, self.version) = (Some(size), Some(etag), Some(version));
        self
    }

    /// With the version that was made or removed, as clients name it.
    #[must_use]
    pub fn version_id(mut self, version_id: Option<&'a str>) -> Self {
        self.version_id = version_id;
        self
    }
}

/// By whom, and in answer to which request, something happened.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// The user's id; the server's own name for what its workers do.
    pub principal: &'a str,
    pub source_ip: &'a str,
    pub request_id: &'a str,
    pub host_id: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_one_event_or_its_family() {
        let check = |pattern, expected: &[EventName]| {
            let meant: Vec<_> =
                EventName::ALL.iter().copied().filter(|name| name.is_meant_by(pattern)).collect();
            assert_eq!(meant, expected, "{pattern}");
        };
        check("s3:ObjectCreated:Put", &[EventName::CreatedPut]);
        check("s3:ObjectTagging:*", &[EventName::TaggingPut, EventName::TaggingDelete]);
        check("s3:ObjectAcl:Put", &[EventName::AclPut]);
        let expired = [EventName::LifecycleDelete, EventName::LifecycleDeleteMarkerCreated];
        check("s3:LifecycleExpiration:*", &expired);
        for nothing in ["s3:*", "*", "ObjectCreated:*", "s3:ObjectCreated", "s3:ObjectCreated:P*"] {
            check(nothing, &[]);
        }
    }

    #[test]
    fn events_that_never_happen_are_told_from_those_that_nobody_knows() {
        assert_eq!(Pattern::of("s3:ObjectRemoved:*"), Pattern::Known);
        assert_eq!(Pattern::of("s3:Replication:*"), Pattern::Foreign);
        assert_eq!(Pattern::of("s3:ReducedRedundancyLostObject"), Pattern::Foreign);
        assert_eq!(Pattern::of("s3:ObjectCreate:*"), Pattern::Unknown);
    }
}
