// Package diskplan decides, purely, which disk of a machine fills which slot of a
// role, what happens to every disk of the machine, and what stands in the way.
//
// [Make] takes a host with its facts and a role and returns a [Plan]: a [Binding]
// per slot, a [DiskFate] per disk, and [Blocker]s that say what a person has to do.
// [Plan.Blocking] and [Plan.Confirmed] hold a person's confirmation against it,
// [Plan.Differs] holds the machine as it is just before the first write against it,
// [Plan.Own] records what the appliance is about to put where.
//
// It does not read disks, write anything, or know how a layout is carried out; the
// install script of the hive judges the disks once more on the machine itself.
package diskplan
