package web

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/inventory/inventorytest"
)

func TestEventsResumeWhereTheReaderStopped(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	lines, stop := b.stream("/api/v1/events", nil)
	until(t, lines, "event: hello")
	h := b.discover(1)
	got := until(t, lines, `"state":"seen"`)
	stop()
	id := ""
	for _, l := range got {
		if v, ok := strings.CutPrefix(l, "id: "); ok {
			id = v
		}
	}
	b.assignNamed(h, "while-away")
	resume := func(r *http.Request) { r.Header.Set("Last-Event-ID", id) }
	lines, _ = b.stream("/api/v1/events", resume)
	got = until(t, lines, "while-away")
	if slices.ContainsFunc(got, func(l string) bool {
		return strings.Contains(l, "hello") || strings.Contains(l, "resync") || strings.Contains(l, `"name":""`)
	}) {
		t.Errorf("more than what was missed: %q", got)
	}
	again := b.again() // a reader that comes back after a restart reads everything again, and then misses nothing
	lines, _ = again.stream("/api/v1/events", resume)
	until(t, lines, "event: resync")
	again.discover(7)
	until(t, lines, mac(7).String())
}

// TestEventsAreBoundedInBytes: whatever the size of what changes, feedBytes of it are kept at most.
func TestEventsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	f := newFeed(&Server{})
	for _, size := range []int{100, 10_000, 2 * feedBytes, 1000} {
		for range 500 {
			f.publish(event{name: "job", data: make([]byte, size)})
			kept := 0
			for _, e := range f.ring {
				kept += len(e.data)
			}
			if kept > feedBytes || kept != f.size {
				t.Fatalf("%d bytes are kept of events of %d, %d by its own count, want at most %d", kept, size, f.size, feedBytes)
			}
			if evs, missed, _ := f.since(f.now() - 1); size < feedBytes && (missed || len(evs) != 1) {
				t.Fatalf("the newest event of %d bytes is not kept", size)
			}
		}
	}
}

func TestEventsTellAReaderThatMissedTooMuch(t *testing.T) {
	t.Parallel()
	f := newFeed(&Server{})
	for range feedKeep + 10 {
		f.publish(event{name: "host"})
	}
	if _, missed, _ := f.since(3); !missed {
		t.Error("a reader far behind is not told")
	}
	evs, missed, wake := f.since(f.now() - 2)
	if missed || len(evs) != 2 || evs[1].seq != f.now() {
		t.Errorf("a reader close behind: got %v %v", evs, missed)
	}
	f.forget()
	if _, missed, _ := f.since(f.now() - 1); !missed {
		t.Error("nobody is told of changes that were lost")
	}
	f.publish(event{})
	select {
	case <-wake:
	default:
		t.Error("readers are not woken")
	}
	if _, missed, _ := f.since(f.now() + 5); !missed {
		t.Error("an id from the future is taken")
	}
	if _, ok := f.parse(f.id(7)); !ok {
		t.Error("its own id is not known")
	}
}

func TestLogIsReadAndFollowed(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.checkIn(1, facts())
	site.say(h.ID, "first")
	site.say(h.ID, "second")
	path := "/api/v1/hosts/" + string(h.ID) + "/log"
	if a := b.send("GET", path, nil, b.bearer); strings.Count(a.body, "\n") != 2 || !strings.Contains(a.body, " second\n") {
		t.Errorf("text: got %q", a.body)
	}
	a := b.send("GET", path+"?after=1", nil, func(r *http.Request) { b.bearer(r); r.Header.Set("Accept", "application/x-ndjson") })
	var line LogLine
	if err := json.Unmarshal([]byte(a.body), &line); err != nil || line.Text != "second" || line.ID != 2 {
		t.Errorf("ndjson: got %q %v", a.body, err)
	}
	lines, _ := b.stream(path, func(r *http.Request) { r.Header.Set("Accept", "text/event-stream"); r.Header.Set("Last-Event-ID", "1") })
	until(t, lines, `"text":"second"`)
	site.say(h.ID, "third")
	got := until(t, lines, `"text":"third"`)
	if !slices.Contains(got, "id: 3") {
		t.Errorf("got %q, want id 3", got)
	}
	b.api("GET", "/hosts/nobody/log", nil, 404, nil)

	b.assignRole(h, "node1", "worker") // its job is open now: the log is followed until it is not
	done := make(chan string)
	go func() { done <- b.send("GET", path, nil, b.bearer).body }()
	for i := 0; ; i++ {
		site.say(h.ID, "line %d", i)
		if i == 3 {
			b.api("POST", "/hosts/node1/cancel", nil, 200, nil)
			break
		}
	}
	if body := <-done; !strings.Contains(body, "first") {
		t.Errorf("followed: got %q", body)
	}
}

func TestStreamsOutliveTheLimitOfARequest(t *testing.T) {
	t.Parallel()
	for _, tls := range []string{"auto", "off"} { // HTTP/2 and HTTP/1.1
		t.Run(tls, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("/tmp", "hw")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			const limit = 3 * time.Second // a handshake on a busy machine fits in
			b := run(t, Config{Addr: "127.0.0.1:0", Dir: dir, TLS: tls, Store: inventorytest.NewStore(t)}, limit)
			lines, _ := b.stream("/api/v1/events", nil)
			until(t, lines, "hello")
			for over := time.After(2 * limit); over != nil; { // nothing happens while the limit passes, and the stream does not end
				select {
				case l, ok := <-lines:
					if l != "" && !strings.HasPrefix(l, "data:") || !ok { // the rest of the hello
						t.Fatalf("got %q %v", l, ok)
					}
				case <-over:
					over = nil
				}
			}
			b.discover(1)
			until(t, lines, `"state":"seen"`)
		})
	}
}

func TestEventsCarryTheLinesOfOpenJobs(t *testing.T) {
	t.Parallel()
	site := newFakeSite()
	b := start(t, site.config)
	b.hive()
	h := b.checkIn(1, facts())
	site.say(h.ID, "of an earlier job")
	lines, _ := b.stream("/api/v1/events", nil)
	until(t, lines, "event: hello")
	b.assignRole(h, "node1", "worker")
	until(t, lines, `"role":"worker","state":"queued"`) // the host's event: the job's comes just before
	site.say(h.ID, "copying path")
	got := until(t, lines, `"text":"copying path"`)
	if !strings.Contains(got[len(got)-1], `"host_id":"`+string(h.ID)+`"`) || slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "earlier job") }) {
		t.Errorf("got %q", got)
	}
	b.api("POST", "/hosts/node1/cancel", nil, 200, nil)
	until(t, lines, `"state":"ready"`)
}

func TestSigningOutEndsTheStreams(t *testing.T) {
	t.Parallel()
	b := start(t, nil)
	b.signIn()
	lines, _ := b.stream("/live", func(r *http.Request) { r.Header.Del("Authorization") })
	until(t, lines, "hello")
	if a := b.send("POST", "/settings/signout", nil, nil); a.code != 303 {
		t.Fatalf("got %d", a.code)
	}
	for range lines { // to its end
	}
	if a := b.send("GET", "/live", nil, nil); a.code != 204 {
		t.Errorf("the stream afterwards: got %d, want 204", a.code)
	}
}
