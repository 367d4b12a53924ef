package dhcp

import (
	"fmt"
	"net/netip"
	"path"
	"slices"

	"github.com/staged-hive/hatchery/dhcp/bootfile"
)

// Form is how a boot file is offered to PXE firmware. Implementations differ in which one they
// accept (R11, R14), so a client that asks again without loading anything gets the next.
type Form struct {
	// Class sends option 60: with it and no discovery control the client asks again at port 4011 (R4).
	Class bool
	// Discovery sends option 43 with PXE_DISCOVERY_CONTROL = 8: load the file named here (R2).
	Discovery bool
	// File names the boot file in the reply itself, not only in the answer at port 4011.
	File bool
	// Fallback names the second choice of boot file (R20).
	Fallback bool
}

// String is the form in words, for the diary.
func (f Form) String() string {
	s := "plain"
	switch {
	case f.Discovery:
		s = "with PXE discovery control"
	case f.Class && !f.File:
		s = "by port 4011"
	case f.Class:
		s = "with the PXE class"
	}
	if f.Fallback {
		s += ", second choice of boot file"
	}
	return s
}

// The forms of the first choice of boot file.
var (
	formPlain, formClass = Form{File: true}, Form{Class: true, File: true}
	formDisco, formBINL  = Form{Class: true, Discovery: true, File: true}, Form{Class: true}

	formsServer    = [...]Form{formPlain, formDisco, formBINL, formClass}
	formsProxyUEFI = [...]Form{formBINL, formDisco, formClass} // R11, R14: no option 43, the answer at port 4011
	formsProxy     = [...]Form{formDisco, formClass, formBINL}
)

// forms are those of the first choice of boot file, in the order they are tried in; again says that they are then tried with the second.
func forms(role Role, a bootfile.Arch) (list []Form, again bool) {
	switch {
	case role == RoleServer:
		list = formsServer[:]
	case a.UEFI():
		list = formsProxyUEFI[:]
	default:
		list = formsProxy[:]
	}
	first, _ := bootfile.File(a, false)
	second, ok := bootfile.File(a, true)
	return list, ok && second != first
}

// Forms lists the forms in the order they are tried in.
func Forms(role Role, a bootfile.Arch) []Form {
	first, again := forms(role, a)
	list := slices.Clone(first)
	if again {
		for _, f := range first {
			f.Fallback = true
			list = append(list, f)
		}
	}
	return list
}

// form is the one of the client's try.
func form(v *View, r *Request) Form {
	list, again := forms(v.Role, r.Arch)
	f := list[v.Try%len(list)]
	f.Fallback = again && v.Try/len(list)%2 == 1
	return f
}

// cannotBoot is why the client gets no boot file, "" when it gets one.
func cannotBoot(v *View, r *Request) string {
	switch {
	case v.Ignored:
		return "the host is ignored"
	case r.Kind == KindPi:
		return "the Raspberry Pi's own boot loader cannot load iPXE: give it UEFI firmware"
	case r.Kind == KindIPXE:
		return ""
	}
	if _, ok := bootfile.File(r.Arch, false); !ok {
		return "there is no boot file for " + r.Arch.String()
	}
	return ""
}

// addBoot puts the boot file into a reply and returns what was offered: a name, or a URL.
// at4011 says that the reply answers at port 4011, where it must name the file.
func addBoot(rep *Reply, cfg *Config, v *View, r *Request, at4011 bool) (string, Form) {
	f := form(v, r)
	if at4011 {
		f.Class, f.Discovery, f.File = true, false, true
	}
	what, _ := bootfile.For(r.Kind.Stage(), r.Arch, netip.AddrPortFrom(v.Self, cfg.HTTPPort), f.Fallback)
	if len(cfg.Shims) > 0 && r.Kind != KindIPXE {
		if shim, ok := bootfile.Shim(what); ok && slices.Contains(cfg.Shims, path.Base(shim)) {
			what = shim
		}
	}
	rep.SIAddr = v.Self // R6: next-server and server identifier are the same address
	switch r.Kind {
	case KindIPXE:
		addIPXE(rep, v, what)
		f = Form{Class: v.Role == RoleProxy || at4011, File: true}
	case KindHTTP:
		// R9: class HTTPClient, URL in option 67 and in the file field when it fits.
		rep.addText(60, "HTTPClient")
		rep.addText(67, what)
		if len(what) < 128 {
			rep.File = what
		}
		f = Form{Class: true, File: true}
	default:
		addPXE(rep, v, r, f, what)
	}
	if r.GUID != nil {
		rep.add(97, r.GUID) // R15: echoed when present
	}
	return what, f
}

// addIPXE points iPXE at its script. iPXE prefers a file field that is not empty to option 67
// (src/net/dhcppkt.c), and the URL does not fit there, so the field stays empty.
func addIPXE(rep *Reply, v *View, url string) {
	rep.addText(67, url)
	if v.Role == RoleProxy {
		// R17: a proxy offer counts with this class and a server identifier; next-server
		// and a boot file make it complete, so that iPXE does not go on to ask port 4011.
		rep.addText(60, "PXEClient")
		addPriority(rep)
		return
	}
	// In an offer with an address, "no-pxedhcp" ends iPXE's wait for a proxy offer (captures/bios-tuned). In a
	// proxy offer it would be read by nobody: iPXE looks for it in the offer whose address it takes.
	rep.add(175, []byte{settingNoPXE, 1, 1})
}

// addPriority lifts our settings over those of a router that names a boot file of its own: iPXE takes the
// router's otherwise, and that is where it looks first (seen with the ROM of 2019 and 1.21.1).
func addPriority(rep *Reply) { rep.add(175, []byte{settingPriority, 1, 1}) }

func addPXE(rep *Reply, v *View, r *Request, f Form, file string) {
	if f.Class {
		rep.addText(60, "PXEClient")
	}
	if r.Kind == KindSmallIPXE && v.Role == RoleProxy {
		addPriority(rep)
	}
	if f.Discovery {
		rep.add(43, []byte{6, 1, 8, 255}) // PXE 2.1 §2.2.3: no multicast or broadcast discovery, load the boot file
	}
	if r.BootItem != nil && v.Port == PortPXE {
		rep.add(43, append([]byte{71, 4}, append(r.BootItem, 255)...))
	}
	if !f.File {
		return
	}
	rep.File = file
	rep.SName = v.Self.String()
	rep.addText(66, v.Self.String()) // R24: without a zero byte
	rep.addText(67, file+"\x00")     // R12: old ROMs read on past a name that has no end
}

// offerText is the diary's words for what a client was offered.
func offerText(v *View, r *Request, what string, f Form) string {
	text := "the boot file " + what
	switch {
	case r.Kind == KindIPXE:
		return "its boot script"
	case !f.File:
		text = fmt.Sprintf("the boot file %s by way of port 4011", what)
	}
	if v.Try > 0 && r.Kind.Stage() == bootfile.StageFirmware {
		text += fmt.Sprintf(" (in form %d, %s, as it did not take what it was offered before)", v.Try%len(Forms(v.Role, r.Arch))+1, f)
	}
	return text
}
