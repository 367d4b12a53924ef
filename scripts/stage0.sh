#!/usr/bin/env bash
# Builds the stand-in for the NixOS stage-0 image out of Debian packages: kernel, busybox, udev, OpenSSH, disk tools and
# hatchery-agent, in the layout that `nix build` gives too (OUT/ARCH/{manifest.json,kernel,initrd}). For the virtual LAN
# and the demo; real machines get the NixOS image.
# usage: stage0.sh AGENT OUT        AGENT is a static hatchery-agent for x86_64; OUT appears whole or not at all
# Logins by key only, and the agent brings the key; root has no password. The SSH host key is made at boot.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# = 2 ] || { sed -n 2,7p "$0" >&2; exit 2; }
agent=$1 out=$2 arch=x86_64
T=$root/build/cache/stage0-amd64
"$root/scripts/debs.sh" "$T" linux-image-cloud-amd64 busybox-static openssh-server openssh-client udev kmod e2fsprogs dosfstools \
  fdisk gdisk parted jq tar cpio gzip xz-utils zstd util-linux bash efibootmgr
mkdir -p "$(dirname "$out")"
R=$(mktemp -d "$out.root.XXXXXX"); new=$out.new.$$; trap 'rm -rf "$R" "$new"' EXIT
chmod 755 "$R" # the root folder of the machine
mkdir -p "$new/$arch" "$R"/{etc/ssh,proc,sys,dev,run,tmp,root/.ssh,var/log,var/empty,mnt,usr/bin,usr/sbin,usr/lib,usr/lib64,usr/share/udhcpc,run/sshd}
for l in bin sbin lib lib64; do ln -s "usr/$l" "$R/$l"; done
chmod 700 "$R/root" "$R/root/.ssh"; chmod 1777 "$R/tmp"

# Programs of the packages run through the packages' own loader, so the host's libraries do not matter.
libs=$T/usr/lib/x86_64-linux-gnu
ld() { "$T/lib64/ld-linux-x86-64.so.2" --library-path "$libs:$libs/systemd" "$@"; }
put() { # PATH-IN-TREE: a program, with the libraries that it needs
  local l
  mkdir -p "$R/$(dirname "$1")"; rm -f "$R/$1"; cp -L "$T/$1" "$R/$1"
  for l in $(ld --list "$T/$1" 2>/dev/null | sed -n "s#.*=> $T/\([^ ]*\) .*#\1#p"); do
    [ -e "$R/$l" ] || { mkdir -p "$R/$(dirname "$l")"; cp -L "$T/$l" "$R/$l"; }
  done
}
cp "$T/usr/bin/busybox" "$R/usr/bin/busybox"
for a in $("$T/usr/bin/busybox" --list); do [ "$a" = busybox ] || ln -sf busybox "$R/usr/bin/$a"; done
for a in reboot poweroff; do # busybox's own ask telinit, which is not here
  rm "$R/usr/bin/$a"; printf '#!/bin/sh\nsync; exec busybox %s -f\n' "$a" >"$R/usr/bin/$a"; chmod 755 "$R/usr/bin/$a"
done
ln -s ../bin/busybox "$R/usr/sbin/modprobe" # where the kernel looks for it when a mount needs a module
for b in sfdisk mkfs.ext4 mkfs.vfat mke2fs lsblk blkid wipefs parted sgdisk partprobe blockdev findmnt losetup mount umount tar cpio gzip xz zstd \
  bash jq setsid udevadm efibootmgr mkswap tune2fs resize2fs ssh-keygen sshd; do
  rm -f "$R/usr/bin/$b" # busybox's link of that name, if any
  for d in usr/bin usr/sbin; do [ -e "$T/$d/$b" ] && { put "$d/$b"; continue 2; }; done
  echo "stage0.sh: no program $b in the packages" >&2; exit 1
