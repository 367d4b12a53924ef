package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
)

// newLogger logs to the standard error, and its end into tail.
func newLogger(cfg config, tail io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // checked by settings.check
	opts := &slog.HandlerOptions{Level: level}
	out := io.MultiWriter(os.Stderr, tail)
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}

// greet tells whoever started the appliance where its page is and what it does from now on.
func (a *appliance) greet(w io.Writer) {
	st := a.dhcp.Status()
	fmt.Fprintf(w, "\nHatchery %s\n", versionText())
	fmt.Fprintf(w, "  page        %s\n", a.web.URL())
	if fp := a.web.Fingerprint(); fp != "" {
		fmt.Fprintf(w, "  certificate SHA-256 %s\n", fp)
		fmt.Fprintf(w, "  pin         %s\n", a.web.Pin())
	}
	fmt.Fprintf(w, "  admin token in %s\n", filepath.Join(a.cfg.Data, "admin-token"))
	if code := a.web.FirstRunCode(); code != "" {
		fmt.Fprintf(w, "  first run   set a password on the page with the code %s\n", code)
	}
	if a.cfg.DHCP == "off" {
		fmt.Fprintf(w, "  DHCP        off: your own DHCP server must send machines here\n")
	} else {
		fmt.Fprintf(w, "  DHCP        %s: %s\n", st.Role, st.Why)
		if len(st.Interfaces) == 0 {
			fmt.Fprintln(w, "  interface   none: no network card has a private IPv4 address; say which one to serve with --interface")
		}
		for _, i := range st.Interfaces {
			fmt.Fprintf(w, "  interface   %s %v: %s\n", i.Name, i.Addrs, cmp.Or(i.Note, "answers netboot requests there from now on"))
		}
	}
	for _, warn := range a.media.warnings() {
		fmt.Fprintf(w, "  !           %s %s\n", warn.Text, warn.Hint)
	}
	fmt.Fprintln(w)
}
