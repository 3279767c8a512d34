//! What the tests across crates share: the harness that runs the real binary, the reference model, and the
//! simulated histories.

pub mod harness;
pub mod model;
pub mod model_versions;
pub mod sim;
pub mod sim_audit;
pub mod sim_buckets;
pub mod sim_client;
pub mod sim_damage;
pub mod sim_dying;
pub mod sim_full;
pub mod sim_history;
pub mod sim_life;
pub mod sim_listing;
pub mod sim_offline;
pub mod sim_shape;
pub mod sim_stray;
pub mod sim_sweep;
pub mod sim_uploads;
pub mod sim_versions;
pub mod sim_world;
