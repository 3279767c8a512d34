#!/usr/bin/env bash
# Tries the Debian package as an operator would, on a root made by debootstrap, booted with systemd in a container
# that has no network but its own loopback: install, start under the unit's restrictions, use, kill, reload,
# upgrade, remove, purge, install again. Ends with "the package is sound", or at the first thing that is not.
#
# Needs root, a file system with direct I/O, debootstrap, systemd-container, and the `aws` command.
# usage: trial.sh PACKAGE NEWER_PACKAGE [DIRECTORY]   (the root is made in DIRECTORY once and used again)
set -euo pipefail

package=$(realpath "$1")
newer=$(realpath "$2")
root=$(realpath -m "${3:-target/package/root}")
log=$root.log

say() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

if [ ! -e "$root/.made" ]; then
    say "making a root in $root"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,adduser,procps,curl,man-db bookworm "$root"
    touch "$root/.made"
fi

# io_uring is not among the system calls that a container has by default.
say "booting"
systemd-nspawn --boot --directory="$root" --ephemeral --private-network --register=no --keep-unit \
    --console=pipe --system-call-filter="@aio io_uring_setup io_uring_enter io_uring_register" \
    </dev/null >"$log" 2>&1 &
container=$!
leader=
stop() {
    [ -n "$leader" ] && kill -s RTMIN+4 "$leader" 2>/dev/null
    for _ in $(seq 100); do kill -0 "$container" 2>/dev/null || return 0; sleep 0.2; done
    kill "$container"
}
trap stop EXIT
until_true() {
    local what=$1
    shift
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.2; done
    fail "in vain: $what"
}
leads() { leader=$(pgrep -P "$container" -f systemd | head -1) && [ -n "$leader" ]; }
until_true "a container" leads
inside() { nsenter -t "$leader" -m -u -i -n -p -- "$@"; }
is_up() { inside systemctl is-system-running | grep -qE "running|degraded"; }
until_true "the system is up" is_up

# The ports of the container, from here.
in_network() { nsenter -t "$leader" -n -- "$@"; }
is_ready() { in_network curl --noproxy '*' -sf http://127.0.0.1:9000/-/ready; }
copy_in() { inside sh -c "cat >/root/$(basename "$1")" <"$1"; }
credential() { inside sed -n "s/.*\"$1\": \"\(.*\)\".*/\1/p" /var/lib/ringfort/data/root-credentials.json; }
s3() {
    AWS_ACCESS_KEY_ID=$(credential access_key) AWS_SECRET_ACCESS_KEY=$(credential secret_key) \
        AWS_DEFAULT_REGION=us-east-1 NO_PROXY='*' \
        in_network aws --endpoint-url http://127.0.0.1:9000 "$@"
}
main_pid() { inside systemctl show --value -p MainPID ringfort; }

say "installing $(basename "$package")"
copy_in "$package"
copy_in "$newer"
inside dpkg -i "/root/$(basename "$package")"
inside systemctl is-active ringfort && fail "it started before anybody had seen its configuration"
inside ringfort config check --config /etc/ringfort/ringfort.toml
inside man -w ringfort ringfort-serve
inside test -s /usr/share/bash-completion/completions/ringfort

say "starting"
inside systemctl enable --now ringfort
until_true "it is ready" is_ready
pid=$(main_pid)
status=$(inside cat "/proc/$pid/status")
grep -q "^NoNewPrivs:.1" <<<"$status" || fail "it may gain privileges"
grep -q "^Seccomp:.2" <<<"$status" || fail "no filter of system calls"
grep -q "^CapEff:.0000000000000400" <<<"$status" || fail "it has other capabilities than CAP_NET_BIND_SERVICE"
grep -qP "^Uid:\t0" <<<"$status" && fail "it runs as root"
inside systemd-analyze security --no-pager ringfort | tail -1
inside stat -c '%A %U %n' /var/lib/ringfort /var/lib/ringfort/data /etc/ringfort/environment

say "using"
body=$(mktemp)
head -c 40000000 /dev/urandom >"$body"
s3 s3 mb s3://kept
s3 s3 cp --quiet "$body" s3://kept/large
s3 s3 cp --quiet "$0" s3://kept/small
same() { s3 s3 cp --quiet s3://kept/large - | cmp - "$body" && s3 s3 cp --quiet s3://kept/small - | cmp - "$0"; }
same || fail "what came back is something else"

say "killed, it comes back"
inside kill -9 "$(main_pid)"
is_another() { [ "$(main_pid)" != "$pid" ] && is_ready; }
until_true "another process is ready" is_another
same || fail "a kill lost an object"

say "reloading"
inside systemctl reload ringfort
is_ready || fail "a reload ended it"

say "upgrading to $(basename "$newer")"
inside sed -i 's/^# Only this host.*/# Changed by its administrator./' /etc/ringfort/ringfort.toml
pid=$(main_pid)
# Where the package's own has changed as well, an administrator is asked; here nobody is.
inside dpkg --force-confold -i "/root/$(basename "$newer")"
until_true "the newer one is ready" is_another
inside grep -q "Changed by its administrator" /etc/ringfort/ringfort.toml || fail "the configuration was replaced"
same || fail "the upgrade lost an object"

say "going back to $(basename "$package")"
pid=$(main_pid)
inside dpkg --force-confold -i "/root/$(basename "$package")"
until_true "the older one is ready" is_another
same || fail "going back lost an object"

say "removing and purging"
inside dpkg -r ringfort
in_network curl --noproxy '*' -sf http://127.0.0.1:9000/-/live && fail "it still runs"
inside dpkg -P ringfort
inside test ! -e /etc/ringfort/environment || fail "secrets are left"
inside test -d /var/lib/ringfort/data || fail "the data went with the package"

say "installing again finds the data"
inside dpkg -i "/root/$(basename "$package")"
inside systemctl start ringfort
until_true "it is ready" is_ready
same || fail "purging lost an object"
inside journalctl -b -u ringfort -p warning --no-pager

rm -f "$body"
say "the package is sound"
