package boltdb

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// crashHosts is how many hosts and as many leases the child writes to.
const crashHosts = 8

// crashChild opens the database, and writes until it is killed: hosts with a rising number (in
// two records that must agree), leases, and whole journeys of machines. Each line on standard output acknowledges one write.
func crashChild(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	d, err := Open(Config{Path: filepath.Join(dir, "hatchery.db"), journalSize: 4 << 10}) // full in no time
	if err != nil {
		fail(err)
	}
	fmt.Println("open")
	var out sync.Mutex
	ack := func(kind string, who, n int) {
		out.Lock()
		defer out.Unlock()
		fmt.Println(kind, who, n)
	}
	for who := range crashHosts {
		go func() {
			for n := 0; ; n++ {
				flipped, err := crashJourney(d, who, n)
				if err != nil {
					fail(err)
				}
				if flipped {
					ack("flip", who, 1)
				}
			}
		}()
		go func() {
			for {
				n, err := crashUpdate(d, who)
				if err != nil {
					fail(err)
				}
				ack("host", who, n)
				if err := d.CommitLeases(crashLease(who, n)); err != nil {
					fail(err)
				}
				ack("lease", who, n)
			}
		}()
	}
	select {}
}

func crashLease(who, n int) lease.Lease {
	return lease.Lease{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(who)}), HW: lease.HW{2, 0, 0, 0, 0, byte(who)}, Hostname: strconv.Itoa(n)}
}

func crashUpdate(d *DB, who int) (n int, err error) {
	err = d.Update(func(tx *inventory.Tx) error {
		id := inventory.HostID(fmt.Sprintf("h%d", who))
		h, err := tx.Host(id)
		if errors.Is(err, inventory.ErrNotFound) {
			h, err = inventory.Host{ID: id, State: inventory.StateSeen}, nil
		}
		if err != nil {
			return err
		}
		h.StepNo++
		n = h.StepNo
		if _, err = tx.PutHost(h); err != nil {
			return err
		}
		return errors.Join(tx.PutJSON("twin", string(id), n), tx.Note(inventory.Entry{HostID: id, Kind: "state", Text: strings.Repeat("x", n%700)}))
	})
	return n, err
}

// crashJourney does one act on a machine of its own, in turn: from its first DHCP to its install, and on
// to reinstalls. It reports whether the netboot answer was flipped.
func crashJourney(d *DB, who, n int) (flipped bool, err error) {
	mac := inventory.MAC{0x52, 0x54, 0, 0, 1, byte(who)}
	now := time.Now()
	c := inventory.Contact{MAC: mac, IP: netip.AddrFrom4([4]byte{10, 0, 1, byte(who)})}
	err = d.Update(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(mac)
		if err != nil && !errors.Is(err, inventory.ErrNotFound) {
			return err
		}
		nonce := fmt.Sprintf("nonce-%d-%d", who, h.Fetches)
		switch h.State {
		case "":
			_, err = inventory.Discover(tx, c, now)
		case inventory.StateSeen:
			_, _, _, err = inventory.FetchScript(tx, c, inventory.DiscoveryAlways, nonce+"1", now)
		case inventory.StateBooting:
			_, err = inventory.CheckIn(tx, inventory.Report{NonceHash: fmt.Sprintf("nonce-%d-01", who), HostKey: "k", BootID: "b", From: c.IP,
				Facts: inventory.Facts{Arch: "x86_64", Firmware: "bios", NICs: []inventory.NIC{{Name: "e", MAC: mac}}}}, now)
		case inventory.StateReady:
			role := "worker"
			_, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Role: &role}, "admin", false, now)
		case inventory.StateQueued, inventory.StateInstalling:
			flipped, err = crashRun(tx, &h, n)
		case inventory.StateInstalled:
			_, _, err = inventory.Reinstall(tx, h.ID, inventory.Confirmation{}, "admin", now)
		case inventory.StateFailed:
			_, _, err = inventory.Retry(tx, h.ID, "admin", now)
		}
		return err
	})
	return flipped, err
}

// crashRun is the runner: one step of the host's job.
func crashRun(tx *inventory.Tx, h *inventory.Host, n int) (flipped bool, err error) {
	j, err := tx.Job(h.JobID)
	if err != nil {
		return false, err
	}
	var e inventory.Event
	switch {
	case h.State == inventory.StateQueued:
		e, j.State = inventory.StepStarted{Step: "s", No: 1, Of: 2}, inventory.JobRunning
	case n%5 == 0:
		e, j.State = inventory.StepFailed{Step: "s", Cause: "c", Hint: "h"}, inventory.JobFailed
	case h.Flipped:
		e, j.State = inventory.Verified{System: "/nix/store/x", At: time.Now()}, inventory.JobDone
	case h.Wrote:
		e, j.Flipped, flipped = inventory.NetbootFlipped{}, true, true
	default:
		e, j.Wrote = inventory.WriteStarted{}, true
	}
	if _, err := inventory.Apply(tx, h.ID, e); err != nil {
		return false, err
	}
	_, err = tx.PutJob(j)
	return flipped, err
}

