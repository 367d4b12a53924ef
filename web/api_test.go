package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

func TestHostJSONHasTheContractsFields(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.checkIn(1, facts())
	var got map[string]any
	b.api("GET", "/hosts/52-54-00-12-34-01", nil, 200, &got)
	for _, k := range []string{"id", "mac", "macs", "name", "role", "state", "step", "blocked_on", "error", "hint", "attention", "job_id", "ip", "arch",
		"firmware", "uuid", "serial", "vendor", "product", "cpu", "memory_bytes", "disks", "nics", "first_seen", "last_seen", "online"} {
		if _, ok := got[k]; !ok {
			t.Errorf("field %q is missing", k)
		}
	}
	disk := got["disks"].([]any)[0].(map[string]any)
	for _, k := range []string{"id", "name", "serial", "model", "size_bytes", "type", "signatures"} {
		if _, ok := disk[k]; !ok {
			t.Errorf("disk field %q is missing", k)
		}
	}
	if got["mac"] != "52:54:00:12:34:01" || got["state"] != "ready" || got["online"] != true || got["ip"] != "10.0.0.1" || disk["signatures"] == nil {
		t.Errorf("got %v", got)
	}
	if _, ok := got["$schema"]; ok {
		t.Error("huma's own fields are in it")
	}
}

func TestHostIsFoundByIDMACAndName(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	h := b.assignNamed(b.checkIn(1, facts()), "node1")
	for _, ref := range []string{string(h.ID), "52:54:00:12:34:01", "52-54-00-12-34-01", "525400123401", "52%3A54%3A00%3A12%3A34%3A01", "node1"} {
		var got Host
		b.api("GET", "/hosts/"+ref, nil, 200, &got)
		if got.ID != h.ID {
			t.Errorf("%s: got host %s, want %s", ref, got.ID, h.ID)
		}
	}
}

func (b *box) assignNamed(h inventory.Host, name string) inventory.Host {
	b.update(func(tx *inventory.Tx) (err error) {
		h, _, err = inventory.Assign(tx, h.ID, inventory.Assignment{Name: &name}, "admin", false, time.Now())
		return err
	})
	return h
}

func TestHostsArePagedByCursorAndFiltered(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	for i := range byte(7) {
		b.discover(i + 1)
	}
	b.checkIn(9, facts())
	seen, pages := map[inventory.HostID]bool{}, 0
	for cursor := ""; ; pages++ {
		var l list[Host]
		b.api("GET", "/hosts?limit=3&cursor="+cursor, nil, 200, &l)
		for _, h := range l.Items {
			seen[h.ID] = true
		}
		if cursor = l.Next; cursor == "" {
			break
		}
	}
	if len(seen) != 8 || pages != 2 {
		t.Errorf("got %d hosts on %d pages, want 8 on 3", len(seen), pages+1)
	}
	for query, want := range map[string]int{"?state=ready": 1, "?state=seen": 7, "?state=seen&limit=7": 7, "?state=failed": 0, "?name=nobody": 0} {
		var l list[Host]
		b.api("GET", "/hosts"+query, nil, 200, &l)
		if len(l.Items) != want || l.Items == nil {
			t.Errorf("%s: got %d hosts, want %d", query, len(l.Items), want)
		}
	}
	var page list[Host]
	b.api("GET", "/hosts?limit=3", nil, 200, &page)
	left := 8 - len(page.Items)
	b.api("DELETE", "/hosts/"+string(page.Items[2].ID), nil, 204, nil) // the one that the cursor names
	b.api("GET", "/hosts?cursor="+page.Next, nil, 200, &page)
	if len(page.Items) != left || page.Next != "" {
		t.Errorf("after the last of a page was forgotten: got %d hosts, want the other %d", len(page.Items), left)
	}
	b.api("GET", "/hosts?limit=0", nil, 422, nil)
	b.api("GET", "/hosts?state=asleep", nil, 422, nil)
}

