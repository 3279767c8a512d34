//! A bucket's logging: where its access log goes, and the XML form of that.
//!
//! Invariants: a document is taken whole or not at all; a document without `LoggingEnabled` ends the
//! logging, as in S3.
//!
//! Not here: whether the target bucket exists and is ours (`ops`).

use crate::error::{Code, Result, S3Error};
use crate::limits::LOG_PREFIX_BYTES_MAX;
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};

/// Where a bucket's access log is delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logging {
    pub target_bucket: String,
    pub target_prefix: String,
    /// As the client wrote it; none is the simple form.
    pub key_format: Option<KeyFormat>,
}

/// How the keys of delivered objects go on behind the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyFormat {
    Simple,
    /// By account, region, bucket and day; none: the client did not say whose day.
    Partitioned(Option<DateSource>),
}

/// Whose day a partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DateSource {
    EventTime,
    DeliveryTime,
}

impl DateSource {
    fn name(self) -> &'static str {
        match self {
            Self::EventTime => "EventTime",
            Self::DeliveryTime => "DeliveryTime",
        }
    }
}

impl Logging {
    /// Whether objects hold the requests of one day each.
    pub fn is_by_event_day(&self) -> bool {
        self.key_format == Some(KeyFormat::Partitioned(Some(DateSource::EventTime)))
    }
}

/// Reads a document; none: logging is to end.
pub fn parse(document: &[u8]) -> Result<Option<Logging>> {
    let root = Element::parse(document, "BucketLoggingStatus")?;
    let enabled = match root.children() {
        [] => return Ok(None),
        [enabled] if enabled.name() == "LoggingEnabled" => enabled,
        _ => return Err(malformed()),
    };
    let known = ["TargetBucket", "TargetPrefix", "TargetGrants", "TargetObjectKeyFormat"];
    if enabled.children().iter().any(|child| !known.contains(&child.name()))
        || known.iter().any(|name| enabled.all(name).count() > 1)
    {
        return Err(malformed());
    }
    if enabled.child("TargetGrants").is_some_and(|grants| !grants.children().is_empty()) {
        return Err(S3Error::new(
            Code::NotImplemented,
            "Delivered logs belong to the owner of the target bucket; TargetGrants cannot give others \
             access to them. Use a bucket policy.",
        ));
    }
    let target_prefix = enabled.required("TargetPrefix")?.to_owned();
    if target_prefix.len() > LOG_PREFIX_BYTES_MAX {
        return Err(S3Error::invalid_argument(
            "The target prefix is too long",
            "TargetPrefix",
            target_prefix,
        ));
    }
    Ok(Some(Logging {
        target_bucket: enabled.required("TargetBucket")?.trim().to_owned(),
        target_prefix,
        key_format: enabled.child("TargetObjectKeyFormat").map(parse_format).transpose()?,
    }))
}

fn parse_format(format: &Element) -> Result<KeyFormat> {
    let [format] = format.children() else { return Err(malformed()) };
    match (format.name(), format.children()) {
        ("SimplePrefix", []) => Ok(KeyFormat::Simple),
        ("PartitionedPrefix", []) => Ok(KeyFormat::Partitioned(None)),
        ("PartitionedPrefix", [source]) if source.name() == "PartitionDateSource" => {
            match source.text().trim() {
                "EventTime" => Ok(KeyFormat::Partitioned(Some(DateSource::EventTime))),
                "DeliveryTime" => Ok(KeyFormat::Partitioned(Some(DateSource::DeliveryTime))),
                _ => Err(malformed()),
            }
        }
        _ => Err(malformed()),
    }
}

/// The document as GetBucketLogging answers it.
pub fn write(logging: Option<&Logging>) -> Vec<u8> {
    Writer::document("BucketLoggingStatus", |writer| {
        let Some(logging) = logging else { return };
        writer.element("LoggingEnabled", |writer| {
            writer.text("TargetBucket", &logging.target_bucket);
            writer.text("TargetPrefix", &logging.target_prefix);
            if let Some(format) = logging.key_format {
                writer.element("TargetObjectKeyFormat", |writer| write_format(writer, format));
            }
        });
    })
}

fn write_format(writer: &mut Writer, format: KeyFormat) {
    match format {
        KeyFormat::Simple => writer.text("SimplePrefix", ""),
        KeyFormat::Partitioned(source) => writer.element("PartitionedPrefix", |writer| {
            writer.optional("PartitionDateSource", source.map(DateSource::name));
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(content: &str) -> Result<Option<Logging>> {
        super::parse(format!("<BucketLoggingStatus>{content}</BucketLoggingStatus>").as_bytes())
    }

    const TARGET: &str = "<TargetBucket>logs</TargetBucket><TargetPrefix>a/</TargetPrefix>";

    fn check(content: &str) {
        let logging = parse(content).unwrap();
        let written = String::from_utf8(write(logging.as_ref())).unwrap();
        assert!(written.contains(content), "{content}\n{written}");
        let json = serde_json::to_vec(&logging).unwrap();
        assert_eq!(serde_json::from_slice::<Option<Logging>>(&json).unwrap(), logging);
    }

    #[test]
    fn documents_come_back_as_they_were_given() {
        check("");
        check(&format!("<LoggingEnabled>{TARGET}</LoggingEnabled>"));
        for format in [
            "<SimplePrefix></SimplePrefix>",
            "<PartitionedPrefix></PartitionedPrefix>",
            "<PartitionedPrefix><PartitionDateSource>EventTime</PartitionDateSource>\
             </PartitionedPrefix>",
            "<PartitionedPrefix><PartitionDateSource>DeliveryTime</PartitionDateSource>\
             </PartitionedPrefix>",
        ] {
            let format = format!("<TargetObjectKeyFormat>{format}</TargetObjectKeyFormat>");
            check(&format!("<LoggingEnabled>{TARGET}{format}</LoggingEnabled>"));
        }
        assert!(
            parse(&format!("<LoggingEnabled>{TARGET}<TargetGrants/></LoggingEnabled>")).is_ok()
        );
    }

    #[test]
    fn documents_that_are_refused() {
        let refused = |content: &str, code| {
            assert_eq!(parse(content).unwrap_err().code, code, "{content}");
        };
        let enabled = |content: &str| format!("<LoggingEnabled>{content}</LoggingEnabled>");
        refused("<Other/>", Code::MalformedXML);
        refused(&enabled("<TargetBucket>b</TargetBucket>"), Code::MalformedXML);
        refused(&enabled("<TargetPrefix>b</TargetPrefix>"), Code::MalformedXML);
        refused(&enabled(&format!("{TARGET}{TARGET}")), Code::MalformedXML);
        refused(&enabled(&format!("{TARGET}<Surprise/>")), Code::MalformedXML);
        let format = "<TargetObjectKeyFormat><Other/></TargetObjectKeyFormat>";
        refused(&enabled(&format!("{TARGET}{format}")), Code::MalformedXML);
        let both =
            "<TargetObjectKeyFormat><SimplePrefix/><PartitionedPrefix/></TargetObjectKeyFormat>";
        refused(&enabled(&format!("{TARGET}{both}")), Code::MalformedXML);
        let grants = "<TargetGrants><Grant/></TargetGrants>";
        refused(&enabled(&format!("{TARGET}{grants}")), Code::NotImplemented);
        let long = "p".repeat(LOG_PREFIX_BYTES_MAX + 1);
        let long = format!("<TargetBucket>b</TargetBucket><TargetPrefix>{long}</TargetPrefix>");
        refused(&enabled(&long), Code::InvalidArgument);
        assert!(super::parse(b"<Other/>").is_err());
    }
}
