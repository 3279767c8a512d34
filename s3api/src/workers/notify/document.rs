//! The XML form of a notification configuration: read with AWS's checks and messages, and written
//! again.
//!
//! Invariants: a document is taken whole or not at all; every configuration of one that was taken names
//! a target that the operator configured, and events that can happen.
//!
//! An empty document is no configuration: it takes the one that was there away, as in S3.

use super::event::Pattern;
use super::target::{self, TargetConfig, TargetKind};
use super::{Configuration, Destination, Notification};
use crate::error::{Code, Result, S3Error};
use crate::limits::{KEY_BYTES_MAX, NOTIFICATION_CONFIGURATIONS_MAX, NOTIFICATION_ID_BYTES_MAX};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};

/// The elements of a kind of configuration: its own, and that of its ARN.
const KINDS: [(&str, &str, Destination); 3] = [
    ("TopicConfiguration", "Topic", Destination::Topic),
    ("QueueConfiguration", "Queue", Destination::Queue),
    ("CloudFunctionConfiguration", "CloudFunction", Destination::Function),
];

fn invalid_argument(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(Code::InvalidArgument, message)
}

/// Reads a document. `make_id` names the configurations that have no name.
pub fn parse(
    document: &[u8],
    targets: &[TargetConfig],
    mut make_id: impl FnMut() -> String,
) -> Result<Notification> {
    let root = Element::parse(document, "NotificationConfiguration")?;
    let mut configurations = Vec::new();
    for child in root.children() {
        let kind = KINDS.into_iter().find(|(name, ..)| *name == child.name());
        match (kind, child.name()) {
            (Some((_, arn, destination)), _) => {
                configurations.push(parse_one(child, arn, destination, &mut make_id)?);
            }
            (None, "EventBridgeConfiguration") => {
                return Err(S3Error::new(
                    Code::NotImplemented,
                    "Events cannot be sent to Amazon EventBridge from here.",
                ));
            }
            // What some servers answer beside S3's elements, and so what their users put.
            (None, "IsAWSConfig") if child.text().trim() == "false" => {}
            _ => return Err(malformed()),
        }
    }
    if configurations.len() > NOTIFICATION_CONFIGURATIONS_MAX {
        return Err(invalid_argument("Too many notification configurations."));
    }
    resolve_all(&mut configurations, targets)?;
    check_together(&configurations, targets)?;
    Ok(Notification { configurations })
}

fn parse_one(
    element: &Element,
    arn: &str,
    destination: Destination,
    make_id: &mut impl FnMut() -> String,
) -> Result<Configuration> {
    let known = ["Id", "Event", "Filter", arn];
    if element.children().iter().any(|child| !known.contains(&child.name()))
        || known.iter().any(|name| *name != "Event" && element.all(name).count() > 1)
    {
        return Err(malformed());
    }
    let id = match element.child_text("Id") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => make_id(),
    };
    if id.len() > NOTIFICATION_ID_BYTES_MAX {
        return Err(invalid_argument("The length of the ID exceeds the allowed limit of 255."));
    }
    let mut events: Vec<String> = Vec::new();
    for event in element.all("Event").map(|event| event.text().trim()) {
        match Pattern::of(event) {
            Pattern::Known if events.iter().any(|known| known == event) => {
                return Err(invalid_argument(
                    "An event is repeated in the configuration of one destination.",
                ));
            }
            Pattern::Known => events.push(event.to_owned()),
            Pattern::Foreign => {
                let message = format!("The event {event} never happens on this server.");
                return Err(S3Error::new(Code::NotImplemented, message));
            }
            Pattern::Unknown => {
                return Err(invalid_argument(
                    "A specified event is not supported for notifications.",
                ));
            }
        }
    }
    if events.is_empty() {
        return Err(malformed());
    }
    let (prefix, suffix) = element.child("Filter").map_or(Ok((None, None)), parse_filter)?;
    let arn = element.required(arn)?.trim().to_owned();
    let target = String::new();
    Ok(Configuration { id, destination, arn, target, events, prefix, suffix })
}

fn parse_filter(filter: &Element) -> Result<(Option<String>, Option<String>)> {
    let (mut prefix, mut suffix) = (None, None);
    let keys = match filter.children() {
        [] => return Ok((None, None)),
        [keys] if keys.name() == "S3Key" => keys,
        _ => return Err(malformed()),
    };
    for rule in keys.children() {
        if rule.name() != "FilterRule" {
            return Err(malformed());
        }
        let value = rule.required("Value")?;
        if value.len() > KEY_BYTES_MAX {
            return Err(invalid_argument(
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
            ));
        }
        let name = rule.required("Name")?.trim().to_ascii_lowercase();
        let slot = match name.as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => {
                return Err(invalid_argument("filter rule name must be either prefix or suffix"));
            }
        };
        if slot.is_some() {
            return Err(invalid_argument(format!(
                "Cannot specify more than one {name} rule in a filter."
            )));
        }
        *slot = Some(value.to_owned());
    }
    Ok((prefix, suffix))
}

