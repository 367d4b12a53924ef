package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// stepWithin is how long one step may take: a machine's firmware waits longer, an appliance that works needs milliseconds.
const stepWithin = 3 * time.Second

// ErrBusy says that a play is going on.
var ErrBusy = errors.New("the self-test is running already; look again in some seconds")

// Stage is where a play is given: an interface of the appliance and what is answered there.
type Stage struct {
	Iface string
	Index int        // of the interface
	Self  netip.Addr // the appliance's address on it
	// DHCP is "server", "proxy" or "" (no DHCP of ours: the play begins with TFTP).
	DHCP string
	// Boot is the boot listener's port.
	Boot uint16
	// TFTP is the TFTP server's port; 0 = 69.
	TFTP uint16
}

// Step is one step of the play.
type Step struct {
	Name string        // "DISCOVER", "REQUEST", …
	Text string        // what happened, a sentence
	Err  error         // why it failed; nil = it did not
	Hint string        // what to do, with Err
	Took time.Duration // how long it took
}

// Play gives the whole play on a stage and returns its steps: the last one failed, or all are well.
// ErrBusy when another one is going on.
func (g *Guise) Play(ctx context.Context, s Stage) ([]Step, error) {
	if !g.playing.CompareAndSwap(false, true) {
		return nil, ErrBusy
	}
	defer g.playing.Store(false)
	p := &play{Stage: s, mac: g.mac}
	if p.TFTP == 0 {
		p.TFTP = 69
	}
	p.boot = netip.AddrPortFrom(s.Self, s.Boot)
	acts := []act{{"boot file by TFTP", p.loadFile}, {"boot script", p.loadScript}, {"kernel and initrd", p.loadImage}}
	if s.DHCP != "" {
		if err := p.open(); err != nil {
			return []Step{{Name: "DISCOVER", Err: err, Hint: "Reading replies needs the capability CAP_NET_RAW (or root)."}}, nil
		}
		defer p.close()
		second := act{"REQUEST", p.request}
		if s.DHCP == "proxy" {
			second = act{"port 4011", p.bootServer}
		}
		acts = append([]act{{"DISCOVER", p.discover}, second}, acts...)
	}
	var steps []Step
	for _, a := range acts {
		step := p.do(ctx, a)
		steps = append(steps, step)
		if step.Err != nil || ctx.Err() != nil {
			break
		}
	}
	return steps, nil
}

// act is one step and how it is done: what happened, what to do when it failed, and the error.
type act struct {
	name string
	do   func(context.Context) (text, hint string, err error)
}

func (p *play) do(ctx context.Context, a act) Step {
	ctx, stop := context.WithTimeout(ctx, stepWithin)
	defer stop()
	began := time.Now()
	text, hint, err := a.do(ctx)
	step := Step{Name: a.name, Text: text, Err: err, Took: time.Since(began)}
	if err != nil {
		step.Hint = hint
	}
	return step
}

// play is what one play knows so far.
type play struct {
	Stage
	mac  [6]byte
	boot netip.AddrPort

	wire  *wire
	given netip.Addr // the address on lease, to be given back
	file  string     // the boot file's name
	urls  []string   // of kernel and initrd
}

// refused is an answer that is not the wanted one.
func refused(format string, args ...any) error { return fmt.Errorf(format, args...) }
