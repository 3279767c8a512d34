//! The real binary from outside: other people's clients, kills, damaged directories, bad input.
//!
//! One executable, so that tests which mostly wait do it side by side. Each test has a server and a
//! data directory of its own.

#![allow(clippy::unwrap_used)]

mod access;
mod access_logs;
mod attacks;
mod audit;
mod aws_cli;
mod backup;
mod bad_bodies;
mod bad_clients;
mod bad_heads;
mod battery;
mod cdn;
mod clients;
mod console;
mod data_dir;
mod drives;
mod encryption;
mod events;
mod exchange;
mod full_disk;
mod golden;
mod import;
mod kill;
mod lifecycle;
mod management;
mod matrix;
mod packaging;
mod privileges;
mod races;
mod restarts;
mod rules;
mod seeds;
mod soak;
mod tls;
mod tune;
mod verify;
