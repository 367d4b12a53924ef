package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/staged-hive/hatchery/inventory"
)

const (
	diaryLines = 80  // of the diary, newest first, on a machine's page
	logLines   = 200 // of the log, drawn with the page
)

// machinePage is everything about one machine.
type machinePage struct {
	base
	Row        row
	Host       Host
	Label      string
	Path       string // of the page
	Acts       []button
	Roles      []inventory.Role
	NoRole     bool   // its role is not in the hive
	Preview    string // a role that its disks are planned for just to see, "" = its own
	Plan       *planView
	Stuck      *Warning  // where the boot stopped, and what to do about it
	Began      time.Time // of the open job; zero = none runs
	Attempt    int
	CanReserve bool
	Reserved   *Reservation
	Raw        string // the facts as JSON
	Boot       []milestone
	Diary      []inventory.Entry // newest first
	Disks      []diskBar
	Jobs       []jobView  // the last ones, newest first
	Log        *logView   // nil = no job yet
	Packets    bool       // its packets can be downloaded
	Err        string     // why what was just asked for was not done
	Form       url.Values // what was typed and not saved
	Tried      string     // the act that was refused, "" = none
	Wrong      []string   // the fields that it was refused for
}

// Val is what was typed into a field that is shown again, else the given value.
func (p *machinePage) Val(name, otherwise string) string {
	if p.Form.Has(name) {
		return p.Form.Get(name)
	}
	return otherwise
}

// RoleHelp says what choosing a role does now.
func (p *machinePage) RoleHelp() string {
	switch h := p.Host; {
	case h.State == inventory.StateInstalling:
		return "It cannot change while the install runs."
	case h.State == inventory.StateIgnored:
		return "It is ignored: nothing is installed before you un-ignore it."
	case h.State == inventory.StateFailed:
		return "A new role is used by the next try."
	case h.Upkeep != "":
		return "It cannot change while a job works on the machine."
	case h.State == inventory.StateQueued:
		return "The waiting job takes a new role."
	case h.EverFlipped:
		return "It is installed: a new role is used by the next reinstall."
	}
	when := ""
	if h := p.Host; h.State != inventory.StateReady {
		when = " as soon as it has netbooted"
	}
	return "Giving a role starts its installation" + when + ". Disks with data on them are never erased without your word."
}

// button is an act that the page offers.
type button struct {
	Act, Text, Class, Title string
}

// buttons are the acts that make sense for the host now, the likeliest first.
func (s *Server) buttons(h *inventory.Host) []button {
	var out []button
	add := func(act, text, class, title string) { out = append(out, button{act, text, class, title}) }
	if h.Attention != "" {
		add("approve", "Approve", "main", "Go on with this machine")
	}
	if loop := h.Looping(s.cfg.Now()); loop != "" {
		add("release", "Let it try again", "", loop)
	}
	switch h.State {
	case inventory.StateFailed:
		add("retry", "Retry", "main", "Queue the job again")
		add("cancel", "Give up", "", "End the job")
	case inventory.StateQueued:
		add("cancel", "Cancel the job", "", "End the job before it starts")
	case inventory.StateInstalling:
		add("cancel", "Stop", "danger", "Ask the installer to stop")
	case inventory.StateInstalled:
		if h.Upkeep == "" {
			class := ""
			if h.Lags() {
				class = "main"
			}
			add("deploy", "Deploy", class, "Build and switch to what the hive says now; it goes back by itself when that fails")
		}
	case inventory.StateIgnored:
		add("unignore", "Un-ignore", "main", "Answer its netboot again")
		return out
	}
	if h.Upkeep != "" {
		add("cancel", "Stop", "danger", "End the "+string(h.Upkeep)+"; a machine on trial goes back to its earlier system")
	}
	if len(h.MACs) > 0 {
		add("wake", "Wake", "", "Send a wake-up packet")
	}
	answers := h.EverFlipped || !h.ReportedAt.IsZero() // a system of ours ran on it: before that nothing there takes an order
	if answers && h.IP.IsValid() && s.cfg.Operator != nil && h.State != inventory.StateInstalling && h.Upkeep == "" {
		add(ActReboot, "Reboot", "", "Over SSH")
		add(ActPowerOff, "Power off", "", "Over SSH")
	}
	add("rescue", "Boot stage-0 once", "", "At its next netboot, within an hour. Nothing is written")
	if h.State != inventory.StateQueued && h.State != inventory.StateInstalling && h.Upkeep == "" {
		add("ignore", "Ignore", "", "Meet its netboot with silence")
	}
	return out
}

