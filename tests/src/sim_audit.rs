//! A whole look at a store while nobody else uses it: every object's bytes, listings against reads,
//! uploads and their parts, buckets.
//!
//! An audit after a stop decides, for good, what became of everything that had no answer.

use crate::model::ValueId;
use crate::sim_buckets;
use crate::sim_client::Client;
use crate::sim_uploads::Stage;
use crate::sim_versions;
use crate::sim_world::BUCKETS;
use engine::{Deletion, UploadInfo, UploadItem, UploadsQuery};
use std::collections::BTreeMap;

impl Client<'_> {
    /// Looks at everything once.
    pub async fn audit(&self) {
        for bucket in 0..BUCKETS.len() {
            let mut present = BTreeMap::new();
            let mut sure = true;
            for (key, name) in self.world.keys().iter().enumerate() {
                match self.read((bucket, key), 0).await {
                    Some(Some(id)) => {
                        present.insert(name.clone(), id);
                    }
                    Some(None) => {}
                    None => sure = false,
                }
            }
            if sure {
                self.audit_listing(bucket, &present).await;
            }
            self.audit_uploads(bucket).await;
        }
        self.audit_versions().await;
        self.audit_buckets();
        self.world.forget();
    }

    async fn audit_uploads(&self, bucket: usize) {
        let Some(id) = self.bucket((bucket, 0)) else {
            return;
        };
        let mut listed: Vec<UploadInfo> = Vec::new();
        let mut query = UploadsQuery { limit: 2, ..UploadsQuery::default() };
        loop {
            let page = match self.engine().list_uploads(id, &query).await {
                Ok(page) => page,
                Err(error) => {
                    self.world.judge_error(&error, "list uploads");
                    return;
                }
            };
            listed.extend(page.items.into_iter().filter_map(|item| match item {
                UploadItem::Upload(info) => Some(info),
                UploadItem::CommonPrefix(_) => None,
            }));
            let Some(last) = listed.last().filter(|_| page.truncated) else {
                break;
            };
            query.after = last.key.clone();
            query.after_id = Some(last.id);
        }
        match self.engine().bucket_usage(id).await {
            Ok(usage) if usage.uploads == listed.len() as u64 => {}
            Ok(usage) => {
                let (counted, found) = (usage.uploads, listed.len());
                self.world.fail(format!("{counted} uploads are counted, and {found} are listed"));
            }
            Err(error) => {
                self.world.judge_error(&error, "count uploads");
            }
        }
        let mut all_known = true;
        for info in &listed {
            all_known &= self.audit_upload(bucket, info).await;
        }
        for upload in self.world.uploads.borrow_mut().iter_mut() {
            let here = upload.place.0 == bucket;
            let is_listed = listed.iter().any(|info| Some(info.id) == upload.id);
            // One that nobody was told of may be among those that could not be read.
            if !here || is_listed || (upload.id.is_none() && !all_known) {
                continue;
            }
            match upload.stage {
                Stage::Open => self.world.fail(format!("an upload is gone: {upload:?}")),
                Stage::Ending(Some(op)) => {
                    let settled = self.world.register(upload.place, |r| r.settle_one(op, true));
                    self.world.check(settled, &format!("{upload:?} has ended"));
                }
                _ => {}
            }
            upload.stage = Stage::Ended;
        }
    }

    /// An upload that is listed must be one that may be open; from here on it is. False: it could not
    /// be read.
    async fn audit_upload(&self, bucket: usize, info: &UploadInfo) -> bool {
        let Some(id) = self.bucket((bucket, 0)) else {
            return false;
        };
        let attributes = match self.engine().upload(id, &info.key, info.id).await {
            Ok(found) => found.attributes,
            Err(error) => {
                self.world.judge_error(&error, "look at an upload");
                return false;
            }
        };
        let mark = attributes.get(..8).and_then(|bytes| bytes.try_into().ok());
        let mark = mark.map_or(0, ValueId::from_le_bytes);
        let parts = match self.engine().list_parts(id, &info.key, info.id, 0, 1000).await {
            Ok(page) => page.parts,
            Err(error) => {
                self.world.judge_error(&error, "list the parts of an upload");
                return false;
            }
        };
        let mut uploads = self.world.uploads.borrow_mut();
        let Some(upload) = uploads.iter_mut().find(|upload| upload.mark == mark) else {
            self.world.fail(format!("an upload that nobody began: {info:?}"));
            return true;
        };
        let right = self.world.key(upload.place) == info.key
            && upload.place.0 == bucket
            && upload.id.is_none_or(|id| id == info.id)
            && attributes == self.world.attributes(mark);
        if !right || upload.stage == Stage::Ended {
            self.world.fail(format!("an upload came back or changed: {info:?}, was {upload:?}"));
        }
        if let Stage::Ending(Some(op)) = upload.stage {
            let settled = self.world.register(upload.place, |r| r.settle_one(op, false));
            self.world.check(settled, &format!("{} has not ended", self.world.name(upload.place)));
        }
        upload.id = Some(info.id);
        upload.stage = Stage::Open;
        upload.judge_parts(self.world, &parts);
        true
    }

    fn audit_buckets(&self) {
        if self.engine().require_catalog().is_err() {
            return;
        }
        let catalog = self.engine().catalog();
        for name in sim_buckets::NAMES {
            let bucket = catalog.bucket(name);
            let seen = bucket.and_then(|bucket| sim_buckets::value_of(self.world, bucket));
            self.world.observe_bucket(name, seen);
        }
        for bucket in catalog.buckets() {
            let name = bucket.name.as_str();
            let is_fixed = BUCKETS.contains(&name) || name == sim_versions::BUCKET;
            if !is_fixed && !sim_buckets::NAMES.contains(&name) {
                self.world.fail(format!("a bucket that nobody made: {name}"));
            }
        }
    }

    /// Empties the fixed buckets; whether nothing is left in them.
    pub async fn clear(&self) -> bool {
        let mut errors = Vec::new();
        for bucket in 0..BUCKETS.len() {
            let Some(id) = self.bucket((bucket, 0)) else {
                return false;
            };
            for key in self.world.keys() {
                errors.extend(self.engine().delete(id, key, Deletion::NULL, None).await.err());
            }
            let open: Vec<_> = {
                let uploads = self.world.uploads.borrow();
                let open = uploads.iter().filter(|u| u.place.0 == bucket);
                open.filter(|u| u.stage == Stage::Open).map(|u| (u.place, u.id)).collect()
            };
            for (place, upload) in open {
                let Some(upload) = upload else {
                    continue;
                };
                let key = self.world.key(place);
                errors.extend(self.engine().abort_upload(id, key, upload).await.err());
            }
        }
        errors.extend(self.clear_versions().await);
        for error in &errors {
            self.world.judge_error(error, "clear");
        }
        errors.is_empty()
    }
}
