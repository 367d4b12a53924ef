package dhcp

import "net/netip"

// proxy answers on port 67 beside another server: boot options, never an address.
func (d *decider) proxy() Decision {
	r := d.r
	if !r.Kind.Boots() {
		out := silence("an ordinary client; another server gives addresses here")
		if d.noRange {
			out = silence("no range of addresses is configured for its segment")
		}
		if r.Type == RequestMsg && r.ServerID.IsValid() && !d.v.ours(r.ServerID) {
			out.Other = r.ServerID
		}
		if r.Type == Discover || r.Type == RequestMsg { // a known host is alive, and, when it renews, where
			d.tell(&out, r.event("", "", r.CIAddr))
		}
		return out
	}
	why := cannotBoot(d.v, r)
	switch r.Type {
	case Discover:
		return d.proxyOffer(why)
	case RequestMsg:
		if d.v.ours(r.ServerID) && why == "" {
			return d.bootAck("chose the boot offer at port 67")
		}
		out := silence("takes its address from another server")
		if r.ServerID.IsValid() && !d.v.ours(r.ServerID) {
			out = silence("takes its address from the server %s", r.ServerID)
			out.Other = r.ServerID
		}
		return out
	case Inform:
		if why != "" {
			return silence("no boot file: %s", why)
		}
		return d.bootAck("asked for boot settings")
	}
	return silence("%s is the other server's business", r.Type)
}

// proxyOffer answers a DISCOVER with a boot file alone.
func (d *decider) proxyOffer(why string) Decision {
	r := d.r
	asked := r.event("dhcp.discover", "asks for a boot file.", netip.Addr{})
	if why != "" {
		out := silence("no boot file: %s", why)
		if !d.v.Ignored {
			asked.Text = "asks for a boot file and gets none: " + why + "."
			asked.Level = "warn"
		}
		d.tell(&out, asked)
		return out
	}
	rep := d.reply(Offer)
	out := Decision{Reply: rep, Rule: "offered a boot file, no address"}
	out.Offered, out.Form = addBoot(rep, d.cfg, d.v, r, false)
	what := offerText(d.v, r, out.Offered, out.Form)
	out.SendTo = d.sendTo(rep)
	out.Reason = "offered " + what + ", no address"
	d.tell(&out, asked, asked.then("dhcp.proxy-offer", "was offered "+what+"; the address comes from another server."))
	return out
}

// bootServer answers on port 4011: the second half of a PXE boot (PXE 2.1 §2.2.5, R4).
func (d *decider) bootServer() Decision {
	r := d.r
	switch {
	case !r.Kind.Boots():
		return silence("port 4011 is for PXE clients")
	case r.Type != RequestMsg && r.Type != Inform && r.Type != Discover:
		return silence("%s has no meaning at port 4011", r.Type)
	case r.ServerID.IsValid() && !d.v.ours(r.ServerID):
		return silence("asks the boot server %s", r.ServerID)
	}
	if why := cannotBoot(d.v, r); why != "" {
		return silence("no boot file: %s", why)
	}
	return d.bootAck("asked port 4011")
}

// bootAck is an ACK with a boot file and no address.
func (d *decider) bootAck(why string) Decision {
	r := d.r
	t := Ack
	if r.Type == Discover {
		t = Offer
	}
	rep := d.reply(t)
	rep.CIAddr = r.CIAddr
	out := Decision{Reply: rep, Rule: why}
	out.Offered, out.Form = addBoot(rep, d.cfg, d.v, r, true)
	what := offerText(d.v, r, out.Offered, out.Form)
	out.Reason = why + ": told " + what
	out.SendTo = d.sendTo(rep)
	if d.v.Port == PortPXE {
		out.SendTo.From = PortPXE
		if d.v.Src.Addr().IsValid() && !d.v.Src.Addr().IsUnspecified() && !rep.Relay.IsValid() {
			// iPXE asks from port 68, edk2 from 4011; each wants the answer there (captures/uefi-pxe4-proxy).
			out.SendTo.To = d.v.Src
		}
	}
	d.tell(&out, r.event("dhcp.ack", "was told to load "+what+" (it "+why+").", r.CIAddr))
	return out
}
