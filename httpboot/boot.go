package httpboot

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/stage0"
	"github.com/staged-hive/hatchery/inventory"
)

// diskScript remembers that a machine was sent to its own disk.
type diskScript struct {
	at    time.Time
	again bool
}

// diskAgain is how soon a machine that comes back did not find its disk the first way.
const diskAgain = 2 * time.Minute

// script answers GET /boot.ipxe.
func (s *Server) script(c echo.Context) error {
	now := s.cfg.Now()
	from, boot := endpoints(c.Request())
	p, err := ParseParams(c.Request().URL.RawQuery)
	if err != nil {
		s.warnf("boot script refused", "ip", from, "err", err)
		return echo.NewHTTPError(http.StatusBadRequest, err.Error())
	}
	in := Input{Kind: KindTrouble, Label: p.MAC.String(), Params: p, Boot: boot}
	if !s.scripts.allow(from, now) {
		in.Why = "too many requests from this address in a short time."
		return s.send(c, in)
	}
	if s.cfg.Doctor(p.MAC) {
		return s.send(c, s.selfTest(p, boot))
	}
	if decided, err := s.decide(p, from, boot, now); err != nil {
		s.cfg.Log.Error("boot script", "mac", p.MAC, "ip", from, "err", err)
		in.Why = "its database cannot be written to, its log says more."
		s.ownDisk(&in, now)
	} else {
		in = decided
	}
	return s.send(c, in)
}

func (s *Server) send(c echo.Context, in Input) error {
	text, err := Script(in)
	if err != nil {
		s.cfg.Log.Error("boot script", "mac", in.Params.MAC, "err", err)
		in.Kind, in.Why = KindTrouble, err.Error()
		if text, err = Script(in); err != nil {
			return err
		}
	}
	s.count.scripts.Add(1)
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	return c.Blob(http.StatusOK, "text/plain", []byte(text))
}

// decide asks the inventory what the machine boots, in one transaction, and notes it in the diary.
func (s *Server) decide(p Params, from netip.Addr, boot netip.AddrPort, now time.Time) (Input, error) {
	in := Input{Params: p, Boot: boot}
	im, imErr := s.image(p)
	nonce, err := agentapi.NewNonce(rand.Reader)
	if err != nil {
		return in, err
	}
	contact := inventory.Contact{MAC: p.MAC, UUID: p.UUID, Serial: p.Serial, IP: from, Arch: p.Arch(), Firmware: p.Firmware()}
	if mac, ok := s.cfg.Neighbor(from); ok && mac != p.MAC {
		contact.IP = netip.Addr{} // another machine asks in its name: its address stays what it was
	}
	var id inventory.HostID
	err = s.cfg.Store.Update(func(tx *inventory.Tx) error {
		if p.Retry {
			if err := inventory.ReleaseHold(tx, p.MAC, now); err != nil {
				return err
			}
		}
		h, target, why, err := s.fetch(tx, contact, im != nil, agentapi.NonceHash(nonce), now)
		if err != nil {
			return err
		}
		id, in.Kind, in.Label, in.Why, in.Wanted = h.ID, kindOf(target), h.Label(), why, wanted(&h, now)
		if im == nil && (in.Kind == KindStage0 || in.Kind == KindHold) {
			in.Kind, in.Why = KindNoImage, imErr.Error()
		}
		if in.Kind == KindStage0 {
			in.Arch, in.Version, in.Digest = im.Arch, im.Version, im.Digest
			in.Kernel, in.Initrd, in.Cmdline, in.Nonce = im.Kernel, im.Initrd, im.Cmdline, nonce
			if in.KernelArgs, err = s.kernelArgs(tx, &h); err != nil {
				return err
			}
		}
		return tx.Note(scriptEntry(in, &h, from, now))
	})
	switch {
	case err == nil && in.Kind == KindStage0:
		s.loads.begin(id, contact.IP, im)
	case err == nil:
		s.loads.end(id)
	}
	if err == nil && in.Kind == KindDisk {
		in.DiskAgain = s.diskScripts.swap(p.MAC, func(old diskScript, known bool) diskScript {
			return diskScript{now, known && now.Sub(old.at) < diskAgain && !old.again}
		}).again
	}
	return in, err
}

