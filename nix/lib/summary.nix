# What the fleet is, out of the host files alone: `nix eval --raw .#hatchery.summary.text`, or .json with --json.
{ lib }:
hosts:
let
  one = name: h:
    let f = h.facts; in
    {
      inherit name;
      inherit (f) role mac system;
      address = f.address.ip or null;
      static = f.address.static or false;
      disks = lib.mapAttrs (_: d: { inherit (d) class id; serial = d.serial or null; }) (f.plan.disks or { });
      k3s = if f.k3s or null == null then null else { inherit (f.k3s) role cluster; init = f.k3s.init or false; serverUrl = f.k3s.serverUrl or null; };
    };
  list = lib.mapAttrsToList one hosts;
  line = h: lib.concatStringsSep "\n" (
    [ "${h.name}: ${h.role}, ${if h.address == null then "address by DHCP" else "${h.address}${if h.static then "" else " (reserved)"}"}, ${h.mac}" ]
    ++ lib.mapAttrsToList (slot: d: "  ${slot}: ${d.class} on ${d.id}") h.disks
    ++ lib.optional (h.k3s != null) "  k3s: ${if h.k3s.init then "begins" else h.k3s.role + " in"} cluster ${h.k3s.cluster}${if h.k3s.serverUrl == null then "" else " at ${h.k3s.serverUrl}"}"
  );
in
{
  json = list;
  text = lib.concatMapStringsSep "\n" line list + "\n";
  # the same of one host: summary.hosts.NAME.{text,json}
  hosts = lib.listToAttrs (map (h: lib.nameValuePair h.name { json = h; text = line h + "\n"; }) list);
}