// TestAcknowledgedWritesSurviveSIGKILL kills a writing process again and again; after each time
// the database opens, holds all that was acknowledged, and no half of any update.
func TestAcknowledgedWritesSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	rounds := 8
	if os.Getenv("HATCHERY_FULL") == "1" {
		rounds = 300
	}
	dir := t.TempDir()
	acked := map[string]int{}
	never := func() (kinds []string) { // what was acknowledged to nobody yet: until then the test proves nothing
		for _, kind := range []string{"host", "lease", "flip"} {
			n := 0
			for who := range crashHosts {
				n += min(acked[fmt.Sprintf("%s %d", kind, who)], 1)
			}
			if n == 0 {
				kinds = append(kinds, kind)
			}
		}
		return kinds
	}
	for round := 0; round < rounds || len(never()) > 0; round++ {
		if round == rounds+100 { // a busy machine comes less far in each
			t.Fatalf("never acknowledged after %d rounds: %v", round, never())
		}
		crashRound(t, exec.Command(os.Args[0]), dir, acked, 1+rand.IntN(120))
		checkCrashed(t, dir, acked)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
}

// crashRound runs the child, kills it a moment after so many acknowledged writes, and notes what it acknowledged.
func crashRound(t *testing.T, cmd *exec.Cmd, dir string, acked map[string]int, writes int) {
	t.Helper()
	cmd.Env = append(os.Environ(), "HATCHERY_CRASH_DIR="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if writes--; writes == 0 {
			time.AfterFunc(time.Duration(rand.IntN(20000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
		var kind string
		var who, n int
		if k, _ := fmt.Sscan(sc.Text(), &kind, &who, &n); k == 3 {
			acked[fmt.Sprintf("%s %d", kind, who)] = n
		}
	}
	_ = cmd.Wait() // it was killed
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "strace: ") { // it wonders about a process that was killed in the middle of a fault
			t.Fatalf("the child failed by itself: %s", stderr.String())
		}
	}
}

func checkCrashed(t *testing.T, dir string, acked map[string]int) {
	t.Helper()
	d, err := Open(Config{Path: filepath.Join(dir, "hatchery.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, d)
	leases, err := d.Leases()
	if err != nil {
		t.Fatal(err)
	}
	stored := map[int]int{}
	for _, l := range leases {
		if stored[int(l.HW[5])], err = strconv.Atoi(l.Hostname); err != nil {
			t.Error(err)
		}
	}
	if err := d.View(func(tx *inventory.Tx) error {
		for who := range crashHosts {
			id := inventory.HostID(fmt.Sprintf("h%d", who))
			h, err := tx.Host(id)
			if err != nil && !errors.Is(err, inventory.ErrNotFound) {
				return err
			}
			var twin int
			if _, err := tx.GetJSON("twin", string(id), &twin); err != nil {
				return err
			}
			if want := acked[fmt.Sprintf("host %d", who)]; h.StepNo < want || h.StepNo != twin {
				t.Errorf("%s: got %d and its twin %d, acknowledged %d", id, h.StepNo, twin, want)
			}
			if want := acked[fmt.Sprintf("lease %d", who)]; stored[who] < want {
				t.Errorf("lease %d: got %d, acknowledged %d", who, stored[who], want)
			}
		}
		for who := range crashHosts {
			h, err := tx.HostByMAC(inventory.MAC{0x52, 0x54, 0, 0, 1, byte(who)})
			if acked[fmt.Sprintf("flip %d", who)] > 0 && !h.EverFlipped {
				t.Errorf("machine %d: its flip was acknowledged and is lost (%v)", who, err)
			}
		}
		if err := inventorytest.CheckRules(tx, time.Now()); err != nil {
			t.Errorf("the rules are broken: %v", err)
		}
		return tx.Scan(inventory.BucketDiary, "", "", func(k string, v []byte) (bool, error) {
			if !json.Valid(v) {
				t.Errorf("diary %s: damaged", k)
			}
			return true, nil
		})
	}); err != nil {
		t.Fatal(err)
	}
}
