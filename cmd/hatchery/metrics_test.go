package main

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/tftp"
)

func TestBootMetrics(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	r.MustRegister(bootMetrics(func() tftp.Stats { return tftp.Stats{Files: 3, Bytes: 300, Probes: 2, Refused: 1, Failed: 4} },
		func() httpboot.Stats {
			return httpboot.Stats{Scripts: 5, Downloads: 6, DownloadBytes: 700, CheckIns: 8, Refused: 9}
		})...)
	want := map[string]float64{"hatchery_tftp_files_total": 3, "hatchery_tftp_bytes_total": 300, "hatchery_tftp_size_probes_total": 2, "hatchery_tftp_refused_total": 1,
		"hatchery_tftp_failed_total": 4, "hatchery_boot_scripts_total": 5, "hatchery_boot_downloads_total": 6, "hatchery_boot_download_bytes_total": 700,
		"hatchery_agent_reports_total": 8, "hatchery_agent_refused_total": 9}
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if got := f.GetMetric()[0].GetCounter().GetValue(); got != want[f.GetName()] {
			t.Errorf("%s: got %v, want %v", f.GetName(), got, want[f.GetName()])
		}
		delete(want, f.GetName())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
