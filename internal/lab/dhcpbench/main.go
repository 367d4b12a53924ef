package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The loads.
var (
	dora       = load{name: "DORA", steps: []byte{discover, request}, ends: ack}
	doraAgain  = load{name: "DORA of known clients", steps: []byte{discover, request}, ends: ack, known: true}
	doraPXE    = load{name: "DORA with PXE options", steps: []byte{discover, request}, ends: ack, pxe: true, known: true}
	renewal    = load{name: "renewal", steps: []byte{request}, ends: ack, known: true}
	proxyOffer = load{name: "ProxyDHCP offer", steps: []byte{discover}, ends: offer, pxe: true}
	bootServer = load{name: "request at port 4011", steps: []byte{request}, ends: ack, pxe: true, port: 4011}
)

var (
	hatchery = flag.String("hatchery", "build/hatchery", "our program")
	dir      = flag.String("dir", "build", "folder on the disk to measure; what is put there is removed at the end")
	rounds   = flag.Int("rounds", 3, "how often each load goes round the servers")
	length   = flag.Duration("length", 2*time.Second, "of one load on one server")
	only     = flag.String("only", "", "loads whose name matches this expression")
	names    = flag.String("servers", "", "servers whose name matches this expression")
	inside   = flag.Bool("inside", false, "already in a network namespace of its own (set by the program itself)")
	clients  = flag.Int("leases", 0, "new clients of the loads in all; then those that have an address stand in for new ones, and perfdhcp, which makes more, is left out. 0 = as many as come")
	quiet    = flag.Duration("quiet", 15*time.Second, "how long the servers are left alone before what the loads left behind is read")
	profile  = flag.Duration("wait", 0, "keep the servers for so long after the loads, to look at them")
	ipxeDir  string
)

// keaThreads: Debian 12's Kea 2.2 has it off unless asked for.
const keaThreads = false

func main() {
	flag.Parse()
	if !*inside {
		if err := reexec(); err != nil {
			fmt.Fprintln(os.Stderr, "dhcpbench:", err)
			os.Exit(1)
		}
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dhcpbench:", err)
		os.Exit(1)
	}
}

// reexec starts this program anew in a network namespace of its own.
func reexec() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace needs root: %w", err)
	}
	return syscall.Exec(self, append([]string{self, "-inside"}, os.Args[1:]...), os.Environ())
}

