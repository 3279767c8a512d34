//! Tables of rules: one good host, one change, what is said of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::facts::{
    Clock, Cpus, DataDir, Device, DirectIo, Disk, Filesystem, Governor, Interface, Interrupt,
    Kernel, Memory, Mount, Network, Scheduler, WriteCache,
};

fn good_disk() -> Disk {
    Disk {
        name: "nvme0n1".to_string(),
        model: Some("Fast Drive".to_string()),
        size_bytes: Some(1 << 40),
        rotational: Some(false),
        logical_block_bytes: Some(4096),
        physical_block_bytes: Some(4096),
        scheduler: Some(Scheduler {
            name: "none".to_string(),
            available: vec!["none".to_string(), "mq-deadline".to_string()],
        }),
        requests: Some(1023),
        queues: Some(8),
        write_cache: Some(WriteCache::Through),
        fua: Some(false),
        transfer_kib: Some(1024),
        transfer_hardware_kib: Some(2048),
        writeback_throttle_us: Some(0),
        node: None,
        interrupts: Vec::new(),
    }
}

fn good_dir() -> DataDir {
    DataDir {
        path: "/data".into(),
        filesystem: Filesystem::Xfs,
        mount: Some(Mount {
            point: "/data".into(),
            kind: "xfs".to_string(),
            source: "/dev/nvme0n1".to_string(),
            device: (259, 0),
            options: vec!["rw".to_string(), "noatime".to_string()],
        }),
        total_bytes: 1 << 40,
        available_bytes: 1 << 39,
        direct_io: DirectIo::Works,
        device: Some(Device {
            name: "nvme0n1".to_string(),
            layers: Vec::new(),
            disks: vec![good_disk()],
        }),
    }
}

fn good_facts() -> Facts {
    Facts {
        kernel: Some(Kernel { major: 6, minor: 18 }),
        io_uring: Ok(()),
        cores: 8,
        cpus: (0..8).collect(),
        memory_bytes: Some(32 << 30),
        memlock_bytes: Some(u64::MAX),
        memlock_exempt: false,
        open_files: Some(1 << 20),
        somaxconn: Some(4096),
        data_dirs: vec![good_dir()],
    }
}

fn good_host() -> Host {
    let governor = |cpu| Governor {
        cpu,
        name: "performance".to_string(),
        available: vec!["performance".to_string(), "powersave".to_string()],
    };
    Host {
        cpus: Cpus {
            online: (0..8).collect(),
            governors: (0..8).map(governor).collect(),
            scaling_driver: Some("intel_pstate".to_string()),
            smt: Some(true),
            nodes: vec![(0, (0..8).collect())],
            idle_exit_us: Some(2),
            irqbalance: false,
        },
        memory: Memory {
            transparent_huge_pages: Some("madvise".to_string()),
            reserved_huge_bytes: Some(0),
            reserved_huge_pages: Some(0),
            swap_bytes: Some(1 << 30),
            swappiness: Some(1),
            total_bytes: Some(256 << 30),
            dirty_ratio: Some(5),
            dirty_background_ratio: Some(1),
            zone_reclaim_mode: Some(0),
        },
        network: Network {
            syn_backlog: Some(4096),
            receive_buffer_max: Some(16 << 20),
            send_buffer_max: Some(16 << 20),
            receive_buffer: Some([4096, 131_072, 16 << 20]),
            send_buffer: Some([4096, 16_384, 16 << 20]),
            slow_start_after_idle: Some(false),
            congestion_control: Some("cubic".to_string()),
            queueing_discipline: Some("fq".to_string()),
            ports: Some((16_384, 65_000)),
            interfaces: vec![Interface {
                name: "eth0".to_string(),
                mtu: Some(9000),
                speed_mbit: Some(25_000),
                receive_queues: 8,
                node: None,
                interrupts: Vec::new(),
            }],
        },
        clock: Clock {
            source: Some("tsc".to_string()),
            available: vec!["tsc".to_string(), "hpet".to_string()],
            synchronised: Some(true),
        },
    }
}

