//! Who asks, as policies and ACLs know them.
//!
//! Not here: how they prove it (`auth`), where users are kept (`users`).

use crate::xml::Writer;
use sha2::{Digest, Sha256};
use std::rc::Rc;
use std::sync::LazyLock;

pub const CANONICAL_ID_DIGITS: usize = 64;
pub const ACCOUNT_DIGITS: usize = 12;

/// Someone with an access key, who may own buckets and objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The canonical id: 64 hex digits.
    pub id: String,
    /// As documents show them, and ARNs name them.
    pub display_name: String,
    pub access_key: String,
}

impl Owner {
    /// The owner that root's access key stands for.
    pub fn of_access_key(access_key: &str) -> Self {
        Self {
            id: hex::encode(Sha256::digest(access_key.as_bytes())),
            display_name: access_key.to_owned(),
            access_key: access_key.to_owned(),
        }
    }

    /// As S3's documents show it.
    pub fn write(&self, writer: &mut Writer, element: &str) {
        writer.element(element, |writer| {
            writer.text("ID", &self.id);
            writer.text("DisplayName", &self.display_name);
        });
    }
}

/// As whom things are done by nobody in particular: the id that AWS has for it.
static NOBODY: LazyLock<Owner> = LazyLock::new(|| Owner {
    id: "65a011a29cdf8ec533ec3d1ccaae921c".to_owned(),
    display_name: String::new(),
    access_key: String::new(),
});

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The operator: may do everything that no bucket policy denies.
    Root(Rc<Owner>),
    User(Rc<Owner>),
    Anonymous,
}

impl Subject {
    /// None without an access key.
    pub fn person(&self) -> Option<&Rc<Owner>> {
        match self {
            Self::Root(person) | Self::User(person) => Some(person),
            Self::Anonymous => None,
        }
    }

    /// As what they own things, and are shown in documents.
    pub fn owner(&self) -> &Owner {
        self.person().map_or(&*NOBODY, |person| person)
    }

    pub fn is_root(&self) -> bool {
        matches!(self, Self::Root(_))
    }

    /// Whether something that a canonical id owns is theirs.
    pub fn is(&self, canonical_id: &str) -> bool {
        self.person().is_some_and(|person| person.id == canonical_id)
    }

    /// As `aws:PrincipalArn` has it.
    pub fn arn(&self, account: &str) -> Option<String> {
        match self {
            Self::Root(_) => Some(format!("arn:aws:iam::{account}:root")),
            Self::User(user) => Some(format!("arn:aws:iam::{account}:user/{}", user.display_name)),
            Self::Anonymous => None,
        }
    }
}

/// The number of the one account of a server: 12 digits that follow from root's canonical id.
pub fn account_number(root_id: &str) -> String {
    let digest = Sha256::digest(format!("account of {root_id}"));
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{:012}", number % 1_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_twelve_digits() {
        let number = account_number(&"a".repeat(64));
        assert_eq!(number.len(), ACCOUNT_DIGITS);
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()));
    }
}
