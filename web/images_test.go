package web

import (
	"net/http"
	"strings"
	"testing"
)

func TestAnEarlierStage0ImageIsUsedAgainFromThePage(t *testing.T) {
	t.Parallel()
	b := start(t, newFakeSite().config)
	b.signIn()
	const old, now = "e4d909c290d0fb1ca068ffaddf22cbd0", "9e107d9d372bb6826bd81d3542a419d6"
	use := func(digest string) string { return "/media/stage0/x86_64/" + digest + "/use" }
	if p := b.page("/media"); !strings.Contains(p, `action="`+use(old)+`"`) || strings.Contains(p, use(now)) {
		t.Error("the page offers what is in use, or not the other one")
	}
	if a := b.send("POST", use(old), nil, nil); a.code != http.StatusSeeOther {
		t.Fatalf("got %d %s", a.code, a.body)
	}
	p := b.page("/media")
	if !strings.Contains(p, "that netboot from now on get 25.11-4") || !strings.Contains(p, use(now)) || strings.Contains(p, use(old)) {
		t.Errorf("after it the page says:\n%s", p)
	}
	if a := b.send("POST", use("ffff"), nil, nil); a.code != http.StatusNotFound || !strings.Contains(a.body, "for x86_64 is not known: it is kept no longer; nothing was changed.") || !strings.Contains(a.body, "Versions kept") {
		t.Errorf("one that is gone: got %d", a.code)
	}
	if got := needs("POST", "/api/v1/media/stage0/:arch/:digest/use"); got != ScopeAdmin {
		t.Errorf("it needs scope %s, want admin: it decides what every machine runs", got)
	}
	none := start(t, nil)
	none.api("POST", use(old), nil, http.StatusNotImplemented, nil)
}
