# /etc/hosts entries for the fleet's hosts with a known address, and for names of your own.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.hatchery.staticHosts;
  domain = if cfg.domain == null then [ ] else [ cfg.domain ];
  names = name: map (d: "${name}.${d}") domain ++ [ name ];
  # address → names, so that one line per address comes out
  entries = lib.foldl' (acc: e: acc // { ${e.address} = (acc.${e.address} or [ ]) ++ e.names; }) { } (
    lib.mapAttrsToList (name: address: { inherit address; names = names name; }) cfg.hosts
    ++ lib.mapAttrsToList (name: address: { inherit address; names = [ name ]; }) cfg.customEntries
  );
in
{
  options.hatchery.staticHosts = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the fleet's hosts know each other by name without DNS.";
    };
    hosts = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = { node1 = "10.0.0.11"; };
      description = "Host name → address, static or reserved. lib.mkHosts fills it from the host files; hosts with a changing address are left out.";
    };
    customEntries = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = { "nas.home.arpa" = "10.0.0.5"; };
      description = "Further names → address, written as they are.";
    };
    domain = mkOption {
      type = types.nullOr types.str;
      default = if config.networking.domain == null then null else config.networking.domain;
      defaultText = "config.networking.domain";
      description = "Domain for the full names of `hosts`; null for none.";
    };
  };

  config = lib.mkIf cfg.enable {
    networking.hosts = entries;
  };
}
