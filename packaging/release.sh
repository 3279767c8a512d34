#!/usr/bin/env bash
# Builds target/release/ringfort with all that is known to make the same commit give the same bytes, wherever it lies, with
# the same compilers (rustc, cc, ld); what still differs stands in packaging/README.md. Nothing of the binary names a directory of this host: the sources stand in it as
# /ringfort, those of crates as /crates. RUSTFLAGS and CFLAGS that are set count besides.
#
# usage: packaging/release.sh [-p PACKAGE]   (arguments go to `cargo build`; without any: -p ringfort)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- -p ringfort

root=$(pwd -P)
crates=$(realpath -m "${CARGO_HOME:-$HOME/.cargo}")/registry/src
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
# Where rustup has put the sources of the standard library, rustc writes their place instead of the name that
# they have everywhere.
library=$(rustc --print sysroot)/lib/rustlib/src/rust
commit=$(rustc -vV | sed -n 's/^commit-hash: //p')

# cc splits its flags at blanks.
case "$root$crates$target" in *[[:space:]]*) echo "a path with blanks: $root, $crates, $target" >&2; exit 1 ;; esac

# The last that fits counts.
maps=("$root=/ringfort" "$crates=/crates" "$target=/ringfort/target")
# shellcheck disable=SC2206 # RUSTFLAGS are split at blanks, as cargo does.
flags=(${RUSTFLAGS:-})
for map in "${maps[@]}" "$library=/rustc/$commit"; do flags+=("--remap-path-prefix=$map"); done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo -n "${flags[*]}")
CFLAGS="${CFLAGS:-}${maps[*]/#/ -ffile-prefix-map=}"
export CARGO_ENCODED_RUSTFLAGS CFLAGS
unset RUSTFLAGS

exec cargo build --release --locked "$@"
