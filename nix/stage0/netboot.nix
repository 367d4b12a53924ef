# Kernel and one initrd with the store in it: system.build.{kernel,netbootRamdisk}.
{ lib, modulesPath, ... }:
{
  imports = [ (modulesPath + "/installer/netboot/netboot.nix") ];
  # fast to unpack on small machines; level 19 costs build time only
  netboot.squashfsCompression = lib.mkDefault "zstd -Xcompression-level 19";
}
