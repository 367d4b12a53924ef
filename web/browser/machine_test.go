package browser

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// machine is one of a site, without QEMU: a card on the LAN with a MAC and an address of its own, which boots and reports
// over the network as firmware, iPXE and the agent do.
type machine struct {
	s    *site
	n    int
	mac  inventory.MAC
	ip   netip.Addr
	http *http.Client

	mu    sync.Mutex
	facts inventory.Facts
	says  []string   // lines of its kernel
	key   ssh.Signer // of its stage-0
	boots int
	nonce string
	seq   uint64
	files []string // kernel and image, as its script says
	image *loading // on its way; nil = none
	early bool     // stage-0 does not run yet, so nobody reports
}

func mac(n int) inventory.MAC { return inventory.MAC{0x52, 0x54, 0, 0x12, 0x34, byte(n)} }

// card plugs machines in, the n-th with MAC …:n and address .(n+2).
func (s *site) card(ns ...int) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch strings.Builder
	for _, n := range ns {
		if s.cards[n] {
			continue
		}
		s.cards[n] = true
		fmt.Fprintf(&batch, "link add link eth0 name m%d address %s type macvlan mode bridge\naddr add %s/24 dev m%d\nlink set m%d up\n", n, mac(n), s.lan.Addr(byte(n+2)), n, n)
	}
	cmd := s.lan.Command(s.t.Context(), machinesSide, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Errorf("ip -batch: %v: %s", err, out)
	}
}

// machine makes the n-th, that was off until now.
func (s *site) machine(n int, f inventory.Facts) *machine {
	s.t.Helper()
	s.card(n)
	m := &machine{s: s, n: n, mac: mac(n), ip: s.lan.Addr(byte(n + 2)), facts: f, key: sshtest.NewKey(s.t)}
	m.facts.NICs = append([]inventory.NIC{{Name: "eth0", MAC: m.mac, Driver: "virtio_net", Up: true}}, f.NICs...)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: m.ip.AsSlice()}, Timeout: 10 * time.Second}
	m.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = s.lan.Inside(machinesSide, func() (err error) {
			c, err = from.DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machines[n] = m
	return m
}

// known is the n-th machine, nil if it never was on.
func (s *site) known(n int) *machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machines[n]
}

// all are the machines that were switched on.
func (s *site) all() (out []*machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.machines {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *machine) int { return a.n - b.n })
	return out
}

// ask is a DHCP request as PXE firmware makes it; more are further arguments of udhcpc. What it is told is not used: the
// address is the machine's already. A machine that gets no lease has been heard all the same.
func (s *site) ask(n int, more ...string) {
	s.t.Helper()
	s.card(n)
	args := append([]string{"udhcpc", "-i", fmt.Sprintf("m%d", n), "-n", "-q", "-f", "-t", "1", "-T", "1", "-s", "/bin/true", "-V", "PXEClient:Arch:00007:UNDI:003000", "-x", "0x5d:0007"}, more...)
	out, err := s.lan.Command(s.t.Context(), machinesSide, "busybox", args...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "no lease") {
		s.t.Errorf("udhcpc of machine %d: %v: %s", n, err, out)
	}
}

var errNoNonce = errors.New("it is not sent to stage-0")

var (
	nonceWord = regexp.MustCompile(`hatchery\.nonce=([0-9a-f]+)`)
	fileWord  = regexp.MustCompile(`http://[^ /]+(/stage0/\S+)`)
)

// get fetches something from the boot listener.
func (m *machine) get(path string) (string, error) {
	res, err := m.http.Get("http://" + m.s.lan.ApplianceAddr().String() + ":8080" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(b), err
}

// script is what iPXE is told.
func (m *machine) script() (string, error) {
	return m.get("/boot.ipxe?mac=" + m.mac.Hyphens() + "&uuid=&serial=&platform=efi&buildarch=x86_64")
}

// boot fetches the script and checks in; whole also plays what comes before and between: DHCP, TFTP, kernel and initrd.
func (m *machine) boot(whole bool) error {
	if whole {
		m.s.ask(m.n)
		out, err := m.s.lan.Command(m.s.t.Context(), machinesSide, "curl", "-sS", "--interface", m.ip.String(), "--max-time", "20", "--tftp-blksize", "1468", "-o", os.DevNull,
			"tftp://"+m.s.lan.ApplianceAddr().String()+"/snponly.efi").CombinedOutput()
		if err != nil {
			return fmt.Errorf("TFTP: %w: %s", err, out)
		}
	}
	script, err := m.script()
	nonce := nonceWord.FindStringSubmatch(script)
	if err != nil || nonce == nil {
		return fmt.Errorf("script of %s: %w\n%s", m.mac, cmp.Or(err, errNoNonce), script)
	}
	if whole {
		for _, f := range fileWord.FindAllStringSubmatch(script, -1) {
			if _, err := m.get(f[1]); err != nil {
				return err
			}
		}
	}
	m.mu.Lock()
	m.nonce, m.seq = nonce[1], 0
	m.boots++
	m.mu.Unlock()
	return m.checkIn()
}

func (m *machine) bootID() string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", m.boots, m.n) }

// checkIn sends what the agent knows of the machine.
func (m *machine) checkIn() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.post(agentapi.PathCheckIn, agentapi.CheckIn{Nonce: m.nonce, BootID: m.bootID(), Facts: m.facts,
		HostKey: sshtest.PublicLine(m.key)})
}

// report is the agent's regular sign of life.
func (m *machine) report(log ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.early {
		return nil
	}
	m.seq++
	return m.post(agentapi.PathProgress, agentapi.Progress{Nonce: m.nonce, BootID: m.bootID(), Seq: m.seq, Log: log})
}

func (m *machine) post(path string, msg any) error {
	body, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	sig, err := agentapi.Sign(m.key, path, body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+m.s.lan.ApplianceAddr().String()+":8080"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(agentapi.SignatureHeader, sig)
	res, err := m.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if reply, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s of %s: %s %w: %s", path, m.mac, res.Status, err, reply)
	}
	return nil
}

// reportAll lets every machine report now and then, as long as the test runs. While the program is down nobody hears it.
func (s *site) reportAll() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.t.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		tick := time.NewTicker(agentapi.ReportEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for _, m := range s.all() {
					_ = m.report() // an agent tries again at the next tick, too
				}
			case <-ctx.Done():
				return
			}
		}
	})
}
