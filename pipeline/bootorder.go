package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// A UEFI machine keeps its boot order in variables (UEFI 2.10 §3.3). A role may put the disk first, so that the
// machine never needs the appliance to start; a reinstall then asks for one boot from the network by BootNext.

// diskFirstScript puts the ESP that is mounted below /mnt first in the boot order. Boot entries name a partition by its
// GPT id; one is made where the role's boot loader made none. It prints "bios", or "first" and the entry.
const diskFirstScript = `# hatchery: disk-first
export LC_ALL=C
[ -d /sys/firmware/efi ] || { echo bios; exit 0; }
esp=
while read -r dev dir fs rest; do
	case $dir in /mnt/*) [ "$fs" = vfat ] && { esp=$(readlink -f "$dev"); at=$dir; break; };; esac
done </proc/mounts
[ -n "$esp" ] || { echo "no EFI system partition is mounted below /mnt" >&2; exit 1; }
id=$(blkid -p -s PART_ENTRY_UUID -o value "$esp" | tr A-F a-f)
[ -n "$id" ] || { echo "$esp has no GPT id" >&2; exit 1; }
entry() { efibootmgr -v | tr 'A-Z' 'a-z' | sed -nE "s/^boot([0-9a-f]{4})[* ] .*hd\([0-9]+,gpt,$id,.*/\1/p" | head -n 1 | tr a-f A-F; }
n=$(entry)
if [ -z "$n" ]; then
	name=${esp##*/}
	disk=/dev/$(basename "$(dirname "$(readlink -f "/sys/class/block/$name")")")
	for loader in EFI/BOOT/BOOTX64.EFI EFI/BOOT/BOOTAA64.EFI EFI/systemd/systemd-bootx64.efi EFI/systemd/systemd-bootaa64.efi; do
		[ -e "$at/$loader" ] && break
	done
	[ -e "$at/$loader" ] || { echo "$at holds no boot loader" >&2; exit 1; }
	efibootmgr -q --create --disk "$disk" --part "$(cat "/sys/class/block/$name/partition")" --label "Own disk" --loader "\\$(echo "$loader" | tr / '\\')" || exit 1
	n=$(entry)
	[ -n "$n" ] || { echo "the firmware did not take a new boot entry" >&2; exit 1; }
fi
order=$n
for o in $(efibootmgr | sed -n 's/^BootOrder: //p' | tr , ' '); do [ "$o" = "$n" ] || order=$order,$o; done
efibootmgr -q -o "$order" && echo "first Boot$n"
`

// netbootOnceScript has the firmware boot from the card with that MAC the next time, and only then. The system it runs
// on need not have efibootmgr: a boot entry's device path holds the MAC (node 3/11), IPv4 (3/12) and, for HTTP Boot, a
// URI (3/24). It prints "bios", "armed" and the entry, or "none".
func netbootOnceScript(mac inventory.MAC) string {
	node := "030b2500" + strings.ReplaceAll(mac.String(), ":", "")
	return `# hatchery: netboot-once
v=${EFIVARS:-/sys/firmware/efi/efivars} g=8be4df61-93ca-11d2-aa0d-00e098032b8c
[ -d "$v" ] || { echo bios; exit 0; }
[ -n "$EFIVARS" ] || [ -n "$(ls "$v")" ] || { modprobe efivarfs; mount -t efivarfs efivarfs "$v"; } 2>/dev/null
best= rank=0
for f in "$v"/Boot[0-9A-F][0-9A-F][0-9A-F][0-9A-F]-$g; do
	[ -e "$f" ] || continue
	case $(od -An -v -tx1 <"$f" | tr -d ' \n') in
	*` + node + `*030d3c00*) r=0;;
	*` + node + `*030c1b00*0318*) r=2;;
	*` + node + `*030c1b00*) r=3;;
	*` + node + `*) r=1;;
	*) r=0;;
	esac
	if [ $r -gt $rank ]; then rank=$r best=$f; fi
done
[ -n "$best" ] || { echo none; exit 0; }
n=${best##*/Boot}; n=${n%%-*}
printf "\\007\\000\\000\\000\\$(printf %03o "0x${n#??}")\\$(printf %03o "0x${n%??}")" >"$v/BootNext-$g" && echo "armed Boot$n"
`
}

// armNetboot asks the machine's firmware for one boot from the network. What comes of it is for the log: where the
// network is first in the boot order it works without.
func (r *Runner) armNetboot(ctx context.Context, c *conn, h *inventory.Host) string {
	ctx, stop := context.WithTimeout(ctx, r.limit.Dial)
	defer stop()
	out, err := c.run(ctx, netbootOnceScript(h.MAC))
	word, entry, _ := strings.Cut(strings.TrimSpace(clean(out)), " ")
	switch {
	case err != nil:
		return fmt.Sprintf("Its firmware could not be asked for one boot from the network: %v.", err)
	case word == "armed":
		return "Its firmware boots from the network once (" + entry + ")."
	case word == "none":
		return "Its firmware lists no network boot of " + h.MAC.String() + ": where the disk is first in its boot order, choose network boot at the machine."
	}
	return "" // BIOS has no such thing
}

// diskFirst carries out a role's wish to have the disk first in the firmware's boot order. It is no reason to fail:
// the machine boots its disk either way, by the appliance's answer.
func (w *work) diskFirst(ctx context.Context, c *conn) {
	if w.role.BootOrder != inventory.BootOrderDisk {
		return
	}
	out, err := c.run(ctx, diskFirstScript)
	word, entry, _ := strings.Cut(strings.TrimSpace(clean(out)), " ")
	switch {
	case err != nil:
		w.say(StepReboot, "the disk could not be put first in the firmware's boot order, so the machine goes on asking the network first: %v", err)
	case word == "first":
		w.say(StepReboot, "the disk is first in the firmware's boot order now (%s)", entry)
	default:
		w.say(StepReboot, "the role wants the disk first in the boot order, which only UEFI lets an operating system set: do it in the machine's BIOS setup")
	}
}
