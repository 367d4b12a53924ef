#!/usr/bin/env bash
# Adds to the stand-in stage-0 what the published nixos-anywhere looks for on a machine: this Debian's nix with its own loader and
# libraries, a nixos-install for ready closures, and an os-release that says NixOS.
# usage: nix-stage0.sh STAGE0 OUT       both are stage-0 directories (ARCH/manifest.json and its files)
set -euo pipefail
[ $# = 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
in=$1/x86_64 out=$2/x86_64
R=$(mktemp -d); trap 'rm -rf "$R"' EXIT
chmod 755 "$R"
mkdir -p "$out" "$R"/{etc/nix,opt/nix/lib,usr/bin}
nix=$(readlink -f "$(command -v nix)")
cp -L "$nix" "$R/opt/nix/nix"
ldd "$nix" | grep -oE '/[^ ]+' | while read -r l; do cp -L "$l" "$R/opt/nix/lib/"; done
for f in /lib/x86_64-linux-gnu/libnss_{files,dns}.so.2; do [ ! -e "$f" ] || cp -L "$f" "$R/opt/nix/lib/"; done
for p in nix nix-store nix-env nix-copy-closure; do
  # shellcheck disable=SC2016 # the machine expands it
  printf '#!/bin/sh\nexport HOME=${HOME:-/root} USER=${USER:-root}\nexec /opt/nix/lib/ld-linux-x86-64.so.2 --argv0 %s --library-path /opt/nix/lib /opt/nix/nix "$@"\n' "$p" >"$R/usr/bin/$p"
done
printf 'experimental-features = nix-command flakes\nbuild-users-group =\nsandbox = false\nsubstituters =\n' >"$R/etc/nix/nix.conf"
cat >"$R/usr/bin/nixos-install" <<'I'
#!/bin/sh
# what nixos-install does for a ready closure
set -eu
system=
while [ $# -gt 0 ]; do
  case $1 in --system) system=$2; shift ;; --no-root-passwd | --no-channel-copy) ;; *) echo "nixos-install: unknown option $1" >&2; exit 1 ;; esac
  shift
done
case $(stat -c %a /mnt) in *[57]) ;; *) echo "path /mnt should have permissions 755" >&2; exit 1 ;; esac
nix-env --store /mnt --extra-substituters 'auto?trusted=1' -p /mnt/nix/var/nix/profiles/system --set "$system"
mkdir -p /mnt/etc /mnt/dev /mnt/proc /mnt/sys /mnt/run
touch /mnt/etc/NIXOS
echo "installing the boot loader..."
trap 'for d in run sys proc dev; do umount -l "/mnt/$d" 2>/dev/null || true; done' EXIT
for d in dev proc sys; do mount --rbind "/$d" "/mnt/$d"; mount --make-rslave "/mnt/$d" 2>/dev/null || true; done
mount -t tmpfs tmpfs /mnt/run
ln -sfn "$system" /mnt/run/current-system
chroot /mnt "$system/activate"
NIXOS_INSTALL_BOOTLOADER=1 chroot /mnt /run/current-system/bin/switch-to-configuration boot
echo "installation finished!"
I
chmod 755 "$R"/usr/bin/*
ln -s bash "$R/usr/bin/sh" # busybox' takes its own setsid, which knows no --wait
printf 'NAME=NixOS\nID=nixos\nVARIANT_ID=installer\nVERSION_ID="26.05"\nPRETTY_NAME="Hatchery stage-0 (stand-in with nix)"\n' >"$R/etc/os-release"
cp "$in/kernel" "$out/kernel"
# The kernel unpacks one archive after the other: later files win.
{ cat "$in/initrd"; (cd "$R" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --quiet) | gzip -1n; } >"$out/initrd"
sum=$(sha256sum "$out/initrd" | cut -d' ' -f1)
jq --arg sum "$sum" '.sha256.initrd = $sum | .version += "-nix"' "$in/manifest.json" >"$out/manifest.json"
