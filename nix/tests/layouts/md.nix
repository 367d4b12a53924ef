{
  imports = [ ./os-disk.nix ];
  partitioning.persistent = {
    disk.data.content = { type = "gpt"; partitions.data = { size = "100%"; content = { type = "mdraid"; name = "array"; }; }; };
    disk.data2.content = { type = "gpt"; partitions.data = { size = "100%"; content = { type = "mdraid"; name = "array"; }; }; };
    mdadm.array = {
      type = "mdadm";
      level = 1;
      content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; };
    };
  };
}