fn needs() -> Needs {
    Needs {
        cores: 8,
        cpus: Vec::new(),
        pinned: true,
        memory_bytes: 16 << 30,
        io_memory_bytes: 64 << 20,
        open_files: 70_000,
        backlog: 4096,
    }
}

fn disk(facts: &mut Facts) -> &mut Disk {
    &mut facts.data_dirs[0].device.as_mut().unwrap().disks[0]
}

fn mount(facts: &mut Facts, option: &str) {
    facts.data_dirs[0].mount.as_mut().unwrap().options.push(option.to_string());
}

fn check_one(expected: Option<(Severity, &str)>, change: impl FnOnce(&mut Facts, &mut Needs)) {
    let (mut facts, mut needs) = (good_facts(), needs());
    change(&mut facts, &mut needs);
    let found = check(&facts, &needs);
    let found: Vec<_> = found.iter().map(|f| (f.severity, f.rule)).collect();
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{facts:?}");
}

#[test]
fn a_good_host_gives_no_findings() {
    check_one(None, |_, _| {});
}

#[test]
fn what_cannot_be_read_gives_no_findings() {
    check_one(None, |facts, _| {
        facts.kernel = None;
        facts.memory_bytes = None;
        facts.memlock_bytes = None;
        facts.open_files = None;
        facts.somaxconn = None;
        facts.data_dirs[0].direct_io = DirectIo::Unknown;
        facts.data_dirs[0].device = None;
        facts.data_dirs[0].mount = None;
    });
}

#[test]
fn kernel_versions() {
    for (major, minor, expected) in [
        (4, 19, Some(Severity::Error)),
        (5, 10, Some(Severity::Error)),
        (5, 11, Some(Severity::Warn)),
        (6, 0, Some(Severity::Warn)),
        (6, 1, None),
        (7, 0, None),
    ] {
        check_one(expected.map(|s| (s, "kernel")), |facts, _| {
            facts.kernel = Some(Kernel { major, minor });
        });
    }
    check_one(Some((Severity::Error, "io_uring")), |facts, _| {
        facts.io_uring = Err("EPERM".to_string());
    });
}

#[test]
fn limits_of_the_process() {
    let memlock = |bytes, exempt, expected: Option<Severity>| {
        check_one(expected.map(|s| (s, "locked_memory")), |facts, _| {
            facts.memlock_bytes = Some(bytes);
            facts.memlock_exempt = exempt;
        });
    };
    memlock(64 << 10, false, Some(Severity::Error));
    memlock(8 << 20, false, Some(Severity::Warn));
    memlock(64 << 10, true, None);
    memlock(8 * ((64 << 20) + (512 << 10)), false, None);

    for (limit, expected) in
        [(100, Some(Severity::Error)), (1024, Some(Severity::Warn)), (70_000, None)]
    {
        check_one(expected.map(|s| (s, "open_files")), |facts, _| {
            facts.open_files = Some(limit);
        });
    }
    check_one(Some((Severity::Info, "backlog")), |facts, _| facts.somaxconn = Some(128));
}

#[test]
fn cores_and_memory() {
    check_one(Some((Severity::Error, "cores")), |_, needs| needs.cores = 9);
    check_one(Some((Severity::Warn, "cores")), |_, needs| {
        needs.cores = 9;
        needs.pinned = false;
    });
    // A quota of time below the CPUs that there are.
    check_one(Some((Severity::Warn, "cores")), |facts, _| facts.cores = 2);
    check_one(Some((Severity::Error, "cores")), |_, needs| needs.cpus = vec![7, 8]);
    check_one(None, |facts, needs| {
        facts.cpus.clear();
        needs.cpus = vec![7, 8];
    });
    check_one(Some((Severity::Error, "memory")), |_, needs| needs.memory_bytes = 33 << 30);
    check_one(Some((Severity::Warn, "memory")), |_, needs| needs.memory_bytes = 31 << 30);
}