func TestAnnounceAHost(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var h Host
	a := b.api("POST", "/hosts", map[string]string{"mac": "52:54:00:12:34:0A", "name": "nas", "role": "server"}, 201, &h)
	if h.State != "expected" || h.MAC != "52:54:00:12:34:0a" || h.Role != "server" || a.header.Get("Location") != "/api/v1/hosts/"+string(h.ID) {
		t.Errorf("got %+v at %s", h, a.header.Get("Location"))
	}
	var known map[string]any
	b.api("POST", "/hosts", map[string]string{"uuid": "5b2c7a1e-0001-4000-8000-00000000000a"}, 201, &known)
	for _, key := range []string{"first_seen", "last_seen"} {
		if v, there := known[key]; !there || v != nil {
			t.Errorf("%s of a machine that was never heard: got %v, %v, want null", key, v, there)
		}
	}
	for body, want := range map[string]int{`{"mac":"52:54:00:12:34:0a"}`: 409, `{"mac":"hello"}`: 422, `{}`: 422, `{"serial":"0123456789"}`: 422,
		`{"mac":"52:54:00:12:34:0b","name":"No Name"}`: 422, `{"mac":"52:54:00:12:34:0b","name":"nas"}`: 409, `{"mac":"52:54:00:12:34:0b","unknown":1}`: 422, `{`: 400} {
		b.api("POST", "/hosts", body, want, nil)
	}
}

func TestPutHost(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	h := b.checkIn(1, facts())
	var got Host
	a := b.api("PUT", "/hosts/"+string(h.ID), map[string]any{"name": "node1", "role": "worker", "pins": map[string]string{"os": "virtio-OS1"}, "kernel_args": "quiet"}, 200, &got)
	if got.State != "queued" || got.JobID == "" || got.Name != "node1" || got.KernelArgs != "quiet" || a.header.Get("ETag") == "" {
		t.Errorf("got %+v", got)
	}
	var jobs list[Job]
	b.api("GET", "/jobs?state=open", nil, 200, &jobs)
	if len(jobs.Items) != 1 || jobs.Items[0].ID != got.JobID || jobs.Items[0].By != "admin" {
		t.Errorf("jobs: got %+v", jobs.Items)
	}
	stale := func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", `"1"`) }
	if a := b.send("PUT", "/api/v1/hosts/node1", map[string]string{"name": "node2"}, stale); a.code != 412 {
		t.Errorf("a stale If-Match: got %d %s, want 412", a.code, a.body)
	}
	fresh := func(r *http.Request) { b.bearer(r); r.Header.Set("If-Match", a.header.Get("ETag")) }
	if a := b.send("PUT", "/api/v1/hosts/node1", map[string]string{"name": "node2"}, fresh); a.code != 200 {
		t.Errorf("a fresh If-Match: got %d %s, want 200", a.code, a.body)
	}
	b.api("PUT", "/hosts/nobody", map[string]string{"name": "x"}, 404, nil)
	b.api("PUT", "/hosts/node2", map[string]any{"pins": map[string]string{"os": "../../sda"}}, 422, nil)
	var without Host
	if b.api("PUT", "/hosts/node2", map[string]any{"pins": map[string]string{"os": ""}}, 200, &without); len(without.Pins) != 0 {
		t.Errorf("a pin taken back: got %v", without.Pins)
	}
	b.api("PUT", "/hosts/node2", map[string]any{"kernel_args": "a'b"}, 422, nil)
	b.discover(2)
	b.api("PUT", "/hosts/52:54:00:12:34:02", map[string]string{"name": "node2"}, 409, nil)
}

func TestPutHostOfAnUnseenMACWaitsForIt(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var got Host
	b.api("PUT", "/hosts/52:54:00:12:34:20", map[string]string{"name": "later", "role": "worker"}, 200, &got)
	if got.Name != "later" || got.Role != "worker" || got.State != "queued" || got.BlockedOn == "" {
		t.Errorf("got %+v", got)
	}
	var diary list[inventory.Entry]
	b.api("GET", "/hosts/later/events", nil, 200, &diary)
	if len(diary.Items) != 2 || diary.Items[0].Kind != "admin" || !strings.Contains(diary.Items[1].Text, "Role worker assigned.") {
		t.Errorf("diary: got %+v", diary.Items)
	}
	b.api("PUT", "/hosts/52:54:00:12:34:21", map[string]string{"name": "Bad Name"}, 422, nil)
	b.api("GET", "/hosts/52:54:00:12:34:21", nil, 404, nil) // all or nothing
}

