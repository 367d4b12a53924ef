package httpboot

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestStallVerdicts(t *testing.T) {
	t.Parallel()
	line := func(kind, by, text string) inventory.Entry { return inventory.Entry{Kind: kind, By: by, Text: text} }
	script := line("http.script", "ipxe", "iPXE fetched its script: "+stage0Phrase+" 1, because it is expected.")
	offer, bootFile, kernel, checkin := line("dhcp.offer", "firmware", ""), line("tftp.file", "firmware", ""), line("http.file", "ipxe", ""), line("checkin", "stage-0", "")
	for _, c := range []struct {
		name  string
		lines []inventory.Entry
		want  string // beginning of the verdict, "" = none
	}{
		{"took the offer and no more", []inventory.Entry{offer}, "It was offered a boot file and never asked"},
		{"loaded iPXE and no more", []inventory.Entry{offer, bootFile}, "It loaded iPXE, but iPXE never asked"},
		{"loaded iPXE by UEFI HTTP Boot and no more", []inventory.Entry{line("http.file", "firmware", "")}, "It loaded iPXE, but iPXE never asked"},
		{"iPXE has an address and no more", []inventory.Entry{bootFile, line("dhcp.ack", "ipxe", "")}, "iPXE runs and never fetched"},
		{"iPXE took autoexec.ipxe and no more", []inventory.Entry{line("tftp.file", "ipxe", "")}, "iPXE runs and never fetched"},
		{"fetched its script and no more", []inventory.Entry{bootFile, script}, "It fetched its script and never loaded"},
		{"loaded the kernel and no more", []inventory.Entry{script, line("http.file", "ipxe", "Loaded bzImage by HTTP: 12 MB in 1.0 s"+initrdNext+".")}, "It fetched its script and never loaded all"},
		{"a person fetched a file and no more", []inventory.Entry{line("http.file", "http", "Loaded manifest.json by HTTP")}, ""},
		{"loaded stage-0 and no more", []inventory.Entry{script, kernel, kernel}, "It loaded stage-0, which never checked in"},
		{"stage-0 has an address and no more", []inventory.Entry{script, kernel, line("dhcp.ack", "stage-0", "")}, "Stage-0 runs and has an address"},
		{"checked in", []inventory.Entry{offer, bootFile, script, kernel, checkin}, ""},
		{"was sent to its own disk", []inventory.Entry{offer, bootFile, line("http.script", "ipxe", "iPXE fetched its script: it boots its own disk.")}, ""},
		{"other lines mean nothing", []inventory.Entry{line("admin", "admin", ""), line("dhcp.ack", "host", "")}, ""},
		{"another line does not end the wait", []inventory.Entry{script, line("admin", "admin", "")}, "It fetched its script"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := stallLines(t, c.lines)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// stallLines plays a diary to a watch, one line a second, lets seven minutes pass, and
// returns the verdicts. A watch that starts after the last line must come to know the same.
func stallLines(t *testing.T, lines []inventory.Entry) (got []string) {
	t.Helper()
	store := inventorytest.NewStore(t)
	now := time.Now()
	var id inventory.HostID
	live := &stalls{store: store, now: func() time.Time { return now }, hosts: map[inventory.HostID]waiting{}}
	err := store.Update(func(tx *inventory.Tx) error {
		h, err := inventory.Discover(tx, inventory.Contact{MAC: inventory.MAC{2, 0, 0, 0, 0, 1}}, now)
		id = h.ID
		for i, e := range lines {
			e.HostID, e.Time = id, now.Add(time.Duration(i)*time.Second)
			err = errors.Join(err, tx.Note(e))
			live.see(e)
		}
		return err
	})
	resumed := &stalls{store: store, now: live.now, hosts: map[inventory.HostID]waiting{}}
	_, rerr := resumed.resume("")
	err = errors.Join(err, rerr, live.tick())
	if d := cmp.Diff(live.hosts, resumed.hosts, cmp.AllowUnexported(waiting{})); d != "" {
		t.Errorf("after a restart, -live +resumed:\n%s", d)
	}
	now = now.Add(7 * time.Minute)
	err = errors.Join(err, live.tick(), live.tick(), store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary(id, 0, 100)
		for _, e := range es {
			if e.Kind == "stall" {
				got = append(got, e.Text)
			}
		}
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStallIgnoresLinesAboutEarlierPackets(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := &stalls{now: func() time.Time { return now }, hosts: map[inventory.HostID]waiting{}}
	w.see(inventory.Entry{HostID: "a", Kind: "checkin", Time: now})
	w.see(inventory.Entry{HostID: "a", Kind: "dhcp.ack", By: "stage-0", Time: now.Add(-time.Second)})
	if !w.hosts["a"].due.IsZero() {
		t.Error("a late line about an early packet started a wait")
	}
}

func TestStallIsNotSaidOfAMachineThatReports(t *testing.T) {
	t.Parallel()
	store := inventorytest.NewStore(t)
	now := time.Now()
	var id inventory.HostID
	if err := store.Update(func(tx *inventory.Tx) error {
		h, err := inventory.Discover(tx, inventory.Contact{MAC: inventory.MAC{2, 0, 0, 0, 0, 1}}, now)
		if err == nil {
			id, h.ReportedAt = h.ID, now.Add(time.Minute)
			_, err = tx.PutHost(h)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w := &stalls{store: store, now: func() time.Time { return now.Add(5 * time.Minute) }, hosts: map[inventory.HostID]waiting{}}
	w.see(inventory.Entry{HostID: id, Kind: "dhcp.ack", By: "stage-0", Time: now}) // renewed its lease
	if err := w.tick(); err != nil {
		t.Fatal(err)
	}
	if err := store.View(func(tx *inventory.Tx) error {
		es, err := tx.Diary(id, 0, 10)
		if len(es) > 0 {
			t.Errorf("got %+v", es)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
