//! The message that a target gets of an event: S3's JSON.
//!
//! ```json
//! {"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", ...}]}
//! ```

use super::event::{Cause, Event};
use crate::conditional::Unquoted;
use crate::dates;
use engine::Version;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What of the bucket a message tells.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub region: &'a str,
    pub bucket: &'a str,
    pub owner: &'a str,
}

/// The message of an event that a configuration asked for. `time`: when it happened.
pub fn of_event(
    event: &Event<'_>,
    configuration: &str,
    cause: &Cause<'_>,
    place: &Place<'_>,
    time: Version,
) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("key".to_owned(), encoded_key(event.key).into());
    if let Some(size) = event.size {
        object.insert("size".to_owned(), size.into());
    }
    if let Some(etag) = event.etag {
        object.insert("eTag".to_owned(), Unquoted(etag).to_string().into());
    }
    if let Some(version_id) = event.version_id {
        object.insert("versionId".to_owned(), version_id.into());
    }
    let sequencer = format!("{:016X}", event.version.unwrap_or(time).0);
    object.insert("sequencer".to_owned(), sequencer.into());
    let record = json!({
        "eventVersion": event.name.form(),
        "eventSource": "aws:s3",
        "awsRegion": place.region,
        "eventTime": dates::xml_time(time),
        "eventName": event.name.name(),
        "userIdentity": {"principalId": cause.principal},
        "requestParameters": {"sourceIPAddress": cause.source_ip},
        "responseElements": {"x-amz-request-id": cause.request_id, "x-amz-id-2": cause.host_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": place.bucket,
                "ownerIdentity": {"principalId": place.owner},
                "arn": format!("arn:aws:s3:::{}", place.bucket),
            },
            "object": Value::Object(object),
        },
    });
    json!({ "Records": [record] }).to_string().into_bytes()
}

/// The message that a target gets when a configuration names it, as S3 sends it.
pub fn of_test(cause: &Cause<'_>, place: &Place<'_>, time: Version) -> Vec<u8> {
    json!({
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": dates::xml_time(time),
        "Bucket": place.bucket,
        "RequestId": cause.request_id,
        "HostId": cause.host_id,
    })
    .to_string()
    .into_bytes()
}

/// A key as forms encode it: spaces become `+`.
fn encoded_key(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' | b'/' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::EventName;
    use super::*;
    use engine::Etag;

    const CAUSE: Cause<'_> =
        Cause { principal: "me", source_ip: "192.0.2.3", request_id: "REQ", host_id: "HOST" };
    const PLACE: Place<'_> = Place { region: "eu-1", bucket: "b", owner: "owner" };
    const TIME: Version = Version(784_111_777_120_456_789);

    #[test]
    fn a_message_has_the_fields_of_s3s() {
        let etag = Etag { md5: [0xab; 16], parts: 2 };
        let event = Event::new(EventName::CreatedPut, "a b/ü+c")
            .object(7, etag, Version(255))
            .version_id(Some("v1"));
        let message: Value =
            serde_json::from_slice(&of_event(&event, "conf", &CAUSE, &PLACE, TIME)).unwrap();
        let expected = json!({"Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-1",
            "eventTime": "1994-11-06T08:49:37.120Z",
            "eventName": "ObjectCreated:Put",
            "userIdentity": {"principalId": "me"},
            "requestParameters": {"sourceIPAddress": "192.0.2.3"},
            "responseElements": {"x-amz-request-id": "REQ", "x-amz-id-2": "HOST"},
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "conf",
                "bucket": {
                    "name": "b",
                    "ownerIdentity": {"principalId": "owner"},
                    "arn": "arn:aws:s3:::b",
                },
                "object": {
                    "key": "a+b/%C3%BC%2Bc",
                    "size": 7,
                    "eTag": "abababababababababababababababab-2",
                    "versionId": "v1",
                    "sequencer": "00000000000000FF",
                },
            },
        }]});
        assert_eq!(message, expected);
    }

    #[test]
    fn a_deletion_tells_no_size() {
        let event = Event::new(EventName::LifecycleDelete, "k");
        let message: Value =
            serde_json::from_slice(&of_event(&event, "conf", &CAUSE, &PLACE, TIME)).unwrap();
        let record = &message["Records"][0];
        assert_eq!(record["eventVersion"], "2.3");
        let sequencer = format!("{:016X}", TIME.0);
        assert_eq!(record["s3"]["object"], json!({"key": "k", "sequencer": sequencer}));
    }

    #[test]
    fn the_test_message_is_s3s() {
        let message: Value = serde_json::from_slice(&of_test(&CAUSE, &PLACE, TIME)).unwrap();
        let expected = json!({
            "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "1994-11-06T08:49:37.120Z",
            "Bucket": "b", "RequestId": "REQ", "HostId": "HOST",
        });
        assert_eq!(message, expected);
    }
}
