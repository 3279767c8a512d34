//! The binary as its operator meets it: its first line, its signals, its exit codes.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A server with small buffers on ports of its own, without the environment of whoever runs tests.
fn serve(data_dir: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--io-memory", "1MiB", "--ring-depth", "128", "--placement", "unbound"]);
    command.args(["--capacity", "64MiB", "--segment-size", "1MiB"]);
    command.args(["--log-format", "json", "--data-dir"]).arg(data_dir).args(flags);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGFORT_")) {
        command.env_remove(name);
    }
    command.env("RINGFORT_CORES", "1");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn first_line(server: &mut Child) -> serde_json::Value {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn it_says_its_ports_and_stops_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("new/store");
    let mut server = serve(&data_dir, &[]).spawn().unwrap();
    let ready = first_line(&mut server);
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["cores"], 1);
    assert!(ready["shards"].as_u64().unwrap() > 0);
    assert!(ready["free_bytes"].as_u64().unwrap() > 0);
    for port in ["listen", "admin_listen"] {
        TcpStream::connect(ready[port].as_str().unwrap()).unwrap();
    }
    assert!(data_dir.join("root-credentials.json").exists());
    let kill = Command::new("kill").arg(server.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    server.stderr.unwrap().read_to_string(&mut log).unwrap();
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_ne!(event["level"], "ERROR", "{line}");
    }
    let secrets = std::fs::read_to_string(data_dir.join("root-credentials.json")).unwrap();
    let secrets: serde_json::Value = serde_json::from_str(&secrets).unwrap();
    assert!(!log.contains(secrets["secret_key"].as_str().unwrap()));
}

#[test]
fn a_store_has_one_server_at_a_time_and_opens_again_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = serve(dir.path(), &[]).spawn().unwrap();
    let shards = first_line(&mut first)["shards"].clone();
    let (code, message) = run(&mut serve(dir.path(), &[]));
    assert_eq!(code, Some(1));
    assert!(message.contains("another process"), "{message}");
    first.kill().unwrap();
    first.wait().unwrap();

    // More cores than before own the same shards.
    let mut again = serve(dir.path(), &["--cores", "2"]);
    let mut again = again.spawn().unwrap();
    let ready = first_line(&mut again);
    assert_eq!((&ready["shards"], &ready["cores"]), (&shards, &2.into()));
    assert!(Command::new("kill").arg(again.id().to_string()).status().unwrap().success());
    assert_eq!(again.wait().unwrap().code(), Some(0));
}

#[test]
fn what_is_refused_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (code, message) = run(&mut serve(dir.path(), &["--shards", "0"]));
    assert_eq!(code, Some(2));
    assert!(message.contains("--shards"), "{message}");

    std::fs::write(dir.path().join("root-credentials.json"), "{").unwrap();
    let (code, message) = run(&mut serve(dir.path(), &[]));
    assert_eq!(code, Some(2));
    assert!(message.contains("root-credentials.json"), "{message}");

    let mut verify = Command::new(env!("CARGO_BIN_EXE_ringfort"));
    verify.args(["verify", "--data-dir"]).arg(dir.path().join("nothing"));
    let (code, message) = run(&mut verify);
    assert_eq!(code, Some(2));
    assert!(message.contains("nothing"), "{message}");
}
