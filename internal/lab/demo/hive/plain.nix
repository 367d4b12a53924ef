# The demo's role: a system disk that every install makes anew, and a data disk that is kept.
{ config, lib, ... }:
{
  imports = [ ./os-disk.nix ];

  partitioning.persistent = lib.mkIf (config.hatchery.disks ? data) {
    disk.data.content = {
      type = "gpt";
      partitions.data = {
        size = "100%";
        content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; };
      };
    };
  };
}
