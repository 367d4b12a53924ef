package server

import (
	"context"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
)

// How often the server that gives the addresses is asked whether it still does, while we are a ProxyDHCP beside it.
const (
	checkEvery  = 5 * time.Minute
	checkFirst  = time.Minute     // after the start: after a power cut the router may be slower than we are
	checkWanted = time.Minute     // after it was last heard, when a machine asks for an address
	checkAgain  = 5 * time.Second // after a question without an answer
	checkSilent = time.Minute     // once it is silent, to notice that it is back
	checks      = 3               // questions without an answer that make it silent
)

// vigil is the watch over one interface's servers that give addresses. When none of them answers any more, machines
// get a boot file of ours and no address, and nobody else would say why. Only a server that answered a DISCOVER of
// ours before is watched: one that answers machines on its list alone never will.
type vigil struct {
	heard      time.Time // when any of them was last heard
	last       time.Time // our last question
	unanswered int       // questions since heard
	wanted     bool      // a machine asked for an address since the last question
	silent     bool
}

func newVigil(now time.Time) *vigil { return &vigil{heard: now.Add(checkFirst - checkEvery)} }

// due reports whether it is time for a question.
func (v *vigil) due(now time.Time) bool {
	switch {
	case v.silent:
		return now.Sub(v.last) >= checkSilent
	case v.unanswered > 0:
		return v.unanswered < checks && now.Sub(v.last) >= checkAgain
	}
	return now.Sub(v.heard) >= checkEvery || v.wanted && now.Sub(v.heard) >= checkWanted
}

// asked takes in that a question was sent.
func (v *vigil) asked(now time.Time) { v.last, v.unanswered, v.wanted = now, v.unanswered+1, false }

// lost reports, once, that they are silent now.
func (v *vigil) lost(now time.Time) bool {
	if v.silent || v.unanswered < checks || now.Sub(v.last) < checkAgain {
		return false
	}
	v.silent = true
	return true
}

// answered takes in that one of them was heard; back says that they were silent before.
func (v *vigil) answered(now time.Time) (back bool) {
	back = v.silent
	*v = vigil{heard: now}
	return back
}

func (s *Server) watchServers(ctx context.Context) error {
	t := time.NewTicker(checkAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			for _, x := range s.checkServers() {
				s.log.Warn("the DHCP server does not answer any more: machines get a boot file but no address", "ip", x.IP, "mac", x.MAC, "iface", x.Iface)
				s.say("dhcp.mode", "warn", x.Silence()+" Check it; Hatchery does not take its place by itself.")
			}
		}
	}
}

// checkServers asks where it is due, and returns the servers that have just fallen silent.
func (s *Server) checkServers() (lost []Other) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.vigils {
		if l := s.links[name]; l == nil || !l.up || s.role != dhcp.RoleProxy {
			delete(s.vigils, name) // the interface's own note says why nobody is heard
		}
	}
	for name, l := range s.links {
		x, known := s.others.giver(name)
		if s.role != dhcp.RoleProxy || !l.up || len(l.addrs) == 0 || !known {
			continue
		}
		v := s.vigils[name]
		if v == nil {
			v = newVigil(now)
			s.vigils[name] = v
		}
		if v.lost(now) {
			lost = append(lost, x)
		}
		if v.due(now) && s.tryAsk(l) {
			v.asked(now)
		}
	}
	return lost
}

// heardGiver takes in that a server which gives addresses was heard; back says that it was missed. The caller holds the lock.
func (s *Server) heardGiver(iface string, now time.Time) (back bool) {
	v := s.vigils[iface]
	return v != nil && v.answered(now)
}

// namedGiver takes in that a machine chose a server, which must have answered it then. Whether one that is missed is back, only
// its own answer tells. The caller holds the lock.
func (s *Server) namedGiver(iface string, now time.Time) {
	if v := s.vigils[iface]; v != nil && !v.silent {
		v.answered(now)
	}
}

// wantsAddress takes in that a machine asks for an address. The caller holds the lock.
func (s *Server) wantsAddress(iface string) {
	if v := s.vigils[iface]; v != nil {
		v.wanted = true
	}
}

// silent are the servers that do not answer any more, of each interface the one heard last. The caller holds the lock.
func (s *Server) silent() (out []Other) {
	for name, v := range s.vigils {
		if x, ok := s.others.giver(name); ok && v.silent {
			out = append(out, x)
		}
	}
	return out
}
