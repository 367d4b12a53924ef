package pipeline

import (
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// The names of the steps, as jobs, the diary and the pages show them.
const (
	StepStage0    = "stage-0"   // the machine answers with the pinned key, in the boot that checked in
	StepPlan      = "disk plan" // every slot bound to a disk, every disk's fate known, nothing in the way
	StepPreflight = "preflight" // looked at over SSH: programs, memory, clock, disks as planned
	StepFacts     = "hive"      // the host's facts committed to the hive
	StepBuild     = "build"     // system and install script built, the machine still untouched
	StepInstall   = "install"   // nixos-anywhere; the only step that writes to disks
	StepMounts    = "mounts"    // what is mounted on the machine is what the plan says
	StepNetboot   = "netboot"   // the netboot answer turned to the host's own disk
	StepReboot    = "reboot"    // /mnt unmounted, the machine restarted
	StepVerify    = "verify"    // the planted key answers, the built system runs
)

// Step is one step of a job.
type Step struct {
	// Name is one of the Step constants.
	Name string
	// Title says in words what happens, for the log and the diary.
	Title string
	// Limit is how long it may take before it counts as failed.
	Limit time.Duration
	// Writes says that the machine's disks are written to in it.
	Writes bool
}

// Limits are the time limits of the steps; a zero field means the default in brackets.
type Limits struct {
	Stage0    time.Duration // until stage-0 answers [5 min]
	Preflight time.Duration // planning the disks and looking at the machine, should it restart meanwhile [10 min]
	Facts     time.Duration // the commit to the hive [2 min]
	Build     time.Duration // nix build [3 h]
	Install   time.Duration // nixos-anywhere [2 h]
	Mounts    time.Duration // looking at the mounts [2 min]
	Reboot    time.Duration // unmounting and the order to restart [3 min]
	Verify    time.Duration // until the new system answered [15 min]
	// Lost is how long the machine may be silent during the install before the job ends [2 min].
	Lost time.Duration
	// Fresh is how old the agent's last report may be for stage-0 to count as running [60 s].
	Fresh time.Duration
	// Grace is how long a program has to end by itself when it is asked to [10 s].
	Grace time.Duration
	// Poll is the pause between two looks at a machine that does not answer [3 s].
	Poll time.Duration
	// Dial is how long one connection attempt may take [15 s].
	Dial time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&l.Stage0, 5 * time.Minute}, {&l.Preflight, 10 * time.Minute}, {&l.Facts, 2 * time.Minute},
		{&l.Build, 3 * time.Hour}, {&l.Install, 2 * time.Hour}, {&l.Mounts, 2 * time.Minute},
		{&l.Reboot, 3 * time.Minute}, {&l.Verify, 15 * time.Minute}, {&l.Lost, 2 * time.Minute},
		{&l.Fresh, time.Minute}, {&l.Grace, 10 * time.Second}, {&l.Poll, 3 * time.Second}, {&l.Dial, 15 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	return l
}

// Steps lists what a job does, in order. After the flip nothing may be written any more, so a
// retry or a restart only restarts the machine (when it is still in stage-0) and verifies.
func Steps(h inventory.Host, role inventory.Role, plan diskplan.Plan, j inventory.Job) []Step {
	return stepsWith(Limits{}.withDefaults(), h, role, plan, j)
}

func stepsWith(l Limits, h inventory.Host, role inventory.Role, plan diskplan.Plan, j inventory.Job) []Step {
	end := []Step{
		{Name: StepReboot, Title: "restarting the machine into its own disk", Limit: l.Reboot},
		{Name: StepVerify, Title: "waiting for the new system to answer", Limit: l.Verify},
	}
	if j.Flipped {
		return end
	}
	title := "formatting the disks and copying the system"
	if plan.KeepsPersistent() {
		title = "formatting the system disks, keeping the persistent ones, and copying the system"
	}
	steps := []Step{
		{Name: StepStage0, Title: "connecting to stage-0", Limit: l.Stage0},
		{Name: StepPlan, Title: "planning the disks", Limit: l.Preflight},
		{Name: StepPreflight, Title: "looking at the machine before anything is written", Limit: l.Preflight},
		{Name: StepFacts, Title: "committing the host to the hive", Limit: l.Facts},
		{Name: StepBuild, Title: "building role " + role.Name + " for " + h.Label(), Limit: l.Build},
		{Name: StepInstall, Title: title, Limit: l.Install, Writes: true},
		{Name: StepMounts, Title: "comparing what is mounted with the disk plan", Limit: l.Mounts},
		{Name: StepNetboot, Title: "turning the netboot answer to the machine's own disk", Limit: l.Mounts},
	}
	return append(steps, end...)
}
