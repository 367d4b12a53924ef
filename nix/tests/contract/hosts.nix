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
    inherit (fork) repo commit;
    file = "nixos/modules/misc/version.nix";
    options.system.nixos.variant_id = o (t.nullOr (t.strMatching "^[a-z0-9._-]+$")) null;
    options.system.stateVersion = o t.str "26.05";
    options.system.nixos.label = o t.str "26.05.stub"; # label.nix, beside it
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/locale.nix";
    options.time.timeZone = o (t.nullOr t.str) null; # without spaces
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/misc/nixpkgs.nix";
    options.nixpkgs.hostPlatform = lib.mkOption {
      type = t.either t.str t.attrs;
      apply = p: if builtins.isString p then { system = p; } else p; # lib.systems.elaborate there
    };
  }
  {
    unread = "the unit sets are as in the manual";
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
    inherit (fork) repo commit;
    file = "nixos/modules/system/activation/top-level.nix";
    options.system.extraDependencies = o (t.listOf t.path) [ ];
    options.system.forbiddenDependenciesRegexes = o (t.listOf t.str) [ ];
    options.system.boot.loader.kernelFile = o t.str "bzImage";
    options.system.boot.loader.initrdFile = o t.str "initrd";
  }
]
