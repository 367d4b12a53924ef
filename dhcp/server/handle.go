package server

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/inventory"
)

// arrival is how a packet came in.
type arrival struct {
	link *link
	port uint16 // ours
	src  netip.AddrPort
	// toUs says that it was sent to an address of ours rather than broadcast: a client that
	// renews through a router.
	toUs bool
}

// take is the first half of one packet's way: decode, limit, decide. It returns the answer that can leave now,
// if there is one; an answer with a lease leaves when that is stored.
func (s *Server) take(a arrival, b []byte) (answer, bool) {
	l := a.link
	now := s.cfg.Now()
	s.count.received.Add(1)
	req, err := dhcp.Parse(b)
	if err != nil {
		s.count.malformed.Add(1)
		s.log.Debug("packet is no DHCP request", "iface", l.name, "ip", a.src.Addr(), "err", err)
		return answer{}, false
	}
	if !s.limit.allow(req.MAC, now) {
		s.count.limited.Add(1)
		return answer{}, false
	}
	var k known
	if req.Kind.Boots() {
		k = s.lookUp(req.MAC)
	}
	d := s.decide(a, req, k, now)
	out := answer{link: l, req: req, d: d, at: now}
	if d.Lease != nil {
		s.storeFirst(out)
		return answer{}, false
	}
	return out, true
}

// known is what the inventory says of a machine that netboots.
type known struct {
	ignored bool      // a person's choice
	form    savedForm // of boot offer that it took
}

func (s *Server) lookUp(mac inventory.MAC) known {
	var k known
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		if _, err := tx.GetJSON(bucketForms, mac.String(), &k.form); err != nil {
			return err
		}
		h, err := tx.HostByMAC(mac)
		if errors.Is(err, inventory.ErrNotFound) {
			return nil
		}
		k.ignored = h.State == inventory.StateIgnored
		return err
	})
	if err != nil {
		s.log.Error("host cannot be read for DHCP", "mac", mac, "err", err)
	}
	return k
}

// decide asks the core, and takes in what it says about offers, under one lock: between a
// look at the pool and the mark in it nobody else looks.
func (s *Server) decide(a arrival, req dhcp.Request, k known, now time.Time) dhcp.Decision {
	l := a.link
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role == "" {
		return dhcp.Decision{Reason: "the role (server or ProxyDHCP) is not chosen yet", Rule: "the role is not chosen yet"}
	}
	v := dhcp.View{Role: s.role, Iface: l.name, Port: a.port, Src: a.src, Ignored: k.ignored, Alone: s.others.alone(l.name, now), Selves: s.selves()}
	seg := s.segmentOf(a, &req)
	v.Self = l.self(seg, req.CIAddr)
	cfg := dhcp.Config{HTTPPort: uint16(s.cfg.HTTPPort), Shims: s.cfg.Shims, LeaseTime: s.cfg.LeaseTime, Domain: s.cfg.Domain, DNS: s.cfg.DNS, NTP: s.cfg.NTP, Routes: s.cfg.Routes}
	if cfg.DNS == nil {
		cfg.DNS = s.resolved
	}
	if seg != nil {
		v.Segment = &seg.Segment
	}
	v.Try = s.tries.next(&req, s.role, k.form, now)
	d := dhcp.Decide(cfg, v, req, now)
	s.tries.offered(&req, &d, now)
	if seg != nil {
		if d.Hold.IsValid() {
			seg.Pool.Hold(d.Hold, d.Client, now)
		}
		if d.Drop.IsValid() {
			seg.Pool.Unhold(d.Drop, d.Client)
		}
		if d.Lease != nil {
			seg.Pool.Claim(d.Lease.IP, d.Client)
		}
		if d.Split && seg.Pool.Split(lease.HW(req.MAC), req.ClientID) {
			s.log.Warn("two running machines have the same MAC: each gets an address of its own", "iface", l.name, "mac", req.MAC)
		}
	}
	if d.Other.IsValid() {
		s.count.other.Add(1)
		if !s.others.suspect(d.Other, now) {
			// On a switched network a rival's answers to others pass us by; its answer to us will not.
			s.askNow.Do(func() { s.tryAsk(l) })
		}
	}
	return d
}

// segmentOf is the pool of the client's segment: by the relay's address or its wish, by the client's
// own address when it renews with us directly (RFC 2131 §4.3.2), else by the interface; nil
// when there is none.
func (s *Server) segmentOf(a arrival, req *dhcp.Request) *segment {
	hint := req.Subnet
	switch {
	case hint.IsValid():
	case req.Relay.IsValid():
		hint = req.Relay
	case a.toUs && req.CIAddr.IsValid():
		hint = req.CIAddr
	}
	for _, g := range s.segments {
		p := g.Pool.Prefix()
		if hint.IsValid() && p.Contains(hint) || !hint.IsValid() && !g.relayed && a.link.has(p) {
			return g
		}
	}
	return nil
}

func (s *Server) selves() []netip.Addr {
	var out []netip.Addr
	for _, l := range s.links {
		for _, p := range l.addrs {
			out = append(out, p.Addr())
		}
	}
	return out
}

// finish is the second half: send the replies, write down what happened.
func (s *Server) finish(list []answer) {
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].link == list[0].link {
			n++
		}
		s.finishOn(list[0].link, list[:n])
		list = list[n:]
	}
}

// finishOn finishes answers that leave by the same interface.
func (s *Server) finishOn(l *link, list []answer) {
	errs := make([]error, len(list))
	var out []outgoing
	var whose []int
	for i := range list {
		a := &list[i]
		if a.d.Reply == nil {
			continue
		}
		b, err := a.d.Reply.Encode(a.req.Limit)
		if err != nil {
			errs[i] = err
			continue
		}
		out, whose = append(out, outgoing{to: a.d.SendTo, b: b}), append(whose, i)
	}
	s.send(l, out)
	for i, o := range out {
		errs[whose[i]] = o.err
	}
	for i := range list {
		s.writeDown(&list[i], errs[i])
	}
}

// writeDown counts an answer, lists it and hands it to the diary.
func (s *Server) writeDown(a *answer, err error) {
	l, req, d, now := a.link, &a.req, &a.d, a.at
	if err != nil {
		s.count.sendErrors.Add(1)
		d.Reason += "; the reply could not be sent: " + err.Error()
		s.log.Debug("DHCP reply not sent", "iface", l.name, "mac", req.MAC, "err", err)
		s.ring.add(req, d, l.name, now)
		return
	}
	s.count.decided(req, d)
	s.ring.add(req, d, l.name, now)
	if s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("DHCP", "iface", l.name, "mac", req.MAC, "xid", hex.EncodeToString(req.XID[:]), "stage", req.Kind, "step", req.Type, "reason", d.Reason)
	}
	if len(d.Events) > 0 {
		s.notes.add(note{at: now, events: d.Events})
	}
}
