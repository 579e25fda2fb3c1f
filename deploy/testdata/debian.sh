#!/usr/bin/env bash
# debian.sh DEB: installs the package, starts it by its unit's own command line, looks at it, purges it. Everything is
# done on an overlay over the machine's root, in fresh mount, PID and network namespaces: nothing stays.
set -euo pipefail
deb=$(realpath "$1")
say() { printf '%s\n' "$*" >&2; }
die() { say "debian: $*"; exit 1; }
if [ -z "${INSIDE:-}" ]; then
  ip link set lo up
  over=$(mktemp -d)
  trap 'umount -R -l "$over" && rmdir "$over"' EXIT
  mount -t tmpfs tmpfs "$over"
  mkdir "$over"/{up,work,root}
  mount -t overlay overlay -o "lowerdir=/,upperdir=$over/up,workdir=$over/work" "$over/root"
  mount -t proc proc "$over/root/proc"
  mount -t tmpfs tmpfs "$over/root/run"
  mount --rbind /dev "$over/root/dev"
  mkdir -p "$over/root/tmp"
  rm -rf "$over"/root/{var/lib,etc}/sereno # what a node of this machine has left there
  cp "$deb" "$over/root/tmp/sereno.deb"
  cp "$0" "$over/root/tmp/debian.sh"
  INSIDE=1 chroot "$over/root" bash /tmp/debian.sh /tmp/sereno.deb
  exit
fi
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive

mkdir -p /var/lib/sereno && touch /var/lib/sereno/lock # root ran it by hand before
dpkg -i "$deb" >&2
getent passwd sereno >/dev/null || die "there is no user sereno"
[ "$(stat -c '%U %a' /var/lib/sereno)" = 'sereno 700' ] || die "/var/lib/sereno is $(stat -c '%U %a' /var/lib/sereno)"
[ "$(stat -c '%U %G %a' /etc/sereno/sereno.yaml)" = 'root sereno 640' ] || die "sereno.yaml is $(stat -c '%U %G %a' /etc/sereno/sereno.yaml)"
sereno check -c /etc/sereno/sereno.yaml >&2 || die "the example configuration is wrong"
gzip -dc /usr/share/man/man8/sereno.8.gz | grep -q 'SH COMMANDS' || die "no manual page"
bash -c 'source /usr/share/bash-completion/completions/sereno' || die "completion does not load"

unit=/lib/systemd/system/sereno.service
key() { sed -n "s/^$1=//p" "$unit" | head -n 1; }
[ "$(key User)" = sereno ] || die "the unit's user is $(key User)"
case "$(key AmbientCapabilities)" in CAP_NET_BIND_SERVICE) ;; *) die "the unit's capabilities are $(key AmbientCapabilities)" ;; esac
install -d -o sereno -g sereno -m 0750 "/run/$(key RuntimeDirectory)"
as() { setpriv --reuid sereno --regid sereno --init-groups --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service --no-new-privs -- "$@"; }
read -ra start <<<"$(key ExecStart)"
as "${start[@]}" >&2 &
node=$!
for _ in $(seq 100); do
  as sereno status >/dev/null 2>&1 && break
  kill -0 $node 2>/dev/null || die "the node ended at once"
  sleep 0.1
done
as sereno status >&2 || die "no node answers"
[ "$(dig +short +time=2 +tries=1 @127.0.0.1 CH TXT id.server)" != "" ] || die "port 53 does not answer"
kill -TERM "$(pgrep -x -u sereno sereno | head -n 1)"
wait $node || die "the node ended with $?"

mkdir -p /var/lib/sereno/spool/pppoe
touch /var/lib/sereno/spool/pppoe/seg-0000000000000001-00.log
dpkg -P sereno >&2
[ ! -e /usr/bin/sereno ] || die "the binary is still there"
[ ! -e /etc/sereno ] || die "/etc/sereno is still there: $(ls -R /etc/sereno)"
[ -e /var/lib/sereno/spool/pppoe/seg-0000000000000001-00.log ] || die "purging threw accounting away"
rm -r /var/lib/sereno/spool
dpkg -i "$deb" >/dev/null
dpkg -P sereno >&2
[ ! -e /var/lib/sereno ] || die "/var/lib/sereno is still there"
