package web

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestEveryPageParses: pages are parsed when they are first shown.
func TestEveryPageParses(t *testing.T) {
	t.Parallel()
	a, err := loadAssets()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range a {
		if f.kind == "" {
			t.Errorf("static file %s has no content type", name)
		}
	}
	p, err := parsePages(a)
	if err != nil {
		t.Fatal(err)
	}
	list, err := fs.Glob(files, "templates/*.html")
	if err != nil || len(list) < 10 {
		t.Fatalf("templates: got %q, %v", list, err)
	}
	for _, f := range list {
		if _, err := p.of(strings.TrimSuffix(path.Base(f), ".html")); err != nil {
			t.Error(err)
		}
	}
}

// golden compares got with a stored file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got, -update writes it anew):\n%s", file, diff)
	}
}

// hostOf is a host in a state, with everything that the state shows.
func hostOf(state inventory.State) inventory.Host {
	f := facts()
	h := inventory.Host{ID: inventory.HostID("id-" + string(state)), MAC: mac(1), MACs: []inventory.MAC{mac(1)}, State: state, Facts: &f, LastSeen: t0.Add(-10 * time.Second)}
	switch state {
	case inventory.StateExpected:
		h.Facts, h.LastSeen, h.Role, h.CreatedAt = nil, time.Time{}, "worker", t0.Add(-5*24*time.Hour)
	case inventory.StateSeen:
		h.Facts, h.LastSeen = nil, t0.Add(-2*time.Minute)
	case inventory.StateQueued:
		h.Name, h.Role, h.BlockedOn = "node1", "worker", "Waits for its turn: 2 installs run."
	case inventory.StateInstalling:
		h.Name, h.Role, h.Step, h.StepNo, h.StepOf = "node1", "worker", "copying system", 3, 7
	case inventory.StateInstalled:
		h.Name, h.Role, h.InstalledAt, h.EverFlipped = "node1", "worker", t0.Add(-48*time.Hour), true
		h.InstalledCommit, h.Behind = "4b825dc642cb6eb9a060e54bf8d69288fbee4904", 2
	case inventory.StateFailed:
		h.Name, h.Role, h.Error, h.Hint = "node1", "worker", "The build ended with exit status 1.", "Read the log, then retry."
	case inventory.StateIgnored:
		h.IgnoredBy, h.IgnoredAt = "token alex", t0.Add(-72*time.Hour)
	}
	return h
}

func TestRowOfEveryState(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var out bytes.Buffer
	for _, st := range inventory.States() {
		h := hostOf(st)
		f, err := b.rowHTML(rowOf(&h, nil, t0), false)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "<!-- %s -->\n%s\n", st, f)
	}
	golden(t, "rows.html", out.Bytes())
}

func TestMachineFragmentsOfEveryState(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	var out bytes.Buffer
	for _, st := range inventory.States() {
		h := hostOf(st)
		p := &machinePage{base: base{Now: t0}, Row: rowOf(&h, nil, t0), Host: hostJSON(&h, t0), Label: h.Label(), Path: "/hosts/x", Acts: b.buttons(&h)}
		if h.Role != "" && h.Facts != nil {
			p.Plan = makePlanView(&h, testHive().Roles["worker"], &inventory.Job{})
			p.Plan.ID = "PLAN"
		}
		p.Disks = diskBars(&h, p.Plan)
		for _, part := range []string{"m-head", "m-plan", "m-asks"} {
			f, err := b.fragment("machine", part, p)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "<!-- %s -->\n%s\n", st, f)
		}
	}
	golden(t, "machine.html", out.Bytes())
}

var (
	idAttr  = regexp.MustCompile(` id="([^"]*)"`)
	forAttr = regexp.MustCompile(` (?:for|aria-labelledby|aria-describedby)="([^"]*)"`)
)

