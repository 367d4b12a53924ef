package web

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory"
)

func TestAJobThatEndedKeepsItsPageAndItsLog(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.assignRole(b.checkIn(1, facts()), "node1", "worker")
	first := h.JobID
	b.update(func(tx *inventory.Tx) error { _, err := inventory.Cancel(tx, h.ID, time.Now()); return err })
	h = b.assignRole(h, "node1", "worker")
	for i := range jobLogLines + 5 {
		site.jobLogs[first] = append(site.jobLogs[first], LogLine{ID: uint64(i + 1), Time: t0, Text: "line of the first job", Level: map[bool]string{true: "error"}[i%2 == 0]})
	}
	b.signIn()
	p := b.page("/hosts/node1")
	for _, want := range []string{"/jobs/" + string(first), "/jobs/" + string(h.JobID), "cancelled", "Download the whole log"} {
		if !strings.Contains(p, want) {
			t.Errorf("the machine's page does not say %q", want)
		}
	}
	p = b.page("/jobs/" + string(first))
	for _, want := range []string{"Install of node1", "cancelled", "It wrote to no disk.", `class="error"`, "The last 2000 lines; 5 earlier ones"} {
		if !strings.Contains(p, want) {
			t.Errorf("the job's page does not say %q", want)
		}
	}
	if n := strings.Count(p, "line of the first job"); n != jobLogLines {
		t.Errorf("got %d lines on the page, want %d", n, jobLogLines)
	}
	a := b.api(http.MethodGet, "/jobs/"+string(first)+"/log", nil, 200, nil)
	if n := strings.Count(a.body, "\n"); n != jobLogLines+5 || !strings.HasPrefix(a.body, "2026-11-22T14:00:00Z line of") {
		t.Errorf("got %d lines, the first being %.40q", n, a.body)
	}
	b.api(http.MethodGet, "/jobs/nothing/log", nil, 404, nil)
	if a := b.send(http.MethodGet, "/jobs/nothing", nil, nil); a.code != 404 || !strings.Contains(a.body, "not known any more") {
		t.Errorf("a job that never was: %d %s", a.code, a.body)
	}
}

// activity is the newest part of the appliance's own diary, newest first.
func (b *box) activity(n int) (out []inventory.Entry, err error) {
	err = b.store.View(func(tx *inventory.Tx) error {
		out, err = tx.DiaryBack("", 0, n)
		return err
	})
	return out, err
}
