package boltdb

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

var makeStored = flag.Bool("make-stored", false, "write testdata/vN.db.gz of the present version; never over a released one")

// stored is what the stored files hold, as today's types read it.
type stored struct {
	Hosts        []inventory.Host
	Jobs         []inventory.Job
	Diary        []inventory.Entry
	Hive         inventory.Hive
	Leases       []lease.Lease
	Reservations []lease.Reservation
}

func sample() stored {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	mac := inventory.MAC{0x52, 0x54, 0, 0, 0, 1}
	return stored{
		Hosts: []inventory.Host{{ID: "0123456789abcdef", MAC: mac, MACs: []inventory.MAC{mac, {0x52, 0x54, 0, 0, 0, 2}}, UUID: "11111111-2222-3333-4444-555555555555",
			Serial: "SN1", Name: "alpha", Role: "worker", State: inventory.StateInstalled, Step: "verify", StepNo: 9, StepOf: 9, JobID: "fedcba9876543210",
			Flipped: true, EverFlipped: true, Wrote: true, Attention: "look", Approved: true, StageZeroUntil: at, Fetches: 2, IP: netip.MustParseAddr("10.0.0.9"),
			Arch: "x86_64", Firmware: "uefi", Relayed: true, HostKey: "ssh-ed25519 AAAA", BootID: "b", ReportedAt: at, Held: true, InstalledKey: "ssh-ed25519 BBBB",
			InstalledSystem: "/nix/store/x", InstalledAt: at, Pins: map[string]string{"os": "ata-x"}, Bound: map[string]string{"os": "ata-x"},
			OwnedDisks: map[string]string{"ata-x": "ephemeral"}, KernelArgs: "quiet", FirstSeen: at, LastSeen: at, CreatedAt: at,
			Facts: &inventory.Facts{Arch: "x86_64", Firmware: "uefi", Vendor: "V", CPU: inventory.CPU{Model: "C", Cores: 4}, MemoryBytes: 1 << 33,
				Disks: []inventory.Disk{{ID: "ata-x", ByID: []string{"ata-x"}, Name: "sda", Serial: "S", WWN: "W", Model: "M", SizeBytes: 1 << 40, Type: "ssd", Transport: "sata",
					Signatures: []string{"gpt"}, Partitions: []inventory.Partition{{Number: 1, SizeBytes: 1 << 30, FS: "vfat", UUID: "aa"}}, Bootable: true}},
				NICs: []inventory.NIC{{Name: "eth0", MAC: mac, Driver: "e1000", SpeedMbps: 1000, Up: true, Addrs: []string{"10.0.0.9/24"}}}}}},
		Jobs: []inventory.Job{{ID: "fedcba9876543210", HostID: "0123456789abcdef", Kind: inventory.JobInstall, State: inventory.JobQueued, Role: "worker", By: "admin",
			PlanID: "p", Confirm: map[string]string{"os": "S"}, WipePersistent: []string{"data"}, Data: []byte("{}"), Attempt: 2, CreatedAt: at}},
		Diary: []inventory.Entry{{Time: at, HostID: "0123456789abcdef", Kind: "checkin", Text: "Checked in.", By: "stage-0", From: netip.MustParseAddr("10.0.0.9"), Bytes: 5, Duration: time.Second, Level: "warn"}},
		Hive: inventory.Hive{Revision: "abc", ReadAt: at, Roles: map[string]inventory.Role{"worker": {Name: "worker", System: "x86_64-linux",
			Disks: map[string]inventory.Slot{"os": {Class: "ephemeral", Select: inventory.Select{Type: "ssd", MinBytes: 16e9}}}}}},
		Leases:       []lease.Lease{{IP: netip.MustParseAddr("10.0.0.9"), HW: lease.HW(mac), ClientID: []byte{1, 2}, Hostname: "alpha", State: lease.StateBound, Granted: at, Expires: at}},
		Reservations: []lease.Reservation{{HW: lease.HW(mac), IP: netip.MustParseAddr("10.0.0.9"), Name: "alpha"}},
	}
}

