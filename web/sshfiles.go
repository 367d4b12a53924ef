package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/staged-hive/hatchery/inventory"
)

// sshHost is an installed host as ssh knows it.
type sshHost struct {
	alias string // its name, else its MAC with hyphens, else its id
	ips   []netip.Addr
	key   ssh.PublicKey
}

// sshHosts lists the installed hosts in order of name. The key is the one that was planted, and stays over reinstalls.
func sshHosts(hosts []inventory.Host) (out []sshHost) {
	for i := range hosts {
		h := &hosts[i]
		if !h.EverFlipped {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.InstalledKey))
		if err != nil {
			continue // none was planted yet
		}
		s := sshHost{alias: first(h.Name, refOf(h)), key: key}
		if h.Address != nil {
			s.ips = append(s.ips, h.Address.IP)
		}
		if h.IP.IsValid() && !slices.Contains(s.ips, h.IP) {
			s.ips = append(s.ips, h.IP)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b sshHost) int { return cmp.Compare(a.alias, b.alias) })
	return out
}

// knownHostsText is a known_hosts file of all installed hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
func knownHostsText(hosts []sshHost) string {
	var b strings.Builder
	for _, h := range hosts {
		names := []string{h.alias}
		for _, ip := range h.ips {
			names = append(names, ip.String())
		}
		b.WriteString(knownhosts.Line(names, h.key) + "\n")
	}
	return b.String()
}

// sshConfigText is a snippet for ssh_config(5) that reaches every installed host by its name, its key pinned.
func sshConfigText(hosts []sshHost) string {
	var b strings.Builder
	b.WriteString("# Machines that Hatchery installed. Save it as ~/.ssh/hatchery, put `Include hatchery` first into ~/.ssh/config,\n" +
		"# and the known_hosts file from the same place as ~/.ssh/hatchery_known_hosts.\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "\nHost %s\n", h.alias)
		if len(h.ips) > 0 {
			fmt.Fprintf(&b, "  HostName %s\n", h.ips[0])
		}
		fmt.Fprintf(&b, "  User root\n  HostKeyAlias %s\n  UserKnownHostsFile ~/.ssh/hatchery_known_hosts\n  StrictHostKeyChecking yes\n", h.alias)
	}
	return b.String()
}

type textOut struct {
	Type string `header:"Content-Type"`
	Name string `header:"Content-Disposition"`
	Body []byte
}

// sshAPI registers what ssh needs to know of the installed hosts. None of it is secret.
func (s *Server) sshAPI(a huma.API) {
	for _, f := range []struct {
		path, id, summary, name string
		text                    func([]sshHost) string
	}{
		{"/ssh/known_hosts", "known-hosts", "The SSH host keys of all installed hosts, as a known_hosts file", "hatchery_known_hosts", knownHostsText},
		{"/ssh/config", "ssh-config", "A snippet for ~/.ssh/config that reaches every installed host by its name", "hatchery", sshConfigText},
	} {
		huma.Register(a, huma.Operation{OperationID: f.id, Method: http.MethodGet, Path: f.path, Summary: f.summary, Responses: textResponses("the file", "text/plain")},
			func(context.Context, *none) (*textOut, error) {
				hosts, err := s.installedHosts()
				if err != nil {
					return nil, problem(err)
				}
				return &textOut{Type: "text/plain; charset=utf-8", Name: `attachment; filename="` + f.name + `"`, Body: []byte(f.text(sshHosts(hosts)))}, nil
			})
	}
}

// installedHosts reads all hosts that were ever installed.
func (s *Server) installedHosts() (all []inventory.Host, err error) {
	err = s.cfg.Store.View(func(tx *inventory.Tx) error {
		for after := inventory.HostID(""); ; {
			hosts, next, err := tx.Hosts(after, 500)
			if err != nil {
				return err
			}
			for _, h := range hosts {
				if h.EverFlipped {
					all = append(all, h)
				}
			}
			if after = next; next == "" {
				return nil
			}
		}
	})
	return all, err
}
