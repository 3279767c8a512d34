//! What the device under a data directory gives: flushes, reads and writes, by how many are under way.
//!
//! Everything happens with direct I/O in one file that has no name, so that it is gone with the process
//! whatever ends it. It is filled first: blocks that were never written are not read from a device. Each
//! step then runs for its share of the time, and writes at most the file once over.
//!
//! Requests at once are threads that each wait for one. The engine has io_uring instead, which costs
//! less CPU for each request: what a device gives at great depth may be more than is measured here on a
//! host with few cores.
//!
//! Not here: what follows from the figures (`profile`).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::limits::{
    DURABLE_WRITE_DEPTHS, FILL_DEPTH, FILL_PERCENT, FREE_BYTES_MIN, LARGE_WRITE_BYTES,
    LARGE_WRITE_DEPTHS, MEASURED_FILE_BYTES_MIN, MEASURING_STACK_BYTES, SAMPLES_MAX,
    SMALL_READ_BYTES, SMALL_READ_DEPTHS, WINDOW_READ_BYTES, WINDOW_READ_DEPTHS,
};
use crate::rules::size;
use crate::{Error, Result, sys};

/// How much a measurement may take of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// All steps together; one request may be late.
    pub time: Duration,
    pub file_bytes: u64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The part of the file that was filled, in which all of it happened.
    pub file_bytes: u64,
    /// The boundary on which direct I/O must begin and end.
    pub alignment_bytes: u32,
    /// A write of 4 KiB and its flush, one after the other.
    pub flush: Step,
    /// Reads of 4 KiB at random places.
    pub small_reads: Vec<Step>,
    /// Reads of 256 KiB at random places.
    pub window_reads: Vec<Step>,
    /// Writes of 1 MiB in a row.
    pub large_writes: Vec<Step>,
    /// The same, each durable when it returns.
    pub durable_writes: Vec<Step>,
}

/// One kind of request, so many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub depth: u32,
    pub request_bytes: u32,
    pub requests: u64,
    pub per_second: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
}

impl Step {
    pub fn bytes_per_second(&self) -> u64 {
        self.per_second.saturating_mul(u64::from(self.request_bytes))
    }
}

/// Measures the device under `dir`; `begins` hears the name of each part.
///
/// # Errors
/// There is too little free space, direct I/O is refused, a request failed, or the device is so slow
/// that nothing can be said within the time.
pub fn measure(dir: &Path, bounds: Bounds, begins: &mut dyn FnMut(&str)) -> Result<Figures> {
    check_space(dir, bounds.file_bytes)?;
    let place = || dir.display().to_string();
    let file = Scratch::open(dir).map_err(|e| Error::io(format!("a file in {}", place()), e))?;
    // Where blocks cannot be given in advance they are given while the file is filled.
    let _ = sys::allocate(&file.plain, bounds.file_bytes);
    let failed = |what: &'static str| move |e| Error::io(format!("{what} in {}", place()), e);
    begins("fill");
    let file_bytes = fill(&file.plain, bounds).map_err(failed("filling a file"))?;
    if file_bytes < MEASURED_FILE_BYTES_MIN {
        let text = format!(
            "{}: only {} could be written in the time that there is; give it more --seconds",
            dir.display(),
            size(file_bytes)
        );
        return Err(Error::NotMeasured(text));
    }
    let steps = 1 + SMALL_READ_DEPTHS.len() + WINDOW_READ_DEPTHS.len();
    let steps = steps + LARGE_WRITE_DEPTHS.len() + DURABLE_WRITE_DEPTHS.len();
    let time = bounds.time * (100 - FILL_PERCENT) / 100 / steps as u32;
    let run = |work: &Work<'_>, depths: &[u32]| -> io::Result<Vec<Step>> {
        depths.iter().map(|depth| work.run(*depth, file_bytes, time)).collect()
    };
    let read = |bytes| Work { file: &file.plain, bytes, action: Action::Read };
    let write = |file, bytes, action| Work { file, bytes, action };
    begins("flush");
    let flush = write(&file.plain, SMALL_READ_BYTES, Action::WriteAndFlush);
    let flush = flush.run(1, file_bytes, time).map_err(failed("flushing a write"))?;
    begins("reads of 4 KiB");
    let small_reads = run(&read(SMALL_READ_BYTES), &SMALL_READ_DEPTHS).map_err(failed("a read"))?;
    begins("reads of 256 KiB");
    let window_reads =
        run(&read(WINDOW_READ_BYTES), &WINDOW_READ_DEPTHS).map_err(failed("a read"))?;
    begins("writes of 1 MiB");
    let large = write(&file.plain, LARGE_WRITE_BYTES, Action::Write);
    let large_writes = run(&large, &LARGE_WRITE_DEPTHS).map_err(failed("a write"))?;
    begins("durable writes of 1 MiB");
    let durable = write(&file.durable, LARGE_WRITE_BYTES, Action::Write);
    let durable_writes = run(&durable, &DURABLE_WRITE_DEPTHS).map_err(failed("a write"))?;
    Ok(Figures {
        file_bytes,
        alignment_bytes: alignment(&file.plain),
        flush,
        small_reads,
        window_reads,
        large_writes,
        durable_writes,
    })
}