func TestPlanAndConfirmation(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	h := b.checkIn(2, foreignFacts())
	b.api("GET", "/hosts/"+string(h.ID)+"/plan", nil, 409, nil)
	b.api("GET", "/hosts/"+string(h.ID)+"/plan?role=nothing", nil, 422, nil)
	b.assignRole(h, "mini", "worker")
	var p diskplan.Plan
	b.api("GET", "/hosts/mini/plan", nil, 200, &p)
	fates := map[string]diskplan.Fate{}
	for _, d := range p.Disks {
		fates[d.Serial] = d.Fate
	}
	if diff := cmp.Diff(map[string]diskplan.Fate{"S1": diskplan.FateWipe, "S2": diskplan.FateKeep}, fates); diff != "" || len(p.Blockers) != 2 {
		t.Errorf("plan (-want +got): %s, %d blockers", diff, len(p.Blockers))
	}
	for name, c := range map[string]struct {
		body any
		want int
	}{
		"nothing confirmed":      {map[string]any{}, 409},
		"another plan":           {map[string]any{"plan_id": "other", "confirm": map[string]string{"os": "S1"}}, 409},
		"the wrong serial":       {map[string]any{"plan_id": p.ID, "confirm": map[string]string{"os": "S2"}}, 409},
		"half of it":             {map[string]any{"plan_id": p.ID, "confirm": map[string]string{"os": "S1"}}, 409},
		"a field we do not know": {map[string]any{"force": true}, 422},
	} {
		if a := b.send("POST", "/api/v1/hosts/mini/install", c.body, b.bearer); a.code != c.want {
			t.Errorf("%s: got %d %s, want %d", name, a.code, a.body, c.want)
		}
	}
	b.api("POST", "/hosts/mini/install", map[string]any{"plan_id": p.ID, "confirm": map[string]string{"os": "S1", "data": "S2"}, "wipePersistent": []string{"data"}}, 200, nil)
	b.update(func(tx *inventory.Tx) error {
		jobs, err := tx.OpenJobs()
		if err == nil && (len(jobs) != 1 || jobs[0].PlanID != p.ID || jobs[0].Confirm["os"] != "S1" || jobs[0].WipePersistent[0] != "data") {
			t.Errorf("job: got %+v", jobs)
		}
		return err
	})
}

func TestReinstallOfAnInstalledHost(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.hive()
	h := b.assignRole(b.checkIn(1, facts()), "node1", "worker")
	b.events(h.ID, inventory.StepStarted{Step: "copy", No: 1, Of: 2}, inventory.NetbootFlipped{}, inventory.Verified{At: time.Now()})
	b.update(func(tx *inventory.Tx) error {
		j, err := tx.Job(h.JobID)
		if err != nil {
			return err
		}
		j.State = inventory.JobDone
		_, err = tx.PutJob(j)
		return err
	})
	b.api("POST", "/hosts/node1/install", nil, 409, nil)
	var got Host
	b.api("POST", "/hosts/node1/reinstall", nil, 200, &got)
	if got.State != "queued" {
		t.Errorf("got %s, want queued", got.State)
	}
}

