package httpboot_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/staged-hive/hatchery/internal/agentapi"
	"github.com/staged-hive/hatchery/internal/sshtest"
	"github.com/staged-hive/hatchery/inventory"
)

// imageBytes is the size of writeImage's initrd.
const imageBytes = 9_000_000

// slow is a machine's download, read as far as the test says: a small window keeps the rest on the appliance's side.
type slow struct {
	t    *testing.T
	conn net.Conn
	body io.Reader
}

// load begins a download from a loopback address.
func (a *appliance) load(t *testing.T, from, path string, header ...string) *slow {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
		t.Fatal(err)
	}
	req := "GET " + path + " HTTP/1.1\r\nHost: x\r\n"
	for i := 0; i < len(header); i += 2 {
		req += header[i] + ": " + header[i+1] + "\r\n"
	}
	if _, err := io.WriteString(c, req+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 4<<10), nil)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("%s: %v %v", path, resp, err)
	}
	return &slow{t, c, resp.Body}
}

func (s *slow) read(n int64) {
	s.t.Helper()
	if _, err := io.CopyN(io.Discard, s.body, n); err != nil {
		s.t.Fatal(err)
	}
}

func (s *slow) rest() {
	s.t.Helper()
	if _, err := io.Copy(io.Discard, s.body); err != nil {
		s.t.Fatal(err)
	}
}

// told gathers what is told of one host, and fails the test when it goes back.
type told struct {
	t   *testing.T
	a   *appliance
	id  inventory.HostID
	mu  sync.Mutex
	all []inventory.Loading
}

func (a *appliance) watchLoading(t *testing.T) *told {
	t.Helper()
	w := &told{t: t, a: a, id: a.host(t).ID}
	end, began := make(chan struct{}), time.Now()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			now, changed := a.srv.Loading()
			if v, ok := now[w.id]; ok {
				w.add(v)
			}
			select {
			case <-changed:
			case <-end:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(end)
		running.Wait()
		if most := int(time.Since(began)/time.Second) + 1; len(w.all) > most {
			t.Errorf("it was told %d times in %s, want at most %d", len(w.all), time.Since(began), most)
		}
	})
	return w
}

func (w *told) add(v inventory.Loading) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.all); n > 0 {
		old := w.all[n-1]
		if v.Try < old.Try || v.Try == old.Try && (v.Part < old.Part && old.Part == inventory.PartKernel || v.Part == old.Part && v.Bytes < old.Bytes || old.Part == inventory.PartImage && v.Part == inventory.PartKernel) {
			w.t.Errorf("it goes back from %s to %s", old, v)
		}
	}
	w.all = append(w.all, v)
}

// until waits until what is told is as wanted; ok is false while nothing is.
func (w *told) until(what string, as func(v inventory.Loading, ok bool) bool) inventory.Loading {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		now, changed := w.a.srv.Loading()
		v, ok := now[w.id]
		if as(v, ok) {
			return v
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("it is never told that %s; last %+v (%t)", what, v, ok)
		}
	}
}

// image waits until that much of the image is told of: what was read, and at most the window more.
func (w *told) image(percent int) {
	w.t.Helper()
	v := w.until(fmt.Sprint(percent, " % is there"), func(v inventory.Loading, ok bool) bool {
		return ok && v.Part == inventory.PartImage && v.Percent() >= percent-1
	})
	if v.Percent() > percent+8 || v.Total != imageBytes {
		w.t.Errorf("%d %% were read, and it is told of %+v", percent, v)
	}
}

func (w *told) gone(why string) {
	w.t.Helper()
	w.until("nothing is loaded, "+why, func(_ inventory.Loading, ok bool) bool { return !ok })
}

const kernelPath, imagePath = "/stage0/x86_64/bzImage", "/stage0/x86_64/initrd"