func (s *stored) write(ctx context.Context, d *DB) error {
	err := d.Update(func(tx *inventory.Tx) error {
		for _, h := range s.Hosts {
			if _, err := tx.PutHost(h); err != nil {
				return err
			}
		}
		for _, j := range s.Jobs {
			if _, err := tx.PutJob(j); err != nil {
				return err
			}
		}
		for _, e := range s.Diary {
			if err := tx.Note(e); err != nil {
				return err
			}
		}
		return tx.PutHive(s.Hive)
	})
	for _, l := range s.Leases {
		err = errors.Join(err, d.CommitLeases(l))
	}
	for _, r := range s.Reservations {
		err = errors.Join(err, d.PutReservation(r))
	}
	return err
}

func readStored(t *testing.T, d *DB) (s stored) {
	t.Helper()
	err := d.View(func(tx *inventory.Tx) (err error) {
		if s.Hosts, _, err = tx.Hosts("", 100); err != nil {
			return err
		}
		if s.Jobs, err = tx.OpenJobs(); err != nil {
			return err
		}
		if s.Diary, err = tx.Diary(s.Hosts[0].ID, 0, 100); err != nil {
			return err
		}
		s.Hive, err = tx.Hive()
		return err
	})
	var err1, err2 error
	s.Leases, err1 = d.Leases()
	s.Reservations, err2 = d.Reservations()
	if err := errors.Join(err, err1, err2); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStoredFiles opens a file of every version there ever was and finds in it what was put there.
// A new field may be added freely; a renamed one, or one of another meaning, needs a migration.
func TestStoredFiles(t *testing.T) {
	t.Parallel()
	if *makeStored {
		writeStored(t)
	}
	files, err := filepath.Glob("testdata/v*.db.gz")
	if err != nil || len(files) != len(migrations())+1 {
		t.Fatalf("stored files: got %v, %v, want one of each version up to %d", files, err, len(migrations())+1)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "hatchery.db")
			unpack(t, name, path)
			d := open(t, path)
			want := sample()
			want.Hosts[0].Revision, want.Jobs[0].Revision, want.Diary[0].Seq = 1, 1, 1
			if diff := cmp.Diff(want, readStored(t, d), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("what is in it (-want +got):\n%s", diff)
			}
			if err := d.View(func(tx *inventory.Tx) error {
				var s schema
				_, err := tx.GetJSON(inventory.BucketMeta, schemaKey, &s)
				if s.Version != len(migrations())+1 {
					t.Errorf("version after opening: got %d", s.Version)
				}
				_, err2 := tx.FindHost("alpha")
				_, err3 := tx.HostBySerial("sn1") // version 1 found it as SN1 alone
				worker, err4 := tx.OfRole("worker", 9)
				counts, err5 := tx.RoleCounts()
				jobs := 0
				err6 := tx.JobsBack("0123456789abcdef", "", func(inventory.Job) (bool, error) { jobs++; return true, nil })
				if len(worker) != 1 || counts["worker"].Hosts != 1 || jobs != 1 { // version 3 had none of them
					t.Errorf("found by role: %d, counted: %v; jobs by host: %d", len(worker), counts, jobs)
				}
				return errors.Join(err, err2, err3, err4, err5, err6)
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func writeStored(t *testing.T) {
	t.Helper()
	d := fresh(t)
	s := sample()
	var raw, packed bytes.Buffer
	if err := errors.Join(s.write(t.Context(), d), d.Backup(&raw)); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	_, err := z.Write(raw.Bytes())
	version, err2 := json.Marshal(len(migrations()) + 1)
	if err := errors.Join(err, err2, z.Close(), os.MkdirAll("testdata", 0o755)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile("testdata/v"+string(version)+".db.gz", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(packed.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func unpack(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err := errors.Join(err, in.Close(), os.WriteFile(to, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
}
