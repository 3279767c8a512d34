//! What the simulated disk promises, and what it does not promise.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::inode::SECTOR_BYTES;
use super::{Crashed, Fault, FaultRates, Sim, SimFile, SimOptions, SimPlatform};
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};

const BLOCK: u64 = BLOCK_BYTES as u64;
const LOG: &str = "/log";

fn new_sim(seed: u64) -> Sim {
    Sim::new(seed, SimOptions::default())
}

/// Runs without a crash.
fn run<T>(sim: &Sim, future: impl Future<Output = T>) -> T {
    sim.run_until(future).unwrap()
}

/// A new file of `blocks` blocks of 1, all durable.
async fn durable_file(platform: &SimPlatform, blocks: usize) -> SimFile {
    let file = platform.open(Path::new(LOG), OpenMode::CREATE).await.unwrap();
    write(platform, &file, 0, blocks, 1).await.unwrap();
    file.sync().await.unwrap();
    platform.sync_dir(Path::new("/")).await.unwrap();
    file
}

async fn write(
    platform: &SimPlatform,
    file: &SimFile,
    block: u64,
    blocks: usize,
    byte: u8,
) -> io::Result<()> {
    let mut buffer = platform.allocate(blocks * BLOCK_BYTES);
    buffer.fill(byte);
    file.write_at(buffer, block * BLOCK).await.map(drop)
}

/// The first byte of each sector of the log.
fn sectors(sim: &Sim) -> Vec<u8> {
    let length = usize::try_from(sim.disk().length(LOG)).unwrap();
    sim.disk().read(LOG, 0, length).chunks(SECTOR_BYTES).map(|sector| sector[0]).collect()
}

/// What the outcomes of `case` over many seeds are.
fn outcomes<T: Ord>(case: impl Fn(&Sim) -> T) -> BTreeSet<T> {
    (0..100).map(|seed| case(&new_sim(seed))).collect()
}

#[test]
fn unsynced_write_is_kept_or_lost_by_sectors() {
    let seen = outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            write(&platform, &file, 0, 1, 2).await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert!(seen.contains(&vec![1; 8]) && seen.contains(&vec![2; 8]), "lost and kept");
    assert!(seen.len() > 20, "torn in many ways");
}

#[test]
fn write_in_flight_at_the_crash_is_kept_or_lost_by_sectors() {
    let seen = outcomes(|sim| {
        let platform = sim.platform();
        let file = run(sim, durable_file(&platform, 1));
        sim.crash_before_io(sim.counters().ios);
        let crashed = sim.run_until(write(&platform, &file, 0, 1, 2));
        assert_eq!(crashed.map(drop), Err(Crashed));
        sectors(sim)
    });
    assert!(seen.contains(&vec![1; 8]) && seen.contains(&vec![2; 8]), "lost and kept");
    assert!(seen.len() > 20, "torn in many ways");
}

#[test]
fn write_with_each_write_is_durable_when_it_returns() {
    let seen = outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            durable_file(&platform, 1).await;
            let file = platform.open(Path::new(LOG), OpenMode::WRITE_DURABLE).await.unwrap();
            write(&platform, &file, 1, 1, 2).await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert_eq!(seen, [[[1; 8], [2; 8]].concat()].into());
}

#[test]
fn sync_covers_the_writes_of_every_handle() {
    let seen = outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            let other = platform.open(Path::new(LOG), OpenMode::WRITE).await.unwrap();
            write(&platform, &file, 0, 1, 2).await.unwrap();
            other.sync().await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert_eq!(seen, [vec![2; 8]].into());
}

#[test]
fn sync_does_not_cover_a_write_in_flight_when_it_was_submitted() {
    let seen = outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            let (written, synced) =
                futures_lite::future::zip(write(&platform, &file, 0, 1, 2), file.sync()).await;
            written.and(synced).unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert!(seen.len() > 20, "torn in many ways");
}

