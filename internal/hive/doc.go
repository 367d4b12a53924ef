// Package hive keeps the git repository of host facts (DATA/hive) and runs nix over it.
//
// The flow: [Open] creates the repository from the embedded template or clones it; [Hive.Roles]
// evaluates `hatchery.roles` at the newest commit; [Hive.WriteHost] writes
// hosts/NAME/{host.json,facter.json} and commits; [Hive.Build] builds a host's system, install script
// and layout from `git+file://DIR?rev=COMMIT`, so that an edit during a build changes nothing.
//
// What it does not do: it decides nothing about hosts, plans or clusters (the caller passes
// finished values), holds no secret, and never talks to a machine.
package hive
