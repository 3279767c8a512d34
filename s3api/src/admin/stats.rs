//! `/api/v1/stats`: how much there is of everything.
//!
//! Counted from what each shard keeps, a page of buckets at a time, so that its cost follows the number
//! of buckets and not that of objects. Objects and bytes are those of all versions.

use engine::platform::Platform;
use engine::{BucketId, BucketUsage};
use serde_json::json;

use super::api::ApiAnswer;
use super::management::Management;
use super::present::human_size;
use crate::limits::LIST_ROWS_MAX;
use crate::system;

pub(super) async fn show<P: Platform>(store: &Management<'_, P>) -> Result<ApiAnswer, ApiAnswer> {
    store.engine.require_catalog()?;
    let catalog = store.engine.catalog();
    let buckets: Vec<BucketId> = catalog
        .buckets()
        .filter(|bucket| !system::is_entry(&bucket.name))
        .map(|bucket| bucket.id)
        .collect();
    let mut sum = BucketUsage::default();
    for page in buckets.chunks(LIST_ROWS_MAX) {
        let usages = store.engine.bucket_usages(page).await?;
        usages.into_iter().for_each(|usage| sum.add(usage));
    }
    let credentials = store.users().all()?.len();
    let stats = json!({
        "credentials": credentials,
        "buckets": buckets.len(),
        "objects": sum.objects,
        "total_storage": sum.bytes,
        "total_storage_human": human_size(sum.bytes),
        "active_multipart_uploads": sum.uploads,
        "active_presigned_urls": store.services.presigned_urls.count(store.now()),
        "delete_markers": sum.markers,
    });
    Ok(ApiAnswer::json(200, stats))
}
