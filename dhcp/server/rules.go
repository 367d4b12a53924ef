package server

import (
	"maps"
	"strings"
	"sync"

	"github.com/staged-hive/hatchery/dhcp"
)

// Rule is one way to decide, for counts: all fields are of small fixed sets, whatever clients send.
type Rule struct {
	Kind   dhcp.Kind // who asked
	Asked  string    // "DISCOVER", …
	Reply  string    // "OFFER", "ACK", "NAK", "" = silence
	Reason string    // why, without what differs from client to client
}

// rules counts decisions. The zero value is ready.
type rules struct {
	mu sync.Mutex
	n  map[ruleKey]uint64
}

// ruleKey is a Rule as it is at hand for a packet.
type ruleKey struct {
	kind         dhcp.Kind
	asked, reply dhcp.MessageType // reply 0 = silence
	rule         string
}

func (r *rules) add(req *dhcp.Request, d *dhcp.Decision) {
	k := ruleKey{kind: req.Kind, asked: req.Type, rule: d.Rule}
	if d.Reply != nil {
		k.reply = d.Reply.Type
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[ruleKey]uint64{}
	}
	r.n[k]++
}

// Rules counts the decisions since the start.
func (s *Server) Rules() map[Rule]uint64 {
	s.count.rules.mu.Lock()
	n := maps.Clone(s.count.rules.n)
	s.count.rules.mu.Unlock()
	out := make(map[Rule]uint64, len(n))
	for k, v := range n {
		rule := Rule{Kind: k.kind, Asked: k.asked.String(), Reason: strings.NewReplacer("%s", "…", "%v", "…").Replace(k.rule)}
		if k.reply != 0 {
			rule.Reply = k.reply.String()
		}
		out[rule] += v
	}
	return out
}
