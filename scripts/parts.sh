#!/usr/bin/env bash
# Makes what the tests' stand-in for a NixOS system boots from (kernel, busybox, sshd, boot loaders), out of Debian trixie's
# packages: runs nix/tests/stub/nixpkgs/mkparts.sh inside a folder of unpacked packages, so the host needs none of them.
# usage: parts.sh OUT     (root: it uses chroot)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# = 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
out=$1 T=$root/build/cache/parts-amd64
"$root/scripts/debs.sh" "$T" linux-image-cloud-amd64 busybox-static systemd-boot-efi extlinux syslinux-common openssh-server \
  kmod cpio gzip xz-utils coreutils bash sed gawk grep findutils libc-bin
in_tree() { chroot "$T" /usr/bin/env -i PATH=/usr/sbin:/usr/bin HOME=/ LC_ALL=C "$@"; }
[ -e "$T/dev/null" ] || { mkdir -p "$T/dev" "$T/tmp"; mknod -m 666 "$T/dev/null" c 1 3; }
if [ ! -e "$T/modules.done" ]; then # busybox loads plain modules only
  in_tree find /usr/lib/modules -name '*.ko.xz' -exec xz -d {} +
  in_tree depmod "$(ls "$T/usr/lib/modules")"
  touch "$T/modules.done"
fi
[ -e "$T/usr/bin/awk" ] || ln -s gawk "$T/usr/bin/awk" # an alternative, set by a script that did not run
rm -rf "$T/parts"
cp "$root/nix/tests/stub/nixpkgs/mkparts.sh" "$T/mkparts.sh"
in_tree bash /mkparts.sh /parts >/dev/null
mkdir -p "$(dirname "$out")"; rm -rf "$out"
mv -T "$T/parts" "$out"
