package pipeline

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
)

// programs are what nixos-anywhere calls on the target even without its kexec phase (nix-facts
// section 2), and what the looks of this package need. A missing one would end the install half way.
var programs = []string{"sh", "tar", "cpio", "setsid", "grep", "uname", "id", "lsblk", "wipefs", "readlink", "umount"}

// nixPrograms are needed of a stage-0 that is NixOS. One that is only like it (ID_LIKE, the stand-in of the
// tests) is installed by a nixos-anywhere that brings what it needs.
var nixPrograms = []string{"nix", "nix-store", "nixos-install"}

// minMemory is the RAM below which stage-0 cannot hold the install script's tools beside itself.
const minMemory = 700 << 20

// maxSkew is how wrong a machine's clock may be before it is set: certificates and k3s tokens
// are judged by it at the first boot.
const maxSkew = 2 * time.Second

// lookScript is the script that looks at a machine in stage-0 and changes nothing. ids are the
// names of the plan's disks: udev's safe alphabet only (inventory.CheckDiskName).
func lookScript(ids []string) string {
	var b strings.Builder
	b.WriteString("# hatchery: look\nexport LC_ALL=C\n")
	b.WriteString("for p in " + strings.Join(append(slices.Clone(programs), nixPrograms...), " ") + "; do command -v \"$p\" >/dev/null 2>&1 || echo \"lacks $p\"; done\n")
	b.WriteString(`echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "now $(date -u +%s)"
sed -nE 's/^(ID|ID_LIKE|VARIANT_ID)=/os \1 /p' /etc/os-release
sed -n 's/^MemTotal: *\([0-9]*\) kB/memory \1/p' /proc/meminfo
while read -r dev dir rest; do case $dir in /mnt|/mnt/*) echo "mounted $dir $dev";; esac; done </proc/mounts
while read -r dev rest; do case $dev in /*) echo "swap $dev";; esac; done </proc/swaps
look() {
	d=$(readlink -f "$2")
	[ -b "$d" ] || { echo "disk $1 missing"; return; }
	echo "disk $1 device $d"
	echo "disk $1 serial $(lsblk -dnro SERIAL "$d")"
	echo "disk $1 size $(lsblk -bdnro SIZE "$d")"
	wipefs -ni -O TYPE "$d" | sed "s|^|disk $1 signature |"
	lsblk -nro PARTUUID "$d" | sed -n "s|^\(..*\)|disk $1 part \1|p"
	lsblk -nro NAME,TYPE,MOUNTPOINT "$d" | sed "s|^|disk $1 child |"
}
`)
	for _, id := range ids {
		b.WriteString("look " + quote(id) + " " + quote(inventory.DevicePath(id)) + "\n")
	}
	b.WriteString("echo end\n")
	return b.String()
}

// look is what lookScript found.
type look struct {
	bootID  string
	now     time.Time
	os      map[string]string // ID, ID_LIKE, VARIANT_ID
	memory  uint64            // bytes
	lacks   []string
	mounted []string // mount points at and below /mnt
	swaps   []string
	disks   map[string]*lookedDisk
	whole   bool // the script came to its end
	// same says that the agent's facts were held against the plan: its words for serials and signatures count.
	same bool
}

// lookedDisk is one disk of the plan as the machine shows it now.
type lookedDisk struct {
	missing    bool
	device     string
	serial     string
	size       uint64 // bytes, 0 = not told
	signatures []string
	partUUIDs  []string
	busy       []string // assembled arrays, volume groups and mounts on it
}

// parseLook reads lookScript's output; what it does not know it skips. The output is a machine's
// and is only ever compared or shown cleaned.
func parseLook(out string) look {
	l := look{os: map[string]string{}, disks: map[string]*lookedDisk{}}
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(inventory.Clean(line, 512), " ")
		switch word {
		case "boot":
			l.bootID = rest
		case "now":
			if n, err := strconv.ParseInt(rest, 10, 64); err == nil {
				l.now = time.Unix(n, 0)
			}
		case "os":
			k, v, _ := strings.Cut(rest, " ")
			l.os[k] = strings.Trim(v, `"'`)
		case "memory":
			n, _ := strconv.ParseUint(rest, 10, 64)
			l.memory = n << 10
		case "lacks":
			l.lacks = append(l.lacks, rest)
		case "mounted":
			dir, _, _ := strings.Cut(rest, " ")
			l.mounted = append(l.mounted, dir)
		case "swap":
			l.swaps = append(l.swaps, rest)
		case "disk":
			l.parseDisk(rest)
		case "end":
			l.whole = true
		}
	}
	return l
}

func (l *look) parseDisk(rest string) {
	f := strings.SplitN(rest, " ", 3)
	if len(f) < 2 || len(l.disks) > inventory.MaxDisks {
		return
	}
	d := l.disks[f[0]]
	if d == nil {
		d = &lookedDisk{}
		l.disks[f[0]] = d
	}
	val := ""
	if len(f) == 3 {
		val = strings.TrimSpace(f[2])
	}
	switch f[1] {
	case "missing":
		d.missing = true
	case "device":
		d.device = val
	case "serial":
		d.serial = val
	case "size":
		d.size, _ = strconv.ParseUint(val, 10, 64)
	case "signature":
		if val != "" && val != "PMBR" {
			d.signatures = append(d.signatures, val)
		}
	case "part":
		if len(val) == 36 { // GPT's: a DOS table's are made of the disk's own number, and are in no plan
			d.partUUIDs = append(d.partUUIDs, strings.ToLower(val))
		}
	case "child":
		// NAME TYPE MOUNTPOINT: the disk itself and its partitions are no sign of use, unless mounted.
		c := strings.Fields(val)
		if len(c) > 2 || len(c) == 2 && c[1] != "part" && c[0] != path.Base(d.device) {
			d.busy = append(d.busy, c[0])
		}
	}
}

