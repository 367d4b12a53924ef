package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// control lets the browser script make the things happen that machines and people would.
func (b *box) control(site *fakeSite) *http.ServeMux {
	mux := http.NewServeMux()
	on := func(path string, do func(r *http.Request)) {
		mux.HandleFunc("POST "+path, func(_ http.ResponseWriter, r *http.Request) { do(r) })
	}
	on("/discover", func(r *http.Request) {
		b.discover(b.num(r))
		site.mu.Lock()
		site.net.Requests, site.net.LastMAC, site.net.LastRequest = site.net.Requests+1, mac(b.num(r)), time.Now()
		site.mu.Unlock()
	})
	on("/checkin", func(r *http.Request) {
		n := b.num(r)
		f := facts()
		if r.FormValue("foreign") != "" {
			f = foreignFacts()
			f.Disks[0].Serial, f.Disks[1].Serial = fmt.Sprintf("F%dA", n), fmt.Sprintf("F%dB", n)
		}
		f.UUID, f.Serial = "", fmt.Sprintf("browser-%d", n)
		b.journey(b.checkIn(n, f), time.Now().Add(-41*time.Second))
	})
	on("/step", func(r *http.Request) {
		no, err := strconv.Atoi(r.FormValue("no"))
		if err != nil {
			b.t.Error(err)
		}
		h := b.find(r.FormValue("host"))
		b.events(h.ID, inventory.StepStarted{Step: r.FormValue("step"), No: no, Of: 11})
		b.putJob(h.ID, func(j *inventory.Job) {
			j.State, j.Step, j.StepNo, j.StepOf, j.StartedAt = inventory.JobRunning, r.FormValue("step"), no, 11, time.Now()
		})
		site.say(h.ID, "step %s", r.FormValue("step"))
	})
	on("/ignore", func(r *http.Request) { b.events(b.find(mac(b.num(r)).String()).ID, inventory.IgnoreAsked{}) })
	on("/signout", func(*http.Request) {
		b.signIn()
		b.send("POST", "/settings/signout", nil, nil)
	})
	on("/stop", func(*http.Request) { b.stop() })
	on("/restart", func(*http.Request) { *b = *b.again() })
	on("/say", func(r *http.Request) { site.say(b.find(r.FormValue("host")).ID, "%s", r.FormValue("text")) })
	on("/touch", func(r *http.Request) { // n hosts change, or one by its name
		if name := r.FormValue("name"); name != "" {
			b.put(b.find(name).ID, func(h *inventory.Host) { h.Error = "Changed." })
			return
		}
		b.update(func(tx *inventory.Tx) error {
			list, _, err := tx.Hosts("", int(b.num(r)))
			for _, h := range list {
				h.LastSeen = time.Now()
				if _, err := tx.PutHost(h); err != nil {
					return err
				}
			}
			return err
		})
	})
	on("/swap", func(r *http.Request) { // another disk hangs where the host's first one was
		b.put(b.find(r.FormValue("host")).ID, func(h *inventory.Host) { h.Facts.Disks[0].ID, h.Facts.Disks[0].Serial = "virtio-SWAPPED", "SWAPPED" })
	})
	on("/hostile", func(*http.Request) { b.hostile(site) })
	on("/hostile-line", func(*http.Request) { site.say(b.find("evil").ID, "late %s", evilText) })
	on("/hostile-touch", func(*http.Request) {
		b.put(b.find("evil").ID, func(h *inventory.Host) { h.Attention = "again " + evilText })
	})
	return mux
}

func (b *box) num(r *http.Request) byte {
	n, err := strconv.ParseUint(r.FormValue("n"), 10, 8)
	if err != nil {
		b.t.Error(err)
	}
	return byte(n)
}

func (b *box) find(ref string) inventory.Host {
	h, err := b.host(ref)
	if err != nil {
		b.t.Error(err)
	}
	return h
}