func run() (err error) {
	root, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	if root, err = os.MkdirTemp(root, "dhcpbench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	ipxeDir = filepath.Join(root, "ipxe")
	if err := os.MkdirAll(ipxeDir, 0o755); err != nil {
		return err
	}
	servers, err := startAll(root)
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	if err != nil {
		return err
	}
	if err := fsyncTimes(root); err != nil {
		return err
	}
	if err := readMemory("before the first load", servers); err != nil {
		return err
	}
	if err := loads(servers); err != nil {
		return err
	}
	if err := readMemory("right after the last load", servers); err != nil {
		return err
	}
	time.Sleep(*quiet)
	if err := readMemory(fmt.Sprintf("%s after the last load", *quiet), servers); err != nil {
		return err
	}
	time.Sleep(*profile)
	return nil
}

func startAll(root string) ([]*server, error) {
	all := []*server{
		{name: "hatchery", net: 1, args: hatcheryArgs(*hatchery, 0, "--dhcp", "server", "--dhcp-range", "10.1.16.0-10.1.255.200")},
		{name: "kea", net: 2, args: keaArgs},
		{name: "dnsmasq", net: 3, args: dnsmasqArgs},
		{name: "hatchery proxy", net: 4, proxy: true, args: hatcheryArgs(*hatchery, 0, "--dhcp", "proxy")},
		{name: "dnsmasq proxy", net: 5, proxy: true, args: dnsmasqArgs},
	}
	want, err := regexp.Compile(*names)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s *server) bool { return !want.MatchString(s.name) })
	for i, s := range all {
		if err := s.start(root); err != nil {
			return all[:i+1], fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return all, nil
}

// fsyncTimes says what the disk takes: all times hang on it.
func fsyncTimes(root string) error {
	f, err := os.Create(filepath.Join(root, "fsync"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	var times []time.Duration
	for i := range 500 {
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, 300), int64(i*300)); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	fmt.Printf("disk    write of 300 bytes and fdatasync: %s ms (p50/p99)\n", span(times))
	return nil
}

func span(sorted []time.Duration) string {
	r := result{times: sorted}
	return fmt.Sprintf("%.2f/%.2f", ms(r.percentile(0.5)), ms(r.percentile(0.99)))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measure is a load, and how it is offered.
type measure struct {
	load
	how      string
	inFlight int
	most     int  // exchanges: a load of new clients must not use the pool up
	ladder   bool // rates instead, each higher than the one before, until a hundredth is lost
	proxies  bool
}

func (m *measure) title() string { return m.name + ", " + m.how }

var measures = []measure{
	{load: dora, how: "one client at a time", inFlight: 1, most: 1500},
	{load: dora, how: "64 in flight", inFlight: 64, most: 9000},
	{load: doraAgain, how: "64 in flight", inFlight: 64},
	{load: doraPXE, how: "64 in flight", inFlight: 64},
	{load: renewal, how: "64 in flight", inFlight: 64},
	{load: doraAgain, how: "open loop", ladder: true},
	{load: proxyOffer, how: "one client at a time", inFlight: 1, proxies: true},
	{load: proxyOffer, how: "64 in flight", inFlight: 64, proxies: true},
	{load: bootServer, how: "64 in flight", inFlight: 64, proxies: true},
	{load: proxyOffer, how: "open loop", ladder: true, proxies: true},
}

// loads plays all measures, each several times round the servers, and prints what they came to.
func loads(servers []*server) error {
	want, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	for _, m := range measures {
		if !want.MatchString(m.title()) {
			continue
		}
		fmt.Printf("\n%s\n", m.title())
		got, cpu := map[string][]float64{}, map[string][]float64{}
		for range *rounds {
			for _, s := range servers {
				if s.proxy != m.proxies {
					continue
				}
				rate, micros, err := once(s, &m)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s.name, m.title(), err)
				}
				got[s.name], cpu[s.name] = append(got[s.name], rate), append(cpu[s.name], micros)
			}
		}
		ratios("rate", servers, got)
		if !m.ladder {
			ratios("processor time", servers, cpu) // the neighbours' load does not change it much
		}
	}
	if *clients > 0 {
		return nil
	}
	return perfdhcp(servers, want)
}

// once is a load on a server: the rate, and the microseconds of processor time that an exchange cost the server.
func once(s *server, m *measure) (rate, micros float64, err error) {
	before, err := s.usage()
	if err != nil {
		return 0, 0, err
	}
	l, most := m.load, m.most
	if left := *clients - len(s.client.leases); *clients > 0 && !l.known && !s.proxy {
		most, l.known = min(most, left), left <= 0
		if l.known {
			most = m.most
		}
	}
	stop := s.peak()
	if m.ladder {
		best, err := climb(func(rate float64) (float64, error) {
			r, err := s.client.run(m.load, 0, 0, rate, *length/2)
			return r.lossRate(), err
		})
		fmt.Printf("  %-15s %7.0f/s with less than 1 %% lost   %4.1f MB at most\n", s.name, best, float64(stop())/1024)
		return best, 0, err
	}
	r, err := s.client.run(l, m.inFlight, most, 0, *length)
	top := stop()
	if err != nil {
		return 0, 0, err
	}
	after, err := s.usage()
	if err != nil {
		return 0, 0, err
	}
	micros = float64((after.cpu - before.cpu).Microseconds()) / float64(max(r.done, 1))
	fmt.Printf("  %-15s %7.0f/s   p50 %6.2f  p90 %6.2f  p99 %6.2f ms   %d lost, %d refused   %4.0f µs of processor each   %4.1f MB at most\n", s.name, r.rate(),
		ms(r.percentile(0.5)), ms(r.percentile(0.9)), ms(r.percentile(0.99)), r.lost, r.naks, micros, float64(top)/1024)
	return r.rate(), micros, nil
}

// climb finds the highest rate that loses less than a hundredth: doubled until one loses more, then by steps of a quarter
// until two in a row do, because one may be the neighbours'.
func climb(try func(rate float64) (loss float64, err error)) (best float64, err error) {
	factor := 2.0
	for rate, failed := 200.0, 0; rate < 60000 && failed < 2; {
		loss, err := try(rate)
		switch {
		case err != nil:
			return best, err
		case loss < 0.01:
			best, failed = rate, 0
			rate = float64(int(rate * factor))
		case factor == 2 && best > 0:
			factor = 1.26
			rate = float64(int(best * factor))
		default:
			failed++
		}
	}
	return best, nil
}

// ratios prints what is ours against each other's: the median of the rounds, and how far they lie apart.
func ratios(what string, servers []*server, got map[string][]float64) {
	ours := servers[0].name
	for _, s := range servers {
		if len(got[s.name]) == 0 {
			continue
		}
		if strings.HasPrefix(s.name, "hatchery") {
			ours = s.name
			continue
		}
		var each []float64
		for i, v := range got[s.name] {
			if i < len(got[ours]) && v > 0 {
				each = append(each, got[ours][i]/v)
			}
		}
		if len(each) > 0 {
			slices.Sort(each)
			fmt.Printf("  %s, ratio to %-10s %.2f (%.2f to %.2f)\n", what, s.name, each[len(each)/2], each[0], each[len(each)-1])
		}
	}
}
