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
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/systemd/tmpfiles.nix";
    options.systemd.tmpfiles.rules = o (t.listOf t.str) [ ];
  }
  {
    # of the many options of a service those that we set; systemd.nix of the fork has the set of services
    repo = "faukah/nixpkgs";
    commit = "3b20077cd82fd1f099e92e2792d73e3176d4869d";
    file = "nixos/lib/systemd-unit-options.nix";
    options.systemd.services =
      let
        units = o (t.listOf (t.strMatching "[a-zA-Z0-9@%:_.\\-]+[.](service|socket|device|mount|automount|swap|target|path|timer|scope|slice)")) [ ]; # unitNameType
        section = o (t.attrsOf t.anything) { }; # attrsOf unitOption
      in
      o (t.attrsOf (t.submodule {
        options = {
          description = o t.singleLineStr "";
          wantedBy = units;
          requiredBy = units;
          wants = units;
          after = units;
          before = units;
          startLimitIntervalSec = o (t.nullOr t.int) null; # int without a default there
          unitConfig = section;
          serviceConfig = section;
          environment = o (t.attrsOf (t.nullOr (t.oneOf [ t.str t.path t.package ]))) { };
          path = o (t.listOf (t.oneOf [ t.package t.str ])) [ ];
          script = o t.lines "";
        };
      })) { };
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
