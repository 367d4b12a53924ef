package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
)

// inStage0 stores a machine that sits in stage-0 with somebody's data on the disk of slot os, and a role for it.
func inStage0(t *testing.T, db *boltdb.DB) inventory.Host {
	t.Helper()
	m, now := inventory.MAC{0x52, 0x54, 0, 0, 1, 1}, time.Now()
	var h inventory.Host
	err := db.Update(func(tx *inventory.Tx) error {
		roles := map[string]inventory.Role{"worker": {Name: "worker", Description: "a worker", System: "x86_64-linux", Disks: map[string]inventory.Slot{
			"os": {Class: inventory.ClassEphemeral, Select: inventory.Select{Order: "smallest"}}, "data": {Class: inventory.ClassPersistent, Select: inventory.Select{Order: "largest"}}}}}
		if err := tx.PutHive(inventory.Hive{Revision: "r1", Roles: roles}); err != nil {
			return err
		}
		c := inventory.Contact{MAC: m, IP: netip.MustParseAddr("10.0.0.7"), Arch: "x86_64", Firmware: "uefi"}
		if _, _, _, err := inventory.FetchScript(tx, c, inventory.DiscoveryAlways, "hash", now); err != nil {
			return err
		}
		f := inventory.Facts{Arch: "x86_64", Firmware: "uefi", UUID: "5b2c7a1e-0001-4000-8000-000000000001", Serial: "SN 1", NICs: []inventory.NIC{{Name: "eth0", MAC: m, Up: true}},
			Disks: []inventory.Disk{
				{ID: "nvme-OLD_S1", Name: "nvme0n1", Serial: "S1", Model: "OLD 512", SizeBytes: 512e9, Type: "ssd", Transport: "nvme", Signatures: []string{"ntfs"}},
				{ID: "ata-BIG_S2", Name: "sda", Serial: "S2", Model: "BIG 4000", SizeBytes: 4e12, Type: "hdd", Transport: "sata"}}}
		if _, err := inventory.CheckIn(tx, inventory.Report{NonceHash: "hash", HostKey: "ssh-ed25519 AAAA", BootID: "b", Facts: f, From: c.IP}, now); err != nil {
			return err
		}
		found, err := tx.HostByMAC(m)
		if err != nil {
			return err
		}
		name, role := "mini", "worker"
		h, _, err = inventory.Assign(tx, found.ID, inventory.Assignment{Name: &name, Role: &role}, "admin", false, now)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPlanIsATableWithTheWordsThatConfirmIt(t *testing.T) {
	t.Parallel()
	data, db := served(t)
	inStage0(t, db)
	out, code := hatchery(t, "hosts", "plan", "mini", "--data", data)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for _, want := range []string{"EVERY DISK", "OLD 512", "512.0 GB", "4.0 TB", "wipe", "In the way:", "--confirm os=S1"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	command := strings.Fields(lines[len(lines)-1])
	if shown, code := hatchery(t, append(command[1:], "--data", data)...); code != 0 || !strings.Contains(shown, "mini") {
		t.Errorf("%v: exit code %d and %s", command, code, shown)
	}
	if err := db.View(func(tx *inventory.Tx) error {
		jobs, err := tx.OpenJobs()
		if err == nil && (len(jobs) != 1 || jobs[0].Confirm["os"] != "S1" || jobs[0].PlanID == "") {
			t.Errorf("the command did not confirm the job: %+v", jobs)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if out, code := hatchery(t, "hosts", "plan", "mini", "--json", "--data", data); code != 0 || !strings.Contains(out, `"blockers"`) {
		t.Errorf("as JSON: exit code %d and %s", code, out)
	}
	if out, _ := hatchery(t, "hosts", "plan", "mini", "--wipe-persistent", "data", "--data", data); !strings.Contains(out, "format-if-blank") && !strings.Contains(out, "wipe") {
		t.Errorf("with a wipe: %s", out)
	}
}

func TestAMachineIsShownForPeople(t *testing.T) {
	t.Parallel()
	data, db := served(t)
	inStage0(t, db)
	out, code := hatchery(t, "hosts", "show", "mini", "--data", data)
	for _, want := range []string{"SIGNATURES", "nvme0n1", "512.0 GB", "ntfs", "last seen:     " + time.Now().Format("2006-")} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("want %q in %d\n%s", want, code, out)
		}
	}
	if strings.Contains(out, "{") {
		t.Errorf("JSON in\n%s", out)
	}
	for in, want := range map[string]string{"a\x1b[2Jb": "a [2Jb", "a\u009b2Jb": "a 2Jb", "a\u202eb": "a b", "2026-11-22T16:17:40.718380521Z": time.Unix(1795364260, 0).Format(time.DateTime), "node-2026": "node-2026"} {
		if got := tell(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestQuoteWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"os=S1": "os=S1", "WD 40": "'WD 40'", "$(reboot)": "'$(reboot)'", "it's": `'it'\''s'`, "": "''", "a\nb": "'a b'"} {
		if got := quoteWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestWatchStaysUntilTheJobHasEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		state inventory.JobState
		code  int
		want  string
	}{
		{"it is done", inventory.JobDone, 0, "2/3 build"},
		{"it failed", inventory.JobFailed, exitJob, "no such attribute"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			data, db := served(t)
			h := inStage0(t, db)
			out, code := &waitBuffer{grew: make(chan struct{}, 1)}, make(chan int, 1)
			go func() {
				code <- run(t.Context(), []string{"hosts", "assign", "mini", "--kernel-args", "quiet", "--watch", "--data", data}, out, out)
			}()
			out.wait(t, "queued  worker")
			step := func(fn func(tx *inventory.Tx, j *inventory.Job) error) {
				t.Helper()
				if err := db.Update(func(tx *inventory.Tx) error {
					j, err := tx.Job(h.JobID)
					if err != nil {
						return err
					}
					if err := fn(tx, &j); err != nil {
						return err
					}
					_, err = tx.PutJob(j)
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			step(func(tx *inventory.Tx, j *inventory.Job) error {
				j.State = inventory.JobRunning
				_, err := inventory.Apply(tx, h.ID, inventory.StepStarted{Step: "build", No: 2, Of: 3})
				return err
			})
			out.wait(t, "2/3 build")
			step(func(_ *inventory.Tx, j *inventory.Job) error {
				j.State = c.state
				if c.state == inventory.JobFailed {
					j.Error = "no such attribute"
				}
				return nil
			})
			if got := <-code; got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			out.wait(t, c.want)
		})
	}
}

func TestCompletionKnowsHostsAndRoles(t *testing.T) {
	t.Parallel()
	data, db := served(t)
	inStage0(t, db)
	if out, code := hatchery(t, "token", "create", "laptop", "--data", data); code != 0 {
		t.Fatal(out)
	}
	if out, code := hatchery(t, "hosts", "add", "--mac", "52:54:00:00:00:09", "--data", data); code != 0 {
		t.Fatal(out)
	}
	for _, c := range []struct{ name, args, want, not string }{
		{"hosts by name", "hosts show --data DATA|", "mini\tqueued, worker", ""},
		{"hosts without a name by MAC", "hosts ignore --data DATA|", "52-54-00-00-00-09\texpected", ""},
		{"what was typed so far", "hosts show --data DATA|m", "mini", "52-54"},
		{"one host alone", "hosts show --data DATA mini|", ":4", "52-54"},
		{"several hosts", "hosts wake --data DATA mini|", "52-54-00-00-00-09", "mini\t"},
		{"roles", "hosts assign --data DATA mini --role|", "worker\ta worker", ""},
		{"tokens", "token revoke --data DATA|", "laptop\tread", ""},
		{"scopes", "token create --scope|", "operate", ""},
		{"no appliance", "hosts show --data /nonexistent|", ":4", "mini"},
	} {
		words, typed, _ := strings.Cut(strings.ReplaceAll(c.args, "DATA", data), "|")
		out, code := hatchery(t, append(append([]string{"__complete"}, strings.Fields(words)...), typed)...)
		if code != 0 || !strings.Contains(out, c.want) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s: exit code %d and %q, want %q and not %q", c.name, code, out, c.want, c.not)
		}
	}
}

func TestPasswordSessionsAndActivity(t *testing.T) {
	t.Parallel()
	data, _ := served(t)
	typed := func(lines string, args ...string) (string, error) {
		root := rootCommand()
		var out bytes.Buffer
		root.SetIn(strings.NewReader(lines))
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append(args, "--data", data))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	if _, err := typed("short\n", "password"); err == nil || !strings.Contains(err.Error(), "too short") {
		t.Errorf("a short password: got %v", err)
	}
	if _, err := typed("", "password"); err == nil {
		t.Error("no password at all is taken")
	}
	if out, err := typed("a good password\n", "password"); err != nil || !strings.Contains(out, "is set") || strings.Contains(out, "good") {
		t.Errorf("got %q %v", out, err)
	}
	out, code := hatchery(t, "activity", "--data", data)
	if code != 0 || !strings.Contains(out, "The admin password was set by admin (socket).") || strings.Contains(out, "good") {
		t.Errorf("activity: exit code %d and %s", code, out)
	}
	for args, want := range map[string]int{"sessions list": 0, "sessions revoke --all": 0, "sessions revoke nobody": exitNotFound, "sessions revoke": exitUsage, "activity --limit 1": 0} {
		if out, code := hatchery(t, append(strings.Fields(args), "--data", data)...); code != want {
			t.Errorf("%s: exit code %d and %q, want %d", args, code, out, want)
		}
	}
}
