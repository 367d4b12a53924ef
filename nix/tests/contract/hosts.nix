{ lib, fork, o, t, ... }:
[
  {
    inherit (fork) repo commit;
    file = "nixos/modules/hardware/facter/default.nix";
    options.hardware.facter.reportPath = o (t.nullOr t.path) null;
  }
  {
    commit = "05924f714f31ff83bd10ed1710638688999c3725";
    file = "nixos/modules/hardware/all-firmware.nix";
    options.hardware.enableRedistributableFirmware = o t.bool false;
  }
  {
    commit = "03a362fe87d4d19a45525bc0adab2f17a562f99a";
    file = "nixos/modules/misc/version.nix";
    options.system.stateVersion = o t.str "26.05";
    options.system.nixos.label = o t.str "26.05.stub"; # label.nix, beside it
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/locale.nix";
    options.time.timeZone = o (t.nullOr t.str) null; # without spaces
  }
  {
    unread = "nixpkgs' installation-device profile sets variant_id; hostPlatform and the unit sets are as in the manual";
    options.system.nixos.variant_id = o (t.nullOr t.str) null;
    options.nixpkgs.hostPlatform = lib.mkOption { type = t.either t.str t.attrs; };
    options.systemd.services = o (t.attrsOf t.anything) { };
    options.systemd.tmpfiles.rules = o (t.listOf t.str) [ ];
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/etc/etc.nix";
    options.environment.etc = o (t.attrsOf (t.submodule {
      options = {
        text = o (t.nullOr t.lines) null;
        source = lib.mkOption { type = t.path; };
        mode = o t.str "symlink";
        enable = o t.bool true;
      };
    })) { };
  }
  {
    commit = "01502f439c6a734621f212e450e7a6a9f35a0c5f";
    file = "nixos/modules/system/activation/top-level.nix";
    options.system.extraDependencies = o (t.listOf t.path) [ ];
    options.system.forbiddenDependenciesRegexes = o (t.listOf t.str) [ ];
    options.system.boot.loader.kernelFile = o t.str "bzImage";
    options.system.boot.loader.initrdFile = o t.str "initrd";
  }
]
