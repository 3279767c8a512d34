//! Server-side encryption: the keys, the form of encrypted bytes, and what requests say of both.
//!
//! Invariants: no key is stored unwrapped, logged, shown by `Debug` or in an error; nothing that was
//! encrypted is given out before its tag has matched.
//!
//! What it does not do: it hides content from who reads the drives, and finds content that was
//! changed, exchanged or cut off. Names, sizes, times, tags and user metadata are stored as they are,
//! and who can write to the drives can put back an older state of an object as a whole.

pub mod blocks;
pub mod bucket;
pub mod envelope;
pub mod headers;
pub mod kms;
pub mod master;
pub mod opener;
pub mod ring;
pub mod sealer;
pub mod secret;

use master::MasterKeys;
use std::sync::Arc;

/// What a server was told of encryption; the same on every core.
#[derive(Debug, Clone, Default)]
pub struct Encryption {
    pub masters: Arc<MasterKeys>,
    /// Customers' keys are accepted without TLS.
    pub customer_keys_over_http: bool,
}