done
for f in sshd-session sshd-auth sftp-server; do put "usr/lib/openssh/$f"; done
put usr/lib/x86_64-linux-gnu/libkmod.so.2 # loaded by udev at run time
mkdir -p "$R/usr/lib/systemd" "$R/usr/lib/udev/rules.d"; ln -s ../../bin/udevadm "$R/usr/lib/systemd/systemd-udevd"
cp -L "$T"/usr/lib/udev/{ata_id,scsi_id,cdrom_id} "$R/usr/lib/udev/"
cp "$T"/usr/lib/udev/rules.d/{50-udev-default,60-block,60-cdrom_id,60-persistent-storage,80-drivers}.rules "$R/usr/lib/udev/rules.d/"
cp "$T/etc/mke2fs.conf" "$R/etc/"
install -m 755 "$agent" "$R/usr/bin/hatchery-agent"

# Kernel modules: what the listed ones need, unpacked, since the machine is emulated and slow.
kv=$(ls "$T/usr/lib/modules"); src=$T/usr/lib/modules/$kv; mods=$R/usr/lib/modules/$kv
kmod() { local as=$1; shift; ld --argv0 "$as" "$T/usr/bin/kmod" "$@"; }
[ -e "$src/modules.dep" ] || kmod depmod -b "$T" "$kv"
for m in virtio_pci virtio_net virtio_blk virtio_scsi sd_mod sr_mod nvme ext4 vfat nls_cp437 nls_ascii nls_utf8 isofs overlay squashfs loop virtio_rng \
  af_packet efivarfs dmi_sysfs; do
  kmod modprobe -d "$T" -S "$kv" --show-depends "$m" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
done | sort -u | while read -r f; do
  rel=${f#*"/modules/$kv/"}; mkdir -p "$mods/$(dirname "$rel")"
  case $f in *.xz) ld "$T/usr/bin/xz" -dc "$f" >"$mods/${rel%.xz}";; *) cp "$f" "$mods/$rel";; esac
done
cp "$src"/modules.{order,builtin,builtin.modinfo} "$mods/"
kmod depmod -b "$R" "$kv"

printf 'root:x:0:0:root:/root:/bin/bash\nsshd:x:74:74::/var/empty:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' >"$R/etc/passwd"
printf 'root:*:19000:0:99999:7:::\nsshd:*:19000::::::\n' >"$R/etc/shadow"; chmod 600 "$R/etc/shadow"
printf 'root:x:0:\nsshd:x:74:\ntty:x:5:\ndisk:x:6:\ncdrom:x:24:\nkmem:x:15:\ninput:x:101:\nlp:x:7:\ndialout:x:20:\naudio:x:29:\nvideo:x:44:\ntape:x:26:\nkvm:x:102:\nrender:x:103:\nsgx:x:104:\nclock:x:105:\nnogroup:x:65534:\n' >"$R/etc/group"
printf 'passwd: files\nshadow: files\ngroup: files\nhosts: files dns\n' >"$R/etc/nsswitch.conf"
printf '127.0.0.1 localhost\n' >"$R/etc/hosts"; echo stage-0 >"$R/etc/hostname"; echo /bin/bash >"$R/etc/shells"
printf 'NAME="Hatchery stage-0 stand-in"\nPRETTY_NAME="Hatchery stage-0 (stand-in made of Debian packages)"\nID=hatchery\nID_LIKE=nixos\nVARIANT_ID=installer\nVERSION_ID=1\n' >"$R/etc/os-release"
printf '%s\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'PermitRootLogin prohibit-password' 'PasswordAuthentication no' \
  'KbdInteractiveAuthentication no' 'UsePAM no' 'UseDNS no' 'PidFile none' 'Subsystem sftp /usr/lib/openssh/sftp-server' \
  'SetEnv PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' >"$R/etc/ssh/sshd_config"
cat >"$R/usr/share/udhcpc/default.script" <<'S'
#!/bin/sh
case $1 in bound|renew)
  ip addr replace "$ip/${mask:-24}" dev "$interface"
  for r in $router; do ip route replace default via "$r"; break; done
  : >/etc/resolv.conf; for d in $dns; do echo "nameserver $d" >>/etc/resolv.conf; done;;
