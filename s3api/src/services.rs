//! What one core's requests share beside the engine.
//!
//! Not here: what the parts do; each has a file of its own.

use crate::encryption::Encryption;
use crate::mfa::Mfa;
use crate::settings::SettingsCache;
use std::sync::Arc;

/// One core's services.
#[derive(Debug, Default)]
pub struct Services {
    pub settings: SettingsCache,
    pub encryption: Encryption,
    /// The root's device, if there is one; shared by all cores.
    pub mfa: Option<Arc<Mfa>>,
}