fn check_space(dir: &Path, file_bytes: u64) -> Result<()> {
    let space = sys::statfs(dir).map_err(|e| Error::io(format!("{}", dir.display()), e))?;
    let needed = file_bytes.saturating_add(FREE_BYTES_MIN);
    if space.available_bytes >= needed {
        return Ok(());
    }
    let text = format!(
        "{} has {} free, and {} are needed for a file of {}; choose a smaller --file-size",
        dir.display(),
        size(space.available_bytes),
        size(needed),
        size(file_bytes)
    );
    Err(Error::NotMeasured(text))
}

/// The file without a name, opened twice.
struct Scratch {
    plain: File,
    /// A write is durable when it returns.
    durable: File,
}

impl Scratch {
    fn open(dir: &Path) -> io::Result<Self> {
        let open = |flags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).mode(0o600).custom_flags(libc::O_DIRECT | flags);
            options
        };
        let plain = match open(libc::O_TMPFILE).open(dir) {
            // Filesystems without such files: the name is taken away at once.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let path = dir.join(format!(".ringfort-tune-{}", std::process::id()));
                let file = open(0).create_new(true).open(&path)?;
                fs::remove_file(&path)?;
                file
            }
            other => other?,
        };
        let durable = open(libc::O_DSYNC).open(format!("/proc/self/fd/{}", plain.as_raw_fd()))?;
        Ok(Self { plain, durable })
    }
}

/// Writes the file from its beginning for as long as there is time; returns how far it got.
fn fill(file: &File, bounds: Bounds) -> io::Result<u64> {
    let time = bounds.time * FILL_PERCENT / 100;
    let work = Work { file, bytes: LARGE_WRITE_BYTES, action: Action::Write };
    let step = work.run(FILL_DEPTH, bounds.file_bytes, time)?;
    file.sync_all()?;
    Ok(step.requests * LARGE_WRITE_BYTES as u64)
}

/// The smallest block that direct I/O takes.
fn alignment(file: &File) -> u32 {
    const CANDIDATES: [u32; 3] = [512, 1024, 2048];
    let mut buffer = Buffer::new(SMALL_READ_BYTES);
    let works = |bytes: &&u32| {
        let part = buffer.bytes().get_mut(..**bytes as usize);
        part.is_some_and(|part| file.read_exact_at(part, u64::from(**bytes)).is_ok())
    };
    let mut works = works;
    CANDIDATES.iter().find(|bytes| works(bytes)).copied().unwrap_or(SMALL_READ_BYTES as u32)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// At random places.
    Read,
    /// In a row.
    Write,
    WriteAndFlush,
}

/// A kind of request, again and again.
struct Work<'a> {
    file: &'a File,
    bytes: usize,
    action: Action,
}

