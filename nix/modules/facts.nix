# The options that carry what the appliance wrote; every module here may read them.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.hatchery = {
    host = mkOption {
      type = types.attrs;
      default = { };
      description = "hosts/NAME/host.json, parsed; its schema is in nix/README.md.";
    };
    appliance = mkOption {
      type = types.attrs;
      default = { };
      description = "appliance.json, parsed: the SSH keys that may log in as root, and where the pages are.";
    };
    facterReport = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "nixos-facter's report of this host, or null.";
    };
    disks = mkOption {
      type = types.attrsOf types.attrs;
      default = config.hatchery.host.plan.disks or { };
      defaultText = "the plan's disks in host.json";
      description = "The disks of the confirmed plan by slot. A layout asks `config.hatchery.disks ? SLOT` for optional slots.";
    };
  };
}
