# A server that begins a cluster and an agent that joins with the agent's token only. Not run where there is no internet.
{ self, nixpkgs, system }:
let
  pkgs = nixpkgs.legacyPackages.${system};
  tokens = {
    systemd.tmpfiles.rules = [
      "d /var/lib/hatchery 0700 root root -"
      "f /var/lib/hatchery/k3s-agent-token 0600 root root - agent-secret"
    ];
  };
  common = {
    imports = [ self.nixosModules.k3s tokens ];
    virtualisation.memorySize = 2048;
    virtualisation.diskSize = 4096;
  };
in
pkgs.testers.runNixOSTest {
  name = "hatchery-k3s";
  nodes.server = { config, ... }: {
    imports = [ common ];
    systemd.tmpfiles.rules = [ "f /var/lib/hatchery/k3s-token 0600 root root - server-secret" ];
    hatchery.k3s = {
      role = "server-init";
      nodeIP = config.networking.primaryIPAddress;
      disable = [ "traefik" "servicelb" "metrics-server" "local-storage" ];
      manifests.note = { apiVersion = "v1"; kind = "ConfigMap"; metadata.name = "hatchery"; metadata.namespace = "default"; };
    };
  };
  nodes.agent = { config, nodes, ... }: {
    imports = [ common ];
    hatchery.k3s = {
      role = "agent";
      nodeIP = config.networking.primaryIPAddress;
      serverUrl = "https://${nodes.server.networking.primaryIPAddress}:6443";
      labels."hatchery/role" = "worker";
    };
  };
  testScript = ''
    start_all()
    server.wait_for_unit("k3s.service")
    agent.wait_for_unit("k3s.service")
    server.wait_until_succeeds("k3s kubectl get node agent | grep -w Ready", timeout=600)
    server.wait_until_succeeds("k3s kubectl get configmap hatchery", timeout=120)
    server.succeed("k3s kubectl get node agent --show-labels | grep hatchery/role=worker")
    agent.fail("test -e /var/lib/hatchery/k3s-token")
  '';
}