impl Work<'_> {
    /// Keeps `depth` of them under way until the time is over, or writes have filled the file.
    fn run(&self, depth: u32, file_bytes: u64, time: Duration) -> io::Result<Step> {
        let places = (file_bytes / self.bytes as u64).max(1);
        let (next, begin) = (AtomicU64::new(0), Instant::now());
        let worker = |seed| self.work(&next, places, seed, begin, time);
        let latencies = thread::scope(|scope| {
            let spawn = |number| {
                let builder = thread::Builder::new().stack_size(MEASURING_STACK_BYTES);
                builder.spawn_scoped(scope, move || worker(u64::from(number)))
            };
            let threads = (0..depth).map(spawn).collect::<io::Result<Vec<_>>>()?;
            let mut all = Vec::new();
            for thread in threads {
                let died = |_| io::Error::other("a measuring thread panicked");
                all.extend(thread.join().map_err(died)??);
            }
            Ok::<_, io::Error>(all)
        })?;
        Ok(self.step(depth, latencies, begin.elapsed()))
    }

    /// What one thread does; returns its latencies in nanoseconds.
    fn work(
        &self,
        next: &AtomicU64,
        places: u64,
        seed: u64,
        begin: Instant,
        time: Duration,
    ) -> io::Result<Vec<u64>> {
        let mut buffer = Buffer::new(self.bytes);
        let mut chance = Chance(seed);
        // A drive may compress, or tell zeroes apart.
        buffer.bytes().chunks_mut(8).for_each(|chunk| {
            let bytes = chance.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        });
        let mut latencies = Vec::new();
        while begin.elapsed() < time && latencies.len() < SAMPLES_MAX {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let place = match self.action {
                Action::Read => chance.next() % places,
                Action::Write if number >= places => break,
                Action::Write => number,
                Action::WriteAndFlush => number % places,
            };
            let (at, asked) = (place * self.bytes as u64, Instant::now());
            match self.action {
                Action::Read => self.file.read_exact_at(buffer.bytes(), at)?,
                Action::Write => self.file.write_all_at(buffer.bytes(), at)?,
                Action::WriteAndFlush => {
                    self.file.write_all_at(buffer.bytes(), at)?;
                    self.file.sync_data()?;
                }
            }
            latencies.push(u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(latencies)
    }

    fn step(&self, depth: u32, mut latencies: Vec<u64>, elapsed: Duration) -> Step {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
            latencies.get(index).copied().unwrap_or_default() / 1000
        };
        let requests = latencies.len() as u64;
        let micros = elapsed.as_micros().max(1);
        let per_second = u128::from(requests) * 1_000_000 / micros;
        Step {
            depth,
            request_bytes: self.bytes as u32,
            requests,
            per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

/// Bytes on the boundary that direct I/O asks for.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Buffer {
    fn new(bytes: usize) -> Self {
        const BOUNDARY: usize = 4096;
        let memory = vec![0; bytes + BOUNDARY];
        let start = memory.as_ptr().align_offset(BOUNDARY);
        Self { memory, start, bytes }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.bytes]
    }
}

/// Numbers that look random: places to read, and bytes that do not compress (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// On a real disk: tmpfs has no direct I/O.
    fn directory() -> tempfile::TempDir {
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        fs::create_dir_all(&parent).unwrap();
        tempfile::tempdir_in(parent).unwrap()
    }

    #[test]
    fn a_device_is_measured_and_nothing_stays_behind() {
        let dir = directory();
        let bounds = Bounds { time: Duration::from_secs(4), file_bytes: 32 << 20 };
        let mut parts = Vec::new();
        let figures =
            measure(dir.path(), bounds, &mut |part| parts.push(part.to_string())).unwrap();
        assert_eq!(parts.len(), 6);
        assert!(figures.file_bytes <= 32 << 20);
        assert!([512, 1024, 2048, 4096].contains(&figures.alignment_bytes));
        let depths = |steps: &[Step]| steps.iter().map(|s| s.depth).collect::<Vec<_>>();
        assert_eq!(depths(&figures.small_reads), SMALL_READ_DEPTHS);
        assert_eq!(depths(&figures.window_reads), WINDOW_READ_DEPTHS);
        assert_eq!(depths(&figures.large_writes), LARGE_WRITE_DEPTHS);
        assert_eq!(depths(&figures.durable_writes), DURABLE_WRITE_DEPTHS);
        let steps = [&figures.small_reads, &figures.window_reads, &figures.large_writes];
        for step in steps.into_iter().flatten().chain([&figures.flush]) {
            assert!(step.requests > 0 && step.per_second > 0, "{step:?}");
            assert!(step.p50_us <= step.p99_us && step.p99_us <= step.max_us, "{step:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_without_room_is_refused() {
        let dir = directory();
        let bounds = Bounds { time: Duration::from_secs(1), file_bytes: 1 << 60 };
        let refused = measure(dir.path(), bounds, &mut |_| {}).unwrap_err();
        assert!(matches!(refused, Error::NotMeasured(_)), "{refused}");
        let absent = measure(&dir.path().join("absent"), bounds, &mut |_| {}).unwrap_err();
        assert!(matches!(absent, Error::Io { .. }), "{absent}");
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let work =
            Work { file: &File::open("/dev/null").unwrap(), bytes: 4096, action: Action::Read };
        let latencies = (1..=200).rev().map(|us| us * 1000).collect();
        let step = work.step(4, latencies, Duration::from_millis(100));
        assert_eq!((step.p50_us, step.p99_us, step.max_us), (101, 199, 200));
        assert_eq!((step.requests, step.per_second), (200, 2000));
        assert_eq!(step.bytes_per_second(), 2000 * 4096);
        let none = work.step(4, Vec::new(), Duration::ZERO);
        assert_eq!((none.requests, none.per_second, none.max_us), (0, 0, 0));
    }
}
