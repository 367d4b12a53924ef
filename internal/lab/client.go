package lab

import "fmt"

// Plug connects a machine without QEMU to the switch: a namespace with a card eth0 of that MAC and no address, in which
// programs play its firmware. i is below 16.
func (l *LAN) Plug(i int, mac string) error {
	if i < 0 || i >= maxClients {
		return fmt.Errorf("client %d: a LAN has at most %d", i, maxClients)
	}
	sw, ns, port := l.ns(Switch), l.ns(Client(i)), fmt.Sprintf("pc%d", i)
	return commands(
		"ip netns add "+ns,
		"ip -n "+ns+" link set lo up",
		"ip netns exec "+ns+" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
		"ip -n "+sw+" link add "+port+" type veth peer name eth0 netns "+ns,
		"ip -n "+ns+" link set eth0 address "+mac+" up",
		"ip -n "+sw+" link set "+port+" master br0 up",
		"ip netns exec "+ns+" ethtool -K eth0 tx off rx off tso off gso off gro off",
	)
}
