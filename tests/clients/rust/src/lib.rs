//! What the client programs share: where the server is, and the running of checks.
//!
//! A program hands [`main`] its checks by name. Every failed check is told; the exit code is 1 if there
//! was one. What clients are asked to do stands in the programs.

use std::fmt::Debug;
use std::future::Future;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub const MIB: usize = 1 << 20;

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A bucket's name that nobody has had.
pub fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    format!("b-{now:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Bytes that tell where they belong.
pub fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let word =
        |place: u64| place.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed).to_le_bytes();
    let mut bytes: Vec<u8> = (0..size.div_ceil(8) as u64).flat_map(word).collect();
    bytes.truncate(size);
    bytes
}

/// The error that must come.
#[track_caller]
pub fn failure<T, E>(result: Result<T, E>) -> E {
    match result {
        Ok(_) => panic!("it succeeded, where an error was expected"),
        Err(error) => error,
    }
}

/// Version of a dependency, as `Cargo.lock` pins it.
pub fn version(package: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let (_, rest) = lock.split_once(&entry).expect("it is a dependency");
    rest.split('"').next().expect("split gives one at least")
}

pub struct Checks {
    runtime: tokio::runtime::Runtime,
    has_failed: bool,
}

impl Checks {
    pub fn new(package: &str) -> Self {
        println!("client: {package} {}", version(package));
        // reqwest wants one, although nothing here is encrypted.
        let provider = rustls::crypto::ring::default_provider();
        provider.install_default().expect("nobody did before");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime starts");
        Self { runtime, has_failed: false }
    }

    /// Runs one check; a panic is its failure.
    pub fn run<F>(&mut self, name: &str, check: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let chosen: Vec<String> = std::env::args().skip(1).collect();
        if !chosen.is_empty() && !chosen.iter().any(|other| other == name) {
            return;
        }
        let outcome = self.runtime.block_on(async { tokio::spawn(check).await });
        println!("{name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        self.has_failed |= outcome.is_err();
    }

    pub fn end(self) -> ExitCode {
        ExitCode::from(u8::from(self.has_failed))
    }
}

impl Debug for Checks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Checks").field("has_failed", &self.has_failed).finish()
    }
}
