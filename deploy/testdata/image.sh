#!/usr/bin/env bash
# image.sh ROOTFS: runs the image's root file system as a container engine would: read-only, an ordinary user without
# any capability, namespaces of its own, ports from 0. Called inside fresh mount, PID and network namespaces.
set -euo pipefail
root=$1
say() { printf '%s\n' "$*" >&2; }
die() { say "image: $*"; exit 1; }
ip link set lo up
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
for dir in var/lib/sereno run/sereno; do
  mount -t tmpfs -o mode=0750,uid=65532,gid=65532 tmpfs "$root/$dir"
done
mount -o remount,bind,ro "$root"
inside() { unshare --root="$root" --setgid=65532 --setuid=65532 -- "$@"; }

inside /sereno version >&2
inside /sereno run -c /etc/sereno/sereno.yaml >&2 &
node=$!
for _ in $(seq 100); do
  inside /sereno status -c /etc/sereno/sereno.yaml >/dev/null 2>&1 && break
  kill -0 $node 2>/dev/null || die "the node ended at once"
  sleep 0.1
done
inside /sereno status -c /etc/sereno/sereno.yaml >&2 || die "no node answers"
pid=$(pgrep -x -u 65532 sereno | head -n 1)
[ -n "$pid" ] || die "nothing runs as 65532"
grep -q '^CapEff:[[:space:]]*0*$' "/proc/$pid/status" || die "the node has capabilities: $(grep CapEff "/proc/$pid/status")"
answer=$(dig +short +time=2 +tries=1 @127.0.0.1 CH TXT id.server) || die "dig: $answer"
[ "$answer" = '"image"' ] || die "id.server says $answer"
code=0
inside /sereno status --check -c /etc/sereno/sereno.yaml >/dev/null 2>&1 || code=$?
[ $code = 1 ] || die "the health check exits with $code while no backend answers"
kill -TERM "$pid"
wait $node || die "the node ended with $?"