func TestActs(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.checkIn(1, facts())
	id := "/hosts/" + string(h.ID)
	step := func(act string, code int, state inventory.State) {
		t.Helper()
		var got Host
		a := b.send("POST", "/api/v1"+id+"/"+act, nil, b.bearer)
		if a.code != code {
			t.Fatalf("%s: got %d %s, want %d", act, a.code, a.body, code)
		}
		if code != 200 {
			return
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.State != state {
			t.Errorf("%s: got state %s %v, want %s", act, got.State, err, state)
		}
	}
	step("ignore", 200, "ignored")
	step("ignore", 200, "ignored")
	if a := b.send("GET", "/api/v1"+id, nil, b.bearer); !strings.Contains(a.body, `"ignored_by":"admin","ignored_at":"20`) {
		t.Errorf("an ignored machine: got %s, want by whom and when", a.body)
	}
	step("unignore", 200, "ready")
	step("unignore", 409, "")
	step("approve", 409, "")
	step("retry", 409, "")
	step("cancel", 409, "")
	step("rescue", 200, "ready")
	step("wake", 200, "ready")
	step("reboot", 200, "ready")
	step("poweroff", 200, "ready")
	step("deploy", 409, "")
	step("dance", 404, "")
	b.assignRole(h, "node1", "worker")
	b.events(h.ID, inventory.StepStarted{Step: "build", No: 1, Of: 2}, inventory.StepFailed{Step: "build", Cause: "no", Hint: "try"})
	step("retry", 200, "queued")
	step("cancel", 200, "ready")
	b.put(h.ID, func(h *inventory.Host) { h.Attention = "Two machines." })
	step("approve", 200, "ready")
	want := []Operation{{Act: "reboot"}, {Act: "poweroff"}}
	for i := range want {
		want[i].Host, want[i].By = h.ID, "admin"
	}
	if diff := cmp.Diff(want, site.ops); diff != "" {
		t.Errorf("operations (-want +got): %s", diff)
	}
	if diff := cmp.Diff([]inventory.MAC{mac(1)}, site.woken); diff != "" {
		t.Errorf("woken (-want +got): %s", diff)
	}
	b.api("DELETE", id, nil, 204, nil)
	b.api("GET", id, nil, 404, nil)
	b.api("DELETE", id, nil, 404, nil)
}

func TestOperationsWithoutAnOperatorSayThatTheyAreNotThere(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.checkIn(1, facts())
	for _, path := range []string{"reboot", "poweroff"} {
		if a := b.api("POST", "/hosts/52:54:00:12:34:01/"+path, nil, 501, nil); !strings.Contains(a.body, "does it on running machines") {
			t.Errorf("%s: got %s", path, a.body)
		}
	}
	b.api("GET", "/hosts/52:54:00:12:34:01/log", nil, 501, nil)
	b.api("PUT", "/reservations/52:54:00:12:34:01", map[string]string{"ip": "10.0.0.5"}, 501, nil)
	b.api("POST", "/roles/refresh", nil, 501, nil)
}

func TestRolesAndRules(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	f := facts()
	f.Vendor = "ACME Inc"
	b.checkIn(1, f)
	var roles struct {
		Items    []inventory.Role
		Revision string
	}
	b.api("GET", "/roles", nil, 200, &roles)
	if len(roles.Items) != 2 || roles.Items[0].Name != "server" || roles.Items[1].Disks["data"].Class != "persistent" || roles.Revision == "" {
		t.Errorf("roles: got %+v", roles)
	}
	var hits list[RuleHit]
	b.api("GET", "/rules/preview", nil, 200, &hits)
	if len(hits.Items) != 1 || hits.Items[0].Would != "assign" || !slices.Equal(hits.Items[0].Roles, []string{"worker"}) {
		t.Errorf("rules: got %+v", hits.Items)
	}
	b.api("POST", "/roles/refresh", nil, 200, nil)
	if site.refreshed != 1 {
		t.Errorf("refreshed %d times, want once", site.refreshed)
	}
	if a := b.send("POST", "/roles/refresh", nil, b.bearer); a.code != 303 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("the page's form with a token: got %d, %q, want no session", a.code, a.header.Get("Set-Cookie"))
	}
}

func TestRuleHit(t *testing.T) {
	t.Parallel()
	f := facts()
	hive := testHive()
	w := hive.Roles["worker"]
	w.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "QEMU"}}
	hive.Roles["worker"] = w
	for _, c := range []struct {
		name  string
		host  inventory.Host
		would string
	}{
		{"a ready machine is given the role", inventory.Host{State: inventory.StateReady, Facts: &f}, "assign"},
		{"an installed one is left alone", inventory.Host{State: inventory.StateInstalled, EverFlipped: true, Facts: &f}, "nothing"},
		{"one with a role is left alone", inventory.Host{State: inventory.StateQueued, Role: "server", Facts: &f}, "nothing"},
		{"a held one is left alone", inventory.Host{State: inventory.StateReady, Held: true, Facts: &f}, "nothing"},
		{"one that waits for approval is left alone", inventory.Host{State: inventory.StateReady, Attention: "x", Facts: &f}, "nothing"},
		{"an ignored one is left alone", inventory.Host{State: inventory.StateIgnored, Facts: &f}, "nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if hit, ok := ruleHit(&c.host, hive); !ok || hit.Would != c.would || hit.Why == "" {
				t.Errorf("got %+v %v, want %s", hit, ok, c.would)
			}
		})
	}
	two := testHive()
	for n, r := range two.Roles {
		r.AutoInstall = &inventory.AutoInstall{Match: inventory.Match{Vendor: "QEMU"}}
		two.Roles[n] = r
	}
	if hit, _ := ruleHit(&inventory.Host{State: inventory.StateReady, Facts: &f}, two); hit.Would != "stop" {
		t.Errorf("two rules: got %+v, want stop", hit)
	}
}

