{
  imports = [ ./os-disk.nix ];
  partitioning.persistent = {
    disk.data.content = { type = "gpt"; partitions.data = { size = "100%"; content = { type = "lvm_pv"; vg = "tank"; }; }; };
    lvm_vg.tank = {
      type = "lvm_vg";
      lvs.data = { size = "100%FREE"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; }; };
    };
  };
}