#[test]
fn writes_after_a_failed_sync_of_theirs_are_never_promised() {
    let seen = outcomes(|sim| {
        sim.inject(Fault::SyncError { nth: 1 });
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            write(&platform, &file, 0, 1, 2).await.unwrap();
            assert!(file.sync().await.is_err());
            file.sync().await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert!(seen.len() > 20, "torn in many ways, though the second sync succeeded");
}

#[test]
fn durable_write_is_not_undone_by_an_earlier_failed_one() {
    let seen = outcomes(|sim| {
        sim.inject(Fault::WriteError { nth: 1 });
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            assert!(write(&platform, &file, 0, 1, 2).await.is_err());
            write(&platform, &file, 0, 1, 3).await.unwrap();
            file.sync().await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert_eq!(seen, [vec![3; 8]].into());
}

#[test]
fn failed_write_is_seen_in_part() {
    let seen = outcomes(|sim| {
        sim.inject(Fault::WriteError { nth: 1 });
        run(sim, async {
            let platform = sim.platform();
            let file = durable_file(&platform, 1).await;
            let error = write(&platform, &file, 0, 1, 2).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        });
        sectors(sim)
    });
    assert!(seen.len() > 20);
}

#[test]
fn unsynced_length_may_be_lost_and_synced_length_is_not() {
    let lengths = |sync: bool| {
        outcomes(|sim| {
            run(sim, async {
                let file = durable_file(&sim.platform(), 1).await;
                file.preallocate(8 * BLOCK).await.unwrap();
                if sync {
                    file.sync().await.unwrap();
                }
            });
            sim.crash();
            sim.disk().length(LOG)
        })
    };
    assert_eq!(lengths(false), [BLOCK, 8 * BLOCK].into());
    assert_eq!(lengths(true), [8 * BLOCK].into());
}

/// Applies changes of names after a first durable file, crashes, and gives the names that are left.
fn names_after_crash(changes: impl AsyncFn(&SimPlatform)) -> BTreeSet<Vec<String>> {
    outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            durable_file(&platform, 1).await;
            changes(&platform).await;
        });
        sim.crash();
        sim.disk().files().iter().map(|path| path.display().to_string()).collect()
    })
}

#[track_caller]
fn check_names(actual: BTreeSet<Vec<String>>, expected: &[&[&str]]) {
    let expected = expected.iter().map(|names| names.iter().map(ToString::to_string).collect());
    assert_eq!(actual, expected.collect());
}

#[test]
fn created_name_is_durable_only_after_sync_dir() {
    let create = async |platform: &SimPlatform| {
        let file = platform.open(Path::new("/new"), OpenMode::CREATE).await.unwrap();
        file.sync().await.unwrap();
    };
    check_names(names_after_crash(create), &[&["/log"], &["/log", "/new"]]);
    let create_and_sync = async |platform: &SimPlatform| {
        create(platform).await;
        platform.sync_dir(Path::new("/")).await.unwrap();
    };
    check_names(names_after_crash(create_and_sync), &[&["/log", "/new"]]);
}

#[test]
fn rename_is_kept_or_lost_whole() {
    let rename = async |platform: &SimPlatform| {
        platform.rename(Path::new(LOG), Path::new("/old")).await.unwrap();
    };
    check_names(names_after_crash(rename), &[&["/log"], &["/old"]]);
    let rename_twice = async |platform: &SimPlatform| {
        rename(platform).await;
        platform.rename(Path::new("/old"), Path::new("/older")).await.unwrap();
    };
    check_names(names_after_crash(rename_twice), &[&["/log"], &["/old"], &["/older"]]);
    let rename_and_sync = async |platform: &SimPlatform| {
        rename_twice(platform).await;
        platform.sync_dir(Path::new("/")).await.unwrap();
    };
    check_names(names_after_crash(rename_and_sync), &[&["/older"]]);
}

#[test]
fn changes_of_different_names_are_kept_independently() {
    let changes = async |platform: &SimPlatform| {
        platform.remove(Path::new(LOG)).await.unwrap();
        platform.open(Path::new("/new"), OpenMode::CREATE).await.unwrap();
    };
    check_names(names_after_crash(changes), &[&[], &["/log"], &["/log", "/new"], &["/new"]]);
}

#[test]
fn name_in_a_lost_directory_is_lost() {
    let changes = async |platform: &SimPlatform| {
        platform.create_dir(Path::new("/shard")).await.unwrap();
        platform.open(Path::new("/shard/a"), OpenMode::CREATE).await.unwrap();
        platform.sync_dir(Path::new("/shard")).await.unwrap();
    };
    check_names(names_after_crash(changes), &[&["/log"], &["/log", "/shard/a"]]);
}

#[test]
fn replaced_file_is_one_or_the_other_after_a_crash() {
    let seen = outcomes(|sim| {
        run(sim, async {
            let platform = sim.platform();
            durable_file(&platform, 1).await;
            let file = platform.open(Path::new("/new"), OpenMode::CREATE).await.unwrap();
            write(&platform, &file, 0, 1, 2).await.unwrap();
            file.sync().await.unwrap();
            platform.rename(Path::new("/new"), Path::new(LOG)).await.unwrap();
        });
        sim.crash();
        sectors(sim)
    });
    assert_eq!(seen, [vec![1; 8], vec![2; 8]].into());
}

