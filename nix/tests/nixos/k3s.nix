# A server that begins a cluster, a second one that joins it, and an agent that has the agent's token only. Needs KVM and a substituter; not
# run where there is no internet.
{ self, nixpkgs, system }:
let
  pkgs = nixpkgs.legacyPackages.${system};
  common = { config, ... }: {
    imports = [ self.nixosModules.k3s ];
    virtualisation.memorySize = 2048;
    virtualisation.diskSize = 4096;
    systemd.tmpfiles.rules = [
      "d /var/lib/hatchery 0700 root root -"
      "f /var/lib/hatchery/k3s-agent-token 0600 root root - agent-secret"
    ];
    services.k3s.images = [ config.services.k3s.package.airgap-images ];
    hatchery.k3s.nodeIP = config.networking.primaryIPAddress;
  };
  server = {
    imports = [ common ];
    systemd.tmpfiles.rules = [ "f /var/lib/hatchery/k3s-token 0600 root root - server-secret" ];
    hatchery.k3s.disable = [ "traefik" "servicelb" "metrics-server" "local-storage" ];
    hatchery.k3s.manifests.note = { apiVersion = "v1"; kind = "ConfigMap"; metadata.name = "hatchery"; metadata.namespace = "default"; };
  };
in
pkgs.testers.runNixOSTest {
  name = "hatchery-k3s";
  nodes.first = {
    imports = [ server ];
    hatchery.k3s.role = "server-init";
  };
  nodes.second = { nodes, ... }: {
    imports = [ server ];
    hatchery.k3s.role = "server";
    hatchery.k3s.serverUrl = "https://${nodes.first.networking.primaryIPAddress}:6443";
  };
  nodes.agent = { nodes, ... }: {
    imports = [ common ];
    hatchery.k3s = {
      role = "agent";
      serverUrl = "https://${nodes.first.networking.primaryIPAddress}:6443";
      labels."hatchery/role" = "worker";
    };
  };
  testScript = ''
    first.start()
    first.wait_for_unit("k3s.service")
    first.wait_until_succeeds("k3s kubectl get node first | grep -w Ready", timeout=600)
    second.start()
    agent.start()
    for node in ("second", "agent"):
        first.wait_until_succeeds(f"k3s kubectl get node {node} | grep -w Ready", timeout=600)
    first.wait_until_succeeds("k3s kubectl get configmap hatchery", timeout=120)
    first.succeed("k3s kubectl get node agent --show-labels | grep hatchery/role=worker")
    # two members of etcd, and the second one answers by itself
    first.succeed("test $(k3s kubectl get nodes -l node-role.kubernetes.io/etcd=true -o name | wc -l) = 2")
    second.succeed("k3s kubectl get nodes")
    # the agent never had the server's token
    agent.fail("test -e /var/lib/hatchery/k3s-token")
    agent.fail("grep -r server-secret /etc/rancher /var/lib/rancher/k3s/agent")
  '';
}
