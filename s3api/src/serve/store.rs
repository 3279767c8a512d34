//! The application that the server runs in earnest: the engine of each core, and S3 on top of it.
//!
//! Not here: start and stop themselves (`serve`), and what requests mean (`service`).

use std::sync::Arc;

use http::{NoBody, RequestBody, RequestHead, Response, Service, Stream};

use super::{Application, CoreContext, Opened, Plan};
use crate::config::Config;
use crate::metrics::Sample;
use crate::readiness::Readiness;
use crate::root_credentials::RootCredentials;
use crate::start_error::StartError;

/// S3 over one engine per core.
#[derive(Debug, Clone)]
pub struct S3Application {
    #[expect(dead_code, reason = "read when the store is opened")]
    settings: Arc<Settings>,
}

/// What every core opens with.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    pub plan: Plan,
    pub root: RootCredentials,
}

impl S3Application {
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// SEAM: opens this core's engine and builds the S3 service over it. Until the engine lands,
    /// requests are told that there is no store.
    async fn open_store(&self, core: &CoreContext) -> Result<(NoStore, Opened), StartError> {
        Ok((NoStore { readiness: core.readiness.clone() }, Opened::default()))
    }
}

impl Application for S3Application {
    type Service = NoStore;

    async fn open(&self, core: CoreContext) -> Result<(Self::Service, Opened), StartError> {
        self.open_store(&core).await
    }

    fn samples(&self, _service: &Self::Service) -> Vec<Sample> {
        Vec::new()
    }

    async fn close(&self, _service: &Self::Service) -> Result<(), StartError> {
        Ok(())
    }
}

/// Answers health, and 503 to everything else.
#[derive(Debug)]
pub struct NoStore {
    readiness: Readiness,
}

impl<S: Stream> Service<S> for NoStore {
    type Body = NoBody;

    async fn call(&self, head: &RequestHead, _: &mut RequestBody<'_, S>) -> Response<NoBody> {
        let status = match head.target() {
            "/-/live" => 200,
            "/-/ready" if self.readiness.is_ready() => 200,
            _ => 503,
        };
        Response::new(status)
    }

    fn error_body(&self, status: u16, _reason: &str) -> Response<NoBody> {
        Response::new(status)
    }
}
