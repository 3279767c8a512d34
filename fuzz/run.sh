#!/usr/bin/env bash
# Fuzzes by coverage: run.sh SECONDS [TARGET...] gives each target (all of them if none is named) so many seconds, one
# after the other on one core, and prints a line for each. It builds with the stable toolchain: the compiler is asked
# for LLVM's coverage pass, and libFuzzer comes with its crate (a C++ compiler builds it).
#
# Inputs that reach something new are gathered in target/fuzzing/corpus and are there for the next run; what fails lies in
# target/fuzzing/findings. run.sh --minimise [TARGET...] puts the smallest set of inputs that reaches the same into
# fuzz/corpus, which is the one in the repository.
set -euo pipefail
cd "$(dirname "$0")/.."

# The name of an input is not to depend on who runs this.
unset RINGFORT_FUZZ_TARGET
triple=$(rustc -vV | sed -n 's/^host: //p')
work=target/fuzzing
# What a Linux box can spare; an input that needs more is a finding.
memory_mb=2048
# The longest input that is tried, by target; else 4096 bytes.
length_max() {
    case $1 in
    disk_leaves | disk_group | xml_documents | store) echo 8192 ;;
    form) echo 24576 ;;
    *) echo 4096 ;;
    esac
}

build() {
    RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
        cargo build --quiet -p ringfort-fuzz --features libfuzzer --bin ringfort-fuzz \
        --profile fuzz --target "$triple"
}

fuzzer() {
    local name=$1
    shift
    RINGFORT_FUZZ_TARGET=$name "target/$triple/fuzz/ringfort-fuzz" "$@"
}

all_targets() {
    find fuzz/corpus -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort
}

run_one() {
    local name=$1 seconds=$2 log corpus started dictionary=()
    log=$work/logs/$name.log
    corpus=$work/corpus/$name
    mkdir -p "$corpus" "$work/logs" "$work/findings"
    [ ! -e "fuzz/dictionaries/$name.dict" ] || dictionary=(-dict="fuzz/dictionaries/$name.dict")
    started=$(find "$work/findings" -name "$name-*" | wc -l)
    fuzzer "$name" "$corpus" "fuzz/corpus/$name" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=$memory_mb -max_len="$(length_max "$name")" -reload=0 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$name-" "${dictionary[@]}" >"$log" 2>&1 || true
    local executions features inputs findings
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    features=$(grep -o 'ft: [0-9]*' "$log" | tail -1 | cut -d' ' -f2 || true)
    inputs=$(find "$corpus" "fuzz/corpus/$name" -type f -printf '%f\n' | sort -u | wc -l)
    findings=$(($(find "$work/findings" -name "$name-*" | wc -l) - started))
    printf '%-20s %12s executions %7s features %6s inputs %3s findings\n' \
        "$name" "${executions:-?}" "${features:-?}" "$inputs" "$findings"
}

minimise() {
    local name=$1 fresh=$work/minimised/$1
    rm -rf "$fresh"
    mkdir -p "$fresh" "$work/corpus/$name"
    fuzzer "$name" -set_cover_merge=1 -rss_limit_mb=$memory_mb -max_len="$(length_max "$name")" \
        "$fresh" "fuzz/corpus/$name" "$work/corpus/$name" >"$work/logs/$name-minimise.log" 2>&1
    # What was found once stays, whatever it reaches.
    find "fuzz/corpus/$name" -type f ! -name 'found-*' -delete
    cp -n "$fresh"/* "fuzz/corpus/$name/"
    printf '%-20s %6s inputs\n' "$name" "$(find "fuzz/corpus/$name" -type f | wc -l)"
}

[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
first=$1
shift
mkdir -p "$work/logs"
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(all_targets); fi
build
for name in "${targets[@]}"; do
    if [ "$first" = --minimise ]; then minimise "$name"; else run_one "$name" "$first"; fi
done
[ "$first" = --minimise ] || [ -z "$(ls "$work/findings")" ] || {
    echo "what was found lies in $work/findings" >&2
    exit 1
}
