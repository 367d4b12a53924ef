package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/staged-hive/hatchery/internal/hive"
)

// caches are the Nix binary caches that installed hosts use beside the public one: this machine's own, when
// cache_key_file is set (on NixOS the module does that and runs the cache). A key that cannot be read leaves the
// hosts without the cache: it only saves downloads.
func (a *appliance) caches() []hive.Cache {
	if a.cfg.CacheKeyFile == "" {
		return nil
	}
	c, err := readCache(a.cfg.CacheKeyFile, a.web.URL(), a.cfg.CachePort)
	if err != nil {
		a.log.Warn("hosts do not use this machine's binary cache", "err", err)
		return nil
	}
	return []hive.Cache{c}
}

// readCache names the cache on the host of pageURL by the public key in file ("NAME:BASE64", as
// nix-store --generate-binary-cache-key writes it).
func readCache(file, pageURL string, port int) (hive.Cache, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return hive.Cache{}, fmt.Errorf("public key of the binary cache: %w", err)
	}
	page, err := url.Parse(pageURL)
	if err != nil || page.Hostname() == "" {
		return hive.Cache{}, fmt.Errorf("binary cache: the page's address %q names no host", pageURL)
	}
	if ip := net.ParseIP(page.Hostname()); page.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return hive.Cache{}, fmt.Errorf("binary cache: no address in the LAN to offer it at (the page is at %s)", pageURL)
	}
	c := hive.Cache{URL: "http://" + net.JoinHostPort(page.Hostname(), strconv.Itoa(port)), PublicKey: strings.TrimSpace(string(raw))}
	if err := c.Check(); err != nil {
		return hive.Cache{}, fmt.Errorf("public key of the binary cache in %s: %w", file, err)
	}
	return c, nil
}
