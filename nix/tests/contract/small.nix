# What stage0/small.nix sets.
{ fork, o, t, ... }:
[
  {
    inherit (fork) repo commit;
    file = "nixos/modules/installer/tools/tools.nix";
    options.system.tools = {
      nixos-generate-config.enable = o t.bool true;
      nixos-option.enable = o t.bool true;
      nixos-rebuild.enable = o t.bool true;
      nixos-build-vms.enable = o t.bool true;
      nixos-install.enable = o t.bool true;
      nixos-enter.enable = o t.bool true;
    };
  }
  {
    commit = "0354e8b747c8d69802d160ff408d1aece50472c9";
    file = "nixos/modules/config/system-path.nix";
    options.environment.systemPackages = o (t.listOf t.package) [ ];
    options.environment.defaultPackages = o (t.listOf t.package) [ ];
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/misc/documentation.nix";
    options.documentation = {
      enable = o t.bool true;
      man.enable = o t.bool true;
      nixos.enable = o t.bool true;
    };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/systemd/sysusers.nix"; # refuses normal users, and passwords that are not initial ones
    options.systemd.sysusers.enable = o t.bool false;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/ldso.nix";
    options.environment.ldso32 = o (t.nullOr t.path) null;
  }
  {
    repo = "nix-community/nixos-images";
    commit = "e17386d9193d6d5a90f1b4b6a8a5cd2620d34b56";
    file = "nix/noninteractive.nix";
    options.services.userborn.enable = o t.bool false;
    options.programs.nano.enable = o t.bool true;
    options.security.sudo.enable = o t.bool true;
    options.security.polkit.enable = o t.bool false;
    options.services.dbus.implementation = o (t.enum [ "dbus" "broker" ]) "dbus";
    options.security.pam.services = o (t.attrsOf (t.submodule { options.forwardXAuth = o t.bool false; })) { };
    options.hardware.firmwareCompression = o (t.enum [ "xz" "zstd" "none" "auto" ]) "auto";
  }
]
