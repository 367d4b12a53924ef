package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/web"
)

// network shows the DHCP server's status to the web.
type network struct {
	dhcp *server.Server

	mu     sync.Mutex
	at     time.Time // when warned was made
	warned []web.Warning
}

// Network implements web.Network.
func (n *network) Network() web.NetworkStatus {
	st := n.dhcp.Status()
	out := web.NetworkStatus{Mode: st.Role, Why: st.Why, Requests: st.Counters.Received, Malformed: st.Counters.Malformed, Limited: st.Counters.Limited}
	for _, p := range st.Pools {
		if st.Role != string(dhcp.RoleServer) {
			break // none of these are given
		}
		out.Pools = append(out.Pools, web.AddressPool{Subnet: p.Prefix, Range: p.Range, Router: p.Router, Relayed: p.Relayed,
			Size: p.Size, Live: p.Live, Quarantined: p.Quarantined, Reserved: p.Reserved})
	}
	for _, i := range st.Interfaces {
		out.Interfaces = append(out.Interfaces, web.NetInterface{Name: i.Name, MAC: i.MAC, Addrs: i.Addrs, Why: i.Why, Note: i.Note})
	}
	for _, o := range st.Servers {
		out.OtherServers = append(out.OtherServers, web.DHCPServer{IP: o.IP, MAC: o.MAC, Iface: o.Iface, Proxy: o.Proxy, FirstSeen: o.First, LastSeen: o.Last})
	}
	for i, d := range st.Decisions {
		if i == 0 {
			out.LastRequest, out.LastMAC = d.Time, d.MAC
		}
		out.Decisions = append(out.Decisions, decision(d))
	}
	return out
}

// askers are people's words for who asks.
var askers = map[dhcp.Kind]string{dhcp.KindPlain: "a system", dhcp.KindPXE: "PXE firmware", dhcp.KindHTTP: "HTTP Boot firmware", dhcp.KindIPXE: "iPXE",
	dhcp.KindSmallIPXE: "a built-in iPXE", dhcp.KindPi: "a Raspberry Pi's loader", dhcp.KindUBoot: "U-Boot"}

func decision(d server.Logged) web.Decision {
	asked, answer := d.Asked+" by "+cmp.Or(askers[d.Kind], string(d.Kind)), "silence"
	if d.Arch != "" {
		asked += " (" + d.Arch + ")"
	}
	if d.Reply != "" {
		answer = strings.Join(slices.DeleteFunc([]string{d.Reply + addrText(d.IP), d.Boot}, func(s string) bool { return s == "" }), ", ")
	}
	return web.Decision{Time: d.Time, MAC: d.MAC, Iface: d.Iface, Relay: d.Relay, Asked: asked, Answer: answer, Reason: d.Why, Times: max(d.Times, 1)}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return " " + a.String()
}

// warnings are what keeps machines from getting an address. Every open page asks, and the answer counts all leases,
// so it is two seconds old at times.
func (n *network) warnings() []web.Warning {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.at) > 2*time.Second {
		n.at, n.warned = now, networkWarnings(n.dhcp.Status())
	}
	return n.warned
}

func networkWarnings(st server.Status) []web.Warning {
	var out []web.Warning
	for _, o := range st.Rivals {
		out = append(out, web.Warning{Text: fmt.Sprintf("A second DHCP server, %s, gives addresses on %s: machines may get theirs from either.", o, o.Iface),
			Hint: "Switch one of the two off, or start Hatchery with --dhcp proxy."})
	}
	for _, o := range st.Silent {
		out = append(out, web.Warning{Text: o.Silence(),
			Hint: "Look after it (the router, its DHCP, the cable). If it is gone for good, let Hatchery give the addresses: --dhcp server --dhcp-range FIRST-LAST."})
	}
	if st.NoServer {
		out = append(out, web.Warning{Text: "No DHCP server was heard on this network, and Hatchery is none (--dhcp " + string(st.Mode) + "): machines get a boot file but no address.",
			Hint: "Switch the router's DHCP on, or give Hatchery a range: --dhcp server --dhcp-range FIRST-LAST."})
	}
	for _, p := range st.Pools {
		if st.Role == "server" && p.Free == 0 {
			out = append(out, web.Warning{Text: fmt.Sprintf("All %d addresses of %s are taken: a new machine gets none.", p.Size, p.Range),
				Hint: "Give a wider range (--dhcp-range, or dhcp_relayed in the configuration file), or a shorter --lease-time. A lease in use is never taken away."})
		}
	}
	for _, i := range st.Interfaces {
		if i.Note != "" {
			out = append(out, web.Warning{Text: "Interface " + i.Name + ": " + i.Note, Hint: "Machines behind it are not heard until then."})
		}
	}
	return out
}