#[test]
fn kill_keeps_completed_writes_and_names() {
    let seen = outcomes(|sim| {
        let platform = sim.platform();
        run(sim, async {
            let file = platform.open(Path::new(LOG), OpenMode::CREATE).await.unwrap();
            write(&platform, &file, 0, 1, 2).await.unwrap();
        });
        sim.kill();
        sectors(sim)
    });
    assert_eq!(seen, [vec![2; 8]].into());
}

/// Per sector what it may hold after a power loss, by the contract alone.
struct Model {
    possible: Vec<BTreeSet<u8>>,
    /// Written and neither synced nor failed: the next sync leaves just these.
    latest: Vec<Option<u8>>,
}

impl Model {
    const BLOCKS: usize = 6;

    fn new() -> Self {
        let sectors = Self::BLOCKS * BLOCK_BYTES / SECTOR_BYTES;
        Self { possible: vec![[1].into(); sectors], latest: vec![None; sectors] }
    }

    fn write(&mut self, block: u64, byte: u8, durable: bool, succeeded: bool) {
        let first = usize::try_from(block).unwrap() * BLOCK_BYTES / SECTOR_BYTES;
        for sector in first..first + BLOCK_BYTES / SECTOR_BYTES {
            self.possible[sector].insert(byte);
            // A failed write takes nothing back from an earlier one that a sync will cover.
            if succeeded {
                self.latest[sector] = Some(byte);
            }
            if succeeded && durable {
                self.possible[sector] = [byte].into();
                self.latest[sector] = None;
            }
        }
    }

    fn sync(&mut self, succeeded: bool) {
        for (possible, latest) in self.possible.iter_mut().zip(&mut self.latest) {
            if let Some(byte) = latest.take()
                && succeeded
            {
                // What failed after the latest success may still surface.
                possible.retain(|other| *other >= byte);
            }
        }
    }
}

#[test]
fn disk_after_a_crash_holds_only_what_the_contract_allows() {
    for seed in 0..300 {
        let rates = FaultRates { write_error: 50_000, sync_error: 50_000, ..Default::default() };
        let sim = Sim::new(seed, SimOptions { fault_rates: rates, ..SimOptions::default() });
        let platform = sim.platform();
        let mut model = Model::new();
        run(&sim, async {
            // Set up again until no fault strikes.
            let on_sync = loop {
                let file = match platform.open(Path::new(LOG), OpenMode::CREATE).await {
                    Ok(file) => file,
                    Err(_) => platform.open(Path::new(LOG), OpenMode::WRITE).await.unwrap(),
                };
                let written = write(&platform, &file, 0, Model::BLOCKS, 1).await;
                if written.is_ok() && file.sync().await.is_ok() {
                    break file;
                }
            };
            platform.sync_dir(Path::new("/")).await.unwrap();
            let durable = platform.open(Path::new(LOG), OpenMode::WRITE_DURABLE).await.unwrap();
            for byte in 2..40 {
                let block = platform.random_u64() % Model::BLOCKS as u64;
                match platform.random_u64() % 8 {
                    0 => model.sync(on_sync.sync().await.is_ok()),
                    1 => {
                        let written = write(&platform, &durable, block, 1, byte).await;
                        model.write(block, byte, true, written.is_ok());
                    }
                    _ => {
                        let written = write(&platform, &on_sync, block, 1, byte).await;
                        model.write(block, byte, false, written.is_ok());
                    }
                }
            }
        });
        sim.crash();
        for (sector, byte) in sectors(&sim).into_iter().enumerate() {
            let possible = &model.possible[sector];
            assert!(possible.contains(&byte), "seed {seed}, sector {sector}: {byte}, {possible:?}");
        }
    }
}

#[test]
fn crash_at_each_io_stops_just_there() {
    let workload = async |platform: &SimPlatform, acknowledged: &RefCell<u8>| {
        durable_file(platform, 1).await;
        let file = platform.open(Path::new(LOG), OpenMode::WRITE_DURABLE).await.unwrap();
        for byte in 2..6 {
            write(platform, &file, 0, 1, byte).await.unwrap();
            acknowledged.replace(byte);
        }
    };
    let whole = new_sim(7);
    run(&whole, workload(&whole.platform(), &RefCell::new(0)));
    let ios = whole.counters().ios;
    assert!(ios >= 9);
    for io in 0..ios {
        for after in [false, true] {
            let sim = new_sim(7);
            if after {
                sim.crash_after_io(io)
            } else {
                sim.crash_before_io(io)
            }
            let acknowledged = RefCell::new(0);
            assert_eq!(sim.run_until(workload(&sim.platform(), &acknowledged)), Err(Crashed));
            assert_eq!(sim.counters().ios, io + 1);
            let byte = acknowledged.into_inner();
            if byte > 0 {
                let next = sectors(&sim).into_iter().all(|now| now == byte || now == byte + 1);
                assert!(next, "what was acknowledged at I/O {io} is there, or its successor");
            }
        }
    }
}