#[test]
fn data_directories() {
    for filesystem in [
        Filesystem::Tmpfs,
        Filesystem::Overlay,
        Filesystem::Network,
        Filesystem::Fuse,
        Filesystem::Btrfs,
        Filesystem::Zfs,
        Filesystem::Other(1),
    ] {
        check_one(Some((Severity::Warn, "filesystem")), |facts, _| {
            facts.data_dirs[0].filesystem = filesystem;
        });
    }
    check_one(None, |facts, _| facts.data_dirs[0].filesystem = Filesystem::Ext4);
    check_one(Some((Severity::Warn, "direct_io")), |facts, _| {
        facts.data_dirs[0].direct_io = DirectIo::Refused("EINVAL".to_string());
    });
    check_one(Some((Severity::Warn, "free_space")), |facts, _| {
        facts.data_dirs[0].available_bytes = 1 << 20;
    });
    for (name, severity) in [("sda", Severity::Warn), ("vda", Severity::Info)] {
        check_one(Some((severity, "rotational")), |facts, _| {
            let disk = disk(facts);
            disk.rotational = Some(true);
            disk.name = name.to_string();
        });
    }
    check_one(Some((Severity::Error, "block_size")), |facts, _| {
        disk(facts).logical_block_bytes = Some(16384);
    });
}

#[test]
fn the_gravest_finding_comes_first() {
    let mut facts = good_facts();
    facts.somaxconn = Some(128);
    facts.open_files = Some(1024);
    facts.kernel = Some(Kernel { major: 4, minor: 4 });
    let severities: Vec<_> = check(&facts, &needs()).iter().map(|f| f.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warn, Severity::Info]);
}

#[test]
fn sizes_are_readable() {
    for (bytes, expected) in [
        (0, "0B"),
        (100, "100B"),
        (1 << 20, "1MiB"),
        (3 << 19, "1536KiB"),
        (16 << 30, "16GiB"),
        (u64::MAX, "unlimited"),
    ] {
        assert_eq!(size(bytes), expected);
    }
}

fn advise_one(
    severity: Severity,
    rule: &str,
    change: impl FnOnce(&mut Facts, &mut Host),
) -> Finding {
    let found = advise_all(change);
    let [finding] = &found[..] else { panic!("{rule}: {found:?}") };
    assert_eq!((finding.severity, finding.rule), (severity, rule));
    finding.clone()
}

fn advise_all(change: impl FnOnce(&mut Facts, &mut Host)) -> Vec<Finding> {
    let (mut facts, mut host) = (good_facts(), good_host());
    change(&mut facts, &mut host);
    advise(&facts, &host, &needs())
}

/// The settings of a finding, shortened to file name, value found, value wanted.
fn settings(finding: &Finding) -> Vec<(&str, &str, &str)> {
    let file = |path: &'_ str| path.rfind('/').map_or(0, |at| at + 1);
    let short = |s: &'_ Setting| file(&s.path);
    finding
        .settings
        .iter()
        .map(|s| (&s.path[short(s)..], s.now.as_str(), s.wanted.as_str()))
        .collect()
}

#[test]
fn a_well_set_host_gets_no_advice() {
    assert_eq!(advise_all(|_, _| {}), []);
}

#[test]
fn of_what_cannot_be_read_nothing_is_said() {
    let found = advise_all(|facts, host| {
        *host = Host::default();
        *disk(facts) = Disk { name: "nvme0n1".to_string(), ..Disk::default() };
        facts.data_dirs[0].mount = None;
        facts.somaxconn = None;
    });
    assert_eq!(found, []);
}

