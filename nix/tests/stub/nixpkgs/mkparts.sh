#!/usr/bin/env bash
# Fills a folder parts/ for the stub's system from this Debian: busybox, kernel, initrd, modules, sshd with its
# libraries, boot loaders. Needs: busybox-static, linux-image-cloud-amd64, systemd-boot-efi, extlinux, syslinux-common.
#   mkparts.sh OUTDIR
# KVER   kernel version (default: newest *-cloud-amd64 in /boot)
# SSHD   folder with an unpacked openssh-server, when it is not installed here
set -euo pipefail
out=${1:?usage: mkparts.sh OUTDIR}
: "${KVER:=$(basename -a /boot/vmlinuz-*-cloud-amd64 | sed 's/^vmlinuz-//' | sort -V | tail -n1)}" "${SSHD:=}"
rm -rf "$out"
mkdir -p "$out"/{bb/bin,kernel,initrd,modules,loader,fhs/{lib,lib64,usr/bin,usr/sbin,usr/lib/openssh}}
cp /bin/busybox "$out/bb/bin/busybox"
for a in $(/bin/busybox --list); do [ "$a" = busybox ] || ln -s busybox "$out/bb/bin/$a"; done
cp "/boot/vmlinuz-$KVER" "$out/kernel/vmlinuz"
cp /usr/lib/systemd/boot/efi/systemd-bootx64.efi "$out/loader/"
cp /usr/lib/syslinux/mbr/gptmbr.bin /usr/lib/syslinux/modules/bios/{ldlinux,libcom32,libutil}.c32 "$out/loader/"

put() { # SOURCE DESTINATION: a program with its libraries
  local l
  cp -L "$1" "$out/fhs/$2"
  ldd "$1" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | while read -r l; do
    mkdir -p "$out/fhs/lib/x86_64-linux-gnu"
    cp -nL "$l" "$out/fhs/lib/x86_64-linux-gnu/" || true
  done
}
cp -L /lib64/ld-linux-x86-64.so.2 "$out/fhs/lib64/"
put "$SSHD/usr/sbin/sshd" usr/sbin/sshd
# sshd-session and sshd-auth: parts of sshd since OpenSSH 9.8
for f in sftp-server sshd-session sshd-auth; do
  for s in "$SSHD" ""; do [ ! -e "$s/usr/lib/openssh/$f" ] || { put "$s/usr/lib/openssh/$f" "usr/lib/openssh/$f"; break; }; done
done
put /usr/bin/extlinux usr/bin/extlinux
ln -s ../../lib/x86_64-linux-gnu "$out/fhs/usr/lib/x86_64-linux-gnu"

deps() { for m in "$@"; do modprobe -S "$KVER" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p'; done | awk '!s[$0]++'; }
storage="virtio_pci virtio_blk virtio_scsi sd_mod nvme ahci ext4 vfat nls_cp437 nls_ascii nls_utf8"
initrd=$(mktemp -d)
trap 'rm -rf "$initrd"' EXIT
mkdir -p "$initrd"/{bin,mod,proc,sys,dev,root}
cp /bin/busybox "$initrd/bin/busybox"
n=100
# shellcheck disable=SC2086 # a list
for f in $(deps $storage); do
  cp "$f" "$initrd/mod/$n-$(basename "$f")"
  n=$((n + 1))
done
for f in $(deps virtio_net e1000 e1000e af_packet virtio_rng efivarfs); do
  cp "$f" "$out/modules/"
  basename "$f" >>"$out/modules/order"
done
cat >"$initrd/init" <<'I'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in /mod/*; do insmod $m 2>/dev/null; done
for w in $(cat /proc/cmdline); do case $w in init=*) init=${w#init=} ;; root=*) label=${w##*/} ;; esac; done
n=0 dev=
while [ $n -lt 60 ]; do
  for u in /sys/class/block/*/uevent; do grep -qx "PARTNAME=$label" $u && dev=/dev/$(sed -n s/^DEVNAME=//p $u); done
  [ -n "$dev" ] && break
  n=$((n+1)); sleep 0.5
done
[ -n "$dev" ] && mount -t ext4 $dev /root || { echo "STUB-NO-ROOT $label" > /dev/console; exec sh; }
umount /proc /sys
exec switch_root /root $init
I
chmod +x "$initrd/init"
# the same bytes every time, so that the same system has the same store path
find "$initrd" -exec touch -h -d @1 {} +
(cd "$initrd" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --quiet --reproducible) | gzip -n1 >"$out/initrd/initrd"
du -sk "$out" | cut -f1