#[test]
fn same_seed_gives_the_same_history() {
    let history = |seed| {
        let rates = FaultRates { write_error: 100_000, ..FaultRates::default() };
        let sim = Sim::new(seed, SimOptions { fault_rates: rates, ..SimOptions::default() });
        let platform = sim.platform();
        run(&sim, async {
            let file = Rc::new(durable_file(&platform, 1).await);
            for block in 0..50 {
                let (task, file) = (platform.clone(), Rc::clone(&file));
                platform.spawn(async move { drop(write(&task, &file, block, 1, 2).await) });
            }
            platform.sleep(Duration::from_secs(1)).await;
        });
        sim.crash();
        (sim.history_digest(), sim.now_ns(), sectors(&sim))
    };
    assert_eq!(history(3), history(3));
    assert_ne!(history(3), history(4));
}

#[test]
fn planned_faults_strike_the_io_that_they_name() {
    let sim = new_sim(1);
    let platform = sim.platform();
    let file = run(&sim, durable_file(&platform, 4));
    let counters = sim.counters();
    sim.inject(Fault::ReadError { nth: counters.reads + 1 });
    sim.inject(Fault::NoSpace { nth: counters.preallocations });
    sim.inject(Fault::LostWrite { nth: counters.writes });
    sim.inject(Fault::MisdirectedWrite { nth: counters.writes + 1 });
    run(&sim, async {
        file.read_at(0, BLOCK_BYTES).await.unwrap();
        let error = file.read_at(0, BLOCK_BYTES).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.read_at(0, BLOCK_BYTES).await.unwrap();
        let error = file.preallocate(9 * BLOCK).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        file.preallocate(4 * BLOCK).await.unwrap();
        write(&platform, &file, 0, 1, 7).await.unwrap();
    });
    assert_eq!(sectors(&sim), [1; 32], "a lost write does nothing");
    run(&sim, write(&platform, &file, 0, 1, 8)).unwrap();
    let after = sectors(&sim);
    assert_eq!(after[..8], [1; 8], "a misdirected write misses its place");
    assert_eq!(after.iter().filter(|byte| **byte == 8).count(), 8, "and hits another");
}

