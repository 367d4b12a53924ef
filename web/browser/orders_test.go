package browser

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/internal/lab"
	"github.com/staged-hive/hatchery/inventory"
)

// orders lets the browser's side make the things happen that machines and people do: each goes over the network to the
// program, by DHCP, the boot listener or the API.
func (s *site) orders() *http.ServeMux {
	mux := http.NewServeMux()
	on := func(path string, do func(r *http.Request) error) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				s.t.Errorf("%s: %v", r.URL, err)
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	on("/discover", func(r *http.Request) error { s.ask(num(r, "n")); return nil })
	on("/checkin", func(r *http.Request) error {
		n := num(r, "n")
		f := facts(n)
		if r.FormValue("foreign") != "" {
			f = foreignFacts(n)
		}
		f.UUID, f.Serial = "", fmt.Sprintf("browser-%d", n)
		m := s.machine(n, f)
		err := m.boot(false)
		for until := time.Now().Add(10 * time.Second); errors.Is(err, errNoNonce) && time.Now().Before(until); err = m.boot(false) {
			time.Sleep(100 * time.Millisecond) // an image that was put in is not in use at once; iPXE asks again, too
		}
		return err
	})
	on("/load", func(r *http.Request) error { // it netboots, over so slow a line that no more than that many percent of the image are there
		m := s.known(num(r, "n"))
		if m == nil {
			m = s.machine(num(r, "n"), facts(num(r, "n")))
		}
		return m.load(int64(num(r, "percent")))
	})
	on("/cut", func(r *http.Request) error { return s.known(num(r, "n")).cut() })
	on("/loaded", func(r *http.Request) error { return s.known(num(r, "n")).loaded() })
	on("/ignore", func(r *http.Request) error {
		return s.call(http.MethodPost, "/hosts/"+mac(num(r, "n")).String()+"/ignore", nil, nil)
	})
	on("/assign", func(r *http.Request) error {
		s.assign(mac(num(r, "n")).String(), r.FormValue("name"), r.FormValue("role"))
		return nil
	})
	on("/rename", func(r *http.Request) error {
		return s.call(http.MethodPut, "/hosts/"+r.FormValue("host"), map[string]string{"name": r.FormValue("name")}, nil)
	})
	on("/touch", func(*http.Request) error { // every machine reports
		for _, m := range s.all() {
			if err := m.report(); err != nil {
				return err
			}
		}
		return nil
	})
	on("/say", func(r *http.Request) error { s.order(r.FormValue("text")); return nil })
	on("/burst", func(r *http.Request) error { // a line every 2 ms, from now on
		lines := num(r, "lines")
		s.background.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for i := range lines {
				<-tick.C
				s.order(fmt.Sprint("burst-", i))
			}
		})
		return nil
	})
	on("/wait", func(r *http.Request) error { // until a job is at a step
		s.until(r.FormValue("host"), r.FormValue("step"), func(h host) bool { return strings.Contains(h.Step, r.FormValue("step")) })
		return nil
	})
	on("/image", func(r *http.Request) error { return s.addImage(r.FormValue("version")) })
	on("/storm", s.storm)
	on("/kill", func(*http.Request) error { s.kill(); return nil })
	on("/restart", func(*http.Request) error { s.start(); return nil })
	on("/swap", func(r *http.Request) error { return s.swap(num(r, "n"), r.FormValue("host")) })
	on("/hostile", func(*http.Request) error { return s.hostile() })
	on("/hostile-touch", func(*http.Request) error {
		m := s.known(33)
		m.mu.Lock()
		m.facts.Serial = "again " + evilText
		m.mu.Unlock()
		return m.checkIn()
	})
	mux.HandleFunc("GET /script", func(w http.ResponseWriter, r *http.Request) { // what a machine is told to boot
		script, err := s.machine(num(r, "n"), facts(num(r, "n"))).script()
		if err != nil {
			s.t.Error(err)
		}
		fmt.Fprint(w, script)
	})
	mux.HandleFunc("GET /job", func(w http.ResponseWriter, r *http.Request) {
		var h host
		if err := s.call(http.MethodGet, "/hosts/"+r.FormValue("host"), nil, &h); err != nil {
			s.t.Error(err)
		}
		fmt.Fprint(w, h.Job)
	})
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		var text string
		if err := s.call(http.MethodGet, "/hosts/"+r.FormValue("host")+"/log?follow=false", nil, &text); err != nil {
			s.t.Error(err)
		}
		fmt.Fprint(w, text)
	})
	return mux
}

