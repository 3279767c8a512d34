//! PutBucketCors, GetBucketCors, DeleteBucketCors, and the preflights that ask for what they allow.

use super::{Answer, Body, Context, configuration_document, header_text, xml_answer};
use crate::auth::payload::RawBody;
use crate::cors::{self, CorsConfiguration, Preflight};
use crate::error::{Code, Result, S3Error};
use crate::route::Route;
use crate::services::Services;
use crate::system;
use engine::platform::Platform;
use engine::{Bucket, Engine};
use http::{RequestHead, Response};
use std::sync::Arc;

pub(super) async fn put_bucket_cors<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = configuration_document(context, body).await?;
    let configuration = CorsConfiguration::parse_document(&document)?;
    context.put_setting(&bucket, &configuration).await?;
    Ok(Response::new(200))
}

pub(super) fn get_bucket_cors<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    match context.setting::<CorsConfiguration>(&bucket)? {
        Some(configuration) => Ok(xml_answer(configuration.document())),
        None => Err(S3Error::from(Code::NoSuchCORSConfiguration).field("BucketName", &bucket.name)),
    }
}

pub(super) async fn delete_bucket_cors<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    context.remove_setting::<CorsConfiguration>(&bucket).await?;
    Ok(Response::new(204))
}

/// What a question across origins needs of a request: nobody signs a preflight, and the answer to a
/// request that was refused is to be readable too.
#[derive(Debug, Clone, Copy)]
pub struct CrossOrigin<'a, P: Platform> {
    pub engine: &'a Engine<P>,
    pub services: &'a Services,
    pub head: &'a RequestHead,
    pub route: &'a Route,
}

impl<P: Platform> CrossOrigin<'_, P> {
    /// A browser's question before its request: may it be sent?
    pub fn preflight(&self) -> Result<Answer<P>> {
        let request = Preflight::parse(|name| header_text(self.head, name))?;
        let forbidden =
            |reason| cors::forbidden(reason, request.method, !self.route.key.is_empty());
        let Some(bucket) = self.bucket() else {
            self.engine.require_catalog()?;
            return Err(forbidden(cors::NO_BUCKET));
        };
        let configuration = self.services.settings.get::<CorsConfiguration>(&bucket)?;
        let configuration = configuration.ok_or_else(|| forbidden(cors::NOT_ENABLED))?;
        let headers =
            configuration.preflight(&request).ok_or_else(|| forbidden(cors::NOT_ALLOWED))?;
        let mut answer = Response::new(200);
        headers.iter().for_each(|(name, value)| answer.header(name, value.as_bytes()));
        answer.header("Vary", cors::VARY);
        Ok(answer)
    }

    /// Adds to an answer what lets a page of another origin read it, errors included.
    pub fn grant(&self, answer: &mut Answer<P>) {
        let (Some(origin), Some(bucket)) = (header_text(self.head, "origin"), self.bucket()) else {
            return;
        };
        // What is stored and cannot be read was logged; the answer then is what it is without.
        let found = self.services.settings.get::<CorsConfiguration>(&bucket);
        let Ok(Some(configuration)) = found else { return };
        if let Some(headers) = configuration.actual(origin, self.head.method_name()) {
            headers.iter().for_each(|(name, value)| answer.header(name, value.as_bytes()));
        }
        if answer.get_header("vary").is_none() {
            answer.header("Vary", cors::VARY);
        }
    }

    fn bucket(&self) -> Option<Arc<Bucket>> {
        let name = &self.route.bucket;
        self.engine.catalog().bucket(name).filter(|_| !system::is_entry(name)).cloned()
    }
}
