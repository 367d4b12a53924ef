# k3s server. Role, server URL and token files come from the appliance's decision (host.json).
{ config, lib, ... }:
{
  imports = [ ./os-disk.nix ];

  # only when the plan found a disk for the optional slot
  partitioning.persistent = lib.mkIf (config.hatchery.disks ? state) {
    disk.state.content = {
      type = "gpt";
      partitions.state = {
        size = "100%";
        content = { type = "filesystem"; format = "ext4"; mountpoint = "/var/lib/rancher"; };
      };
    };
  };

  hatchery.k3s = {
    # YAML files that the servers keep deployed:
    manifests = [ ];
    # parts of k3s that you do not want: "traefik" "servicelb" "local-storage" "metrics-server"
    disable = [ ];
  };
}