// judge compares a look with what the job expects; nil means that the install may begin.
func (l *look) judge(bootID string, plan *hive.Plan) *Failure {
	f := &Failure{Step: StepPreflight}
	switch {
	case !l.whole:
		f.Cause = "The machine answered, but a look at it was cut short."
		f.Hint = "Retry; when it happens again, restart the machine."
	case bootID != "" && l.bootID != bootID:
		f.Cause = "The machine was restarted since it checked in."
		f.Hint = "Wait until it has checked in again, then retry."
	case !l.installer():
		f.Cause = "The machine runs another system than stage-0 (its os-release does not say VARIANT_ID=installer); nothing was written."
		f.Hint = "Restart it so that it netboots stage-0, then retry."
	case len(l.missing()) > 0:
		f.Cause = fmt.Sprintf("Stage-0 lacks programs that the install needs: %s.", strings.Join(l.missing(), ", "))
		f.Hint = "Build a complete stage-0 image, restart the machine so that it boots that, then retry."
	case l.memory < minMemory:
		f.Cause = fmt.Sprintf("The machine has %d MiB of memory; the install needs %d.", l.memory>>20, minMemory>>20)
		f.Hint = "Give the machine more memory, then retry."
	case len(l.mounted) > 0:
		f.Cause = fmt.Sprintf("Something is still mounted at %s on the machine.", strings.Join(l.mounted, ", "))
		f.Hint = "Restart the machine so that it netboots stage-0 afresh, then retry."
	default:
		return l.judgeDisks(plan)
	}
	return f
}

// missing lists the programs that are needed and not there.
func (l *look) missing() []string {
	return slices.DeleteFunc(slices.Clone(l.lacks), func(p string) bool {
		return l.os["ID"] != "nixos" && slices.Contains(nixPrograms, p)
	})
}

func (l *look) installer() bool {
	like := strings.Fields(l.os["ID_LIKE"] + " " + l.os["ID"])
	return l.os["VARIANT_ID"] == "installer" && slices.Contains(like, "nixos")
}

// judgeDisks refuses when a disk of the plan is not exactly what the plan was made for, or is in use.
func (l *look) judgeDisks(plan *hive.Plan) *Failure {
	for _, slot := range slotsOf(plan) {
		d := l.disks[plan.Disks[slot].ID]
		if l.same && d != nil && !d.missing {
			continue
		}
		if diff := l.differs(plan.Disks[slot]); diff != "" {
			return &Failure{Step: StepPreflight,
				Cause: fmt.Sprintf("Disk %s (slot %s) %s; nothing was written.", plan.Disks[slot].ID, slot, diff),
				Hint:  "Put the planned disk back, or restart the machine so that it reports its disks again, and look at the new disk plan; then retry."}
		}
	}
	for _, slot := range slotsOf(plan) {
		if d := l.disks[plan.Disks[slot].ID]; len(d.busy) > 0 {
			return &Failure{Step: StepPreflight,
				Cause: fmt.Sprintf("Disk %s (slot %s) is in use on the machine (%s); nothing was written.", plan.Disks[slot].ID, slot, strings.Join(d.busy, ", ")),
				Hint:  "Something on it is mounted, or an array or volume group was assembled: restart the machine, then retry."}
		}
	}
	return nil
}

// differs says in what a disk is not what the plan says of it, "" for the same.
func (l *look) differs(p hive.PlanDisk) string {
	d := l.disks[p.ID]
	switch {
	case d == nil || d.missing:
		return "is gone"
	case p.Serial != "" && d.serial != "" && p.Serial != d.serial:
		return fmt.Sprintf("has serial number %s, not %s", d.serial, p.Serial)
	case inventory.ByPath(p.ID) && p.Serial == "" && p.WWN == "" && d.serial != "":
		return fmt.Sprintf("has serial number %s, which it did not have", d.serial)
	case p.SizeBytes != 0 && d.size != 0 && p.SizeBytes != d.size:
		return fmt.Sprintf("has %d bytes, not %d", d.size, p.SizeBytes)
	case !sameSet(p.Signatures, d.signatures):
		return fmt.Sprintf("holds %s, not %s as when the plan was made", listOr(d.signatures, "nothing"), listOr(p.Signatures, "nothing"))
	case !sameSet(p.PartUUIDs, d.partUUIDs):
		return "has other partitions than when the plan was made"
	}
	return ""
}

// busyOnly reports whether nothing is wrong but disks of the plan being in use.
func (l *look) busyOnly(bootID string, plan *hive.Plan) bool {
	busy := false
	free := *l
	free.disks = map[string]*lookedDisk{}
	for id, d := range l.disks {
		busy = busy || len(d.busy) > 0
		same := *d
		same.busy = nil
		free.disks[id] = &same
	}
	return busy && free.judge(bootID, plan) == nil
}

// slotsOf lists a plan's slots in order of name.
func slotsOf(plan *hive.Plan) []string {
	if plan == nil {
		return nil
	}
	slots := make([]string, 0, len(plan.Disks))
	for s := range plan.Disks {
		slots = append(slots, s)
	}
	slices.Sort(slots)
	return slots
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}

// clockScript sets a machine's clock (stage-0 only: its own system sets it again by itself).
func clockScript(now time.Time) string {
	return fmt.Sprintf("# hatchery: clock\ndate -u -s @%d >/dev/null\n", now.Unix())
}

// skew is how far the machine's clock is from now; 0 when it told none.
func (l *look) skew(now time.Time) time.Duration {
	if l.now.IsZero() {
		return 0
	}
	return l.now.Sub(now).Abs()
}