#[test]
fn full_disk_refuses_to_grow_files() {
    let sim = Sim::new(1, SimOptions { disk_bytes: 8 * BLOCK, ..SimOptions::default() });
    let platform = sim.platform();
    run(&sim, async {
        let file = durable_file(&platform, 4).await;
        assert_eq!(platform.space(Path::new("/")).await.unwrap().available_bytes, 4 * BLOCK);
        let error = file.preallocate(9 * BLOCK).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(file.len().await.unwrap(), 4 * BLOCK, "what it had taken is given back");
        let error = write(&platform, &file, 8, 1, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        file.preallocate(8 * BLOCK).await.unwrap();
        write(&platform, &file, 7, 1, 2).await.unwrap();
    });
}

#[test]
fn damage_is_seen_and_survives_sync_and_crash() {
    let sim = new_sim(1);
    let platform = sim.platform();
    let file = run(&sim, durable_file(&platform, 1));
    run(&sim, write(&platform, &file, 0, 1, 2)).unwrap();
    sim.disk().flip_bit(LOG, 700, 4);
    let check = |byte: usize| assert_eq!(sim.disk().read(LOG, 0, BLOCK_BYTES)[byte], 2 ^ 16);
    check(700);
    run(&sim, file.sync()).unwrap();
    sim.crash();
    check(700);
    assert_eq!(sim.disk().read(LOG, 0, BLOCK_BYTES).iter().filter(|b| **b != 2).count(), 1);
    sim.disk().overwrite(LOG, 510, &[9, 9, 9, 9]);
    assert_eq!(sim.disk().read(LOG, 0, BLOCK_BYTES)[509..515], [2, 9, 9, 9, 9, 2]);
}

#[test]
fn lock_is_released_by_a_crash_and_not_by_the_dead() {
    let sim = new_sim(1);
    let path = Path::new("/lock");
    let dead = run(&sim, sim.platform().lock(path)).unwrap();
    let platform = sim.reboot();
    let held = run(&sim, platform.lock(path)).unwrap();
    drop(dead);
    assert_eq!(run(&sim, platform.lock(path)).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    run(&sim, platform.lock(path)).unwrap();
}

#[test]
fn dropped_write_happens_all_the_same() {
    let sim = new_sim(1);
    let platform = sim.platform();
    let file = run(&sim, durable_file(&platform, 1));
    run(&sim, async {
        let write = write(&platform, &file, 0, 1, 2);
        let timeout = platform.sleep(Duration::from_nanos(1));
        futures_lite::future::or(async { drop(write.await) }, timeout).await;
        assert_eq!(sectors(&sim), [1; 8]);
        platform.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(sectors(&sim), [2; 8]);
}

#[test]
fn crash_from_a_task_drops_all_tasks_and_handles() {
    let sim = new_sim(1);
    let platform = sim.platform();
    let alive = Rc::new(());
    let (task, held) = (platform.clone(), Rc::clone(&alive));
    platform.spawn(async move {
        task.sleep(Duration::from_secs(3600)).await;
        drop(held);
    });
    let crashed = sim.run_until(async {
        sim.crash();
        platform.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(crashed, Err(Crashed));
    assert_eq!(Rc::strong_count(&alive), 1);
    let next = sim.platform();
    let dead_io = async { drop(platform.list_dir(Path::new("/")).await) };
    let ended = run(&sim, async {
        let dead = async {
            dead_io.await;
            "the dead answered"
        };
        let timeout = async {
            next.sleep(Duration::from_secs(9)).await;
            "silence"
        };
        futures_lite::future::or(dead, timeout).await
    });
    assert_eq!(ended, "silence");
}

#[test]
fn virtual_time_passes_at_no_cost_and_the_wall_clock_may_step() {
    let sim = new_sim(1);
    let platform = sim.platform();
    let wall = platform.wall_clock_ns();
    run(&sim, platform.sleep(Duration::from_secs(86_400)));
    assert!(platform.wall_clock_ns() >= wall + 86_400_000_000_000);
    sim.step_wall_clock(-172_800_000_000_000);
    assert!(platform.wall_clock_ns() < wall);
    assert!(platform.monotonic_ns() >= 86_400_000_000_000);
}

#[test]
fn read_beside_a_write_in_flight_sees_old_or_new_sectors() {
    let seen = outcomes(|sim| {
        let platform = sim.platform();
        run(sim, async {
            let file = durable_file(&platform, 1).await;
            let write = write(&platform, &file, 0, 1, 2);
            let (_, read) = futures_lite::future::zip(write, file.read_at(0, BLOCK_BYTES)).await;
            read.unwrap().chunks(SECTOR_BYTES).map(|sector| sector[0]).collect::<Vec<_>>()
        })
    });
    assert!(seen.len() > 20);
}

#[test]
#[should_panic(expected = "concurrent writes overlap")]
fn overlapping_concurrent_writes_panic() {
    let sim = new_sim(1);
    let platform = sim.platform();
    run(&sim, async {
        let file = durable_file(&platform, 4).await;
        let (first, second) = (write(&platform, &file, 0, 2, 2), write(&platform, &file, 1, 1, 3));
        let _ = futures_lite::future::zip(first, second).await;
    });
}

#[test]
#[should_panic(expected = "unaligned I/O")]
fn unaligned_read_panics() {
    let sim = new_sim(1);
    let platform = sim.platform();
    run(&sim, async { durable_file(&platform, 1).await.read_at(0, 512).await.map(drop) }).unwrap();
}

#[test]
#[should_panic(expected = "stuck")]
fn deadlock_panics() {
    run(&new_sim(1), std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "spins")]
fn endless_spinning_panics() {
    let sim = Sim::new(1, SimOptions { polls_max: 1000, ..SimOptions::default() });
    run(
        &sim,
        std::future::poll_fn::<(), _>(|context| {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }),
    );
}

#[test]
fn a_machine_with_the_same_disk_has_its_bytes_to_itself_and_keeps_them() {
    let sim = new_sim(1);
    let platform = sim.platform();
    run(&sim, durable_file(&platform, 2));
    let other = sim.with_same_disk(2, SimOptions::default());
    other.disk().overwrite(LOG, BLOCK, &[7; 3]);
    assert_eq!(sim.disk().read(LOG, BLOCK, BLOCK_BYTES), vec![1; BLOCK_BYTES]);
    other.crash();
    assert_eq!(other.disk().files(), sim.disk().files());
    assert_eq!(other.disk().read(LOG, BLOCK, 512)[..4], [7, 7, 7, 1]);
    assert_eq!(other.disk().read(LOG, 0, BLOCK_BYTES), vec![1; BLOCK_BYTES]);
}