func TestPagesAreSoundAndEscapeWhatMachinesSay(t *testing.T) {
	t.Parallel()
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`
	site := newFakeSite()
	site.net.Why, site.net.Decisions = evil, []Decision{{MAC: mac(1), Asked: evil, Answer: evil, Reason: evil}}
	site.media.Stage0[0].Version, site.media.IPXE[0].Error = evil, evil
	site.reservations = []Reservation{{MAC: mac(1), Hostname: evil}}
	b := start(t, site.config)
	b.seed(site)
	f := facts()
	f.Vendor, f.Product, f.Serial, f.CPU.Model = evil, evil, evil, evil
	f.Disks[0].Model, f.Disks[0].Serial, f.Disks[0].Type = evil, evil, evil
	f.Disks[0].Partitions = []inventory.Partition{{Number: 1, SizeBytes: 1e9, FS: evil, FSLabel: evil}}
	h := b.checkIn(20, f)
	b.assignRole(h, "evil", "worker")
	b.put(h.ID, func(h *inventory.Host) { h.BlockedOn, h.Attention = evil, evil })
	b.update(func(tx *inventory.Tx) error {
		return tx.Note(inventory.Entry{Time: t0, HostID: h.ID, Kind: "checkin", By: evil, Text: evil})
	})
	site.say(h.ID, "%s", evil)
	b.signIn()
	paths := []string{"/", "/roles", "/media", "/network", "/activity", "/settings", "/hosts/evil"}
	for i := 1; i <= 9; i++ {
		paths = append(paths, "/hosts/"+mac(byte(i)).Hyphens())
	}
	for _, path := range paths {
		p := b.page(path)
		if strings.Contains(p, "<script>") || strings.Contains(p, "<img src=x") || strings.Contains(p, " style=") || strings.Contains(p, " onclick=") {
			t.Errorf("%s: unescaped text or inline code", path)
		}
		ids := map[string]bool{}
		for _, m := range idAttr.FindAllStringSubmatch(p, -1) {
			if ids[m[1]] {
				t.Errorf("%s: id %q is used twice", path, m[1])
			}
			ids[m[1]] = true
		}
		for _, m := range forAttr.FindAllStringSubmatch(p, -1) {
			if !ids[m[1]] {
				t.Errorf("%s: %q is named but not there", path, m[1])
			}
		}
	}
	if p := b.page("/hosts/evil"); strings.Count(p, html.EscapeString(evil)) < 3 {
		t.Error("the hostile text is not shown at all")
	}
}

func TestMachinesPageShowsWhatNeedsAPersonFirst(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.seed(site)
	b.signIn()
	var got []string
	for _, m := range regexp.MustCompile(`<th scope="row"><a href="[^"]*">([^<]*)</a>`).FindAllStringSubmatch(b.page("/"), -1) {
		got = append(got, m[1])
	}
	want := []string{"mini", "node2", mac(9).String(), mac(1).String(), "node3", "nas", mac(6).String(), "node1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got): %s", diff)
	}
}

