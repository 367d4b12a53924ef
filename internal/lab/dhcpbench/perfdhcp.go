package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

var dropsRE = regexp.MustCompile(`drops ratio: ([0-9.]+) ?%?`)

// perfdhcp finds the highest rate with Kea's own tool: each rate for a few seconds, less than a hundredth dropped.
func perfdhcp(servers []*server, want *regexp.Regexp) error {
	const title = "perfdhcp, open loop"
	if !want.MatchString(title) {
		return nil
	}
	fmt.Printf("\n%s\n", title)
	got := map[string][]float64{}
	seed := 0
	for range *rounds {
		for _, s := range servers {
			if s.proxy {
				continue
			}
			// Its relay port is ours.
			if err := s.client.conn.Close(); err != nil {
				return err
			}
			best, err := climb(func(rate float64) (float64, error) {
				seed++
				return perfdhcpOnce(s, rate, seed)
			})
			if err != nil {
				return err
			}
			fmt.Printf("  %-15s %7.0f/s with less than 1 %% dropped\n", s.name, best)
			got[s.name] = append(got[s.name], best)
			leases := s.client.leases
			if s.client, err = newClient(s.addr(0, 2), s.addr(0, 1)); err != nil {
				return err
			}
			s.client.leases = leases
		}
	}
	ratios("rate", servers, got)
	return nil
}

func perfdhcpOnce(s *server, rate float64, seed int) (loss float64, err error) {
	secs := max(1, int(length.Seconds()/2))
	// -R: the clients are picked from so many; each run begins elsewhere among them.
	out, _ := exec.Command("perfdhcp", "-4", "-l", s.addr(0, 2).String(), "-r", strconv.Itoa(int(rate)), "-R", "10000", "-p", strconv.Itoa(secs), "-s", strconv.Itoa(seed),
		"-b", fmt.Sprintf("mac=0a:%02x:00:00:00:00", s.net), "-W", "500000", s.addr(0, 1).String()).CombinedOutput() // its exit status says that something was dropped
	loss, n := 0.0, 0
	for _, m := range dropsRE.FindAllStringSubmatch(string(out), -1) {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, err
		}
		loss, n = max(loss, v/100), n+1
	}
	if n == 0 {
		return 0, fmt.Errorf("perfdhcp: %s", out)
	}
	return loss, nil
}
