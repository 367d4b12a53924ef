package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/staged-hive/hatchery/inventory"
)

// nodeScript asks a k3s server about one node.
func nodeScript(name string) string {
	return "# hatchery: node\nPATH=\"$PATH:/run/current-system/sw/bin:/usr/local/bin\"\nk3s kubectl get node " + quote(name) + " --no-headers --request-timeout=10s 2>&1\n"
}

// nodeState reads kubectl's answer about a node: whether it is ready, and what was said in one line.
func nodeState(out, name string) (ready bool, said string) {
	for line := range strings.Lines(out) {
		f := strings.Fields(clean(line)) // NAME STATUS ROLES AGE VERSION
		if len(f) >= 2 && f[0] == name {
			return slices.Contains(strings.Split(f[1], ","), "Ready"), "node " + name + " is " + f[1]
		}
	}
	return false, cmp.Or(lastLine(out), "it said nothing")
}

// doNode waits until a server of the host's cluster says that its node is ready.
func (w *work) doNode(ctx context.Context) error {
	if w.role.K3s == nil || w.rec.K3s == nil {
		return nil
	}
	said := "nobody was asked yet"
	for {
		ready, text, err := w.askNode(ctx)
		switch {
		case errors.Is(err, errCancelled), errors.Is(err, errStale):
			return err
		case err == nil && ready:
			w.say(StepNode, "cluster %s says: %s", w.rec.K3s.Cluster, text)
			return nil
		}
		if text != "" && text != said && !over(ctx) {
			said = text
			w.say(StepNode, "not yet: %s", said)
		}
		if w.job.Kind == inventory.JobDeploy && w.rec.Writing { // the trial must hear of us
			if t, err := w.askTrial(ctx, 1<<30); err == nil && (t.wentBack() || t.system != w.rec.Toplevel) {
				return w.trialLost(&t)
			}
		}
		if pause(ctx, w.r.limit.Poll) != nil {
			break
		}
	}
	if why := ended(ctx, nil); why != nil {
		return why
	}
	return &Failure{Step: StepNode, Cause: fmt.Sprintf("Cluster %s did not say within %s that the node is ready; last: %s", w.rec.K3s.Cluster, w.step.Limit, sentence(said)),
		Hint: "Look at the journal of k3s on " + w.host.Label() + " and on the cluster's servers. Trying again looks again."}
}

// askNode asks the first server of the cluster that answers: the host itself where it is one.
func (w *work) askNode(ctx context.Context) (ready bool, said string, err error) {
	if err := w.reread(); err != nil {
		return false, "", err
	}
	servers, err := w.servers()
	if err != nil {
		return false, "", err
	}
	if len(servers) == 0 {
		return false, "no server of the cluster is installed", nil
	}
	for i := range servers {
		c, derr := w.r.dialSystem(ctx, &servers[i])
		if derr != nil {
			said = fmt.Sprintf("server %s does not answer", servers[i].Label())
			continue
		}
		out, rerr := c.run(ctx, nodeScript(w.host.Name))
		c.close()
		if ready, said = nodeState(out, w.host.Name); ready && rerr == nil {
			return true, said, nil
		}
		said = fmt.Sprintf("server %s: %s", servers[i].Label(), said)
		ready = false
	}
	return false, said, nil
}

// servers are the hosts to ask about the node: the host itself when it is a server, then the cluster's others.
func (w *work) servers() (list []inventory.Host, err error) {
	if w.rec.K3s.Role == "server" {
		list = append(list, w.host)
	}
	err = w.r.cfg.Store.View(func(tx *inventory.Tx) error {
		hv, err := tx.Hive()
		if err != nil {
			return err
		}
		_, _, joined, err := w.r.readCluster(tx, w.rec.K3s.Cluster, w.hostID, hv.Roles)
		for _, m := range joined {
			h, err := tx.Host(m.id)
			if err != nil {
				return err
			}
			list = append(list, h)
		}
		return err
	})
	return list, err
}
