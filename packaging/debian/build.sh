#!/usr/bin/env bash
# Builds the Debian package, and one with its debug symbols: the binary, its manual pages and what shells
# complete, the unit, documents. Arguments go to `cargo deb`, as in `--deb-version 0.1.1-1`.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
cargo build --release --locked -p ringfort

made=target/package
rm -rf "$made"
mkdir -p "$made/man"
target/release/ringfort man --dir "$made/man"
gzip -9n "$made"/man/*.1
target/release/ringfort completions bash >"$made/ringfort.bash"
target/release/ringfort completions zsh >"$made/_ringfort"
target/release/ringfort completions fish >"$made/ringfort.fish"

cargo deb -p ringfort --no-build --dbgsym "$@"
