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
	StepNode      = "k3s"       // the cluster says that the node is Ready

	StepReach   = "connect" // deploy: the installed system answers with the planted key
	StepCopy    = "copy"    // deploy: the built system is in the machine's store
	StepSwitch  = "switch"  // deploy: it runs, on trial: the machine goes back by itself when it hears nothing
	StepHealth  = "health"  // deploy: it answers anew, no unit failed that ran before
	StepConfirm = "confirm" // deploy: it is what boots from now on
	StepFormat  = "format"  // format: the one disk is wiped and formatted; the only step of it that writes
	StepReturn  = "return"  // format: the machine runs its own system again
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
	Node      time.Duration // until the cluster says that the node is Ready [10 min]
	Reach     time.Duration // until an installed system answers, woken up if need be [5 min]
	Copy      time.Duration // copying a system to a running machine [1 h]
	Switch    time.Duration // activating it there [10 min]
	Health    time.Duration // until it is seen to be well [5 min]
	// Trial is how long a machine that switched hears nothing of the appliance before it goes back by itself; whole
	// seconds, at least 5 [2 min].
	Trial time.Duration
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
		{&l.Reboot, 3 * time.Minute}, {&l.Verify, 15 * time.Minute},
		{&l.Node, 10 * time.Minute}, {&l.Reach, 5 * time.Minute}, {&l.Copy, time.Hour}, {&l.Switch, 10 * time.Minute},
		{&l.Health, 5 * time.Minute}, {&l.Trial, 2 * time.Minute}, {&l.Lost, 2 * time.Minute},
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
	switch j.Kind {
	case inventory.JobDeploy:
		return deploySteps(l, h, role)
	case inventory.JobFormat:
		return formatSteps(l, h, j)
	case inventory.JobInstall, inventory.JobReinstall:
	}
	end := []Step{
		{Name: StepReboot, Title: "restarting the machine into its own disk", Limit: l.Reboot},
		{Name: StepVerify, Title: "waiting for the new system to answer", Limit: l.Verify},
	}
	if role.K3s != nil {
		end = append(end, nodeStep(l, role))
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

func nodeStep(l Limits, role inventory.Role) Step {
	return Step{Name: StepNode, Title: "waiting until cluster " + role.K3s.Cluster + " says that the node is ready", Limit: l.Node}
}

// deploySteps bring a running machine to what the hive says now.
func deploySteps(l Limits, h inventory.Host, role inventory.Role) []Step {
	steps := []Step{
		{Name: StepReach, Title: "connecting to the installed system", Limit: l.Reach},
		{Name: StepFacts, Title: "committing the host to the hive", Limit: l.Facts},
		{Name: StepBuild, Title: "building role " + role.Name + " for " + h.Label(), Limit: l.Build},
		{Name: StepCopy, Title: "copying the system to the machine", Limit: l.Copy},
		{Name: StepSwitch, Title: "switching to it on trial", Limit: l.Switch},
		{Name: StepHealth, Title: "looking whether it is well", Limit: l.Health},
	}
	if role.K3s != nil {
		steps = append(steps, nodeStep(l, role))
	}
	return append(steps, Step{Name: StepConfirm, Title: "making it the system that boots", Limit: l.Switch})
}

// formatSteps format one disk in stage-0, and give an installed host back to its own system.
func formatSteps(l Limits, h inventory.Host, j inventory.Job) []Step {
	slot := formatSlot(&j)
	steps := []Step{
		{Name: StepStage0, Title: "connecting to stage-0", Limit: l.Stage0},
		{Name: StepPlan, Title: "holding the order for slot " + slot + " against the machine's disks", Limit: l.Preflight},
		{Name: StepPreflight, Title: "looking at the machine before anything is written", Limit: l.Preflight},
		{Name: StepFacts, Title: "committing the host to the hive", Limit: l.Facts},
		{Name: StepBuild, Title: "building what formats slot " + slot, Limit: l.Build},
		{Name: StepFormat, Title: "formatting the disk of slot " + slot, Limit: l.Install, Writes: true},
	}
	if !h.EverFlipped {
		return steps
	}
	return append(steps, Step{Name: StepReboot, Title: "restarting the machine into its own disk", Limit: l.Reboot},
		Step{Name: StepReturn, Title: "waiting for the machine's own system", Limit: l.Verify})
}
