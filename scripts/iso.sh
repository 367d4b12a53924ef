#!/usr/bin/env bash
# Makes the stand-in for the stage-0 USB image out of the stand-in stage-0 (scripts/stage0.sh) and Debian's GRUB: it boots
# as CD and as USB stick, with BIOS and UEFI. Like the NixOS one it has a reserved file of 64 KiB, hatchery/personal.json,
# which the appliance fills in as the image is downloaded; GRUB hands that file to stage-0 as /iso/hatchery/personal.json.
# usage: iso.sh STAGE0      STAGE0 is the folder with x86_64/; writes STAGE0/stage0-x86_64.iso
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# = 1 ] || { sed -n 2,5p "$0" >&2; exit 2; }
stage0=$1 arch=x86_64
export SOURCE_DATE_EPOCH=1 MTOOLS_SKIP_CHECK=1
T=$root/build/cache/iso-amd64
"$root/scripts/debs.sh" "$T" xorriso grub-common grub-pc-bin grub-efi-amd64-bin
libs=$T/usr/lib/x86_64-linux-gnu
ld() { "$T/lib64/ld-linux-x86-64.so.2" --library-path "$libs" "$@"; } # the packages' own loader: the host's libraries do not matter
W=$(mktemp -d "$stage0/.iso.XXXXXX"); trap 'rm -rf "$W"' EXIT
mkdir -p "$W"/tree/{boot,hatchery,EFI/BOOT}
ln "$stage0/$arch/kernel" "$stage0/$arch/initrd" "$W/tree/boot/" 2>/dev/null || cp "$stage0/$arch/kernel" "$stage0/$arch/initrd" "$W/tree/boot/"
head -c 65536 /dev/zero | tr '\0' '\n' >"$W/tree/hatchery/personal.json"

cmdline=$(sed -n 's/^ *"cmdline": "\(.*\)",$/\1/p' "$stage0/$arch/manifest.json")
version=$(sed -n 's/^ *"version": "\(.*\)",$/\1/p' "$stage0/$arch/manifest.json")
if [ -z "$cmdline" ] || [ -z "$version" ]; then echo "iso.sh: $stage0/$arch/manifest.json names no cmdline or version" >&2; exit 1; fi
cat >"$W/grub.cfg" <<G
search --file --set=root /hatchery/personal.json
echo "Hatchery stage-0 from USB or CD"
linux /boot/kernel $cmdline hatchery.stage0=$version
initrd /boot/initrd newc:iso/hatchery/personal.json:/hatchery/personal.json
boot
G
modules=(iso9660 part_msdos part_gpt search linux echo configfile normal)
image() { # FORMAT OUT MODULE...: a GRUB with our script in it
  local format=$1 out=$2; shift 2
  ld "$T/usr/bin/grub-mkimage" -O "$format" -d "$T/usr/lib/grub/${format%-eltorito}" -p /boot/grub -c "$W/grub.cfg" -o "$out" "${modules[@]}" "$@"
}
image i386-pc-eltorito "$W/tree/boot/bios.img" biosdisk
image x86_64-efi "$W/tree/EFI/BOOT/BOOTX64.EFI" fat
truncate -s $((2 << 20)) "$W/tree/boot/efi.img"
mkfs.vfat -n HATCHERYEFI -i 48415443 --invariant "$W/tree/boot/efi.img" >/dev/null
mmd -i "$W/tree/boot/efi.img" ::/EFI ::/EFI/BOOT
mcopy -i "$W/tree/boot/efi.img" "$W/tree/EFI/BOOT/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
# CD: El Torito for both. Stick: GRUB in the MBR for BIOS, the same EFI image as a GPT partition for UEFI.
ld "$T/usr/bin/xorriso" -as mkisofs -o "$W/out.iso" -V HATCHERY -R -iso-level 3 \
  -b boot/bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info --grub2-mbr "$T/usr/lib/grub/i386-pc/boot_hybrid.img" \
  --efi-boot boot/efi.img -efi-boot-part --efi-boot-image --protective-msdos-label "$W/tree" 2>"$W/log" ||
  { cat "$W/log" >&2; exit 1; }
mv "$W/out.iso" "$stage0/stage0-$arch.iso"
printf 'stage-0 USB image (stand-in): %s bytes\n' "$(stat -c %s "$stage0/stage0-$arch.iso")"
