//! What one core's requests share beside the engine.
//!
//! Not here: what the parts do; each has a file of its own.

use crate::encryption::Encryption;
use crate::settings::SettingsCache;

/// One core's services.
#[derive(Debug, Default)]
pub struct Services {
    pub settings: SettingsCache,
    pub encryption: Encryption,
}
