//! `/api/v1/shards`: every shard, what it holds and what it is doing; and the scrubbing of each core's.
//!
//! `state` is null for a shard whose drive is offline.

use engine::platform::Platform;
use engine::{ShardState, ShardStatus, ShardWork};
use serde_json::{Value, json};

use super::api::ApiAnswer;
use super::management::Management;

pub(super) async fn list<P: Platform>(store: &Management<'_, P>) -> Result<ApiAnswer, ApiAnswer> {
    let statuses = store.engine.shard_statuses().await?;
    let shards: Vec<Value> = statuses.iter().map(describe).collect();
    let scrub = store.engine.scrub_status();
    let answer = json!({
        "shards": shards,
        "scrub": {
            "cores_running": scrub.running,
            "percent": scrub.percent(),
            "passes": scrub.passes,
            "findings_total": scrub.findings_total,
        },
    });
    Ok(ApiAnswer::json(200, answer))
}

fn describe(status: &ShardStatus) -> Value {
    json!({
        "shard": status.shard,
        "core": status.core,
        "data_dir": status.data_dir.display().to_string(),
        "is_online": status.state.is_some(),
        "state": status.state.as_ref().map(describe_state),
    })
}

fn describe_state(state: &ShardState) -> Value {
    json!({
        "segments": state.segments,
        "segments_free": state.segments_free,
        "segments_log": state.segments_log,
        "segments_slab": state.segments_slab,
        "index_entries": state.index_entries,
        "index_bytes": state.index_bytes,
        "log_capacity_bytes": state.log_capacity_bytes,
        "log_live_bytes": state.log_live_bytes,
        "available_bytes": state.available_bytes,
        "pins": state.pins,
        "work": match state.work {
            ShardWork::None => "none",
            ShardWork::Checkpoint => "checkpoint",
            ShardWork::Compaction => "compaction",
            ShardWork::Segments => "segments",
        },
        "is_read_only": state.is_read_only,
    })
}