#[test]
fn mount_options() {
    for (option, severity, rule, undo) in [
        ("nobarrier", Severity::Warn, "barriers", Some("mount -o remount,nobarrier /data")),
        ("barrier=0", Severity::Warn, "barriers", Some("mount -o remount,barrier=0 /data")),
        ("ro", Severity::Error, "read_only", None),
        ("data=journal", Severity::Warn, "journalled_data", None),
        ("sync", Severity::Warn, "synchronous_mount", Some("mount -o remount,sync /data")),
        ("discard", Severity::Info, "online_discard", Some("mount -o remount,discard /data")),
        ("strictatime", Severity::Info, "access_times", Some("mount -o remount,strictatime /data")),
    ] {
        let finding = advise_one(severity, rule, |facts, _| mount(facts, option));
        assert_eq!(finding.undo.as_deref(), undo, "{option}");
    }
    check_one(Some((Severity::Warn, "barriers")), |facts, _| mount(facts, "nobarrier"));
    check_one(Some((Severity::Error, "read_only")), |facts, _| mount(facts, "ro"));
    check_one(None, |facts, _| mount(facts, "discard"));
    advise_one(Severity::Info, "shared_filesystem", |facts, _| {
        facts.data_dirs[0].mount.as_mut().unwrap().point = "/".into();
    });
}

#[test]
fn queues_of_disks() {
    let finding = advise_one(Severity::Warn, "scheduler", |facts, _| {
        disk(facts).scheduler.as_mut().unwrap().name = "mq-deadline".to_string();
    });
    assert_eq!(settings(&finding), [("scheduler", "mq-deadline", "none")]);
    assert_eq!(finding.how_to_undo(), ["echo mq-deadline > /sys/block/nvme0n1/queue/scheduler"]);
    let disturbed = &finding.settings[0].disturbed;
    let requests = "/sys/block/nvme0n1/queue/nr_requests".to_string();
    assert_eq!(disturbed, &[(requests, "1023".to_string())]);

    let finding = advise_one(Severity::Info, "queue_requests", |facts, _| {
        disk(facts).requests = Some(64);
    });
    assert_eq!(settings(&finding), [("nr_requests", "64", "128")]);
    let finding = advise_one(Severity::Info, "writeback_throttle", |facts, _| {
        disk(facts).writeback_throttle_us = Some(2000);
    });
    assert_eq!(settings(&finding), [("wbt_lat_usec", "2000", "0")]);
    for (most, wanted) in [(512, "512"), (4096, "1024")] {
        let finding = advise_one(Severity::Info, "transfer_size", |facts, _| {
            disk(facts).transfer_kib = Some(128);
            disk(facts).transfer_hardware_kib = Some(most);
        });
        assert_eq!(settings(&finding), [("max_sectors_kb", "128", wanted)]);
    }
    // A disk that really turns is left alone, and so is one without a choice.
    let found = advise_all(|facts, _| {
        disk(facts).name = "sda".to_string();
        disk(facts).rotational = Some(true);
        disk(facts).scheduler.as_mut().unwrap().name = "mq-deadline".to_string();
    });
    assert_eq!(found.iter().map(|f| f.rule).collect::<Vec<_>>(), ["rotational"]);
    let none = advise_all(|facts, _| {
        let scheduler = disk(facts).scheduler.as_mut().unwrap();
        *scheduler = Scheduler { name: "x".to_string(), available: vec!["x".to_string()] };
    });
    assert_eq!(none, []);
}

#[test]
fn caches_and_formats_of_disks() {
    let cache = |fua| {
        advise_all(|facts, _| {
            disk(facts).write_cache = Some(WriteCache::Back);
            disk(facts).fua = Some(fua);
        })
    };
    assert_eq!(cache(true), []);
    assert_eq!(cache(false)[0].rule, "volatile_cache");
    let format = |logical, physical| {
        advise_all(|facts, _| {
            disk(facts).logical_block_bytes = Some(logical);
            disk(facts).physical_block_bytes = Some(physical);
        })
    };
    assert_eq!(format(512, 4096)[0].rule, "lba_format");
    assert_eq!(format(512, 512), [], "the drive does not say that it works in larger blocks");
    let finding = advise_one(Severity::Info, "stacked_devices", |facts, _| {
        facts.data_dirs[0].device.as_mut().unwrap().layers = vec!["dm-0".into(), "md0".into()];
    });
    assert_eq!(finding.what, "/data is on dm-0 over md0, over nvme0n1");
}

