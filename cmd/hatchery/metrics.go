package main

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/dhcp/server"
	"github.com/staged-hive/hatchery/httpboot"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/tftp"
)

// bootMetrics are the counts of TFTP and of the boot listener since their start.
func bootMetrics(t func() tftp.Stats, h func() httpboot.Stats) []prometheus.Collector {
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "hatchery", Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	return []prometheus.Collector{
		counter("tftp_files_total", "Files sent by TFTP to their end.", func() uint64 { return t().Files }),
		counter("tftp_bytes_total", "Bytes of the files sent by TFTP to their end.", func() uint64 { return t().Bytes }),
		counter("tftp_size_probes_total", "TFTP requests that were broken off once the size was known, as UEFI firmware does.", func() uint64 { return t().Probes }),
		counter("tftp_refused_total", "TFTP requests for unknown names or beyond the limit.", func() uint64 { return t().Refused }),
		counter("tftp_failed_total", "TFTP transfers that ended early.", func() uint64 { return t().Failed }),
		counter("boot_scripts_total", "Boot scripts answered.", func() uint64 { return h().Scripts }),
		counter("boot_downloads_total", "Boot files and images that went out by HTTP to their end.", func() uint64 { return h().Downloads }),
		counter("boot_download_bytes_total", "Bytes of boot files and images by HTTP, of broken-off downloads too.", func() uint64 { return h().DownloadBytes }),
		counter("agent_reports_total", "Check-ins and reports of agents that were taken.", func() uint64 { return h().CheckIns }),
		counter("agent_refused_total", "Check-ins, reports and joins of agents that were refused.", func() uint64 { return h().Refused }),
	}
}

// siteMetrics tell of DHCP, the inventory and the store as they are at the moment of the question.
type siteMetrics struct {
	dhcp  func() server.Status
	rules func() map[server.Rule]uint64
	store inventory.Store
	size  func() (length, free int64)
	disk  func() (free int64)
}

// The metrics of siteMetrics.
var (
	descDecisions = desc("dhcp_decisions_total", "DHCP messages by who asked, for what, the reply (silence too) and why.", "kind", "asked", "reply", "reason")
	descReceived  = desc("dhcp_received_total", "DHCP messages received.")
	descThrown    = desc("dhcp_thrown_away_total", "DHCP messages that were not looked at: no request, or more than a machine may send.", "why")
	descErrors    = desc("dhcp_errors_total", "DHCP replies that did not leave, leases that could not be stored, diary lines that were left out.", "what")
	descLeases    = desc("dhcp_leases", "Addresses of a range by state.", "range", "state")
	descHosts     = desc("hosts", "Hosts by state.", "state")
	descSize      = desc("store_size_bytes", "Length of the database's file.")
	descFree      = desc("store_free_bytes", "Bytes in the database's file that hold nothing.")
	descDisk      = desc("data_disk_free_bytes", "Bytes free on the disk of the data folder.")
	descInfo      = desc("build_info", "1; the version that runs.", "version")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hatchery_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (m *siteMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descDecisions, descReceived, descThrown, descErrors, descLeases, descHosts, descSize, descFree, descDisk, descInfo} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m *siteMetrics) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	for r, n := range m.rules() {
		count(descDecisions, n, string(r.Kind), r.Asked, cmp.Or(r.Reply, "silence"), r.Reason)
	}
	st := m.dhcp()
	c := st.Counters
	count(descReceived, c.Received)
	count(descThrown, c.Malformed, "malformed")
	count(descThrown, c.Limited, "too many")
	count(descErrors, c.SendErrors, "reply not sent")
	count(descErrors, c.CommitErrors, "lease not stored")
	count(descErrors, c.NotesDropped, "diary line left out")
	for _, p := range st.Pools {
		gauge(descLeases, float64(p.Live), p.Range, "live")
		gauge(descLeases, float64(p.Free), p.Range, "free")
		gauge(descLeases, float64(p.Held), p.Range, "offered")
		gauge(descLeases, float64(p.Quarantined), p.Range, "quarantined")
	}
	var hosts map[inventory.State]int
	if err := m.store.View(func(tx *inventory.Tx) (err error) {
		hosts, err = tx.Counts()
		return err
	}); err == nil {
		for s, n := range hosts {
			gauge(descHosts, float64(n), string(s))
		}
	}
	length, free := m.size()
	gauge(descSize, float64(length))
	gauge(descFree, float64(free))
	gauge(descDisk, float64(m.disk()))
	gauge(descInfo, 1, versionText())
}

// commitMetrics time the store's commits.
func commitMetrics() (*prometheus.HistogramVec, func(leases bool, took time.Duration)) {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "hatchery", Name: "store_commit_duration_seconds",
		Help: "How long commits took that reached the disk: of leases, and of everything else.", Buckets: prometheus.ExponentialBuckets(.0001, 3, 10)}, []string{"what"})
	leases, inventory := h.WithLabelValues("leases"), h.WithLabelValues("inventory")
	return h, func(isLeases bool, took time.Duration) {
		if isLeases {
			leases.Observe(took.Seconds())
		} else {
			inventory.Observe(took.Seconds())
		}
	}
}

// diskFree is how many bytes anybody may still write to the disk of a folder; 0 when that is not known.
func diskFree(dir string) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return 0
	}
	return int64(fs.Bavail) * fs.Bsize
}
