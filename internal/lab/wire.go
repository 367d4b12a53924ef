package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Fault is what a bad cable does to each frame, in either direction. The zero value does nothing.
type Fault struct {
	Loss      float64 // the share of frames that vanish, 0 to 1
	Duplicate float64 // that come twice
	Reorder   float64 // that come 20 ms late, after later ones
}

// late is how much later a reordered frame comes.
const late = 20 * time.Millisecond

// Wire is the appliance's cable with a box in it that does as it is told.
type Wire struct {
	app, tap *os.File
	fault    atomic.Pointer[Fault]
	done     sync.WaitGroup
	delayed  sync.WaitGroup

	// Frames that were passed on and that were lost, in both directions.
	Passed, Lost atomic.Int64
}

// Disturb cuts the appliance's cable and joins the ends again with a [Wire]. It stays until the LAN is closed;
// the caller closes it before.
func (l *LAN) Disturb() (*Wire, error) {
	w := &Wire{}
	w.Set(Fault{})
	sw := l.ns(Switch)
	err := commands("ip -n "+sw+" link set papp nomaster promisc on", "ip -n "+sw+" tuntap add wire mode tap")
	if err == nil {
		err = inside(nsPath(sw), func() (err error) {
			if w.tap, err = openTap("wire"); err == nil {
				w.app, err = openPort("papp")
			}
			return err
		})
	}
	if err == nil {
		err = commands("ip -n " + sw + " link set wire master br0 up")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a box in the appliance's cable: %w", err), w.Close())
	}
	w.done.Go(func() { w.carry(w.app, w.tap) })
	w.done.Go(func() { w.carry(w.tap, w.app) })
	return w, nil
}

// Set changes what the wire does from the next frame on.
func (w *Wire) Set(f Fault) { w.fault.Store(&f) }

// Close takes the cable's ends apart. Closing twice is an error.
func (w *Wire) Close() error {
	var errs []error
	for _, f := range []*os.File{w.app, w.tap} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	w.done.Wait()
	w.delayed.Wait()
	return errors.Join(errs...)
}

// carry passes frames from one end to the other until it is closed.
func (w *Wire) carry(from, to *os.File) {
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil { // the cable is pulled out for a moment
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f := *w.fault.Load()
		if rand.Float64() < f.Loss {
			w.Lost.Add(1)
			continue
		}
		if rand.Float64() < f.Duplicate {
			w.send(to, buf[:n])
		}
		if rand.Float64() < f.Reorder {
			frame := append([]byte(nil), buf[:n]...)
			w.delayed.Add(1)
			time.AfterFunc(late, func() {
				defer w.delayed.Done()
				w.send(to, frame)
			})
			continue
		}
		w.send(to, buf[:n])
	}
}

func (w *Wire) send(to *os.File, frame []byte) {
	if _, err := to.Write(frame); err == nil { // a frame into a cable that is out is lost, as always
		w.Passed.Add(1)
	}
}

// openTap opens the program's end of a tap of this thread's namespace.
func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openPort opens a packet socket that has what comes in at an interface of this thread's namespace, and sends there.
func openPort(name string) (*os.File, error) {
	card, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	all := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8) // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: card.Index}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("port %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ApplianceCable plugs the appliance's cable in or pulls it out.
func (l *LAN) ApplianceCable(in bool) error {
	state := "down"
	if in {
		state = "up"
	}
	return commands("ip -n " + l.ns(Switch) + " link set papp " + state)
}
