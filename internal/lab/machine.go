package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// MachineConfig describes a machine. Only Name is needed.
type MachineConfig struct {
	Name     string
	Firmware Firmware // "" means BIOS
	// Port of the switch it is plugged into, from 0.
	Port int
	// Behind plugs it into that port of the network behind the router.
	Behind bool
	// MAC of its network card; "" means one made of the port.
	MAC string
	// UUID, Serial and Product are what SMBIOS says; "" means values made of name and port.
	UUID, Serial, Product string
	// MemoryMiB of RAM; 0 means 512, 1024 on arm64.
	MemoryMiB int
	// Disks in boot order after the network; nil means none.
	Disks []Disk
	// CD is an ISO image in its DVD drive, in boot order after the network and before the disks; "" means no drive.
	CD string
	// NoNetboot is a machine whose firmware does not boot from its network card.
	NoNetboot bool
	// OwnOrder leaves the boot order to the firmware's own variables; otherwise the hypervisor sets it at every start.
	OwnOrder bool
	// Screen is an x86 machine with a graphics card: see [Machine.Screenshot].
	Screen bool
	// Accel is QEMU's accelerator; "" means that of HATCHERY_LAB_ACCEL, else emulation, which runs everywhere.
	Accel string
}

// Machine is a computer on the LAN, off until [Machine.PowerOn]. Its methods may
// be called from several goroutines.
type Machine struct {
	cfg MachineConfig
	lan *LAN
	dir string

	mu      sync.Mutex
	proc    *Process
	events  []Event // of the present or last boot
	changed chan struct{}
	text    bytes.Buffer // console of the present or last boot
	parse   *console
	started time.Time
}

// NewMachine makes a machine with its disks and plugs it in.
func (l *LAN) NewMachine(cfg MachineConfig) (*Machine, error) {
	cfg = cfg.withDefaults()
	if cfg.Port >= l.cfg.Ports {
		return nil, fmt.Errorf("machine %s: the switch has ports 0 to %d, not %d", cfg.Name, l.cfg.Ports-1, cfg.Port)
	}
	m := &Machine{cfg: cfg, lan: l, dir: filepath.Join(l.dir, cfg.Name), changed: make(chan struct{}), parse: newConsole()}
	if err := m.make(); err != nil {
		return nil, fmt.Errorf("machine %s: %w", cfg.Name, err)
	}
	return m, nil
}

func (c MachineConfig) withDefaults() MachineConfig {
	set := func(s *string, def string) {
		if *s == "" {
			*s = def
		}
	}
	if c.Firmware == "" {
		c.Firmware = BIOS
	}
	set(&c.MAC, fmt.Sprintf("52:54:00:6c:61:%02x", c.Port))
	set(&c.UUID, "00000000-0000-4000-8000-"+strings.ReplaceAll(c.MAC, ":", ""))
	set(&c.Serial, "SN-"+c.Name)
	set(&c.Product, "Blank-1")
	set(&c.Accel, os.Getenv("HATCHERY_LAB_ACCEL"))
	set(&c.Accel, "tcg,thread=multi")
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 512
		if c.Firmware.arm() {
			c.MemoryMiB = 1024
		}
	}
	c.Disks = slices.Clone(c.Disks)
	for i := range c.Disks {
		set(&c.Disks[i].Bus, "virtio")
		set(&c.Disks[i].Serial, fmt.Sprintf("LAB-%s-%d", strings.ToUpper(c.Disks[i].Bus), i))
	}
	return c
}

// make creates the machine's files.
func (m *Machine) make() error {
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return err
	}
	for i, d := range m.cfg.Disks {
		if err := makeDisk(diskPath(m.dir, i), d); err != nil {
			return err
		}
	}
	if _, vars := m.cfg.Firmware.image(); vars != "" {
		return copyFile(filepath.Join(m.dir, "vars.fd"), vars)
	}
	return nil
}

func makeDisk(path string, d Disk) error {
	if d.Image != "" {
		if err := copyFile(path, d.Image); err != nil {
			return err
		}
		if d.Size == 0 {
			return nil
		}
	} else if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	if d.Size == 0 {
		d.Size = 2 << 30
	}
	return os.Truncate(path, d.Size)
}

// copyFile copies a file and keeps its holes.
func copyFile(dst, src string) error {
	if out, err := exec.Command("cp", "--sparse=always", src, dst).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", src, err, bytes.TrimSpace(out))
	}
	return nil
}

// MAC is the address of its network card, lower case with colons.
func (m *Machine) MAC() string { return m.cfg.MAC }

// Config is the machine's configuration, defaults filled in.
func (m *Machine) Config() MachineConfig { return m.cfg }

// InsertCD puts an ISO image into the drive of a machine that is off; "" takes it out.
func (m *Machine) InsertCD(iso string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg.CD = iso
}