func TestEmptyPageTeachesAndWarns(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	site.media.Stage0, site.net.Requests = nil, 0
	b := start(t, site.config)
	b.update(func(tx *inventory.Tx) error { return tx.PutHive(inventory.Hive{Error: "no flake.nix\nat line 3"}) })
	b.signIn()
	p := b.page("/")
	for _, want := range []string{"Power on a machine", "no stage-0 image yet", "nix build .#stage0", "Listening on eth0 · 0 requests so far", "could not be read: no flake.nix", "Without roles"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestFormsWorkWithoutScript(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.checkIn(1, facts())
	b.discover(2)
	b.signIn()
	page := "/hosts/" + mac(1).Hyphens()
	for _, c := range []struct {
		name, path string
		form       url.Values
		code       int
		says       string
	}{
		{"assign to nobody", "/assign", url.Values{"role": {"worker"}}, 303, "Tick at least one machine"},
		{"announce nonsense", "/hosts", url.Values{"mac": {"hello"}, "name": {"kept"}}, 422, `value="kept"`},
		{"the field that is wrong", "/hosts", url.Values{"mac": {"hello"}, "name": {"kept"}}, 422, `value="hello" required placeholder="aa:bb:cc:dd:ee:ff" class="mono" autocomplete="off" aria-invalid="true"`},
		{"a name that is none", "/hosts", url.Values{"mac": {mac(31).String()}, "name": {"Not One"}}, 422, `value="Not One" maxlength="63" autocomplete="off" aria-invalid="true"`},
		{"announce one", "/hosts", url.Values{"mac": {mac(30).String()}, "name": {"nas"}}, 303, "is expected now"},
		{"announce it again", "/hosts", url.Values{"mac": {mac(30).String()}}, 409, "known already"},
		{"a bad name is refused and kept", page + "/assign", url.Values{"name": {"Bad Name"}}, 422, `value="Bad Name"`},
		{"a name and a pin", page + "/assign", url.Values{"name": {"node1"}, "pin-os": {"virtio-OS1"}, "pin-data": {""}, "kernel_args": {"quiet"}}, 303, "Saved."},
		{"a pin to a port", page + "/assign", url.Values{"pin-os": {"path:pci-0000:00:05.0"}}, 303, "Saved."},
		{"a pin that leads elsewhere", page + "/assign", url.Values{"pin-os": {"path:../sda"}}, 422, "or path:NAME from /dev/disk/by-path"},
		{"and back", page + "/assign", url.Values{"pin-os": {"virtio-OS1"}}, 303, "Saved."},
		{"assign two", "/assign", url.Values{"role": {"worker"}, "host": {string(h.ID), "nobody"}}, 303, "1 of 2 machines got role worker.\nnobody: Not done. Host nobody is not known.\nnode1: Queued: Waits for its turn."},
		{"cancel", page + "/cancel", nil, 303, "Done."},
		{"an act that makes no sense", page + "/unignore", nil, 409, "it is not ignored"},
		{"install", page + "/install", url.Values{}, 303, "Confirmed."},
		{"cancel again", page + "/cancel", nil, 303, "Done."},
		{"forget without the name", page + "/forget", url.Values{"typed": {"other"}}, 422, "to confirm that it is forgotten"},
		{"wake", page + "/wake", nil, 303, "A wake-up packet was sent."},
		{"reboot", page + "/reboot", nil, 303, "Asked for."},
		{"reinstall without the name", page + "/reinstall", nil, 422, "to confirm that it is installed anew"},
		{"reserve without an address", "/reservations", url.Values{"mac": {mac(1).String()}}, 422, "want one IPv4 address"},
		{"reserve", "/reservations", url.Values{"mac": {mac(1).String()}, "ip": {"192.168.1.20"}}, 303, "Saved."},
		{"reserve it for another", "/reservations", url.Values{"mac": {mac(2).String()}, "ip": {"192.168.1.20"}}, 409, "is reserved for"},
		{"give it up", "/reservations", url.Values{"mac": {mac(1).String()}, "remove": {"1"}}, 303, "Saved."},
		{"read the roles again", "/roles/refresh", nil, 303, "The roles were read again."},
		{"forget", page + "/forget", url.Values{"typed": {"node1"}}, 303, "is forgotten"},
		{"an act on nobody", "/hosts/nobody/wake", nil, 404, "is not known"},
		{"an act nobody knows", "/hosts/" + mac(2).Hyphens() + "/dance", nil, 404, "not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := c.form
			if form == nil {
				form = url.Values{}
			}
			a := b.send("POST", c.path, form, nil)
			if a.code != c.code {
				t.Fatalf("got %d %s, want %d", a.code, a.body, c.code)
			}
			body := a.body
			if a.code == 303 {
				to := a.header.Get("Location")
				if to == page || to == "/" || to == "/network" || to == "/roles" {
					body = b.page(to)
				}
			}
			if !strings.Contains(html.UnescapeString(body), c.says) {
				t.Errorf("the page after it does not say %q:\n%s", c.says, body)
			}
		})
	}
}

func TestPlanOfARoleIsShownBeforeItIsGiven(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	h := b.checkIn(2, foreignFacts())
	b.signIn()
	page := "/hosts/" + mac(2).Hyphens()
	p := b.page(page + "?name=mini&role=worker")
	for _, want := range []string{"This is what role worker would do", "erased, becomes os", "data: needs your decision", `<option value="worker" selected>`, `value="mini"`} {
		if !strings.Contains(p, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(p, "Erase and install") {
		t.Error("a role that was not given can be confirmed")
	}
	var got Host
	if b.api("GET", "/hosts/"+string(h.ID), nil, 200, &got); got.Role != "" || got.State != "ready" {
		t.Errorf("looking changed it: %+v", got)
	}
	if p := b.page(page + "?role=%3Cscript%3E"); strings.Contains(p, "This is what role") {
		t.Error("a role that does not exist is planned for")
	}
}

func TestThemeIsKeptAndComesBack(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	a := b.send("POST", "/theme", url.Values{"theme": {"dark"}, "back": {"/login?to=%2Froles"}}, nil)
	if a.code != 303 || a.header.Get("Location") != "/login?to=%2Froles" {
		t.Errorf("got %d to %s", a.code, a.header.Get("Location"))
	}
	if p := b.page("/login"); !strings.Contains(p, `data-theme="dark"`) {
		t.Error("the page is not dark")
	}
	if a := b.send("POST", "/theme", url.Values{"theme": {`"><script>`}, "back": {"https://evil.example/"}}, nil); a.header.Get("Location") != "/" {
		t.Errorf("went to %s", a.header.Get("Location"))
	}
	if p := b.page("/login"); strings.Contains(p, "data-theme") {
		t.Error("an unknown theme was kept")
	}
}

func TestStaticFilesAreCachedByContent(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	link := regexp.MustCompile(`/static/style\.css\?v=[0-9a-f]+`).FindString(b.page("/login"))
	a := b.send("GET", link, nil, nil)
	if !strings.Contains(a.header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/css") || !strings.Contains(a.body, ":root") {
		t.Errorf("got %v", a.header)
	}
	if a := b.send("GET", "/static/style.css", nil, nil); a.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("without its hash: got %v", a.header)
	}
	if n := len(b.assets["app.js"].zip); n > 3000 {
		t.Errorf("the script is %d bytes compressed, want at most 3000", n)
	}
}

func TestLiveSendsRowsAndWords(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	b.signIn()
	since := regexp.MustCompile(`data-live="([^"]*)"`).FindStringSubmatch(b.page("/"))[1]
	h := b.checkIn(1, facts()) // between the page and its stream
	lines, _ := b.stream(html.UnescapeString(since), nil)
	until(t, lines, `id="h-`+string(h.ID)+`"`)
	b.checkIn(3, foreignFacts())
	until(t, lines, mac(3).String()+": Needs a role")
	b.assignRole(h, "node1", "worker")
	until(t, lines, "Queued")
	b.update(func(tx *inventory.Tx) error {
		if _, err := inventory.Cancel(tx, h.ID, time.Now()); err != nil {
			return err
		}
		return inventory.Forget(tx, h.ID, time.Now())
	})
	until(t, lines, "data-gone")
	b.update(func(tx *inventory.Tx) error {
		return tx.PutHive(inventory.Hive{ReadAt: time.Now(), Roles: map[string]inventory.Role{"fresh": {Description: "just written"}}})
	})
	until(t, lines, "fresh – just written")
	late, _ := b.stream("/live?since=otherrun-3", nil)
	until(t, late, `<tbody id="rows"`)
}

func TestLiveOfOneMachine(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.assignRole(b.checkIn(1, facts()), "node1", "worker")
	lines, _ := b.stream("/live?host="+string(h.ID), nil)
	until(t, lines, `id="m-boot"`)
	b.events(h.ID, inventory.StepStarted{Step: "copying", No: 2, Of: 11})
	until(t, lines, "Step 2 of 11 · copying")
	b.update(func(tx *inventory.Tx) error {
		return tx.PutHive(inventory.Hive{ReadAt: time.Now(), Roles: map[string]inventory.Role{"fresh": {Description: "just written"}}})
	})
	until(t, lines, "fresh – just written")
	if a := b.send("GET", "/live?host=nobody", nil, b.bearer); a.code != 404 {
		t.Errorf("of nobody: got %d", a.code)
	}
	log, _ := b.stream("/hosts/node1/log/stream?after=0", nil)
	site.say(h.ID, "hello")
	until(t, log, `"text":"hello"`)
}

func TestBootPath(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	boot := []inventory.Entry{
		{Time: at(0), Kind: "dhcp.offer", Text: "Offered."},
		{Time: at(4), Kind: "tftp.file", Text: "Loaded snponly.efi."},
		{Time: at(6), Kind: "dhcp.offer", Text: "Offered the script."},
		{Time: at(7), Kind: "http.script", Text: "It boots stage-0."},
		{Time: at(8), Kind: "http.file", Text: "Loaded kernel."},
		{Time: at(9), Kind: "dhcp.ack", Text: "Stage-0 has an address."},
		{Time: at(40), Kind: "checkin", Text: "Checked in."},
	}
	reached := func(path []milestone) (out []string) {
		for _, m := range path {
			if !m.At.IsZero() {
				out = append(out, m.Word+" "+m.Took)
			}
		}
		return out
	}
	for _, c := range []struct {
		name  string
		host  inventory.Host
		diary []inventory.Entry
		want  []string
		last  string
	}{
		{"nothing happened", inventory.Host{}, nil, nil, "Checked in"},
		{"a whole boot", inventory.Host{}, boot, []string{"Address ", "iPXE +4.0 s", "Script +3.0 s", "Kernel +1.0 s", "Checked in +32.0 s"}, "Checked in"},
		{"a boot that stopped after iPXE", inventory.Host{}, boot[:3], []string{"Address ", "iPXE +4.0 s"}, "Checked in"},
		{"an image of two files, after a try that broke off", inventory.Host{}, []inventory.Entry{
			{Time: at(0), Kind: "http.script", Text: "It boots stage-0."},
			{Time: at(1), Kind: "http.file", Text: "Loaded bzImage by HTTP: 12.0 MB in 0.9 s."},
			{Time: at(5), Kind: "http.file", Text: "Loaded bzImage by HTTP: 12.0 MB in 1.0 s."},
			{Time: at(9), Kind: "http.file", Text: "Loaded initrd by HTTP: 400.0 MB in 3.0 s."},
			{Time: at(10), Kind: "http.file", Text: "Loaded firmware by HTTP: 4.0 MB in 0.5 s."},
		}, []string{"Script ", "Kernel +1.0 s", "Image +9.0 s"}, "Checked in"},
		{"the next boot begins anew", inventory.Host{}, append(slices.Clone(boot), inventory.Entry{Time: at(300), Kind: "dhcp.offer"}), []string{"Address "}, "Checked in"},
		{"its own disk ends the path", inventory.Host{}, []inventory.Entry{{Time: at(0), Kind: "http.script", Text: "It boots its own disk, because it is installed."}}, []string{"Script "}, "Script"},
		{"the steps of the last job follow", inventory.Host{}, append(slices.Clone(boot),
			inventory.Entry{Time: at(50), Kind: "job.step", Text: "Step 1 of 11, stage-0: old job."},
			inventory.Entry{Time: at(60), Kind: "job.step", Text: "Step 1 of 11, stage-0: wait for stage-0."},
			inventory.Entry{Time: at(61), Kind: "job.step", Text: "Step 2 of 11, plan: plan the disks."}),
			[]string{"Address ", "iPXE +4.0 s", "Script +3.0 s", "Kernel +1.0 s", "Checked in +32.0 s", "stage-0 +20.0 s", "plan +1.0 s"}, "plan"},
		{"steps that a restart of the appliance repeats take nothing back", inventory.Host{}, append(slices.Clone(boot),
			inventory.Entry{Time: at(60), Kind: "job.step", Text: "Step 1 of 11, stage-0: wait for stage-0."},
			inventory.Entry{Time: at(61), Kind: "job.step", Text: "Step 2 of 11, plan: plan the disks."},
			inventory.Entry{Time: at(62), Kind: "job.step", Text: "Step 3 of 11, build: build."},
			inventory.Entry{Time: at(70), Kind: "job.step", Text: "Step 1 of 11, stage-0" + inventory.StepAgain + ": wait for stage-0."}),
			[]string{"Address ", "iPXE +4.0 s", "Script +3.0 s", "Kernel +1.0 s", "Checked in +32.0 s", "stage-0 +30.0 s", "plan ", "build +1.0 s"}, "build"},
		{"an installed host whose diary was trimmed", inventory.Host{State: inventory.StateInstalled, EverFlipped: true, InstalledAt: at(0)}, nil, []string{"Installed "}, "Installed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := bootPath(&c.host, c.diary)
			if diff := cmp.Diff(c.want, reached(got)); diff != "" {
				t.Errorf("reached (-want +got): %s", diff)
			}
			if got[len(got)-1].Word != c.last {
				t.Errorf("last: got %s, want %s", got[len(got)-1].Word, c.last)
			}
		})
	}
}

func TestPlanViewOfAnInstalledHostTellsThatDataIsKept(t *testing.T) {
	t.Parallel()
	h := hostOf(inventory.StateInstalled)
	h.OwnedDisks = map[string]string{"virtio-OS1": "ephemeral", "virtio-DATA1": "persistent"}
	h.Bound = map[string]string{"os": "virtio-OS1", "data": "virtio-DATA1"}
	v := makePlanView(&h, testHive().Roles["worker"], &inventory.Job{}) // its disks were blank when they were last looked at
	bars := diskBars(&h, v)
	if bars[0].Fate != diskplan.FateWipe || bars[1].Fate != diskplan.FateKeep || !v.Keeps || len(v.Wipes) != 1 || v.Act != "reinstall" {
		t.Errorf("got %+v, keeps %v, wipes %v", bars, v.Keeps, v.Wipes)
	}
}

func TestBarPartsFillTheBar(t *testing.T) {
	t.Parallel()
	for _, d := range []inventory.Disk{
		{SizeBytes: 100}, {},
		{SizeBytes: 100, Signatures: []string{"ext4"}},
		{SizeBytes: 100, Partitions: []inventory.Partition{{SizeBytes: 1}, {SizeBytes: 99}}},
		{SizeBytes: 100, Partitions: []inventory.Partition{{SizeBytes: 500}, {SizeBytes: 500}}},
		{SizeBytes: 1000, Partitions: make([]inventory.Partition, 128)},
	} {
		x := 0
		for _, p := range barParts(&d, diskplan.FateWipe) {
			if p.X != x || p.Width < 0 {
				t.Errorf("%+v: part at %d, width %d, want it at %d", d, p.X, p.Width, x)
			}
			x += p.Width
		}
		if x != 1000 && d.SizeBytes > 0 {
			t.Errorf("%+v: the bar ends at %d", d, x)
		}
	}
}

func TestTextsForPeople(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		memoryText(8 << 30): "8 GiB", memoryText(1536 << 20): "1.5 GiB", diskText(512e9): "512 GB", diskText(4e12): "4 TB", diskText(0): "0 B",
		agoText(time.Time{}, t0): "never", agoText(t0, t0): "just now", agoText(t0.Add(-30*time.Second), t0): "30 s ago",
		agoText(t0.Add(-90*time.Minute), t0): "1 h ago", agoText(t0.Add(-72*time.Hour), t0): "3 days ago",
		durationText(300 * time.Millisecond): "300 ms", durationText(90 * time.Second): "1 min 30 s", durationText(9*time.Minute + time.Millisecond): "9 min", durationText(3700 * time.Second): "1 h 1 min",
		plural(1, "disk"): "1 disk", plural(2, "disk"): "2 disks",
		sentence(fmt.Errorf("host x is y: %w", inventory.ErrBadEvent)): "Host x is y.",
		sentence(fmt.Errorf("host x is %w", inventory.ErrNotFound)):    "Host x is not known.",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMagicPacket(t *testing.T) {
	t.Parallel()
	p := MagicPacket(mac(1))
	if m := mac(1); len(p) != 102 || !bytes.Equal(p[:6], bytes.Repeat([]byte{0xff}, 6)) || !bytes.Equal(p[96:], m[:]) {
		t.Errorf("got %x", p)
	}
}

func TestABootThatStoppedSaysWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	h := hostOf(inventory.StateBooting)
	at := func(n int, ago time.Duration) []milestone {
		path := emptyPath()
		for i := range n {
			path[i].At = t0.Add(-ago)
		}
		return path
	}
	for _, c := range []struct {
		name  string
		state inventory.State
		path  []milestone
		says  string // "" = nothing
	}{
		{"nothing was heard", inventory.StateExpected, at(0, 0), ""},
		{"an address and no file", inventory.StateSeen, at(1, 5*time.Minute), "loaded no boot file"},
		{"iPXE and no script", inventory.StateSeen, at(2, 5*time.Minute), "asked for no script"},
		{"a script and no kernel", inventory.StateBooting, at(3, 5*time.Minute), "loaded no kernel"},
		{"a kernel and no image", inventory.StateBooting, at(4, 5*time.Minute), "not all of the image"},
		{"an image and no check-in", inventory.StateBooting, at(5, 5*time.Minute), "nobody checked in"},
		{"still loading", inventory.StateBooting, at(4, time.Minute), ""},
		{"checked in", inventory.StateBooting, at(6, 5*time.Minute), ""},
		{"installed since", inventory.StateInstalled, at(3, 5*time.Minute), ""},
	} {
		h.State = c.state
		got := stuck(&h, c.path, t0)
		if (got != nil) != (c.says != "") || got != nil && (!strings.Contains(got.Text, c.says) || !strings.Contains(got.Text, "5 min ago") || got.Hint == "") {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

func TestNotesAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.hive()
	b.checkIn(1, facts())
	b.signIn()
	path := "/hosts/" + mac(1).Hyphens()
	if a := b.send("POST", path+"/note", form("notes", "Second shelf.\r\n<b>Ann's</b>"), nil); a.code != 303 {
		t.Fatalf("got %d %s", a.code, a.body)
	}
	if h := b.must(mac(1)); h.Notes != "Second shelf.\n<b>Ann's</b>" {
		t.Errorf("stored %q", h.Notes)
	}
	p := b.page(path)
	if !strings.Contains(p, "Second shelf.\n&lt;b&gt;Ann&#39;s&lt;/b&gt;</textarea>") || !strings.Contains(p, "Notes changed.") || !strings.Contains(p, `id="raw"`) {
		t.Error("the page does not show notes, diary and raw facts")
	}
	if a := b.send("POST", path+"/note", form("notes", strings.Repeat("x", inventory.MaxNotes+1)), nil); a.code != 422 || !strings.Contains(a.body, "at most 2000") {
		t.Errorf("too long: got %d", a.code)
	}
	var h Host
	if b.api("PUT", "/hosts/"+mac(1).String(), map[string]string{"notes": ""}, 200, &h); h.Notes != "" || h.Role != "" {
		t.Errorf("got %+v", h)
	}
}
