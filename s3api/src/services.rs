//! What one core's requests share beside the engine.
//!
//! Not here: what the parts do; each has a file of its own.

use crate::admin::api_keys::KeyUses;
use crate::admin::credentials::UserChanges;
use crate::admin::presigned_urls::PresignedUrls;
use crate::audit::Audit;
use crate::encryption::Encryption;
use crate::holdings::Holdings;
use crate::mfa::Mfa;
use crate::settings::SettingsCache;
use crate::throttle::Throttle;
use crate::workers::access_log::AccessLog;
use crate::workers::lifecycle::Day;
use crate::workers::notify::EventQueue;
use std::sync::Arc;

/// One core's services.
#[derive(Debug)]
pub struct Services {
    pub settings: SettingsCache,
    /// What limits of users and buckets are judged by.
    pub throttle: Throttle,
    /// What a user's buckets may take.
    pub holdings: Holdings,
    pub user_changes: UserChanges,
    /// When each key of the management API was used last.
    pub key_uses: KeyUses,
    /// Those that the management API made.
    pub presigned_urls: PresignedUrls,
    pub encryption: Encryption,
    /// The root's device, if there is one; shared by all cores.
    pub mfa: Option<Arc<Mfa>>,
    /// How long a day of a lifecycle lasts.
    pub day: Day,
    pub events: EventQueue,
    pub access_log: AccessLog,
    /// Shared by all cores.
    pub audit: Option<Audit>,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            settings: SettingsCache::default(),
            throttle: Throttle::default(),
            holdings: Holdings::default(),
            user_changes: UserChanges::default(),
            key_uses: KeyUses::default(),
            presigned_urls: PresignedUrls::default(),
            encryption: Encryption::default(),
            mfa: None,
            day: Day::REAL,
            events: EventQueue::default(),
            access_log: AccessLog::default(),
            audit: None,
        }
    }
}
