# What keeps perl, documentation, the channel and the compiler out of stage-0. The set is that of nix-community/nixos-images'
# noninteractive.nix (read at e17386d9, which is built on nixos-26.05 there); nix/tests/nixos/netboot.nix holds the closure to it.
{ lib, modulesPath, ... }:
let
  inherit (lib) mkForce;
in
{
  imports = [ (modulesPath + "/profiles/perlless.nix") ];

  # perl: the activation scripts, GRUB's builder, nixos-generate-config (nixos-facter stands in for it)
  system.tools.nixos-generate-config.enable = false;
  # the test looks at the closure; a stray path must not keep anybody from building an image
  system.forbiddenDependenciesRegexes = mkForce [ ];
  # in systemd anyway, and without perl
  systemd.sysusers.enable = true;
  services.userborn.enable = false;

  # what only a person at the machine would use
  system.tools.nixos-option.enable = false;
  system.tools.nixos-rebuild.enable = false;
  system.tools.nixos-build-vms.enable = false;
  environment.defaultPackages = mkForce [ ];
  programs.nano.enable = false;
  security.sudo.enable = false;
  security.polkit.enable = mkForce false;

  # documentation
  documentation.enable = mkForce false;
  documentation.nixos.enable = mkForce false;
  documentation.man.enable = mkForce false;

  # nixpkgs itself: channel and registry
  nix.channel.enable = false;
  nix.registry = mkForce { };

  # stdenv and the compiler, libraries for X, a second nixpkgs for 32 bits
  system.extraDependencies = mkForce [ ];
  services.dbus.implementation = "broker";
  security.pam.services.su.forwardXAuth = mkForce false;
  environment.ldso32 = null;
  hardware.firmwareCompression = "xz";
}
