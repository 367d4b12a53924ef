package main

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"net/http/httptest"

	"github.com/staged-hive/hatchery/dhcp"
	"github.com/staged-hive/hatchery/dhcp/lease"
	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/internal/meter"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/boltdb"
	"github.com/staged-hive/hatchery/tftp"
)

// scrape reads /metrics as Prometheus does: the text goes through its own parser and its own linter.
func scrape(t *testing.T, r prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("/metrics: %d: %s", w.Code, w.Body)
	}
	problems, err := promlint.New(bytes.NewReader(w.Body.Bytes())).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value is what a metric with these label values says; a histogram's is how often it was observed.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
next:
	for _, m := range families[name].GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetValue())
		}
		if !cmp.Equal(got, labels) {
			continue next
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	t.Errorf("%s%q is not there: %v", name, labels, families[name])
	return -1
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	took, committed := commitMetrics()
	dir := t.TempDir()
	db, err := boltdb.Open(boltdb.Config{Path: filepath.Join(dir, databaseName), Committed: committed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	mac := inventory.MAC{0x52, 0x54, 0, 0, 0, 1}
	if err := db.Update(func(tx *inventory.Tx) error {
		_, err := inventory.Discover(tx, inventory.Contact{MAC: mac}, time.Now())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.CommitLeases(lease.Lease{IP: netip.MustParseAddr("10.0.0.9"), HW: lease.HW(mac), State: lease.StateBound}); err != nil {
		t.Fatal(err)
	}
	status := func() server.Status {
		return server.Status{Counters: server.Counters{Received: 12, Malformed: 2, Limited: 1, SendErrors: 3, CommitErrors: 4, NotesDropped: 5},
			Pools: []server.Pool{{Range: "10.0.0.1-10.0.0.9", Usage: lease.Usage{Live: 1, Free: 7, Held: 2, Quarantined: 1}}}}
	}
	rules := func() map[server.Rule]uint64 {
		return map[server.Rule]uint64{
			{Kind: dhcp.KindPXE, Asked: "DISCOVER", Reply: "OFFER", Reason: "offered an address"}:                      6,
			{Kind: dhcp.KindPlain, Asked: "REQUEST", Reason: "takes its address from the \"server\" …\nbehind a line"}: 3,
		}
	}
	r := prometheus.NewRegistry()
	r.MustRegister(took, meter.New(db), &siteMetrics{dhcp: status, rules: rules, store: db, size: db.Size, disk: func() int64 { return diskFree(dir) }})
	r.MustRegister(bootMetrics(func() tftp.Stats { return tftp.Stats{Files: 3, Bytes: 300, Probes: 2, Refused: 1, Failed: 4} },
		func() httpboot.Stats {
			return httpboot.Stats{Scripts: 5, Downloads: 6, DownloadBytes: 700, CheckIns: 8, Refused: 9}
		})...)
	f := scrape(t, r)
	for name, want := range map[string]float64{"hatchery_tftp_files_total": 3, "hatchery_tftp_bytes_total": 300, "hatchery_tftp_size_probes_total": 2, "hatchery_tftp_refused_total": 1,
		"hatchery_tftp_failed_total": 4, "hatchery_boot_scripts_total": 5, "hatchery_boot_downloads_total": 6, "hatchery_boot_download_bytes_total": 700,
		"hatchery_agent_reports_total": 8, "hatchery_agent_refused_total": 9, "hatchery_dhcp_received_total": 12} {
		if got := value(t, f, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		// expfmt sorts labels by name: asked, kind, reason, reply.
		{"hatchery_dhcp_decisions_total", []string{"DISCOVER", "pxe", "offered an address", "OFFER"}, 6},
		{"hatchery_dhcp_decisions_total", []string{"REQUEST", "plain", "takes its address from the \"server\" …\nbehind a line", "silence"}, 3},
		{"hatchery_dhcp_thrown_away_total", []string{"malformed"}, 2},
		{"hatchery_dhcp_errors_total", []string{"lease not stored"}, 4},
		{"hatchery_dhcp_leases", []string{"10.0.0.1-10.0.0.9", "live"}, 1},
		{"hatchery_dhcp_leases", []string{"10.0.0.1-10.0.0.9", "free"}, 7},
		{"hatchery_hosts", []string{"seen"}, 1},
		{"hatchery_store_commit_duration_seconds", []string{"leases"}, 1},
		{"hatchery_store_commit_duration_seconds", []string{"inventory"}, 1},
		{"hatchery_build_info", []string{versionText()}, 1},
	} {
		if got := value(t, f, c.name, c.labels...); got != c.want {
			t.Errorf("%s%q: got %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	for _, name := range []string{"hatchery_store_size_bytes", "hatchery_data_disk_free_bytes"} {
		if got := value(t, f, name); got < 4096 {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
