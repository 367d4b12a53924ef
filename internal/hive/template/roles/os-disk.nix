# The system disk of every role here: boots by UEFI and by BIOS.
# Which disk that is comes from the confirmed plan (hosts/NAME/host.json).
{ ... }:
{
  partitioning.ephemeral.disk.os.content = {
    type = "gpt";
    partitions = {
      # where GRUB puts itself on BIOS machines
      bios = { type = "EF02"; size = "1M"; priority = 1; };
      esp = {
        type = "EF00";
        size = "512M";
        priority = 2;
        # "legacy BIOS bootable": for boot loaders that start from this partition on BIOS machines
        attributes = [ 2 ];
        content = { type = "filesystem"; format = "vfat"; mountpoint = "/boot"; mountOptions = [ "umask=0077" ]; };
      };
      root = {
        size = "100%";
        content = { type = "filesystem"; format = "ext4"; mountpoint = "/"; };
      };
    };
  };
}
