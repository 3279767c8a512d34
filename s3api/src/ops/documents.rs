//! What operations read of the documents in their bodies, without the operations: for what hands all of them the
//! same bytes (`fuzz`).
//!
//! Not here: what a document means, which is where its operation is.

use super::request_payment::RequestPayment;
use super::{bucket_versioning, buckets, complete_upload, delete_objects, object_lock};
use crate::access::acl::{Acl, Directory};
use crate::access::ownership::Ownership;
use crate::access::public_access_block::PublicAccessBlock;
use crate::cors::CorsConfiguration;
use crate::encryption::bucket::BucketEncryption;
use crate::error::Result;
use crate::tags::{TagSet, Tagged};
use crate::website::WebsiteConfiguration;
use crate::workers::notify::target::{TargetConfig, TargetKind};
use crate::workers::{access_log, lifecycle, notify};
use crate::xml::Element;

/// Reads a document. Gives the document in which a GET shows again what was understood, where there is one.
pub type Reader = fn(&[u8]) -> Result<Option<Vec<u8>>>;

/// Every document that a body may be, by its root.
pub const READERS: &[(&str, Reader)] = &[
    ("AccessControlPolicy", |document| {
        Ok(Some(Acl::parse(document, OWNER, &Nobody)?.document(OWNER, &Nobody)))
    }),
    ("BucketLoggingStatus", |document| {
        Ok(Some(access_log::document::write(access_log::document::parse(document)?.as_ref())))
    }),
    ("CompleteMultipartUpload", |document| complete_upload::parse_parts(document).map(|_| None)),
    ("CORSConfiguration", |document| {
        Ok(Some(CorsConfiguration::parse_document(document)?.document()))
    }),
    ("CreateBucketConfiguration", |document| buckets::read_configuration(document).map(|_| None)),
    ("Delete", |document| {
        delete_objects::parse_entries(&Element::parse(document, "Delete")?).map(|_| None)
    }),
    ("LegalHold", |document| object_lock::parse_legal_hold(document).map(|_| None)),
    ("LifecycleConfiguration", |document| {
        let lifecycle = lifecycle::document::parse(document, numbered())?;
        Ok(Some(lifecycle::document::write(&lifecycle)))
    }),
    ("NotificationConfiguration", |document| {
        let notification = notify::document::parse(document, &targets(), numbered())?;
        Ok(Some(notify::document::write(&notification)))
    }),
    ("ObjectLockConfiguration", |document| {
        let setting = object_lock::parse_configuration(document)?;
        Ok(Some(object_lock::write_configuration(&setting)))
    }),
    ("OwnershipControls", |document| Ok(Some(Ownership::parse(document)?.document()))),
    ("PublicAccessBlockConfiguration", |document| {
        Ok(Some(PublicAccessBlock::parse(document)?.document()))
    }),
    ("RequestPaymentConfiguration", |document| {
        Ok(Some(RequestPayment::parse_document(document)?.document()))
    }),
    ("Retention", |document| object_lock::parse_retention(document, 0).map(|_| None)),
    ("ServerSideEncryptionConfiguration", |document| {
        Ok(Some(BucketEncryption::parse(document)?.write()))
    }),
    ("Tagging", |document| Ok(Some(TagSet::parse_document(document, Tagged::Bucket)?.document()))),
    ("VersioningConfiguration", |document| bucket_versioning::parse(document).map(|_| None)),
    ("WebsiteConfiguration", |document| {
        Ok(Some(WebsiteConfiguration::parse_document(document)?.document()))
    }),
];

/// Whose the thing is that an `AccessControlPolicy` is put to.
const OWNER: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";

/// One user, called `owner`.
struct Nobody;

impl Directory for Nobody {
    fn name_of(&self, id: &str) -> Option<String> {
        (id == OWNER).then(|| "owner".to_owned())
    }

    fn id_of_name(&self, name: &str) -> Option<String> {
        (name == "owner").then(|| OWNER.to_owned())
    }
}

/// Names for rules that have none.
fn numbered() -> impl FnMut() -> String {
    let mut number = 0;
    move || {
        number += 1;
        format!("made-{number}")
    }
}

fn targets() -> Vec<TargetConfig> {
    let kind = TargetKind::Webhook { url: "http://localhost/".to_owned(), authorization: None };
    vec![TargetConfig { name: "hook".to_owned(), kind }]
}