#[test]
fn a_disk_under_two_directories_is_spoken_of_once() {
    let found = advise_all(|facts, _| {
        disk(facts).writeback_throttle_us = Some(2000);
        mount(facts, "discard");
        let other = DataDir { path: "/data/two".into(), ..facts.data_dirs[0].clone() };
        facts.data_dirs.push(other);
    });
    assert_eq!(found.len(), 2, "{found:?}");
}

fn interrupts(places: &[(u64, &[usize])]) -> Vec<Interrupt> {
    let one = |((count, cpus), number): (&(u64, &[usize]), u32)| Interrupt {
        number,
        name: format!("queue{number}"),
        allowed: cpus.to_vec(),
        allowed_list: crate::facts::as_list(cpus),
        effective: cpus.to_vec(),
        count: *count,
    };
    places.iter().zip(40..).map(one).collect()
}

#[test]
fn interrupts_that_crowd_on_one_cpu() {
    let crowd = || interrupts(&[(20_000, &[3]), (30_000, &[3]), (5, &[4])]);
    let finding = advise_one(Severity::Warn, "network_interrupts", |_, host| {
        host.network.interfaces[0].interrupts = crowd();
    });
    assert!(finding.what.contains("CPU 3"), "{}", finding.what);
    let spread: Vec<_> =
        finding.settings.iter().map(|s| (s.path.as_str(), s.wanted.as_str())).collect();
    assert_eq!(
        spread,
        [
            ("/proc/irq/40/smp_affinity_list", "0"),
            ("/proc/irq/41/smp_affinity_list", "1"),
            ("/proc/irq/42/smp_affinity_list", "2"),
        ]
    );
    let finding = advise_one(Severity::Warn, "network_interrupts", |_, host| {
        host.network.interfaces[0].interrupts = crowd();
        host.cpus.irqbalance = true;
    });
    assert_eq!(finding.settings, [], "irqbalance would undo them");
    advise_one(Severity::Warn, "disk_interrupts", |facts, _| disk(facts).interrupts = crowd());
    for calm in [
        &[(20_000, &[3][..]), (30_000, &[4])][..],
        &[(20_000, &[3])],
        &[(20_000, &[3]), (10, &[3])],
        &[(20_000, &[3, 4]), (20_000, &[3])],
    ] {
        let found = advise_all(|_, host| host.network.interfaces[0].interrupts = interrupts(calm));
        assert_eq!(found, [], "{calm:?}");
    }
}

#[test]
fn cpus_and_clocks() {
    let finding = advise_one(Severity::Warn, "governor", |_, host| {
        host.cpus.governors.iter_mut().take(2).for_each(|g| g.name = "powersave".to_string());
    });
    let wanted = ("scaling_governor", "powersave", "performance");
    assert_eq!(settings(&finding), [wanted, wanted]);
    assert!(finding.settings[1].path.contains("/cpu1/"));
    advise_one(Severity::Info, "idle_states", |_, host| host.cpus.idle_exit_us = Some(133));
    let finding = advise_one(Severity::Warn, "clock_source", |_, host| {
        host.clock.source = Some("hpet".to_string());
    });
    assert_eq!(settings(&finding), [("current_clocksource", "hpet", "tsc")]);
    advise_one(Severity::Info, "clock_sync", |_, host| host.clock.synchronised = Some(false));
}

#[test]
fn nodes_of_memory() {
    let two_nodes = |host: &mut Host| {
        host.cpus.nodes = vec![(0, (0..4).collect()), (1, (4..8).collect())];
    };
    let finding = advise_one(Severity::Info, "numa", |facts, host| {
        two_nodes(host);
        disk(facts).node = Some(1);
        host.network.interfaces[0].node = Some(1);
    });
    assert_eq!(finding.remedy, "start with --cores 4-7, the CPUs of node 1.");
    let finding = advise_one(Severity::Info, "numa", |facts, host| {
        two_nodes(host);
        disk(facts).node = Some(1);
        host.network.interfaces[0].node = Some(0);
    });
    assert!(finding.what.contains("eth0 at node 0, nvme0n1 at node 1"), "{}", finding.what);
    assert_eq!(advise_all(|_, host| two_nodes(host)), [], "nobody says where anything is");
}