func (s *Server) machine(c echo.Context) error {
	p, err := s.readMachine(c, c.Param("id"))
	if err != nil {
		return err
	}
	return s.render(c, http.StatusOK, "machine", p)
}

func (s *Server) readMachine(c echo.Context, ref string) (*machinePage, error) {
	since := s.feed.now()
	p := &machinePage{base: s.page(c, "Machine", "machines"), Preview: c.QueryParam("role"), Form: c.QueryParams()}
	if err := s.fillMachine(p, ref); err != nil {
		return nil, err
	}
	p.Title, p.Back = p.Label, p.Path
	p.Live = "/live?host=" + queryEscape(string(p.Host.ID)) + "&since=" + s.feed.id(since)
	if typed := p.Form.Encode(); typed != "" {
		p.Live += "&" + typed
	}
	return p, s.fillLog(p)
}

// fillMachine reads all but the log.
func (s *Server) fillMachine(p *machinePage, ref string) error {
	err := s.cfg.Store.View(func(tx *inventory.Tx) error {
		h, err := tx.FindHost(ref)
		if err != nil {
			return err
		}
		hive, err := tx.Hive()
		if err != nil {
			return err
		}
		diary, err := tail(tx, h.ID, inventory.DiaryKeep)
		if err != nil {
			return err
		}
		l := &lookup{roles: hive.Roles, job: tx.Job, diary: tx.DiaryBack, boots: s.loading()}
		p.Row, p.Host, p.Label = rowOf(&h, l, p.Now), s.hostJSON(&h), h.Label()
		p.Path, p.Packets = "/hosts/"+p.Row.Ref, s.cfg.Care != nil
		p.Acts, p.Roles = s.buttons(&h), sortedRoles(hive)
		_, known := hive.Roles[h.Role]
		p.NoRole = h.Role != "" && !known
		if r, ok := hive.Roles[p.Preview]; ok && p.Preview != h.Role {
			p.Plan = makePlanView(&h, r, &inventory.Job{})
			p.Plan.Act = ""
		} else if known && h.State != inventory.StateIgnored {
			j, err := lastJobOf(tx, &h)
			if err != nil {
				return err
			}
			p.Plan = makePlanView(&h, hive.Roles[h.Role], &j)
		}
		p.Disks = diskBars(&h, p.Plan)
		if p.Jobs, err = jobsOf(tx, h.ID, p.Now); err != nil {
			return err
		}
		if j, err := lastJobOf(tx, &h); err == nil && j.Open() {
			p.Began, p.Attempt = j.StartedAt, j.Attempt
		}
		p.Boot = bootPath(&h, diary)
		if at, ok := l.loading(h.ID); ok && !at.Complete() {
			showLoading(p.Boot, at)
		} else {
			p.Stuck = stuck(&h, lastBoot(diary), p.Now)
		}
		p.Raw = rawFacts(h.Facts)
		slices.Reverse(diary)
		p.Diary = diary[:min(len(diary), diaryLines)]
		return nil
	})
	return errors.Join(err, s.fillAddress(p))
}

// fillAddress reads what is reserved for the machine.
func (s *Server) fillAddress(p *machinePage) error {
	if p.CanReserve = s.cfg.Leases != nil; !p.CanReserve {
		return nil
	}
	for _, text := range p.Host.MACs {
		m, err := inventory.ParseMAC(text)
		if err != nil {
			return err
		}
		r, err := s.cfg.Leases.Reservation(m)
		if err == nil {
			p.Reserved = &r
			return nil
		}
		if !errors.Is(err, inventory.ErrNotFound) {
			return err
		}
	}
	return nil
}

// rawFacts is what the machine reported, for people who want all of it.
func rawFacts(f *inventory.Facts) string {
	if f == nil {
		return ""
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return ""
	}
	return string(raw)
}

// fillLog reads the end of the last job's log, and the jobs.
func (s *Server) fillLog(p *machinePage) error {
	if s.cfg.Logs == nil || p.Host.JobID == "" {
		return nil
	}
	lines, err := s.cfg.Logs.Tail(p.Host.ID, logLines)
	if errors.Is(err, inventory.ErrNotFound) {
		err = nil
	}
	after := uint64(0)
	if len(lines) > 0 {
		after = lines[len(lines)-1].ID
	}
	p.Log = &logView{Lines: lines, Stream: p.Path + "/log/stream?after=" + strconv.FormatUint(after, 10),
		Download: "/api/v1/hosts/" + string(p.Host.ID) + "/log?follow=false", File: p.Label + ".log"}
	return err
}

