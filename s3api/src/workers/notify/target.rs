//! The targets that the operator configured, and the ARNs by which configurations name them.
//!
//! Invariants: a target's name is unique whatever its kind, so that it can stand in an ARN alone;
//! credentials of targets are never shown (`Debug` leaves them out).

use super::Destination;
use super::purge::Purge;
use std::fmt;

/// Where events can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    pub name: String,
    pub kind: TargetKind,
}

#[derive(Clone, PartialEq, Eq)]
pub enum TargetKind {
    /// Each event is posted to a URL.
    Webhook {
        url: String,
        /// The value of the `Authorization` header.
        authorization: Option<String>,
    },
    /// Each event is appended to a list.
    Redis {
        url: String,
        /// The list's key.
        list: String,
    },
    /// Each event makes a cache forget the object.
    Purge(Purge),
}

impl TargetKind {
    /// The last word of its ARNs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Redis { .. } => "redis",
            Self::Purge(_) => "purge",
        }
    }

    /// Where it is, without anything secret.
    fn place(&self) -> String {
        let (Self::Webhook { url, .. } | Self::Redis { url, .. } | Self::Purge(Purge { url, .. })) =
            self;
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}")
    }
}

impl fmt::Debug for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name(), self.place())
    }
}

/// Whether a name can stand in ARNs, in keys of the queue and in labels of metrics.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The target that an ARN names: `arn:ringfort:sqs::NAME:webhook`, or in the form of AWS's own services
/// with the target's name in the place of the resource's: `arn:aws:sns:REGION:ACCOUNT:NAME`,
/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME`. The service must be that of the destination.
pub fn resolve<'a>(
    targets: &'a [TargetConfig],
    destination: Destination,
    arn: &str,
) -> Option<&'a TargetConfig> {
    let parts: Vec<&str> = arn.split(':').collect();
    let service = match destination {
        Destination::Topic => "sns",
        Destination::Queue => "sqs",
        Destination::Function => "lambda",
    };
    match parts.as_slice() {
        ["arn", _, found, ..] if *found != service => None,
        ["arn", "ringfort", _, _, name, kind] => {
            find(targets, name).filter(|target| target.kind.name() == *kind)
        }
        ["arn", _, _, _, _, name] => find(targets, name),
        ["arn", _, "lambda", _, _, "function", name] => find(targets, name),
        _ => None,
    }
}

fn find<'a>(targets: &'a [TargetConfig], name: &str) -> Option<&'a TargetConfig> {
    targets.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<TargetConfig> {
        let webhook = TargetKind::Webhook {
            url: "https://user:secret@host.test:8080/path?token=secret".to_owned(),
            authorization: Some("Bearer secret".to_owned()),
        };
        let redis =
            TargetKind::Redis { url: "redis://:secret@db/0".to_owned(), list: "l".to_owned() };
        vec![
            TargetConfig { name: "hook".to_owned(), kind: webhook },
            TargetConfig { name: "list".to_owned(), kind: redis },
        ]
    }

    #[test]
    fn arns_name_targets() {
        let check = |destination, arn, expected: Option<&str>| {
            let targets = targets();
            let found = resolve(&targets, destination, arn).map(|target| target.name.as_str());
            assert_eq!(found, expected, "{arn}");
        };
        use Destination::{Function, Queue, Topic};
        check(Queue, "arn:ringfort:sqs::hook:webhook", Some("hook"));
        check(Topic, "arn:ringfort:sns::hook:webhook", Some("hook"));
        check(Function, "arn:ringfort:lambda::hook:webhook", Some("hook"));
        check(Queue, "arn:ringfort:sqs:us-east-1:list:redis", Some("list"));
        check(Queue, "arn:ringfort:sqs::hook:redis", None);
        check(Topic, "arn:ringfort:sqs::hook:webhook", None);
        check(Topic, "arn:aws:sns:us-east-1:918213587287:hook", Some("hook"));
        check(Queue, "arn:aws-cn:sqs:cn-north-1:1:list", Some("list"));
        check(Function, "arn:aws:lambda:us-east-1:1:function:hook", Some("hook"));
        check(Function, "arn:aws:lambda:us-east-1:1:function:hook:1", None);
        check(Queue, "arn:aws:sqs:us-east-1:1:other", None);
        for nothing in ["", "hook", "arn", "arn:aws:sqs", "arn:aws:sqs:::", "urn:aws:sqs:::hook"] {
            check(Queue, nothing, None);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", targets());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(
            shown.contains("https://host.test:8080") && shown.contains("redis://db"),
            "{shown}"
        );
    }

    #[test]
    fn names() {
        for name in ["a", "Web-hook_1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "a/b", "a:b", "a=b", "ü", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
