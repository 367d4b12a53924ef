# The options and outputs of nixpkgs' module of that name, with nothing behind them.
{ lib, pkgs, ... }:
{
  options.netboot.squashfsCompression = lib.mkOption { type = lib.types.str; default = "zstd -Xcompression-level 19"; };
  options.netboot.storeContents = lib.mkOption { type = lib.types.listOf lib.types.raw; default = [ ]; };
  config.boot.loader.grub.enable = false;
  config.system.build = {
    kernel = pkgs.runCommand "kernel" { } "mkdir $out; echo kernel > $out/bzImage";
    initialRamdisk = pkgs.runCommand "initrd-small" { } "mkdir $out; echo small > $out/initrd";
    squashfsStore = pkgs.runCommand "store" { } "echo store > $out";
    netbootRamdisk = pkgs.runCommand "initrd" { } "mkdir $out; echo initrd > $out/initrd";
  };
}
