//! Who owns the objects of a bucket, and whether ACLs count there.
//!
//! A bucket for which nobody has said it is as AWS has buckets that are older than ownership controls:
//! ACLs count, and an object belongs to who writes it. Clients that create buckets with ACLs, as all did
//! once, so find what they expect; without a grant both are equally private.
//!
//! Source: AWS, "Controlling ownership of objects and disabling ACLs for your bucket".

use crate::error::Result;
use crate::settings::{BucketSetting, tag};
use crate::xml::{Element, Writer, malformed};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// All belongs to the bucket's owner, and there are no ACLs.
    BucketOwnerEnforced,
    /// What is written with the ACL `bucket-owner-full-control` belongs to the bucket's owner.
    BucketOwnerPreferred,
    ObjectWriter,
}

impl BucketSetting for Ownership {
    const TAG: u16 = tag::OWNERSHIP;
}

impl Ownership {
    const ALL: [Self; 3] =
        [Self::BucketOwnerEnforced, Self::BucketOwnerPreferred, Self::ObjectWriter];

    /// Of a bucket for which nobody has said it.
    pub const UNSAID: Self = Self::ObjectWriter;

    pub fn name(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ownership| ownership.name() == name)
    }

    pub fn has_acls(self) -> bool {
        self != Self::BucketOwnerEnforced
    }

    /// Reads an `OwnershipControls` document.
    pub fn parse(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, "OwnershipControls")?;
        let [rule] = root.children() else { return Err(malformed()) };
        let [ownership] = rule.children() else { return Err(malformed()) };
        if rule.name() != "Rule" || ownership.name() != "ObjectOwnership" {
            return Err(malformed());
        }
        Self::of_name(ownership.text().trim()).ok_or_else(malformed)
    }

    pub fn document(self) -> Vec<u8> {
        Writer::document("OwnershipControls", |writer| {
            writer.element("Rule", |writer| writer.text("ObjectOwnership", self.name()));
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn documents() {
        for ownership in Ownership::ALL {
            assert_eq!(Ownership::parse(&ownership.document()).unwrap(), ownership);
        }
        let rule = |text: &str| format!("<Rule><ObjectOwnership>{text}</ObjectOwnership></Rule>");
        for text in [
            String::new(),
            "<Rule/>".into(),
            rule("Nobody"),
            rule("ObjectWriter").repeat(2),
            "<Rule><Other>ObjectWriter</Other></Rule>".into(),
        ] {
            let document = format!("<OwnershipControls>{text}</OwnershipControls>");
            assert!(Ownership::parse(document.as_bytes()).is_err(), "{document}");
        }
    }
}
