package diskplan

import (
	"errors"
	"testing"

	"github.com/staged-hive/hatchery/inventory"
)

// TestAutomaticInstalls: a job that no person asked for wipes what is blank or our own ephemeral, nothing else.
func TestAutomaticInstalls(t *testing.T) {
	t.Parallel()
	host := func(in Input, owned, bound names) Input {
		in.Host.OwnedDisks, in.Host.Bound = owned, bound
		return in
	}
	pinned := input(slots{"os": eph(inventory.Select{})}, disk("a", gb, windows))
	pinned.Host.Pins = names{"os": "ata-a"}
	for _, c := range []struct {
		name string
		in   Input
		want error
	}{
		{"blank disks", input(both, disk("a", gb), disk("b", 2*gb)), nil},
		{"our own ephemeral disk", host(input(slots{"os": eph(inventory.Select{})}, disk("a", gb, ext4)), names{"ata-a": "ephemeral"}, names{"os": "ata-a"}), nil},
		{"our own ephemeral disk by its other name", host(input(slots{"os": eph(inventory.Select{})}, disk("a", gb, ext4)), names{"wwn-0xa": "ephemeral"}, nil), nil},
		{"our own persistent disk, kept", host(input(both, disk("a", gb), disk("b", 2*gb, ext4)), names{"ata-b": "persistent"}, names{"data": "ata-b"}), nil},
		{"somebody's file system", input(slots{"os": eph(inventory.Select{})}, disk("a", gb, ext4)), ErrBlocked},
		{"somebody's partitions", input(slots{"os": eph(inventory.Select{})}, disk("a", gb, windows)), ErrBlocked},
		{"somebody's partitions, pinned by a person", pinned, ErrBlocked},
		{"our own persistent disk in an ephemeral slot", host(input(slots{"os": eph(inventory.Select{})}, disk("a", gb, ext4)), names{"ata-a": "persistent"}, nil), ErrBlocked},
		{"a disk that was both", host(input(slots{"os": eph(inventory.Select{})}, disk("a", gb, ext4)), names{"ata-a": "ephemeral", "wwn-0xa": "persistent"}, nil), ErrBlocked},
		{"somebody's data in a persistent slot", input(both, disk("a", gb), disk("b", 2*gb, windows)), ErrBlocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.in.Auto = true
			p := Make(c.in)
			if err := p.Confirmed(inventory.Confirmation{}); !errors.Is(err, c.want) {
				t.Errorf("without a person: got %v, want %v", err, c.want)
			}
			all := inventory.Confirmation{PlanID: p.ID, Confirm: map[string]string{}}
			for _, s := range p.Slots {
				if s.Confirm != "" {
					all.Confirm[s.Slot] = s.Confirm
				}
			}
			if err := p.Confirmed(all); !errors.Is(err, c.want) {
				t.Errorf("with words that no person typed for this job: got %v, want %v", err, c.want)
			}
		})
	}
}
