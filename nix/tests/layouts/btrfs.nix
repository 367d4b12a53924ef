{
  imports = [ ./os-disk.nix ];
  partitioning.persistent.disk.data.content = {
    type = "gpt";
    partitions.data = {
      size = "100%";
      content = { type = "btrfs"; subvolumes = { "/data".mountpoint = "/data"; "/more".mountpoint = "/more"; }; };
    };
  };
}
