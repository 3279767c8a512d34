//! `/api/v1/scrub`: how far scrubbing is, what it found, and to begin now.

use engine::Engine;
use engine::platform::Platform;
use serde_json::{Value, json};

use super::api::ApiAnswer;
use crate::verify_command::finding_json;

/// The state, and the newest findings.
pub(super) fn state<P: Platform>(engine: &Engine<P>) -> ApiAnswer {
    let status = engine.scrub_status();
    let findings: Vec<Value> = status.findings.iter().map(finding_json).collect();
    ApiAnswer::json(
        200,
        json!({
            "state": if status.running > 0 { "running" } else { "waiting" },
            "cores_running": status.running,
            "passes": status.passes,
            "percent": status.percent(),
            "bytes_done": status.bytes_done,
            "bytes_expected": status.bytes_expected,
            "bytes_per_second_per_core": engine.scrub_rate(),
            "findings_total": status.findings_total,
            "findings": findings,
        }),
    )
}

/// Has a pass begin on every core.
pub(super) fn start<P: Platform>(engine: &Engine<P>) -> ApiAnswer {
    if engine.scrub_rate() == 0 {
        return ApiAnswer::problem(409, "scrubbing is switched off");
    }
    engine.start_scrub();
    ApiAnswer::json(202, json!({ "state": "asked for" }))
}