// machineAct carries out what a form on a machine's page asks for, and comes back to the page.
func (s *Server) machineAct(c echo.Context) error {
	form, err := c.FormParams()
	if err != nil {
		return echo.NewHTTPError(http.StatusBadRequest, "This form could not be read. Go back and try again.")
	}
	ref, act := c.Param("id"), c.Param("act")
	said, err := s.carryOut(c, ref, act, form)
	if err == nil {
		to := "/hosts/" + url.PathEscape(ref)
		if act == "forget" {
			to = "/"
		}
		return s.said(c, to, said)
	}
	code := status(err)
	if wantsSentence(c) && code != http.StatusInternalServerError {
		return c.String(code, sentence(err))
	}
	if code == http.StatusNotFound || code == http.StatusInternalServerError {
		return err
	}
	p, rerr := s.readMachine(c, ref)
	if rerr != nil {
		return rerr
	}
	p.Err, p.Form, p.Tried = sentence(err), form, act
	p.Wrong = wrongFields(p, act, form)
	return s.render(c, code, "machine", p)
}

// carryOut does one act and says in a sentence what was done.
func (s *Server) carryOut(c echo.Context, ref, act string, form url.Values) (string, error) {
	ctx := c.Request().Context()
	var h inventory.Host
	var err error
	switch act {
	case "assign":
		a, aerr := formAssignment(form)
		if aerr != nil {
			return "", aerr
		}
		h, err = s.assign(ctx, ref, a, IfMatchIn{})
		return "Saved. " + below(&h, s.cfg.Now()), err
	case "note":
		text := strings.ReplaceAll(form.Get("notes"), "\r\n", "\n")
		_, err = s.assign(ctx, ref, inventory.Assignment{Notes: &text}, IfMatchIn{})
		return "Noted.", err
	case "format":
		h, err = s.format(ctx, ref, inventory.FormatOrder{PlanID: form.Get("plan_id"), Slot: form.Get("slot"), Word: strings.TrimSpace(form.Get("typed"))})
		return "Asked for. The disk of slot " + clip(form.Get("slot"), 63) + " is formatted in stage-0.", err
	case "install", "reinstall":
		if h, err = s.host(ref); err != nil {
			return "", err
		}
		if err := s.samePlan(&h, form.Get("plan_id")); err != nil {
			return "", err
		}
		if typed := strings.TrimSpace(form.Get("typed")); act == "reinstall" && typed != h.Label() {
			return "", fmt.Errorf("type %q to confirm that it is installed anew: %w", h.Label(), inventory.ErrInvalid)
		}
		h, err = s.install(ctx, ref, formConfirmation(form), act == "reinstall")
		return "Confirmed. " + below(&h, s.cfg.Now()), err
	case "forget":
		if h, err = s.host(ref); err != nil {
			return "", err
		}
		if strings.TrimSpace(form.Get("typed")) != h.Label() {
			return "", fmt.Errorf("type %q to confirm that it is forgotten: %w", h.Label(), inventory.ErrInvalid)
		}
		return h.Label() + " is forgotten. It appears again when it netboots.", s.forget(ctx, ref, IfMatchIn{})
	case "wake":
		_, err = s.wake(ctx, ref)
		return "A wake-up packet was sent.", err
	case ActReboot, ActPowerOff:
		_, err = s.operate(ctx, ref, Operation{Act: act})
		return "Asked for.", err
	case "deploy":
		_, err = s.doAct(ctx, ref, act)
		return "Asked for. The machine goes back to its present system by itself when the new one is not well.", err
	}
	h, err = s.doAct(ctx, ref, act)
	return "Done. " + below(&h, s.cfg.Now()), err
}

func formAssignment(form url.Values) (a inventory.Assignment, err error) {
	set := func(name string) *string {
		if !form.Has(name) {
			return nil
		}
		v := strings.TrimSpace(form.Get(name))
		return &v
	}
	a.Name, a.Role, a.KernelArgs = set("name"), set("role"), set("kernel_args")
	for key := range form {
		slot, ok := strings.CutPrefix(key, "pin-")
		if !ok {
			continue
		}
		if a.Pins == nil {
			a.Pins = map[string]string{}
		}
		if disk := form.Get(key); disk != "" {
			a.Pins[slot] = disk
		}
	}
	if form.Has("address") {
		a.Address, err = formAddress(form)
	}
	return a, err
}

