// Package pipeline turns a host with a role into an installed one: pure [Steps] say what a job
// does, and a [Runner] carries jobs out and keeps their log.
//
// The flow: the runner watches the store; a queued job whose machine is in stage-0, whose disk plan
// nothing stands in the way of and for which a place is free becomes a running one; its steps run one
// after the other, each recorded before it begins; nixos-anywhere does the only writing, between two
// durable records (the disks are ours, the netboot answer is flipped); the job ends as done, as failed
// with step, cause and hint, or cancelled. After a restart every running job is looked at and goes on
// from what is recorded, or fails honestly; it never runs twice.
//
// What it does not do: it decides no host's state (inventory.Next does), no disk's fate (diskplan does),
// evaluates no Nix (internal/hive does), and talks to machines only by SSH with a pinned host key.
package pipeline
