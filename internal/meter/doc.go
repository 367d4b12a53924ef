// Package meter turns what happens in the inventory into Prometheus metrics: how far boots come and how long each
// step of them takes, and the same of jobs.
//
// It reads the store's change feed: a line of a boot diary is a milestone of that host's boot, a job whose step or state
// differs from what was seen last has ended that step. Nothing is stored; a restart begins at zero, as Prometheus
// expects. Labels are of small fixed sets, whatever machines send. What the feed lost is not counted.
//
// It decides nothing and knows no protocol.
package meter
