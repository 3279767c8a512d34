#!/usr/bin/env bash
# Builds the Debian package, and one with its debug symbols: the binary (by packaging/release.sh), its manual
# pages and what shells complete, the unit, documents, the list of what the binary is made of. Arguments go to
# `cargo deb`, as in `--deb-version 0.1.1-1`. Needs git, unless SOURCE_DATE_EPOCH is set, and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The time of every file of the package.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD)}"

command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
packaging/release.sh

made=target/package
rm -rf "$made"
mkdir -p "$made/man"
target/release/ringfort man --dir "$made/man"
gzip -9n "$made"/man/*.1
target/release/ringfort completions bash >"$made/ringfort.bash"
target/release/ringfort completions zsh >"$made/_ringfort"
target/release/ringfort completions fish >"$made/ringfort.fish"
packaging/sbom.py --output "$made/ringfort.cdx.json"

cargo deb -p ringfort --no-build --dbgsym "$@"
