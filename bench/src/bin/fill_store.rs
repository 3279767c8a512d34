//! Makes a store that holds many small objects in one bucket, for a server to be started on.
//!
//! The engine is filled without HTTP in between, which takes a tenth of the time. Prints one line of
//! JSON: the bucket, and how many keys of which shape it holds.
//!
//! Not here: what is measured of the store (`bench/scripts/listing.py`).

use clap::Parser;
use ringfort_bench::Result;
use ringfort_bench::keys::KeyShape;
use ringfort_bench::limits::{BODY_BYTES_MAX, KEYS_MAX};
use ringfort_bench::report::{exit_code, print};
use ringfort_bench::store::{BUCKET, Fill, on_executor, open};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Puts in flight.
const CONCURRENCY: usize = 512;

#[derive(Debug, Clone, Parser)]
#[command(about = "Makes a store with many small objects in one bucket")]
struct Options {
    /// The data directory; made if it is not there.
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=KEYS_MAX))]
    keys: u64,
    #[arg(long, value_enum, default_value_t = KeyShape::Hashed)]
    key_shape: KeyShape,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(0..=BODY_BYTES_MAX as u64))]
    body_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Filled {
    bucket: &'static str,
    keys: u64,
    key_shape: KeyShape,
}

fn main() -> ExitCode {
    exit_code("fill_store", fill(Options::parse()))
}

fn fill(options: Options) -> Result<()> {
    let Options { data_dir, keys, key_shape, body_bytes } = options;
    // Bounded above.
    let body_bytes = body_bytes as usize;
    on_executor(async move || {
        let store = open(&data_dir, keys, body_bytes).await?;
        let fill = Fill { shape: key_shape, body_bytes, varied: false, concurrency: CONCURRENCY };
        store.fill(fill, 0..keys).await?;
        store.engine.close().await;
        Ok(())
    })?;
    print(&Filled { bucket: BUCKET, keys, key_shape })
}
