# Stands for nixpkgs' profile of that name.
{ lib, ... }:
{
  boot.initrd.systemd.enable = lib.mkDefault true;
  services.userborn.enable = lib.mkDefault true;
  system.tools.nixos-generate-config.enable = lib.mkDefault false;
  system.forbiddenDependenciesRegexes = [ "perl" ];
}
