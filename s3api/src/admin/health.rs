//! What `/health` says: one JSON object, the same whether all is well or not.
//!
//! Pure. Numbers are for everybody; causes and directories, which tell of the server's inside, only for
//! who has the key.

use engine::Health;
use serde_json::{Value, json};

pub(super) fn page(health: &Health, status: &str, with_causes: bool) -> String {
    let drive = |drive: &engine::OfflineDrive| match with_causes {
        true => json!({ "data_dir": drive.data_dir.display().to_string(), "cause": drive.cause }),
        false => json!({}),
    };
    let shard = |shard: &engine::ReadOnlyShard| match with_causes {
        true => json!({ "shard": shard.shard, "cause": shard.cause }),
        false => json!({ "shard": shard.shard }),
    };
    let drives: Vec<Value> = health.drives_offline.iter().map(drive).collect();
    let read_only: Vec<Value> = health.shards_read_only.iter().map(shard).collect();
    json!({
        "status": status,
        "degraded": !health.is_well(),
        "drives_offline": drives,
        "shards_offline": health.shards_offline,
        "shards_read_only": read_only,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{OfflineDrive, ReadOnlyShard};

    #[test]
    fn causes_are_told_with_the_key_only() {
        let health = Health {
            drives_offline: vec![OfflineDrive { data_dir: "/d1".into(), cause: "EIO 1".into() }],
            shards_offline: vec![1, 3],
            shards_read_only: vec![ReadOnlyShard { shard: 2, cause: "EIO 2".into() }],
        };
        let (open, full) = (page(&health, "ready", false), page(&health, "ready", true));
        assert_eq!(
            open,
            r#"{"degraded":true,"drives_offline":[{}],"shards_offline":[1,3],"shards_read_only":[{"shard":2}],"status":"ready"}"#
        );
        for inside in ["/d1", "EIO 1", "EIO 2"] {
            assert!(full.contains(inside) && !open.contains(inside), "{inside}");
        }
        assert!(page(&Health::default(), "ready", false).contains(r#""degraded":false"#));
    }
}