// selfTest is the script for the machine that the doctor plays: stage-0, with a nonce that nobody issued.
func (s *Server) selfTest(p Params, boot netip.AddrPort) Input {
	in := Input{Kind: KindNoImage, Label: "the self-test", Params: p, Boot: boot}
	im, err := s.image(p)
	if err != nil {
		in.Why = err.Error()
		return in
	}
	in.Kind, in.Why, in.Nonce = KindStage0, "it is the self-test", strings.Repeat("0", 32)
	in.Arch, in.Version, in.Digest, in.Kernel, in.Initrd, in.Cmdline = im.Arch, im.Version, im.Digest, im.Kernel, im.Initrd, im.Cmdline
	return in
}

// ownDisk sends a machine that has something of its own to boot there, without writing anything: a database that
// takes no writes (a full or failing disk) must not keep installed machines from starting.
func (s *Server) ownDisk(in *Input, now time.Time) {
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.HostByMAC(in.Params.MAC)
		if err != nil {
			return err
		}
		if target, why := inventory.BootTarget(&h, s.cfg.Discovery, now); target == inventory.TargetDisk {
			in.Kind, in.Label, in.Why = KindDisk, h.Label(), why
		}
		return nil
	})
	if err != nil && !errors.Is(err, inventory.ErrNotFound) {
		s.cfg.Log.Error("boot script", "mac", in.Params.MAC, "err", err)
	}
}

// fetch records the fetch; without an image no nonce is issued and no boot counted.
func (s *Server) fetch(tx *inventory.Tx, c inventory.Contact, image bool, nonceHash string, now time.Time) (inventory.Host, inventory.Target, string, error) {
	if image {
		return inventory.FetchScript(tx, c, s.cfg.Discovery, nonceHash, now)
	}
	h, err := inventory.Discover(tx, c, now)
	if err != nil {
		return h, "", "", err
	}
	target, why := inventory.BootTarget(&h, s.cfg.Discovery, now)
	return h, target, why, nil
}

// image is what the machine's processor boots, or why there is nothing.
func (s *Server) image(p Params) (*stage0.Image, error) {
	arch := p.Arch()
	if arch == "" {
		return nil, errors.New("no stage-0 exists for its processor (" + p.BuildArch + ")")
	}
	return s.cfg.Stage0.Image(arch)
}

// wanted reports whether the host has nothing better to do than to wait for stage-0.
func wanted(h *inventory.Host, now time.Time) bool {
	t, _ := inventory.BootTarget(h, inventory.DiscoveryOff, now)
	return t == inventory.TargetStage0 || t == inventory.TargetHold && h.Fetches >= inventory.HoldAfter
}

// kernelArgs are the words of appliance, role and host; a role's are the hive's and checked here.
func (s *Server) kernelArgs(tx *inventory.Tx, h *inventory.Host) ([]string, error) {
	args := []string{s.cfg.KernelArgs}
	if h.Role != "" {
		hive, err := tx.Hive()
		if err != nil {
			return nil, err
		}
		if r := hive.Roles[h.Role].KernelArgs; inventory.CheckKernelArgs(r) == nil {
			args = append(args, r)
		}
	}
	return append(args, h.KernelArgs), nil
}

func scriptEntry(in Input, h *inventory.Host, from netip.Addr, now time.Time) inventory.Entry {
	e := inventory.Entry{Time: now, HostID: h.ID, Kind: "http.script", By: "ipxe", From: from}
	switch in.Kind {
	case KindStage0:
		e.Text = fmt.Sprintf("iPXE fetched its script: "+stage0Phrase+" %s, because %s.", in.Version, in.Why)
	case KindHold:
		e.Text, e.Level = "Held with a menu on its screen: it "+in.Why+". Choose there, or look what stops stage-0 from checking in.", "warn"
	case KindNoImage:
		e.Text, e.Level = "It asked what to boot, but "+in.Why+".", "warn"
	default:
		e.Text = "iPXE fetched its script: it boots its own disk, because " + in.Why + "."
	}
	return e
}

// autoexec answers GET /autoexec.ipxe and /ipxe/autoexec.ipxe.
func (s *Server) autoexec(c echo.Context) error {
	_, boot := endpoints(c.Request())
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Blob(http.StatusOK, "text/plain", []byte(bootfile.Autoexec(boot)))
}

// mb writes a size for people.
func mb(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%d kB", (n+999)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// byAgent says which program of the boot asks, by its User-Agent.
func byAgent(r *http.Request) string {
	ua := r.UserAgent()
	switch {
	case strings.HasPrefix(ua, "iPXE"):
		return "ipxe"
	case strings.HasPrefix(ua, "UefiHttpBoot"):
		return "firmware"
	}
	return "http"
}
