package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sampleEvery is how often a server's memory is looked at during a load.
const sampleEvery = 50 * time.Millisecond

// peak looks at the server's own memory until stop is called, which returns the most that was seen, in kB.
func (s *server) peak() (stop func() int) {
	end, most := make(chan struct{}), make(chan int)
	go func() {
		t := time.NewTicker(sampleEvery)
		defer t.Stop()
		top := 0
		for {
			if u, err := s.usage(); err == nil {
				top = max(top, u.anon)
			}
			select {
			case <-end:
				most <- top
				return
			case <-t.C:
			}
		}
	}()
	return func() int { close(end); return <-most }
}

// readMemory prints what every server holds: its own memory is what is anonymous of what is resident (RssAnon in /proc/PID/status), so without
// the pages of its program file, its libraries and, of ours, the mapped database. Of a Go program the heap in use, too.
func readMemory(when string, servers []*server) error {
	fmt.Printf("\nmemory, %s\n", when)
	for _, s := range servers {
		u, err := s.usage()
		if err != nil {
			return err
		}
		heap, leases, err := s.count()
		if err != nil {
			return err
		}
		fmt.Printf("  %-15s %5.1f MB its own, %5.1f MB resident in all, %6d leases", s.name, float64(u.anon)/1024, float64(u.rss)/1024, leases)
		if heap > 0 {
			fmt.Printf(", %4.1f MB of Go heap in use", heap/(1<<20))
		}
		fmt.Println()
	}
	return nil
}

// count is how many leases a server has, by its own account, and the bytes of its heap in use if it is a Go program.
func (s *server) count() (heap float64, leases int, err error) {
	if !strings.HasPrefix(s.name, "hatchery") {
		b, err := os.ReadFile(filepath.Join(s.dir, cmp.Or(map[string]string{"kea": "leases.csv"}[s.name], "leases")))
		if s.proxy {
			return 0, 0, nil
		}
		seen := map[string]bool{} // a renewal is another line
		for line := range bytes.Lines(b) {
			if i := bytes.Index(line, fmt.Appendf(nil, "10.%d.", s.net)); i >= 0 {
				ip, _, _ := strings.Cut(string(line[i:]), ",")
				ip, _, _ = strings.Cut(ip, " ")
				seen[ip] = true
			}
		}
		return 0, len(seen), err
	}
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	r, err := c.Get("https://" + s.addr(0, 1).String() + ":8443/metrics")
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = r.Body.Close() }()
	for sc := bufio.NewScanner(r.Body); sc.Scan(); {
		name, value, _ := strings.Cut(sc.Text(), " ")
		switch {
		case name == "go_memstats_heap_inuse_bytes":
			heap, err = strconv.ParseFloat(value, 64)
		case strings.HasPrefix(name, "hatchery_dhcp_leases{") && strings.Contains(name, `state="live"`):
			leases, err = strconv.Atoi(value)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return heap, leases, nil
}
