package pipeline

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/staged-hive/hatchery/internal/hive"
	"github.com/staged-hive/hatchery/inventory"
	"github.com/staged-hive/hatchery/inventory/diskplan"
)

// bucketClusters holds what the appliance knows of k3s clusters: name → cluster.
const bucketClusters inventory.Bucket = "k3s_clusters"

// cluster is one k3s cluster. The appliance decides once who initialises it (DESIGN section 2).
type cluster struct {
	V int `json:"v"`
	// Initialiser is the server that makes the cluster; "" until one is chosen.
	Initialiser inventory.HostID `json:"initialiser,omitempty"`
	// Servers are the servers that were verified.
	Servers []inventory.HostID `json:"servers,omitempty"`
}

// member is a server of a cluster as the store knows it now.
type member struct {
	id    inventory.HostID
	label string
	ip    netip.Addr
}

// url is what other nodes join.
func (m member) url() string { return "https://" + net.JoinHostPort(m.ip.String(), "6443") }

// part decides a host's part in its cluster, or the sentence that says what it waits for.
// initialiser is who was chosen (zero id: nobody, or that host is no server of the cluster any more);
// joined are the verified servers besides this host.
func part(h *inventory.Host, k *inventory.K3s, initialiser member, joined []member) (*hive.K3s, string) {
	p := &hive.K3s{Role: k.Role, Cluster: k.Cluster}
	i := slices.IndexFunc(joined, func(m member) bool { return m.ip.IsValid() })
	switch {
	case i >= 0: // also the first server, reinstalled: the others have the cluster's state
		p.ServerURL = joined[i].url()
	case k.Role == "server" && (initialiser.id == "" || initialiser.id == h.ID):
		p.Init = true
	case initialiser.id == "":
		return nil, fmt.Sprintf("Waits for the first server of cluster %s: no host has a server role of it yet.", k.Cluster)
	default:
		return nil, fmt.Sprintf("Waits for %s, the first server of cluster %s, to be installed.", initialiser.label, k.Cluster)
	}
	return p, ""
}

// readCluster reads a cluster and its living members: a host that was forgotten, or got another
// role, is one no longer.
func (r *Runner) readCluster(tx *inventory.Tx, name string, self inventory.HostID, roles map[string]inventory.Role) (cluster, member, []member, error) {
	var c cluster
	if _, err := tx.GetJSON(bucketClusters, name, &c); err != nil {
		return c, member{}, nil, err
	}
	is := func(id inventory.HostID) (member, bool, error) {
		h, err := tx.Host(id)
		if errors.Is(err, inventory.ErrNotFound) {
			return member{}, false, nil
		}
		k := roles[h.Role].K3s
		return member{id: id, label: h.Label(), ip: r.fixedIP(&h)}, k != nil && k.Role == "server" && k.Cluster == name, err
	}
	var init member
	if c.Initialiser != "" {
		m, ok, err := is(c.Initialiser)
		if err != nil {
			return c, init, nil, err
		}
		if ok {
			init = m
		}
	}
	var joined []member
	for _, id := range c.Servers {
		m, ok, err := is(id)
		if err != nil {
			return c, init, nil, err
		}
		if ok && id != self {
			joined = append(joined, m)
		}
	}
	return c, init, joined, nil
}

// joinCluster decides the host's part, and records it as the initialiser when it is to be one and
// claim is set. A host outside any cluster has no part.
func (r *Runner) joinCluster(tx *inventory.Tx, h *inventory.Host, role inventory.Role, roles map[string]inventory.Role, claim bool) (*hive.K3s, string, error) {
	if role.K3s == nil {
		return nil, "", nil
	}
	c, init, joined, err := r.readCluster(tx, role.K3s.Cluster, h.ID, roles)
	if err != nil {
		return nil, "", err
	}
	p, blocked := part(h, role.K3s, init, joined)
	if claim && p != nil && p.Init && c.Initialiser != h.ID {
		c.V, c.Initialiser = 1, h.ID
		err = tx.PutJSON(bucketClusters, role.K3s.Cluster, c)
	}
	return p, blocked, err
}

// serverURLs are the URLs of the cluster's living servers that a node may be joined to.
func (r *Runner) serverURLs(tx *inventory.Tx, name string, roles map[string]inventory.Role) ([]string, error) {
	_, init, joined, err := r.readCluster(tx, name, "", roles)
	var urls []string
	for _, m := range append(joined, init) {
		if m.ip.IsValid() {
			urls = append(urls, m.url())
		}
	}
	return urls, err
}

// clusterLoss is the sentence that asks before a cluster's only server is installed again without the
// disk that its state is on: the cluster would begin anew. "" when nothing is lost, or a person has
// confirmed this very disk plan (or its writing has begun).
func clusterLoss(tx *inventory.Tx, h *inventory.Host, k *hive.K3s, p *diskplan.Plan, j *inventory.Job) (string, error) {
	// The facts of an installed host are from before its install: what counts is that a slot has a persistent disk
	// of ours, not what was on it then.
	keeps := slices.ContainsFunc(p.Slots, func(b diskplan.Binding) bool {
		return b.Class == inventory.ClassPersistent && b.Owned == inventory.ClassPersistent && !b.Wiped
	})
	if k == nil || !k.Init || keeps || j.Wrote || p.ID != "" && j.PlanID == p.ID {
		return "", nil
	}
	var c cluster
	if _, err := tx.GetJSON(bucketClusters, k.Cluster, &c); err != nil || !slices.Contains(c.Servers, h.ID) {
		return "", err
	}
	return fmt.Sprintf("Waits for a person. %s is the only server of cluster %s and keeps no persistent disk: installing it again loses the cluster. Confirm the disk plan if that is meant.",
		h.Label(), k.Cluster), nil
}

// recordServer notes a verified server, so that others can join it.
func recordServer(tx *inventory.Tx, id inventory.HostID, k *hive.K3s) error {
	if k == nil || k.Role != "server" {
		return nil
	}
	var c cluster
	if _, err := tx.GetJSON(bucketClusters, k.Cluster, &c); err != nil {
		return err
	}
	if slices.Contains(c.Servers, id) {
		return nil
	}
	c.V, c.Servers = 1, append(c.Servers, id)
	return tx.PutJSON(bucketClusters, k.Cluster, c)
}

// tokensFor are the tokens that a host of that part gets: a server both (agents are told apart by the
// agent token), an agent never the server's.
func (v *vault) tokensFor(k *hive.K3s) (server, agent secret, err error) {
	if k == nil {
		return "", "", nil
	}
	if agent, err = v.token(k.Cluster, tokenAgent); err != nil || k.Role != "server" {
		return "", agent, err
	}
	server, err = v.token(k.Cluster, tokenServer)
	return server, agent, err
}

// sortedNames lists a map's keys in order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
