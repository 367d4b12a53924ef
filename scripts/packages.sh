#!/usr/bin/env bash
# Installs the Debian packages that a make target needs and that are missing. Does nothing, quickly, when all are there.
# usage: packages.sh run|demo|test|bench
set -euo pipefail
case ${1:-} in run|demo|test|bench) ;; *) sed -n 2,3p "$0" >&2; exit 2;; esac
command -v apt-get >/dev/null || exit 0 # another distribution: the flake or the person provides them

run=(ca-certificates git openssh-client iproute2 nix-bin)
lab=(qemu-system-x86 qemu-utils ovmf ipxe-qemu dnsmasq-base ethtool nftables tcpdump procps debian-archive-keyring
  dosfstools mtools)
test=(gcc libc6-dev make jq curl cpio mount util-linux e2fsprogs fdisk gdisk parted xfsprogs btrfs-progs shellcheck strace xorriso)
bench=(kea-dhcp4-server kea-admin dnsmasq-base iproute2 util-linux) # Debian's Kea serves no interface until it is told to
if [ -d /run/systemd/system ]; then run+=(nix-setup-systemd); fi # nix builds in its daemon, so that the appliance need not be root
want=("${run[@]}")
case $1 in demo|test) want+=("${lab[@]}");; bench) want=("${bench[@]}");; esac
[ "$1" != test ] || want+=("${test[@]}")
missing=()
for p in "${want[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ "$1" = test ]; then # these may come from elsewhere, so the program counts
  command -v chromium >/dev/null || missing+=(chromium)
  command -v node >/dev/null || missing+=(nodejs)
  command -v npm >/dev/null || missing+=(npm)
  command -v busybox >/dev/null || missing+=(busybox)
fi
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
  echo "These Debian packages are missing and only root can install them: ${missing[*]}" >&2
  echo "Run: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "Installing Debian packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp); trap 'rm -f "$log"' EXIT
for i in 1 2 3 4 5; do # a mirror may be slow, another apt may hold the lock
  if apt-get -q update >"$log" 2>&1 &&
    apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then exit 0; fi
  sleep $((i * 4))
done
tail -20 "$log" >&2
echo "apt-get could not install: ${missing[*]}" >&2
exit 1
