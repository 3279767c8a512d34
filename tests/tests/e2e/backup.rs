//! Backups of the real binary while it is written to, and what comes back from them.
//!
//! Writers number their writes over keys of many shards, one write at a time: so a restored store is right
//! if it holds, for every writer, what its first so many writes come to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::Client;
use ringfort_tests::harness::{Server, Site, ringfort};

const WRITERS: u64 = 3;
const KEYS: u64 = 16;
const STEADY: u64 = 40;
const STEADY_BYTES: usize = 400_000;

/// Runs a subcommand to its end: whether it succeeded, and all that it said.
fn run(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(ringfort());
    let output =
        command.args(arguments).env("RINGFORT_ADMIN_API_KEY", "test-key").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn run_well(arguments: &[&str]) -> String {
    let (is_well, said) = run(arguments);
    assert!(is_well, "{arguments:?}: {said}");
    said
}

fn backup(server: &Server<'_>, to: &Path) -> Made {
    let admin = format!("http://{}", server.admin_listen);
    let said = run_well(&["backup", "--to", to.to_str().unwrap(), "--admin", &admin]);
    Made::newest(to, &said)
}

/// A backup, by its list.
#[derive(Debug)]
struct Made {
    generation: String,
    list: serde_json::Value,
    copied_mib: u64,
}

impl Made {
    fn newest(to: &Path, said: &str) -> Self {
        let generation = said.split_once("backup ").unwrap().1.split_once(':').unwrap().0;
        let path = to.join("backups").join(format!("{generation}.json"));
        let list: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let copied = said.split_once("of which ").unwrap().1.split_once(' ').unwrap().0;
        Self { generation: generation.into(), list, copied_mib: copied.parse().unwrap() }
    }

    /// Path and length of each file.
    fn files(&self) -> Vec<(String, u64)> {
        let shards = self.list["backup"]["shards"].as_array().unwrap();
        let files = shards.iter().flat_map(|shard| shard["files"].as_array().unwrap());
        files
            .map(|file| {
                (file["path"].as_str().unwrap().to_owned(), file["bytes"].as_u64().unwrap())
            })
            .collect()
    }

    fn mib(&self) -> u64 {
        self.files().iter().map(|(_, bytes)| bytes).sum::<u64>() >> 20
    }
}

fn steady(number: u64) -> (String, Vec<u8>) {
    (format!("/bucket/steady-{number}"), Chance::new(number).bytes(STEADY_BYTES))
}

// --- Numbered writes -------------------------------------------------------------------------------

fn target(writer: u64, number: u64) -> String {
    format!("/bucket/{writer}-{}", number % KEYS)
}

/// What the write with this number stores; none: it deletes.
fn body(writer: u64, number: u64) -> Option<Vec<u8>> {
    let size = [100, 9_000, 200_000, 50_000][(number as usize + writer as usize) % 4];
    (number % 6 != 5).then(|| Chance::new(number << 8 | writer).bytes(size))
}

#[derive(Debug, Default)]
struct Count {
    begun: AtomicU64,
    answered: AtomicU64,
}

fn write(mut client: Client, writer: u64, count: &Count, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let number = count.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match body(writer, number) {
            Some(bytes) => client.put(&target(writer, number), bytes).expect(200),
            None => client.delete(&target(writer, number)).expect(204),
        };
        count.answered.store(number, Ordering::SeqCst);
    }
}

/// That the store holds what a writer's first so many writes come to, for a number within the bounds.
fn check_cut(client: &mut Client, writer: u64, (least, most): (u64, u64)) {
    let found: Vec<_> = (0..KEYS)
        .map(|place| {
            let answer = client.get(&target(writer, place));
            (answer.status == 200).then_some(answer.body)
        })
        .collect();
    let holds = |count: u64| {
        (0..KEYS).all(|place| {
            let last = (1..=count).rev().find(|number| number % KEYS == place);
            found[place as usize] == last.and_then(|number| body(writer, number))
        })
    };
    assert!((least..=most).any(holds), "writer {writer}: no cut from {least} to {most}");
}

fn restored(site: &Site, from: &Path, generation: &str) -> PathBuf {
    let to = site.path(&format!("restored-{generation}"));
    let (from, dir) = (from.to_str().unwrap(), to.to_str().unwrap());
    run_well(&["restore", "--from", from, "--generation", generation, "--data-dir", dir]);
    to
}

// --- Tests -----------------------------------------------------------------------------------------