// addImage puts the stage-0 image in, as a person does at the command line; under another version's name when one is given.
func (s *site) addImage(version string) error {
	from := built("stage0/x86_64")
	if version != "" {
		to := filepath.Join(s.dir, "image-"+version)
		raw, err := os.ReadFile(filepath.Join(from, "manifest.json"))
		var m map[string]any
		if err := errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
			return err
		}
		m["version"] = version
		raw, err = json.Marshal(m)
		if err := errors.Join(err, os.CopyFS(to, os.DirFS(from)), os.WriteFile(filepath.Join(to, "manifest.json"), raw, 0o644)); err != nil {
			return err
		}
		from = to
	}
	if out, err := s.lan.Command(s.t.Context(), lab.Appliance, built("hatchery"), "stage0", "add", "--data", s.data(), from).CombinedOutput(); err != nil {
		return fmt.Errorf("stage0 add: %w: %s", err, out)
	}
	return nil
}

func num(r *http.Request, key string) int {
	n, err := strconv.Atoi(r.FormValue(key))
	if err != nil {
		panic(err) // the script's fault: the test fails with its stack
	}
	return n
}

// swap hangs another disk where the machine's first one was, and lets it check in: an installed one in a rescue boot.
func (s *site) swap(n int, ref string) error {
	m := s.known(n)
	if m == nil {
		m = s.machine(n, facts(n))
		if err := s.call(http.MethodPost, "/hosts/"+ref+"/rescue", nil, nil); err != nil {
			return err
		}
	}
	m.mu.Lock()
	disks := m.facts.Disks
	disks[0].ID, disks[0].Serial = "nvme-SWAPPED", "SWAPPED"
	for i := range disks { // the other one is as the install left it
		disks[i].Signatures, disks[i].Partitions = []string{"gpt"}, []inventory.Partition{{Number: 1, SizeBytes: 200e9, FS: "ext4", Label: "data"}}
	}
	booted := m.boots > 0
	m.mu.Unlock()
	if booted {
		return m.checkIn()
	}
	return m.boot(false)
}

// hostile is a machine that says hostile text in its DHCP request, to the script's URL, at its check-in and in its reports; and
// another one whose job runs, with such lines in its kernel's log and of the install's programs.
func (s *site) hostile() error {
	s.ask(33, "-x", "hostname:"+evilText, "-F", "evil.example")
	bad := s.machine(33, evilFacts(33))
	if err := bad.boot(false); err != nil {
		return err
	}
	if err := bad.report("says " + evilText); err != nil {
		return err
	}
	s.assign(bad.mac.String(), "evil", "plain")
	f := evilFacts(34)
	f.Disks, f.Serial = facts(34).Disks, "SN-34"
	logs := s.machine(34, f)
	logs.says = []string{evilText}
	if err := logs.boot(false); err != nil {
		return err
	}
	s.assign(logs.mac.String(), "evil-log", "plain")
	s.order("early " + evilText)
	s.until("evil-log", "copies", func(h host) bool { return strings.Contains(h.Step, "copying") })
	return nil
}

// crowd boots machines, some at once.
func (s *site) crowd(n int) {
	s.t.Helper()
	var ns []int
	for i := 1; i <= n; i++ {
		ns = append(ns, i)
	}
	s.card(ns...)
	todo := make(chan int)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range todo {
				f := facts(i)
				f.UUID = ""
				m := s.machine(i, f)
				if err := m.boot(false); err != nil {
					s.t.Error(err)
				}
				put := map[string]string{"name": fmt.Sprintf("node%03d", i)}
				if i <= n/2 {
					put["role"] = "worker"
				}
				if err := s.call(http.MethodPut, "/hosts/"+m.mac.String(), put, nil); err != nil {
					s.t.Error(err)
				}
			}
		})
	}
	for _, i := range ns {
		todo <- i
	}
	close(todo)
	wg.Wait()
}

// storm begins ten changes a second: reports of one machine after the other, every third with a line for its diary, every
// fifth a check-in with other hardware.
func (s *site) storm(r *http.Request) error {
	seconds, all := num(r, "seconds"), s.all()
	s.background.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for n := range 10 * seconds {
			<-tick.C
			m := all[n*37%len(all)]
			var err error
			switch {
			case n%5 == 0:
				m.mu.Lock()
				m.facts.MemoryBytes ^= 8<<30 ^ 16<<30
				m.mu.Unlock()
				err = m.checkIn()
			case n%3 == 0:
				err = m.report(fmt.Sprintf("still here, for the %d. time", n))
			default:
				err = m.report()
			}
			if err != nil {
				s.t.Error(err)
			}
		}
	})
	return nil
}
