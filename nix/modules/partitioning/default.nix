# The disk split: `partitioning.ephemeral` is formatted at every install, `partitioning.persistent` only
# when blank. Both are disko device sets; together they are `disko.devices`.
{ config, options, lib, pkgs, diskoLib, ... }:
let
  inherit (lib) mkOption mkIf mkDefault types;
  cfg = config.partitioning;
  layout = import ./layout.nix { inherit lib; };
  plan = config.hatchery.host.plan or null;
  scripts = import ./scripts.nix {
    inherit lib pkgs diskoLib layout plan;
    inherit (cfg) ephemeral persistent useTargetTools;
    all = config.disko.devices;
    persistentDefinitions = options.partitioning.persistent.definitions;
    hostName = config.networking.hostName;
  };
  slots = class: lib.attrNames (lib.filterAttrs (_: d: d.class == class) (plan.disks or { }));
  # as inventory.DevicePath: "path:" begins the name of a disk that is known by its port alone
  devicePath = name: if lib.hasPrefix "path:" name then "/dev/disk/by-path/${lib.removePrefix "path:" name}" else "/dev/disk/by-id/${name}";
  hasDisks = cfg.ephemeral.disk != { } || cfg.persistent.disk != { };
in
{
  imports = [ ../facts.nix ];

  options = {
    partitioning = {
      ephemeral = mkOption {
        type = diskoLib.toplevel;
        default = { };
        description = "Device set (the inside of `disko.devices`) that every install destroys and makes anew.";
      };
      persistent = mkOption {
        type = diskoLib.toplevel;
        default = { };
        description = "Device set that is formatted only when blank and otherwise mounted as it is.";
      };
      allowKernelNames = mkOption {
        type = types.bool;
        default = false;
        description = "Whether a disk may be named like /dev/sda, which may be another disk at the next boot.";
      };
      useTargetTools = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the install script uses the partitioning tools of stage-0 rather than bringing its own (saves RAM on the machine).";
      };
    };
  };

  config = {
    # one layout for disko: the union; plain disko spares the persistent disks too
    disko.devices = lib.mkMerge (
      options.partitioning.ephemeral.definitions
      ++ options.partitioning.persistent.definitions
      ++ [ { disk = lib.mapAttrs (_: _: { destroy = mkDefault false; }) cfg.persistent.disk; } ]
    );

    # the plan says which disk fills which slot
    partitioning.ephemeral.disk = lib.genAttrs (slots "ephemeral") (s: { device = mkDefault (devicePath plan.disks.${s}.id); });
    partitioning.persistent.disk = lib.genAttrs (slots "persistent") (s: { device = mkDefault (devicePath plan.disks.${s}.id); });

    assertions = import ./assertions.nix { inherit lib cfg layout plan; };
    warnings = map (m: "partitioning.persistent mounts ${m.path}: that is part of the system and is better formatted at every install.") (
      lib.filter (m: lib.elem m.path [ "/" "/nix" "/boot" "/boot/efi" "/efi" ]) (layout.mounts cfg.persistent)
    );

    system.build = mkIf hasDisks scripts;
  };
}