#[test]
fn a_backup_under_load_is_one_moment_and_the_next_copies_what_changed() {
    let site = Site::new();
    let to = site.path("backups");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for number in 0..STEADY {
        let (name, bytes) = steady(number);
        client.put(&name, bytes).expect(200);
    }
    let counts: Vec<Count> = (0..WRITERS).map(|_| Count::default()).collect();
    let stop = AtomicBool::new(false);
    let mut under_load = Vec::new();
    thread::scope(|scope| {
        for (writer, count) in (0..).zip(&counts) {
            let (client, stop) = (server.client(), &stop);
            scope.spawn(move || write(client, writer, count, stop));
        }
        for _ in 0..2 {
            let least: Vec<_> =
                counts.iter().map(|count| count.answered.load(Ordering::SeqCst)).collect();
            let made = backup(&server, &to);
            let most = counts.iter().map(|count| count.begun.load(Ordering::SeqCst));
            let bounds: Vec<_> = least.into_iter().zip(most).collect();
            under_load.push((made, bounds));
        }
        stop.store(true, Ordering::SeqCst);
    });
    let settled = backup(&server, &to);
    client.put("/bucket/one-more", "a little").expect(200);
    let last = backup(&server, &to);
    // All but the ends of the logs and the checkpoints was there already.
    assert!(last.mib() >= 16, "{last:?}");
    assert!(last.copied_mib <= last.mib() / 3, "{} of {}", last.copied_mib, last.mib());
    let ends = counts.iter().map(|count| count.answered.load(Ordering::SeqCst));
    let ends: Vec<_> = ends.map(|end| (end, end)).collect();
    server.stop();

    under_load.push((settled, ends.clone()));
    for (made, bounds) in &under_load {
        let dir = restored(&site, &to, &made.generation);
        let again = Site::new().data_dirs(vec![dir]);
        let server = again.start();
        let mut client = server.client();
        for (writer, bounds) in (0..).zip(bounds) {
            check_cut(&mut client, writer, *bounds);
        }
        for number in 0..STEADY {
            let (name, bytes) = steady(number);
            assert!(client.get(&name).expect(200).body == bytes, "{name} differs");
        }
        client.get("/bucket/one-more").expect_error(404, "NoSuchKey");
        client.put("/bucket/new", "life goes on").expect(200);
        server.stop();
    }
}

#[test]
fn a_changed_file_is_named_and_nothing_serves_what_was_put_back_until_then() {
    let site = Site::new();
    let to = site.path("backups");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for number in 0..8 {
        let (name, bytes) = steady(number);
        client.put(&name, bytes).expect(200);
    }
    let made = backup(&server, &to);
    server.stop();
    let from = to.to_str().unwrap();
    assert!(run_well(&["restore", "--from", from, "--list"]).contains(&made.generation));
    run_well(&["restore", "--from", from, "--dry-run"]);

    let (path, _) = made.files().into_iter().max_by_key(|(_, bytes)| *bytes).unwrap();
    let file = to.join(&path);
    let sound = fs::read(&file).unwrap();
    let mut rotten = sound.clone();
    rotten[sound.len() / 2] ^= 1;
    fs::write(&file, rotten).unwrap();
    let dir = site.path("put-back");
    let arguments = ["restore", "--from", from, "--data-dir", dir.to_str().unwrap()];
    let (is_well, said) = run(&arguments);
    assert!(!is_well && said.contains(&path), "{said}");
    let (is_well, said) = run(&["restore", "--from", from, "--dry-run"]);
    assert!(!is_well && said.contains(&path), "{said}");
    let again = Site::new().data_dirs(vec![dir.clone()]);
    let (_, said) = again.start_refused();
    assert!(said.contains("done again"), "{said}");

    // Done again from the sound file, it is a store.
    fs::write(&file, sound).unwrap();
    run_well(&arguments);
    let server = again.start();
    for number in 0..8 {
        let (name, bytes) = steady(number);
        assert!(server.client().get(&name).expect(200).body == bytes, "{name} differs");
    }
    // Nor is it put over one.
    server.stop();
    let (is_well, said) = run(&arguments);
    assert!(!is_well && said.contains("empty"), "{said}");
}

#[test]
fn a_store_that_is_not_served_is_backed_up_and_put_back_on_two_drives() {
    let site = Site::new();
    let to = site.path("backups");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let (name, bytes) = steady(1);
    client.put(&name, bytes.clone()).expect(200);
    server.kill();
    let (dir, to_text) = (site.data_dir(), to.to_str().unwrap());
    let arguments = ["backup", "--data-dir", dir.to_str().unwrap(), "--to", to_text, "--keep", "1"];
    run_well(&arguments);
    run_well(&arguments);
    assert_eq!(fs::read_dir(to.join("backups")).unwrap().count(), 1);
    let dirs = [site.path("drive-0"), site.path("drive-1")];
    let [first, second] = dirs.each_ref().map(|dir| dir.to_str().unwrap());
    run_well(&["restore", "--from", to_text, "--data-dir", first, "--data-dir", second]);
    let again = Site::new().data_dirs(dirs.to_vec());
    let server = again.start();
    let mut client = server.client();
    assert_eq!(client.get(&name).expect(200).body, bytes);
    client.put("/other", "").expect(200);
    server.stop();
    // A directory that is no store is not made one.
    let nothing = site.path("nothing");
    let (is_well, _) = run(&["backup", "--data-dir", nothing.to_str().unwrap(), "--to", to_text]);
    assert!(!is_well && !nothing.exists());
}

#[test]
fn what_a_backup_cannot_do_is_said() {
    let site = Site::new().expect_log("a backup failed");
    let server = site.start();
    let admin = format!("http://{}", server.admin_listen);
    let missing = site.path("not/there");
    let (is_well, said) = run(&["backup", "--to", missing.to_str().unwrap(), "--admin", &admin]);
    assert!(!is_well && said.contains("not/there"), "{said}");
    let to = site.path("backups");
    let wrong = ["backup", "--to", to.to_str().unwrap(), "--admin", &admin, "--api-key", "wrong"];
    let (is_well, said) = run(&wrong);
    assert!(!is_well && said.contains("401"), "{said}");
    server.stop();
}
