package main

import (
	"strconv"

	"github.com/staged-hive/hatchery/inventory"
)

// nics lists the physical interfaces: those with a device behind them.
func (m machine) nics() []inventory.NIC {
	var out []inventory.NIC
	for _, name := range m.list("sys/class/net") {
		dir := "sys/class/net/" + name
		if !m.exists(dir+"/device") || len(out) == inventory.MaxNICs {
			continue
		}
		mac, err := inventory.ParseMAC(m.text(dir + "/address"))
		if err != nil {
			continue
		}
		n := inventory.NIC{Name: name, MAC: mac, Driver: m.base(dir + "/device/driver"), Up: m.text(dir+"/carrier") == "1"}
		if mbps, err := strconv.Atoi(m.text(dir + "/speed")); err == nil && mbps > 0 {
			n.SpeedMbps = mbps
		}
		if m.addrs != nil {
			n.Addrs = m.addrs(name)
		}
		out = append(out, n)
	}
	return out
}