fn resolve_all(configurations: &mut [Configuration], targets: &[TargetConfig]) -> Result<()> {
    let mut failed = None;
    for configuration in configurations {
        match target::resolve(targets, configuration.destination, &configuration.arn) {
            Some(target) => configuration.target.clone_from(&target.name),
            None => {
                let error: S3Error = failed.take().unwrap_or_else(|| {
                    invalid_argument("Unable to validate the following destination configurations")
                });
                failed = Some(
                    error
                        .field("ArgumentName", configuration.arn.as_str())
                        .field("ArgumentValue", "The destination is not a configured target"),
                );
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Events go to one configuration, as in S3; but a cache that is purged stands beside whoever else is told.
fn check_together(configurations: &[Configuration], targets: &[TargetConfig]) -> Result<()> {
    let purges = |name: &str| {
        let is_it = |target: &&TargetConfig| target.name == name;
        targets.iter().find(is_it).is_some_and(|target| matches!(target.kind, TargetKind::Purge(_)))
    };
    for (at, one) in configurations.iter().enumerate() {
        for other in &configurations[..at] {
            if one.id == other.id {
                return Err(invalid_argument(
                    "Same ID used for multiple configurations. IDs must be unique.",
                ));
            }
            let may_overlap =
                one.target != other.target && (purges(&one.target) || purges(&other.target));
            if one.overlaps(other) && !may_overlap {
                return Err(invalid_argument(
                    "Configurations overlap. Configurations on the same bucket cannot share a \
                     common event type.",
                ));
            }
        }
    }
    Ok(())
}

/// The document as GetBucketNotificationConfiguration answers it.
pub fn write(notification: &Notification) -> Vec<u8> {
    Writer::document("NotificationConfiguration", |writer| {
        for configuration in &notification.configurations {
            write_one(writer, configuration);
        }
    })
}

fn write_one(writer: &mut Writer, configuration: &Configuration) {
    let kind =
        KINDS.into_iter().find(|(.., destination)| *destination == configuration.destination);
    let Some((name, arn, _)) = kind else { return };
    writer.element(name, |writer| {
        writer.text("Id", &configuration.id);
        writer.text(arn, &configuration.arn);
        configuration.events.iter().for_each(|event| writer.text("Event", event));
        let rules = [("prefix", &configuration.prefix), ("suffix", &configuration.suffix)];
        if rules.iter().all(|(_, value)| value.is_none()) {
            return;
        }
        writer.element("Filter", |writer| {
            writer.element("S3Key", |writer| {
                for (name, value) in rules {
                    let Some(value) = value else { continue };
                    writer.element("FilterRule", |writer| {
                        writer.text("Name", name);
                        writer.text("Value", value);
                    });
                }
            });
        });
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::purge::{Purge, Service};
    use super::*;

    fn parse(content: &str) -> Result<Notification> {
        let kind =
            TargetKind::Webhook { url: "http://127.0.0.1:1/".to_owned(), authorization: None };
        let purge = |name: &str| TargetConfig {
            name: name.to_owned(),
            kind: TargetKind::Purge(Purge {
                service: Service::Http,
                url: "http://127.0.0.1:1/".to_owned(),
                method: "PURGE".to_owned(),
                public_url: None,
                authorization: None,
            }),
        };
        let hook = TargetConfig { name: "hook".to_owned(), kind };
        let targets = [hook, purge("edge-1"), purge("edge-2")];
        let document = format!("<NotificationConfiguration>{content}</NotificationConfiguration>");
        let mut made = 0;
        super::parse(document.as_bytes(), &targets, || {
            made += 1;
            format!("made-{made}")
        })
    }

    const PUT: &str = "<Event>s3:ObjectCreated:Put</Event>";

    fn queue(content: &str) -> String {
        let arn = "<Queue>arn:ringfort:sqs::hook:webhook</Queue>";
        format!("<QueueConfiguration>{arn}{content}</QueueConfiguration>")
    }

    fn filter(rules: &[(&str, &str)]) -> String {
        let rule = |(name, value): &(&str, &str)| {
            format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
        };
        let rules: String = rules.iter().map(rule).collect();
        format!("<Filter><S3Key>{rules}</S3Key></Filter>")
    }

    fn check(configuration: &str) {
        let notification = parse(configuration).unwrap();
        let written = String::from_utf8(write(&notification)).unwrap();
        assert!(written.contains(configuration), "{configuration}\n{written}");
        assert_eq!(notification.configurations[0].target, "hook");
        let json = serde_json::to_vec(&notification).unwrap();
        assert_eq!(serde_json::from_slice::<Notification>(&json).unwrap(), notification);
    }

    #[test]
    fn documents_come_back_as_they_were_given() {
        let rules = filter(&[("prefix", "in/"), ("suffix", ".jpg")]);
        check(&format!(
            "<QueueConfiguration><Id>q</Id><Queue>arn:ringfort:sqs::hook:webhook</Queue>{PUT}\
             <Event>s3:ObjectRemoved:*</Event>{rules}</QueueConfiguration>"
        ));
        check(&format!(
            "<TopicConfiguration><Id>t</Id><Topic>arn:aws:sns:us-east-1:918213587287:hook</Topic>\
             {PUT}</TopicConfiguration>"
        ));
        check(&format!(
            "<CloudFunctionConfiguration><Id>f</Id><CloudFunction>\
             arn:aws:lambda:us-east-1:1:function:hook</CloudFunction>{PUT}\
             </CloudFunctionConfiguration>"
        ));
    }

    #[test]
    fn nothing_asked_for_is_no_configuration() {
        assert_eq!(parse("").unwrap(), Notification::default());
        assert_eq!(parse("<IsAWSConfig>false</IsAWSConfig>").unwrap(), Notification::default());
        let two = queue(PUT) + &queue("<Event>s3:ObjectTagging:*</Event>");
        let ids: Vec<_> = parse(&two).unwrap().configurations.into_iter().map(|c| c.id).collect();
        assert_eq!(ids, ["made-1", "made-2"]);
    }

    #[test]
    fn caches_are_purged_beside_others_that_are_told() {
        let to = |arn: &str| queue(PUT).replace("hook:webhook", arn);
        parse(&(queue(PUT) + &to("edge-1:purge") + &to("edge-2:purge"))).unwrap();
        let twice = to("edge-1:purge") + &to("edge-1:purge");
        refused(&twice, Code::InvalidArgument, "Configurations overlap");
    }

    #[track_caller]
    fn refused(content: &str, code: Code, message: &str) {
        let error = parse(content).unwrap_err();
        assert_eq!(error.code, code, "{content}");
        assert!(error.message.contains(message), "{content}: {}", error.message);
    }

    #[test]
    fn documents_that_are_refused() {
        refused("<Other/>", Code::MalformedXML, "");
        refused(&queue(""), Code::MalformedXML, "");
        refused(&queue(&format!("{PUT}<Topic>x</Topic>")), Code::MalformedXML, "");
        refused(&queue(&format!("{PUT}<Filter><Key/></Filter>")), Code::MalformedXML, "");
        refused(&format!("<QueueConfiguration>{PUT}</QueueConfiguration>"), Code::MalformedXML, "");
        refused("<IsAWSConfig>true</IsAWSConfig>", Code::MalformedXML, "");
        let unsupported = "A specified event is not supported";
        refused(&queue("<Event>s3:Everything</Event>"), Code::InvalidArgument, unsupported);
        refused(&queue("<Event>s3:Replication:*</Event>"), Code::NotImplemented, "never happens");
        refused("<EventBridgeConfiguration/>", Code::NotImplemented, "EventBridge");
        let arn = queue(PUT).replace("::hook:", "::other:");
        refused(&arn, Code::InvalidArgument, "Unable to validate the following destination");
        refused(&queue(&format!("{PUT}{PUT}")), Code::InvalidArgument, "repeated");
        let with = |rules: &[(&str, &str)]| queue(&format!("{PUT}{}", filter(rules)));
        let name = "filter rule name must be either prefix or suffix";
        refused(&with(&[("infix", "a")]), Code::InvalidArgument, name);
        let twice = with(&[("prefix", "a"), ("Prefix", "b")]);
        refused(&twice, Code::InvalidArgument, "more than one prefix rule");
        refused(&with(&[("suffix", &"a".repeat(1025))]), Code::InvalidArgument, "1024 bytes");
        refused(&(queue(PUT) + &queue(PUT)), Code::InvalidArgument, "Configurations overlap");
        let named = |event| queue(&format!("<Id>i</Id><Event>{event}</Event>"));
        let ids = named("s3:ObjectAcl:Put") + &named("s3:ObjectCreated:Put");
        refused(&ids, Code::InvalidArgument, "IDs must be unique");
        let long = format!("<Id>{}</Id>{PUT}", "i".repeat(256));
        refused(&queue(&long), Code::InvalidArgument, "ID");
        let one = |at: usize| with(&[("prefix", &format!("{at:03}/"))]);
        assert!(parse(&(0..100).map(one).collect::<String>()).is_ok());
        refused(&(0..101).map(one).collect::<String>(), Code::InvalidArgument, "Too many");
    }
}
