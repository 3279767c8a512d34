//! What the service manager is told (sd_notify(3)): that the server is ready, that it stops.
//!
//! Nothing is told where `NOTIFY_SOCKET` names nobody, and who cannot be told is logged: a server does not stop
//! for that.

use sd_notify::NotifyState;

use crate::serve::Started;

pub fn ready(started: &Started) {
    tell(&[NotifyState::Ready, NotifyState::Status(&started.to_string())]);
}

pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
