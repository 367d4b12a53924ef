# k3s agent with a data disk. Role, server URL and token file come from the appliance (host.json).
{ config, lib, ... }:
{
  imports = [ ./os-disk.nix ];

  # only when the plan found a disk for the optional slot
  partitioning.persistent = lib.mkIf (config.hatchery.disks ? data) {
    disk.data.content = {
      type = "gpt";
      partitions.data = {
        size = "100%";
        content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; };
      };
    };
  };

  hatchery.k3s.labels = { "hatchery/role" = "worker"; };
}
