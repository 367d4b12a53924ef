# The same installer as an ISO for machines that cannot netboot. The appliance personalises it while it is downloaded: it
# replaces the bytes of one reserved file, so that one build serves every appliance.
{ config, lib, pkgs, modulesPath, ... }:
let
  # 64 KiB of newlines: valid white space around any JSON text
  reserved = pkgs.runCommand "personal.json" { } ''
    head -c 65536 /dev/zero | tr '\0' '\n' > $out
  '';
in
{
  imports = [ (modulesPath + "/installer/cd-dvd/iso-image.nix") ];
  isoImage.makeEfiBootable = true;
  isoImage.makeUsbBootable = true;
  isoImage.volumeID = lib.mkDefault "HATCHERY";
  isoImage.squashfsCompression = lib.mkDefault "zstd -Xcompression-level 19";
  # read by hatchery-agent at /iso/hatchery/personal.json
  isoImage.contents = [ { source = reserved; target = "/hatchery/personal.json"; } ];
  # the stick can be pulled out once the system runs
  boot.kernelParams = [ "copytoram" ];
}