// PowerOn starts a machine that is off.
func (m *Machine) PowerOn() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		return fmt.Errorf("machine %s is on", m.cfg.Name)
	}
	_ = os.Remove(filepath.Join(m.dir, "qmp")) // of the boot before
	args := qemuArgs(m.cfg, m.dir)
	log, err := os.OpenFile(filepath.Join(m.dir, "serial.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	m.begin()
	var errs bytes.Buffer
	cmd := m.lan.Command(context.Background(), Switch, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(log, (*serial)(m)), &errs
	p, err := startProcess(cmd)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	m.proc = p
	go func() {
		<-p.Done()
		_ = log.Close()
		m.ended(p, errs.String())
	}()
	return nil
}

// begin starts the records of a new boot; the caller holds the lock.
func (m *Machine) begin() {
	m.started, m.events, m.parse = time.Now(), nil, newConsole()
	m.text.Reset()
}

func (m *Machine) ended(p *Process, errs string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != p {
		return
	}
	m.proc = nil
	m.add(Event{Name: EventExit, Line: strings.TrimSpace(errs)})
}

// add records an event; the caller holds the lock.
func (m *Machine) add(e Event) {
	e.At = time.Now()
	e.Since = e.At.Sub(m.started)
	m.events = append(m.events, e)
	close(m.changed)
	m.changed = make(chan struct{})
	m.lan.cfg.Log.Debug("console", "host", m.cfg.Name, "step", e.Name, "dur", e.Since)
}

// serial is the machine as the writer of its console.
type serial Machine

func (s *serial) Write(p []byte) (int, error) {
	m := (*Machine)(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text.Write(p)
	for _, e := range m.parse.feed(p) {
		m.add(e)
	}
	return len(p), nil
}

// PowerOff cuts the power: nothing inside gets to know. Off already is fine.
func (m *Machine) PowerOff() {
	m.mu.Lock()
	p := m.proc
	m.mu.Unlock()
	if p == nil {
		return
	}
	p.Kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc == p { // the watching goroutine has not come by yet
		m.proc = nil
		m.add(Event{Name: EventExit, Line: "power cut"})
	}
}

// PowerCycle cuts the power and starts the machine again.
func (m *Machine) PowerCycle() error {
	m.PowerOff()
	return m.PowerOn()
}

// Reset presses the reset button.
func (m *Machine) Reset() error {
	m.mu.Lock()
	m.begin()
	m.mu.Unlock()
	return qmp(filepath.Join(m.dir, "qmp"), "system_reset", nil)
}

// Screenshot writes what the screen of a machine that is on shows to a file, as PNG.
func (m *Machine) Screenshot(file string) error {
	return qmp(filepath.Join(m.dir, "qmp"), "screendump", map[string]string{"filename": file, "format": "png"})
}

// Running reports whether the machine is on.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc != nil
}

// Events lists what the present or last boot has shown so far.
func (m *Machine) Events() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.events)
}

// Console is the text of the present or last boot's serial console.
func (m *Machine) Console() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return string(noise.ReplaceAll(m.text.Bytes(), nil))
}

// Wait waits for the first event of one of the names in the present boot, which
// may have come already. Events that end a boot (panic, no boot, exit) are
// errors unless asked for.
func (m *Machine) Wait(ctx context.Context, names ...string) (Event, error) {
	return m.WaitFor(ctx, strings.Join(names, " or "), func(e Event) bool { return slices.Contains(names, e.Name) })
}

// WaitFor is [Machine.Wait] for the first event that match accepts; what names it in errors.
func (m *Machine) WaitFor(ctx context.Context, what string, match func(Event) bool) (Event, error) {
	for {
		m.mu.Lock()
		events, changed := m.events, m.changed
		m.mu.Unlock()
		if i := slices.IndexFunc(events, match); i >= 0 {
			return events[i], nil
		}
		for _, e := range events {
			if e.Name == EventPanic || e.Name == EventNoBoot || e.Name == EventExit {
				return e, fmt.Errorf("machine %s: %s after %.1fs instead of %s: %s", m.cfg.Name, e.Name, e.Since.Seconds(), what, e.Line)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			last := "nothing on the console"
			if len(events) > 0 {
				last = "last was " + events[len(events)-1].Name
			}
			return Event{}, fmt.Errorf("machine %s: waiting for %s: %w (%s)", m.cfg.Name, what, ctx.Err(), last)
		}
	}
}

// DiskPath is the image file of disk i.
func (m *Machine) DiskPath(i int) string { return diskPath(m.dir, i) }

// HashDisks is [HashDisk] of every disk in order.
func (m *Machine) HashDisks() ([]string, error) {
	var out []string
	for i := range m.cfg.Disks {
		h, err := HashDisk(m.DiskPath(i))
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}