// crowd fills the inventory with 200 machines on their way, and returns what begins a storm of ten changes a second.
func (b *box) crowd(wg *sync.WaitGroup) http.HandlerFunc {
	b.hive()
	var ids []inventory.HostID
	b.update(func(tx *inventory.Tx) error {
		for i := range 200 {
			f := facts()
			m := inventory.MAC{2, 0, 0, 0, 1, byte(i)}
			h := inventory.Host{ID: inventory.HostID(tx.NewID()), MAC: m, MACs: []inventory.MAC{m}, IP: netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), Name: fmt.Sprintf("node%03d", i), Role: "worker",
				State: inventory.StateInstalling, StepNo: 6, StepOf: 11, Step: "copying the system, 0 of 2900 MB", Facts: &f, ReportedAt: time.Now(), LastSeen: time.Now()}
			if i >= 100 {
				h.State, h.Role, h.Step, h.StepNo, h.StepOf = inventory.StateReady, "", "", 0, 0
			}
			h, err := tx.PutHost(h)
			if err != nil {
				return err
			}
			ids = append(ids, h.ID)
		}
		return nil
	})
	return func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.Atoi(r.FormValue("seconds"))
		if err != nil {
			b.t.Error(err)
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for n := range 10 * seconds {
				<-tick.C
				b.put(ids[n*37%len(ids)], func(h *inventory.Host) {
					h.LastSeen = time.Now()
					if h.StepOf > 0 {
						h.Step = fmt.Sprintf("copying the system, %d of 2900 MB", n*11)
					}
				})
			}
		}()
	}
}

const evilText = `"><img src=x onerror="document.title='owned'"><script>document.title='owned'</script>{{.}}'`

// hostile puts text that would like to be markup into everything that machines supply, past the checks at the edges.
func (b *box) hostile(site *fakeSite) {
	f := facts()
	f.UUID, f.Serial = "", "browser-evil"
	h := b.assignRole(b.checkIn(99, f), "evil", "worker")
	b.put(h.ID, func(h *inventory.Host) {
		f := *h.Facts
		f.Vendor, f.Product, f.Serial, f.CPU.Model, f.Kernel, f.Stage0, f.Arch, f.Firmware = evilText, evilText, evilText, evilText, evilText, evilText, evilText, evilText
		f.NICs = []inventory.NIC{{Name: evilText, MAC: mac(99), Driver: evilText, Up: true, Addrs: []string{evilText}}}
		f.Disks = []inventory.Disk{{ID: "evil-" + evilText, Name: evilText, Serial: evilText, Model: evilText, Type: evilText, Transport: evilText, SizeBytes: 20e9, Signatures: []string{evilText},
			Partitions: []inventory.Partition{{Number: 1, SizeBytes: 1e9, Label: evilText, Type: evilText, FS: evilText, FSLabel: evilText}}}}
		h.Facts, h.Serial, h.Arch, h.Firmware, h.BlockedOn, h.Attention, h.Error, h.Hint = &f, evilText, evilText, evilText, evilText, evilText, evilText, evilText
	})
	b.update(func(tx *inventory.Tx) error {
		for _, id := range []inventory.HostID{h.ID, ""} {
			if err := tx.Note(inventory.Entry{Time: time.Now(), HostID: id, Kind: "checkin", By: evilText, Text: evilText}); err != nil {
				return err
			}
		}
		return nil
	})
	site.say(h.ID, "early %s", evilText)
	site.mu.Lock()
	defer site.mu.Unlock()
	site.net.Decisions = append(site.net.Decisions, Decision{Time: time.Now(), MAC: mac(99), Iface: "eth0", Asked: evilText, Answer: evilText, Reason: evilText, Times: 1})
	site.reservations = append(site.reservations, Reservation{MAC: mac(99), IP: netip.MustParseAddr("192.168.1.99"), Hostname: strings.ToLower(evilText)})
}
