package server

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

// metaServers is the record of other servers in the meta bucket: they are remembered over restarts,
// because after a power cut the router may be slower than we are.
const metaServers = "dhcp/servers"

// maxOthers bounds what is remembered of other servers: a forger could invent any number.
const maxOthers = 16

// aloneAfter is how long another server must have been silent before we speak for the network again.
const aloneAfter = 24 * time.Hour

// Other is another DHCP or ProxyDHCP server that was heard.
type Other struct {
	IP    netip.Addr    `json:"ip"`
	MAC   inventory.MAC `json:"mac"`
	Iface string        `json:"iface"`
	// Proxy says that it gives boot files only, never addresses.
	Proxy bool `json:"proxy,omitempty"`
	// Answers says that it answered a DISCOVER of our own, so that its silence means something.
	Answers bool      `json:"answers,omitempty"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// String is how it is named in sentences.
func (o Other) String() string {
	if o.MAC.IsZero() {
		return o.IP.String()
	}
	return fmt.Sprintf("%s (%s)", o.IP, o.MAC)
}

// Silence is the sentence that a person is told of a server in Status.Silent.
func (o Other) Silence() string {
	return fmt.Sprintf("The DHCP server %s on %s does not answer any more (last heard %s): machines get a boot file from Hatchery but no address.",
		o, o.Iface, o.Last.UTC().Format("2006-01-02 15:04 UTC"))
}

// others is what is known of other servers, by address.
type others map[netip.Addr]Other

func (o others) load(store inventory.Store) error {
	return store.View(func(tx *inventory.Tx) error {
		raw, err := tx.Get(inventory.BucketMeta, metaServers)
		if err != nil || raw == nil {
			return err
		}
		var list []Other
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, x := range list[:min(len(list), maxOthers)] {
			o[x.IP] = x
		}
		return nil
	})
}

// heard records an answer of another server; fresh says that it was not known, or not for long, learned that something else
// is to be remembered of it.
func (o others) heard(x Other, now time.Time) (fresh, learned bool) {
	old, ok := o[x.IP]
	x.First, x.Last = now, now
	if ok {
		x.First = old.First
		if x.MAC.IsZero() {
			x.MAC = old.MAC
		}
		learned = x.Answers && !old.Answers
		x.Answers = x.Answers || old.Answers
	}
	if !ok && len(o) >= maxOthers {
		oldest := slices.MinFunc(o.list(), func(a, b Other) int { return a.Last.Compare(b.Last) })
		delete(o, oldest.IP)
	}
	o[x.IP] = x
	return !ok || now.Sub(old.Last) > time.Hour, learned
}

// suspect takes in that a client named a server: one that is known already counts as heard. The word
// of a client alone makes none; false asks for a look.
func (o others) suspect(ip netip.Addr, now time.Time) (known bool) {
	x, ok := o[ip]
	if ok {
		x.Last = now
		o[ip] = x
	}
	return ok
}

// alone reports whether no other server that gives addresses was heard lately on the interface.
func (o others) alone(iface string, now time.Time) bool {
	for _, x := range o {
		if !x.Proxy && x.Iface == iface && now.Sub(x.Last) < aloneAfter {
			return false
		}
	}
	return true
}

// give reports whether any server that gives addresses was ever heard.
func (o others) give() bool {
	for _, x := range o {
		if !x.Proxy {
			return true
		}
	}
	return false
}

// giver is the server heard last of those that give addresses on an interface and answered us before.
func (o others) giver(iface string) (x Other, ok bool) {
	for _, y := range o {
		if !y.Proxy && y.Answers && y.Iface == iface && (!ok || y.Last.After(x.Last)) {
			x, ok = y, true
		}
	}
	return x, ok
}

func (o others) list() []Other {
	out := []Other{}
	for _, x := range o {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Other) int { return a.IP.Compare(b.IP) })
	return out
}

func names(list []Other) string {
	var out []string
	for _, x := range list {
		out = append(out, x.String())
	}
	return strings.Join(out, ", ")
}
