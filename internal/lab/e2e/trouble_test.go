package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
)

// plan is what the API says an install would do, as far as the tests look.
type plan struct {
	ID       string
	Slots    []struct{ Slot, Disk, Confirm, Why string }
	Blockers []struct{ Kind, Slot, Disk, Serial, Text, Do string }
}

func (i *installation) plan(t *testing.T, wipe string) plan {
	t.Helper()
	path := "/hosts/" + i.m.MAC() + "/plan"
	if wipe != "" {
		path += "?wipePersistent=" + url.QueryEscape(wipe)
	}
	var p plan
	if _, err := i.call(http.MethodGet, path, nil, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestForeignData gives a role to a machine with data of others on both disks, one of which has no name but its
// port's: nothing is written until that one was pinned by hand and each disk was named by a person.
func TestForeignData(t *testing.T) {
	image := bootable(t)
	i := newInstallationWith(t, lab.MachineConfig{Name: "foreign", MemoryMiB: 1024, Disks: []lab.Disk{
		{Nameless: true, Size: 17 << 30, Image: image}, {Bus: "scsi", Serial: "STATE-0001", Size: 9 << 30, Image: image}}})
	before := hashes(t, i.m)
	powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
	i.assign(t)
	blocked := func(by string) {
		t.Helper()
		eventually(t, time.Minute, func() string {
			h, err := i.host(i.m.MAC())
			if err != nil || h == nil || h.State != "queued" || !strings.Contains(h.BlockedOn, by) {
				return "not queued for a decision about " + by + ": " + describe(h, err)
			}
			return ""
		})
		if after := hashes(t, i.m); after != before {
			t.Fatalf("disks changed while a decision is waited for:\nbefore %s\nafter  %s", before, after)
		}
	}
	blocked("Slot os cannot have disk")
	p := i.plan(t, "")
	refused := slices.IndexFunc(p.Blockers, func(b struct{ Kind, Slot, Disk, Serial, Text, Do string }) bool {
		return b.Kind == "no-stable-name" && b.Slot == "os"
	})
	if refused < 0 || !strings.HasPrefix(p.Blockers[refused].Disk, "path:") {
		t.Fatalf("blockers %+v, want the system's slot without a disk that has a name, and its port", p.Blockers)
	}
	t.Log(p.Blockers[refused].Text, p.Blockers[refused].Do)
	pin := p.Blockers[refused].Disk
	port := strings.TrimPrefix(pin, "path:")
	if _, err := i.call(http.MethodPut, "/hosts/"+i.m.MAC(), map[string]any{"pins": map[string]string{"os": pin}}, nil); err != nil {
		t.Fatal(err)
	}
	blocked("port alone")
	p = i.plan(t, "")
	var kinds []string
	for _, b := range p.Blockers {
		kinds = append(kinds, b.Kind+" "+b.Slot+" "+b.Disk)
		t.Logf("%s: %s %s", b.Kind, b.Text, b.Do)
	}
	if want := []string{"foreign-data os " + pin, "foreign-data-persistent state scsi-0QEMU_QEMU_HARDDISK_STATE-0001"}; !slices.Equal(kinds, want) {
		t.Errorf("blockers %q, want %q", kinds, want)
	}

	install := func(p plan, confirm map[string]string, wipe ...string) error {
		_, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/install", map[string]any{"plan_id": p.ID, "confirm": confirm, "wipePersistent": wipe}, nil)
		return err
	}
	if err := install(p, map[string]string{"os": port}, []string{}...); err == nil {
		t.Error("an install that leaves foreign data on the persistent disk undecided was accepted")
	} else {
		t.Log(err)
	}
	wiping := i.plan(t, "state")
	if err := install(wiping, map[string]string{"os": port, "state": "WRONG"}, "state"); err == nil {
		t.Error("a wipe with another disk's serial was accepted")
	}
	if after := hashes(t, i.m); after != before {
		t.Fatalf("disks changed by refused requests:\nbefore %s\nafter  %s", before, after)
	}
	if err := install(wiping, map[string]string{"os": port, "state": "STATE-0001"}, "state"); err != nil {
		t.Fatal(err)
	}
	i.state(t, 8*time.Minute, "installed")
	checkInstalled(t, i)
	if p = i.plan(t, ""); len(p.Slots) == 0 || p.Slots[0].Slot != "os" || p.Slots[0].Disk != pin {
		t.Errorf("plan after the install: %+v, want the system's slot at its port still", p.Slots)
	}
}

// TestDisturbedInstall disturbs an install in the build, while the system is copied, and between install and restart: the appliance
// is killed, the machine's power is cut, its network cable is out for 60 s, a person cancels. Each time the job ends honestly, and
// a retry (or the role, given again) completes it.
func TestDisturbedInstall(t *testing.T) {
	full(t)
	i := newInstallation(t, lab.BIOS)
	powerOn(t, i.appliance, i.m).ready(t, 3*time.Minute)
	i.assign(t)
	first := true
	for _, at := range []string{"step 5 of ", "### Uploading the system closure ###", "installation finished!"} {
		for _, what := range []string{"appliance killed", "machine without power", "cable out for 60 s", "cancelled"} {
			t.Run(what+" at "+strings.Trim(at, "# "), func(t *testing.T) {
				if !first {
					i.askReinstall(t)
				}
				first = false
				i.logged(t, at)
				i.disturb(t, what)
				i.finish(t)
				checkInstalled(t, i)
			})
		}
	}
}

func (i *installation) disturb(t *testing.T, what string) {
	t.Helper()
	switch what {
	case "appliance killed":
		i.crash()
		i.start()
	case "machine without power":
		i.m.PowerOff()
	case "cable out for 60 s":
		if err := i.lan.Cable(i.m.Config().Port, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the cut itself, nothing is waited for
		if err := i.lan.Cable(i.m.Config().Port, true); err != nil {
			t.Fatal(err)
		}
	case "cancelled":
		if _, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/cancel", nil, nil); err != nil {
			t.Fatal(err)
		}
		// A first install that was stopped leaves the machine ready, any other an installed host: only an explicit reinstall writes to it again.
		if h := i.state(t, 3*time.Minute, "ready", "installed"); h.State == "ready" {
			i.assign(t)
			return
		}
		i.askReinstall(t)
	}
}

// logged waits until the open job's log has a text.
func (i *installation) logged(t *testing.T, text string) {
	t.Helper()
	eventually(t, 5*time.Minute, func() string {
		h, err := i.host(i.m.MAC())
		if err != nil || h == nil {
			return describe(h, err)
		}
		if h.State == "failed" {
			t.Fatalf("failed before it was disturbed: %s", h.Error)
		}
		if (h.State == "installing" || h.State == "installed") && strings.Contains(i.jobLog(), text) {
			return ""
		}
		return "the job's log does not say " + text
	})
}

// finish sees a disturbed job to its end: the machine is switched on again, a failure must
// say that it was interrupted, and a retry completes it.
func (i *installation) finish(t *testing.T) {
	t.Helper()
	retries := 0
	eventually(t, 12*time.Minute, func() string {
		if !i.m.Running() {
			if err := i.m.PowerOn(); err != nil {
				t.Fatal(err)
			}
		}
		h, err := i.host(i.m.MAC())
		switch {
		case err != nil || h == nil:
			return describe(h, err)
		case h.State == "installed":
			return ""
		case h.State == "failed":
			if retries++; retries > 2 {
				t.Fatalf("failed again: %s", h.Error)
			}
			t.Logf("failed in step %s: %s", h.Step, h.Error)
			if _, err := i.call(http.MethodPost, "/hosts/"+i.m.MAC()+"/retry", nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		return describe(h, nil)
	})
}
