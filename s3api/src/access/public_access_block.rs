//! What keeps a bucket from being public, whatever its policy and ACLs say.
//!
//! A bucket has none of it until somebody asks for it: clients that make a bucket public with its
//! creation, as the oldest of them do, find what they expect. Without a grant it is private all the same.
//!
//! Source: AWS, "Blocking public access to your Amazon S3 storage".

use crate::error::Result;
use crate::settings::{BucketSetting, tag};
use crate::xml::{Element, Writer, malformed};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAccessBlock {
    /// No public ACL can be given.
    pub block_public_acls: bool,
    /// Public grants of ACLs do not count.
    pub ignore_public_acls: bool,
    /// No public policy can be given.
    pub block_public_policy: bool,
    /// Where the policy is public, it lets nobody in who has no access key.
    pub restrict_public_buckets: bool,
}

impl BucketSetting for PublicAccessBlock {
    const TAG: u16 = tag::PUBLIC_ACCESS_BLOCK;
}

impl PublicAccessBlock {
    /// Reads a `PublicAccessBlockConfiguration`; what it does not name is off.
    pub fn parse(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, "PublicAccessBlockConfiguration")?;
        let mut block = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for child in root.children() {
            let name = child.name();
            let switch = match name {
                "BlockPublicAcls" => &mut block.block_public_acls,
                "IgnorePublicAcls" => &mut block.ignore_public_acls,
                "BlockPublicPolicy" => &mut block.block_public_policy,
                "RestrictPublicBuckets" => &mut block.restrict_public_buckets,
                _ => return Err(malformed()),
            };
            if seen.contains(&name) {
                return Err(malformed());
            }
            seen.push(name);
            *switch = match child.text().trim() {
                text if text.eq_ignore_ascii_case("true") => true,
                text if text.eq_ignore_ascii_case("false") => false,
                _ => return Err(malformed()),
            };
        }
        Ok(block)
    }

    pub fn document(self) -> Vec<u8> {
        Writer::document("PublicAccessBlockConfiguration", |writer| {
            writer.value("BlockPublicAcls", self.block_public_acls);
            writer.value("IgnorePublicAcls", self.ignore_public_acls);
            writer.value("BlockPublicPolicy", self.block_public_policy);
            writer.value("RestrictPublicBuckets", self.restrict_public_buckets);
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(content: &str) -> Result<PublicAccessBlock> {
        let root = "PublicAccessBlockConfiguration";
        PublicAccessBlock::parse(format!("<{root}>{content}</{root}>").as_bytes())
    }

    #[test]
    fn documents() {
        let some = PublicAccessBlock {
            ignore_public_acls: true,
            restrict_public_buckets: true,
            ..PublicAccessBlock::default()
        };
        assert_eq!(PublicAccessBlock::parse(&some.document()).unwrap(), some);
        assert_eq!(parse("").unwrap(), PublicAccessBlock::default());
        assert!(parse("<BlockPublicAcls>TRUE</BlockPublicAcls>").unwrap().block_public_acls);
        let twice = "<BlockPublicAcls>true</BlockPublicAcls>".repeat(2);
        for text in ["<BlockPublicAcls/>", "<BlockPublicAcls>yes</BlockPublicAcls>", "<X/>", &twice]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