func TestReservationsLeasesAndDecisions(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	site.net.Decisions = []Decision{{MAC: mac(1), Asked: "DISCOVER", Answer: "silence", Reason: "not a PXE request"}}
	b := start(t, site.config)
	b.api("GET", "/reservations/52:54:00:12:34:01", nil, 404, nil)
	b.api("PUT", "/reservations/52-54-00-12-34-01", map[string]string{"ip": "192.168.1.20", "hostname": "node1"}, 200, nil)
	b.api("PUT", "/reservations/52:54:00:12:34:02", map[string]string{"ip": "192.168.1.20"}, 409, nil)
	b.api("PUT", "/reservations/52:54:00:12:34:02", map[string]string{"ip": "fd00::1"}, 422, nil)
	b.api("PUT", "/reservations/nonsense", map[string]string{"ip": "192.168.1.21"}, 422, nil)
	var one Reservation
	b.api("GET", "/reservations/52:54:00:12:34:01", nil, 200, &one)
	if one.IP.String() != "192.168.1.20" || one.Hostname != "node1" {
		t.Errorf("got %+v", one)
	}
	var all list[Reservation]
	b.api("GET", "/reservations", nil, 200, &all)
	var leases list[Lease]
	b.api("GET", "/leases", nil, 200, &leases)
	var ds list[Decision]
	b.api("GET", "/decisions", nil, 200, &ds)
	if len(all.Items) != 1 || len(leases.Items) != 1 || len(ds.Items) != 1 || ds.Items[0].Reason != "not a PXE request" {
		t.Errorf("got %+v %+v %+v", all, leases, ds)
	}
	b.api("DELETE", "/reservations/52:54:00:12:34:01", nil, 204, nil)
	b.api("DELETE", "/reservations/52:54:00:12:34:01", nil, 404, nil)
	b.api("GET", "/network", nil, 200, nil)
	b.api("GET", "/media", nil, 200, nil)
	b.api("GET", "/warnings", nil, 200, nil)
}

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]any
	}
	b.api("GET", "/openapi.json", nil, 200, &doc)
	for _, p := range []string{"/hosts", "/hosts/{id}", "/hosts/{id}/plan", "/hosts/{id}/install", "/hosts/{id}/events", "/hosts/{id}/log", "/roles",
		"/rules/preview", "/leases", "/reservations/{mac}", "/decisions", "/jobs", "/events"} {
		if doc.Paths[p] == nil {
			t.Errorf("%s is not in the document", p)
		}
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version: got %s", doc.OpenAPI)
	}
	if a := b.send("GET", "/openapi.json", nil, nil); a.code != 302 {
		t.Errorf("/openapi.json: got %d", a.code)
	}
}

func TestErrorsMapToStatus(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{inventory.ErrNotFound: 404, inventory.ErrConflict: 409, inventory.ErrBadEvent: 409, inventory.ErrInvalid: 422,
		diskplan.ErrBlocked: 409, diskplan.ErrChanged: 409, ErrNotHere: 501, errStale: 412, http.ErrAbortHandler: 500} {
		if got := status(fmt.Errorf("wrapped: %w", err)); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
	}
}

func TestAMachineThatDoesNotDoItIsABadGateway(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	site.opErr = fmt.Errorf("host node1 does not answer, so it cannot be told to restart; use its power button")
	b := start(t, site.config)
	b.checkIn(1, facts())
	if a := b.api("POST", "/hosts/52:54:00:12:34:01/reboot", nil, 502, nil); !strings.Contains(a.body, "use its power button.") {
		t.Errorf("got %s", a.body)
	}
	b.signIn()
	if a := b.send("POST", "/hosts/52-54-00-12-34-01/reboot", nil, nil); a.code != 502 || !strings.Contains(a.body, "use its power button.") {
		t.Errorf("on the page: got %d %s", a.code, a.body)
	}
	site.opErr = fmt.Errorf("host node1 is being installed: %w", inventory.ErrBadEvent)
	b.api("POST", "/hosts/52:54:00:12:34:01/reboot", nil, 409, nil)
}

func TestBackupIsDownloadedAndNoted(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *Config) {
		c.Backup = func(w io.Writer) error { _, err := io.WriteString(w, "the database"); return err }
	})
	b.signIn()
	a := b.send("GET", "/settings/backup", nil, nil)
	if a.body != "the database" || !strings.Contains(a.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("got %q %v", a.body, a.header)
	}
	if p := b.page("/activity"); !strings.Contains(p, "The database was downloaded by admin.") {
		t.Error("the activity does not tell of it")
	}
	none := start(t, nil)
	none.signIn()
	if a := none.send("GET", "/settings/backup", nil, nil); a.code != 501 {
		t.Errorf("without a backup: got %d", a.code)
	}
}
