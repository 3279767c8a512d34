#!/usr/bin/env bash
# Builds a commit twice, from nothing, in two directories of different names and depths, and compares what came out. Ends
# with "the same", or with 1 and the sections that differ. Takes two whole release builds, one after the other.
#
# usage: packaging/reproduce.sh [COMMIT] [PACKAGE]   (HEAD, ringfort; directories are made in ${TMPDIR:-/var/tmp})
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git rev-parse --verify "${1:-HEAD}^{commit}")
package=${2:-ringfort}
scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/reproduce.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

SOURCE_DATE_EPOCH=$(git show -s --format=%ct "$commit")
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR

binaries=()
for place in one another/directory/that-is-deeper; do
    mkdir -p "$scratch/$place"
    git archive "$commit" | tar -x -C "$scratch/$place"
    "$scratch/$place/packaging/release.sh" -p "$package"
    # Kept, without what made it: two whole target directories are several GB.
    cp "$scratch/$place/target/release/$package" "$scratch/binary.${#binaries[@]}"
    rm -rf "${scratch:?}/$place"
    binaries+=("$scratch/binary.${#binaries[@]}")
done

sha256sum "${binaries[@]}"
if grep -aqF "$scratch" "${binaries[@]}"; then
    echo "the directory of the build stands in the binary" >&2
    exit 1
fi
if ! cmp "${binaries[@]}"; then
    trap - EXIT
    echo "kept to be looked at: ${binaries[*]}" >&2
    # Which section, for who has to find out why.
    for section in $(objdump -h "${binaries[0]}" | awk '$1 ~ /^[0-9]+$/ {print $2}'); do
        for binary in "${binaries[@]}"; do
            objcopy -O binary --only-section="$section" --set-section-flags "$section=alloc" "$binary" "$binary.part" \
                2>/dev/null || : >"$binary.part"
        done
        cmp -s "${binaries[0]}.part" "${binaries[1]}.part" || echo "$section differs" >&2
    done
    exit 1
fi
echo "the same: $package of $commit"