func TestLoadingGrowsWithWhatTheMachineHas(t *testing.T) {
	t.Parallel()
	a := startAppliance(t, true)
	nonce := a.fetchNonce(t)
	w := a.watchLoading(t)
	a.load(t, "127.0.0.1", kernelPath).rest()
	w.until("the kernel is there", func(v inventory.Loading, ok bool) bool { return ok && v.Part == inventory.PartImage && v.Bytes == 0 })
	s := a.load(t, "127.0.0.1", imagePath)
	for _, p := range []int{20, 40, 60} {
		s.read(imageBytes / 5)
		w.image(p)
	}
	s.rest()
	w.until("stage-0 starts", func(v inventory.Loading, _ bool) bool { return v.Complete() })
	key := sshtest.NewKey(t)
	if code, text := a.send(t, key, agentapi.PathCheckIn, agentapi.CheckIn{Nonce: nonce, HostKey: sshtest.PublicLine(key), BootID: bootID, Facts: facts()}); code != 200 {
		t.Fatalf("check-in: %d %s", code, text)
	}
	w.gone("it has checked in")
}

func TestLoadingInPieces(t *testing.T) {
	t.Parallel()
	a := startAppliance(t, true)
	a.fetchNonce(t)
	w := a.watchLoading(t)
	a.load(t, "127.0.0.1", kernelPath).rest()
	// Two connections, a half each, at once; and a third that asks for what the first has already.
	one := a.load(t, "127.0.0.1", imagePath, "Range", fmt.Sprintf("bytes=0-%d", imageBytes/2-1))
	two := a.load(t, "127.0.0.1", imagePath, "Range", fmt.Sprintf("bytes=%d-", imageBytes/2))
	one.read(imageBytes / 5)
	two.read(imageBytes / 5)
	w.image(40)
	again := a.load(t, "127.0.0.1", imagePath, "Range", fmt.Sprintf("bytes=%d-%d", imageBytes/20, imageBytes/10))
	again.rest()
	one.rest()
	w.image(70)
	two.rest()
	if v := w.until("stage-0 starts", func(v inventory.Loading, _ bool) bool { return v.Complete() }); v.Try != 1 {
		t.Errorf("got %+v", v)
	}
}

func TestLoadingThatBreaksOff(t *testing.T) {
	t.Parallel()
	a := startAppliance(t, true)
	a.fetchNonce(t)
	w := a.watchLoading(t)
	a.load(t, "127.0.0.1", kernelPath).rest()
	s := a.load(t, "127.0.0.1", imagePath)
	s.read(imageBytes / 2)
	w.image(50)
	_ = s.conn.Close()
	w.gone("the download broke off")
	s = a.load(t, "127.0.0.1", imagePath, "Range", fmt.Sprintf("bytes=%d-", imageBytes/2)) // it goes on where it was
	w.image(50)
	s.read(imageBytes / 10)
	w.image(60)
	_ = s.conn.Close()
	w.gone("it broke off once more")
	a.load(t, "127.0.0.1", kernelPath).rest() // iPXE begins anew
	s = a.load(t, "127.0.0.1", imagePath)
	s.read(imageBytes / 10)
	w.image(10)
	if v := w.until("10 % are there", func(v inventory.Loading, ok bool) bool { return ok }); v.Try != 2 || !strings.HasSuffix(v.String(), "% (try 2: the download broke off before)") {
		t.Errorf("got %q, %+v", v, v)
	}
	a.fetchNonce(t) // somebody pressed reset, and the old connection is not known to be dead yet
	w.gone("it booted anew")
}

func TestLoadingOfStrangersIsNotTold(t *testing.T) {
	t.Parallel()
	a := startAppliance(t, true)
	a.fetchNonce(t)
	w := a.watchLoading(t)
	stranger := a.load(t, "127.0.0.2", imagePath)
	stranger.read(imageBytes / 2)
	a.load(t, "127.0.0.1", kernelPath).rest()
	w.until("the kernel is there", func(v inventory.Loading, ok bool) bool { return ok && v.Part == inventory.PartImage })
	if now, _ := a.srv.Loading(); len(now) != 1 || now[w.id].Bytes != 0 {
		t.Errorf("got %+v", now)
	}
}