deconfig) ip link set "$interface" up;; esac
exit 0
S
cat >"$R/init" <<'S'
#!/bin/sh
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev 2>/dev/null; mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/sshd /run/udev
up() { cut -d' ' -f1 /proc/uptime; }
say() { echo "$*" >/dev/console; }
say "STAGE0-INIT uptime=$(up)"
hostname stage-0; ip link set lo up
[ -d /sys/firmware/efi ] && { modprobe efivarfs 2>/dev/null; mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null; }
for m in virtio_pci virtio_net virtio_blk virtio_scsi sd_mod sr_mod nvme virtio_rng af_packet dmi_sysfs; do modprobe "$m" 2>/dev/null; done
/usr/lib/systemd/systemd-udevd --daemon 2>/run/udevd.log
udevadm trigger --action=add --subsystem-match=block --subsystem-match=nvme --subsystem-match=scsi --subsystem-match=pci --subsystem-match=virtio
# The key is made while udev looks at the disks and the network comes up.
( ssh-keygen -q -t ed25519 -N '' -C stage-0 -f /run/hostkey && mv /run/hostkey.pub /etc/ssh/ssh_host_ed25519_key.pub && mv /run/hostkey /etc/ssh/ssh_host_ed25519_key ) &
key=$!
want=$(sed -n 's/.*BOOTIF=01-\([0-9a-fA-F-]*\).*/\1/p' /proc/cmdline | tr 'A-F-' 'a-f:')
nics=
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
  for d in /sys/class/net/*; do
    [ -e "$d/device" ] || continue
    if [ -z "$want" ] || [ "$(cat "$d/address")" = "$want" ]; then nics="$nics ${d##*/}"; fi
  done
  [ -n "$nics" ] && break; sleep 0.2
done
for i in $nics; do ip link set "$i" up; udhcpc -i "$i" -t 8 -T 1 -A 2 -b -s /usr/share/udhcpc/default.script -x hostname:stage-0 -V hatchery-stage0 >/run/udhcpc.$i 2>&1; done
say "STAGE0-NET $(ip -4 -o addr show scope global | awk '{print $2, $4}' | tr '\n' ' ')uptime=$(up)"
wait "$key"; udevadm settle -t 20
/usr/sbin/sshd -E /var/log/sshd && say "STAGE0-SSHD uptime=$(up)"
# The service: started again whenever it ends.
while :; do hatchery-agent </dev/null >/dev/console 2>&1; say "STAGE0-AGENT-ENDED $?"; sleep 1; done &
say "STAGE0-READY uptime=$(up) memfree=$(sed -n 's/^MemAvailable: *//p' /proc/meminfo)"
trap 'sync; busybox reboot -f' TERM INT
trap 'sync; busybox poweroff -f' USR1 USR2
while :; do sleep 3600 & wait $!; done
S
chmod +x "$R/init" "$R/usr/share/udhcpc/default.script"
find "$R" -exec touch -h -d @1 {} +
( cd "$R" && find . -print0 | LC_ALL=C sort -z | ld "$T/usr/bin/cpio" --null -o -H newc -R 0:0 --reproducible --quiet ) | gzip -1n >"$new/$arch/initrd"
cp "$T/usr/lib/modules/$kv/vmlinuz" "$new/$arch/kernel" 2>/dev/null || cp "$T/boot/vmlinuz-$kv" "$new/$arch/kernel"
k=$(sha256sum "$new/$arch/kernel" | cut -d' ' -f1); i=$(sha256sum "$new/$arch/initrd" | cut -d' ' -f1)
printf '{\n  "arch": "%s",\n  "version": "standin-%s",\n  "kernel": "kernel",\n  "initrd": ["initrd"],\n  "cmdline": "%s",\n  "sha256": {\n    "kernel": "%s",\n    "initrd": "%s"\n  }\n}\n' \
  "$arch" "$(printf '%s %s' "$k" "$i" | sha256sum | cut -c1-12)" "console=ttyS0 no_timer_check mitigations=off panic=5 quiet" "$k" "$i" >"$new/$arch/manifest.json"
rm -rf "$out"; mv -T "$new" "$out"
printf 'stage-0 stand-in: kernel %s, %s bytes; initrd %s bytes, %s KiB unpacked\n' "$kv" "$(stat -c %s "$out/$arch/kernel")" "$(stat -c %s "$out/$arch/initrd")" "$(du -sk "$R" | cut -f1)"