// formAddress reads the fixed address that was typed in: a plain one is reserved elsewhere, one with a prefix length is static.
func formAddress(form url.Values) (*inventory.Address, error) {
	v := Address{IP: strings.TrimSpace(form.Get("address")), Gateway: strings.TrimSpace(form.Get("gateway"))}
	v.DNS = strings.FieldsFunc(form.Get("dns"), func(r rune) bool { return r == ',' || r == ' ' })
	if ip, bits, ok := strings.Cut(v.IP, "/"); ok {
		n, err := strconv.Atoi(bits)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address with a prefix length, like 10.0.0.5/24: %w", clip(v.IP, 64), inventory.ErrInvalid)
		}
		v.IP, v.Prefix, v.Static = ip, n, true
	}
	return v.parse()
}

// AddressText is the host's fixed address as it is typed in.
func (p *machinePage) AddressText() string {
	a := p.Host.Address
	switch {
	case a == nil:
		return ""
	case a.Static:
		return fmt.Sprintf("%s/%d", a.IP, a.Prefix)
	}
	return a.IP
}

// GatewayText and DNSText are what a static address has beside it.
func (p *machinePage) GatewayText() string {
	if p.Host.Address == nil {
		return ""
	}
	return p.Host.Address.Gateway
}

// DNSText is documented with [machinePage.GatewayText].
func (p *machinePage) DNSText() string {
	if p.Host.Address == nil {
		return ""
	}
	return strings.Join(p.Host.Address.DNS, ", ")
}

func formConfirmation(form url.Values) inventory.Confirmation {
	c := inventory.Confirmation{Confirm: map[string]string{}}
	for key := range form {
		v := strings.TrimSpace(form.Get(key))
		if slot, ok := strings.CutPrefix(key, "confirm-"); ok && v != "" {
			c.Confirm[slot] = v
		}
	}
	c.WipePersistent = append(c.WipePersistent, form["wipe"]...)
	if len(c.Confirm) > 0 || len(c.WipePersistent) > 0 {
		c.PlanID = form.Get("plan_id") // else nothing hangs on how the disks looked
	}
	return c
}

// machineView is the page of one machine.
type machineView struct {
	s     *Server
	id    inventory.HostID
	typed url.Values // into the form of the page, not saved
	sent  map[string]string
	hive  time.Time // when the roles were read that the page shows
}

func (v *machineView) changed(hosts []inventory.HostID) ([][]byte, string, error) {
	if !slices.Contains(hosts, v.id) {
		return nil, "", nil
	}
	frags, err := v.all()
	return frags, "", err
}

// polled draws the page again when the roles were read anew.
func (v *machineView) polled() ([][]byte, error) {
	h, err := v.s.hive()
	if err != nil || h.ReadAt.Equal(v.hive) {
		return nil, err
	}
	v.hive = h.ReadAt
	return v.all()
}

func (v *machineView) all() (out [][]byte, err error) {
	p := &machinePage{base: base{Now: v.s.cfg.Now()}, Preview: v.typed.Get("role"), Form: v.typed}
	if err := v.s.fillMachine(p, string(v.id)); errors.Is(err, inventory.ErrNotFound) {
		f, err := v.s.fragment("machine", "forgotten", v.id)
		return [][]byte{f}, err
	} else if err != nil {
		return nil, err
	}
	for _, part := range []string{"m-head", "m-role", "m-plan", "m-asks", "m-jobs", "m-boot", "m-address", "m-diary", "m-hardware", "m-notes"} {
		f, err := v.s.fragment("machine", part, p)
		if err != nil {
			return nil, err
		}
		if v.sent[part] == string(f) {
			continue
		}
		v.sent[part] = string(f)
		out = append(out, f)
	}
	return out, nil
}

// logStreamPage is the log's own stream of a machine's page.
func (s *Server) logStreamPage(c echo.Context) error {
	h, err := s.host(c.Param("id"))
	if err != nil {
		return err
	}
	if s.cfg.Logs == nil {
		return c.NoContent(http.StatusNoContent)
	}
	after, err := strconv.ParseUint(first(c.Request().Header.Get("Last-Event-ID"), c.QueryParam("after"), "0"), 10, 64)
	if err != nil {
		after = 0
	}
	out, err := startSSE(c.Response())
	if err != nil {
		return err
	}
	ctx, cancel := s.whileSignedIn(c.Request().Context())
	defer cancel()
	s.ended(ctx, "log stream ended", s.followLog(ctx, out, h.ID, after))
	return nil
}
