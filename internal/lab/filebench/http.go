package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/staged-hive/hatchery/internal/lab"
)

// result is one round of downloads from one server.
type result struct {
	rate        float64 // MB/s of all together
	first, last time.Duration
	cpu         time.Duration // of the server
}

// benchHTTP has many clients load a large image at once, from us and from nginx in turn.
func benchHTTP(ctx context.Context, dir string) error {
	if !have("nginx") {
		return errMissing
	}
	b, err := newBench(dir)
	if err != nil {
		return err
	}
	defer b.Close()
	data, err := b.image()
	if err != nil {
		return err
	}
	ours, err := b.hatchery(ctx, data)
	if err != nil {
		return err
	}
	theirs, err := b.nginx(filepath.Join(data, "stage0", "x86_64"))
	if err != nil {
		return err
	}
	base := "http://" + b.ApplianceAddr().String()
	fmt.Printf("HTTP, %d downloads of %d MB at once\n%-10s %10s %22s %14s\n", *streams, *size/1e6, "server", "MB/s", "first and last done, s", "CPU, ms per MB")
	var ratios []float64
	for n := range *rounds {
		var rates [2]float64
		for k := range 2 {
			who := (n + k) % 2
			url, pid, name := base+":8080/stage0/x86_64/kernel", ours.PID(), "hatchery"
			if who == 1 {
				url, pid, name = base+":8081/kernel", theirs.PID(), "nginx"
			}
			r, err := b.round(ctx, url, pid)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			fmt.Printf("%-10s %10.0f %14.1f %7.1f %14.2f\n", name, r.rate, r.first.Seconds(), r.last.Seconds(), r.cpu.Seconds()*1e3/(float64(*streams)*float64(*size)/1e6))
			rates[who] = r.rate
		}
		ratios = append(ratios, rates[0]/rates[1])
	}
	slices.Sort(ratios)
	peak, err := procValue(ours.PID(), "status", "VmHWM:")
	fmt.Printf("hatchery / nginx: median %.2f (%.2f to %.2f) of %d rounds; hatchery's memory at most %d MB\n", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], len(ratios), peak/1024)
	return err
}

// image makes a data folder with one stage-0 image of random bytes.
func (b *bench) image() (data string, err error) {
	data = filepath.Join(b.Dir(), "data")
	folder := filepath.Join(data, "stage0", "x86_64")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	sums := map[string][32]byte{}
	for name, n := range map[string]int64{"kernel": *size, "initrd": 1000} {
		f, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			return "", err
		}
		h := sha256.New()
		_, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(rand.Reader, n))
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
		sums[name] = [32]byte(h.Sum(nil))
	}
	manifest := fmt.Sprintf(`{"arch":"x86_64","version":"bench","kernel":"kernel","initrd":["initrd"],"cmdline":"quiet","sha256":{"kernel":"%x","initrd":"%x"}}`, sums["kernel"], sums["initrd"])
	return data, os.WriteFile(filepath.Join(folder, "manifest.json"), []byte(manifest), 0o600)
}

func (b *bench) nginx(root string) (*lab.Process, error) {
	conf := filepath.Join(b.Dir(), "nginx.conf")
	text := fmt.Sprintf("daemon off; user root; worker_processes %[4]d; pid %[1]s/nginx.pid; error_log /dev/stderr;\nevents { worker_connections 1024; }\n"+
		"http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;\n"+
		"server { listen %[2]s:8081; root %[3]s; } }\n", b.Dir(), b.ApplianceAddr(), root, runtime.NumCPU())
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return b.Start(lab.Appliance, os.Stderr, "nginx", "-c", conf)
}

// round downloads with all streams at once; pid is the server's.
func (b *bench) round(ctx context.Context, url string, pid int) (r result, err error) {
	dial := b.Dialer(lab.Router)
	before, err := cpuTime(pid)
	if err != nil {
		return r, err
	}
	took, errs := make([]time.Duration, *streams), make([]error, *streams)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range *streams {
		wg.Go(func() {
			errs[i] = fetch(ctx, dial, url)
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	after, err := cpuTime(pid)
	r = result{first: slices.Min(took), last: slices.Max(took), cpu: after - before}
	r.rate = float64(*streams) * float64(*size) / 1e6 / r.last.Seconds()
	return r, err
}

// fetch loads a file and has the kernel throw the bytes away (MSG_TRUNC, tcp(7)): the downloading machines' processors are not the server's.
func fetch(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, "tcp", req.URL.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := req.Write(conn); err != nil {
		return err
	}
	head := bufio.NewReaderSize(conn, 1<<12)
	res, err := http.ReadResponse(head, req)
	if err != nil {
		return err
	}
	left := res.ContentLength - int64(head.Buffered())
	if res.StatusCode != http.StatusOK || res.ContentLength != *size {
		return fmt.Errorf("%s: %s, %d bytes", url, res.Status, res.ContentLength)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for left > 0 {
		var n int
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buf[:min(left, int64(len(buf)))], unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			return failed != unix.EAGAIN
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("%s: %d bytes are missing", url, left)
		}
		left -= int64(n)
	}
	return nil
}

// cpuTime is what a process and its children have used of the processors.
func cpuTime(pid int) (sum time.Duration, err error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	for _, p := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		raw, err := os.ReadFile("/proc/" + p + "/stat")
		if err != nil {
			return 0, err
		}
		f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		var user, system int64
		if _, err := fmt.Sscan(f[11]+" "+f[12], &user, &system); err != nil {
			return 0, err
		}
		sum += time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
	}
	return sum, nil
}

// procValue is a number in a file of /proc/PID.
func procValue(pid int, file, key string) (n int64, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), key)
	_, err = fmt.Sscan(rest, &n)
	return n, err
}