#[test]
fn memory() {
    let finding = advise_one(Severity::Warn, "swap", |_, host| host.memory.swappiness = Some(60));
    assert_eq!(settings(&finding), [("swappiness", "60", "1")]);
    let found = advise_all(|_, host| {
        host.memory.swappiness = Some(60);
        host.memory.swap_bytes = Some(0);
    });
    assert_eq!(found, [], "without swap it means nothing");
    advise_one(Severity::Warn, "transparent_huge_pages", |_, host| {
        host.memory.transparent_huge_pages = Some("never".to_string());
    });
    let finding = advise_one(Severity::Info, "transparent_huge_pages", |_, host| {
        host.memory.transparent_huge_pages = Some("always".to_string());
    });
    assert_eq!(settings(&finding), [("enabled", "always", "madvise")]);
    let finding = advise_one(Severity::Info, "reserved_huge_pages", |_, host| {
        (host.memory.reserved_huge_pages, host.memory.reserved_huge_bytes) =
            (Some(8), Some(16 << 20));
    });
    assert_eq!((finding.settings.len(), finding.undo.is_some()), (0, true));
    let finding = advise_one(Severity::Info, "dirty_pages", |_, host| {
        (host.memory.dirty_ratio, host.memory.dirty_background_ratio) = (Some(20), Some(10));
    });
    assert_eq!(
        settings(&finding),
        [("dirty_background_ratio", "10", "1"), ("dirty_ratio", "20", "5")]
    );
    let small = advise_all(|_, host| {
        (host.memory.dirty_ratio, host.memory.total_bytes) = (Some(20), Some(4 << 30));
    });
    assert_eq!(small, []);
    advise_one(Severity::Warn, "zone_reclaim", |_, host| host.memory.zone_reclaim_mode = Some(1));
}

#[test]
fn networks() {
    let finding = advise_one(Severity::Info, "syn_backlog", |_, host| {
        host.network.syn_backlog = Some(1024);
    });
    assert_eq!(settings(&finding), [("tcp_max_syn_backlog", "1024", "4096")]);
    let finding = advise_one(Severity::Info, "send_buffer", |_, host| {
        host.network.send_buffer = Some([4096, 16_384, 4 << 20]);
    });
    assert_eq!(settings(&finding), [("tcp_wmem", "4096\t16384\t4194304", "4096\t16384\t16777216")]);
    assert_eq!(finding.how_to_undo(), ["sysctl -w net.ipv4.tcp_wmem=\"4096 16384 4194304\""]);
    advise_one(Severity::Info, "receive_buffer_max", |_, host| {
        host.network.receive_buffer_max = Some(212_992);
    });
    let slow = advise_all(|_, host| {
        host.network.send_buffer = Some([4096, 16_384, 4 << 20]);
        host.network.interfaces[0].speed_mbit = Some(1000);
    });
    assert_eq!(slow, [], "a slow network is full with less");
    advise_one(Severity::Info, "slow_start_after_idle", |_, host| {
        host.network.slow_start_after_idle = Some(true);
    });
    let finding = advise_one(Severity::Info, "pacing", |_, host| {
        host.network.congestion_control = Some("bbr".to_string());
    });
    let undo = "sysctl -w net.ipv4.tcp_congestion_control=bbr";
    assert_eq!((finding.settings.len(), finding.undo.as_deref()), (0, Some(undo)));
    advise_one(Severity::Info, "ports", |_, host| host.network.ports = Some((50_000, 60_000)));
    let finding = advise_one(Severity::Info, "mtu", |_, host| {
        host.network.interfaces[0].mtu = Some(1500);
    });
    assert_eq!(finding.undo.as_deref(), Some("ip link set eth0 mtu 1500"));
    advise_one(Severity::Info, "receive_queues", |_, host| {
        host.network.interfaces[0].receive_queues = 2;
    });
}
