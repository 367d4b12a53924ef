{
  imports = [ ./os-disk.nix ];
  partitioning.persistent.disk.data.content = {
    type = "gpt";
    partitions.data = {
      size = "100%";
      content = {
        type = "luks";
        name = "crypt";
        settings.keyFile = "/tmp/disk.key";
        content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; };
      };
    };
  };
}
