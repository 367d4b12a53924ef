package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// sweepScript ends what an earlier run left going on the machine: the processes of every other SSH
// session from this appliance that has no terminal (a person's shell has one), then unmounts /mnt.
// It runs before a retry, after a cancel and after a lost run, so that two runs never meet on a machine.
const sweepScript = `# hatchery: sweep
export LC_ALL=C
from=${SSH_CONNECTION%% *}
[ -n "$from" ] || exit 0
others() {
	for d in /proc/[0-9]*; do
		[ -e "$d/exe" ] || continue
		c=$(tr '\0' '\n' 2>/dev/null <"$d/environ" | sed -n 's/^SSH_CONNECTION=//p')
		case $c in "$SSH_CONNECTION") continue;; "$from "*) ;; *) continue;; esac
		read -r stat 2>/dev/null <"$d/stat" || continue
		set -- ${stat##*) }
		[ "$5" = 0 ] && echo "${d#/proc/}"
	done
}
for sig in TERM TERM KILL KILL KILL; do
	left=$(others)
	[ -n "$left" ] || break
	kill -$sig $left 2>/dev/null
	sleep 1
done
left=$(others)
[ -z "$left" ] || { echo "processes of an earlier run do not end: $left" >&2; exit 1; }
` + unmountScript

// unmountScript takes the install's mounts away again: what nixos-anywhere's reboot phase would do. The
// last mount first; a busybox sh that prefers its own umount knows no -R.
const unmountScript = `# hatchery: unmount
sync
swapoff -a 2>/dev/null
tries=0
while at=$(sed -nE 's,^[^ ]* (/mnt|/mnt/[^ ]*) .*,\1,p' /proc/mounts | tail -n 1); [ -n "$at" ]; do
	umount "$(printf %b "$at")" && continue
	tries=$((tries + 1))
	[ $tries -lt 5 ] || exit 1
	sleep 1
done
if command -v zpool >/dev/null 2>&1; then zpool export -a || exit 1; fi
sync
`

// rebootScript restarts the machine a moment after the session has ended, so that the order is answered;
// by force when init does not carry it out. A small busybox has no nohup; without a terminal nothing hangs up.
const rebootScript = `# hatchery: reboot
s=; command -v setsid >/dev/null 2>&1 && s=setsid
$s sh -c 'sleep 2; systemctl reboot || reboot; sleep 30; reboot -f' >/dev/null 2>&1 </dev/null &
`

// powerOffScript turns the machine off in the same way.
const powerOffScript = `# hatchery: poweroff
s=; command -v setsid >/dev/null 2>&1 && s=setsid
$s sh -c 'sleep 2; systemctl poweroff || poweroff; sleep 30; poweroff -f' >/dev/null 2>&1 </dev/null &
`

// bootScript tells which boot of the machine this is.
const bootScript = "# hatchery: boot\ncat /proc/sys/kernel/random/boot_id\n"

// systemScript tells which system runs.
const systemScript = "# hatchery: system\nreadlink -f /run/current-system\n"

// mountsScript tells what is mounted at and below /mnt, and which whole disk each device is on.
func mountsScript(ids []string) string {
	var b strings.Builder
	b.WriteString(`# hatchery: mounts
export LC_ALL=C
while read -r dev dir fs rest; do
	case $dir in /mnt|/mnt/*) ;; *) continue;; esac
	echo "mount $dir $fs $dev"
	case $dev in /dev/*) lsblk -snro KNAME,TYPE "$dev" |
		while read -r n t; do case $t in disk|loop) echo "on $dir /dev/$n";; esac; done;; esac
done </proc/mounts
`)
	for _, id := range ids {
		b.WriteString("echo " + quote("disk "+id) + " \"$(readlink -f " + quote(inventory.DevicePath(id)) + ")\"\n")
	}
	b.WriteString("echo end\n")
	return b.String()
}

// judgeMounts compares what mountsScript printed with the layout and the plan: the root is there, every
// mount point of the layout is mounted from its slot's disk, and no disk outside the plan is used.
func judgeMounts(out string, want hive.Layout, plan *hive.Plan) *Failure {
	fs, on, disk, whole := map[string]string{}, map[string][]string{}, map[string]string{}, false
	for line := range strings.Lines(out) {
		f := strings.Fields(clean(line))
		switch {
		case len(f) == 4 && f[0] == "mount":
			fs[mountPath(f[1])] = f[2]
		case len(f) == 3 && f[0] == "on":
			on[mountPath(f[1])] = append(on[mountPath(f[1])], f[2])
		case len(f) == 3 && f[0] == "disk":
			disk[f[1]] = f[2]
		case len(f) == 1 && f[0] == "end":
			whole = true
		}
	}
	bad := func(format string, args ...any) *Failure {
		return &Failure{Step: StepMounts, Cause: fmt.Sprintf(format, args...),
			Hint: "The netboot answer still leads to stage-0. Read the job's log, look at the role's layout, then retry."}
	}
	if !whole {
		return bad("A look at what is mounted on the machine was cut short.")
	}
	if _, ok := fs["/"]; !ok {
		return bad("Nothing is mounted at /mnt on the machine after the install.")
	}
	known := map[string]string{} // device → slot
	for _, slot := range slotsOf(plan) {
		known[disk[plan.Disks[slot].ID]] = slot
	}
	for _, m := range want.Mounts {
		got, ok := fs[m.Path]
		switch {
		case !ok:
			return bad("Nothing is mounted for %s, where the layout has slot %s.", m.Path, m.Slot)
		case m.FS != "" && got != m.FS:
			return bad("%s is mounted as %s; the layout says %s.", m.Path, got, m.FS)
		case m.Slot != "" && !slices.ContainsFunc(on[m.Path], func(dev string) bool { return known[dev] == m.Slot }):
			return bad("%s is not mounted from the disk of slot %s.", m.Path, m.Slot)
		}
	}
	for path, devs := range on {
		for _, dev := range devs {
			if _, ok := known[dev]; !ok {
				return bad("%s is mounted from %s, which is no disk of the plan.", path, dev)
			}
		}
	}
	return nil
}

// mountPath is the installed system's name of a mount point below /mnt; /proc/mounts writes a space as \040.
func mountPath(p string) string {
	p = strings.ReplaceAll(strings.TrimPrefix(p, "/mnt"), `\040`, " ")
	if p == "" {
		return "/"
	}
	return p
}

// releaseScript lets go of arrays and volume groups that were assembled by themselves. It changes no
// data; it only runs when the disks are otherwise exactly as planned.
const releaseScript = `# hatchery: release
for c in "vgchange -an" "mdadm --stop --scan" "zpool export -a"; do
	command -v "${c%% *}" >/dev/null 2>&1 && $c >/dev/null 2>&1
done
exit 0
`

// factsScript prints the machine's facts as the agent reports them, or nothing where there is no agent.
const factsScript = `# hatchery: facts
command -v hatchery-agent >/dev/null 2>&1 || exit 0
hatchery-agent --facts
`

// facterScript prints nixos-facter's report, or nothing.
const facterScript = `# hatchery: facter
command -v nixos-facter >/dev/null 2>&1 && nixos-facter 2>/dev/null
exit 0
`
