# The keys of hatchery's configuration file, typed: cmd/hatchery/config.go mirrors them, and its test holds the two against each other.
{ lib }:
let
  inherit (lib) mkOption types;
  # not set = the program's own default
  maybe = type: description: mkOption { type = types.nullOr type; default = null; inherit description; };
  str = maybe types.str;
  oneOf = values: maybe (types.enum values);
  list = description: mkOption { type = types.listOf types.str; default = [ ]; inherit description; };
  tables = options: description: mkOption {
    type = types.listOf (types.submodule { inherit options; });
    default = [ ];
    # TOML has no null
    apply = map (lib.filterAttrs (_: v: v != null && v != [ ]));
    inherit description;
  };
  must = description: mkOption { type = types.str; inherit description; };
  def = default: description: mkOption { type = types.str; inherit default description; };
in
{
  data = def "/var/lib/hatchery" "Folder that holds all state.";
  interfaces = list "Interfaces to serve; none: every one with a private IPv4 address.";
  dhcp = oneOf [ "auto" "proxy" "server" "off" ] "auto (default): beside another DHCP server only the boot answers; a server by itself only with dhcp_range and where nobody else answers.";
  dhcp_force = maybe types.bool "Be a DHCP server although another one answers.";
  dhcp_range = str "Addresses to lease in server mode, as FIRST-LAST.";
  dhcp_router = str "Router to hand out.";
  dhcp_dns = list "DNS servers to hand out.";
  dhcp_domain = str "Domain name to hand out.";
  dhcp_ntp = list "Time servers to hand out.";
  dhcp_routes = list "Static routes to hand out, as \"10.9.0.0/16 via 192.168.1.5\".";
  dhcp_relayed = tables {
    subnet = must "The subnet behind the relay.";
    range = str "Addresses to lease there.";
    router = str "Router to hand out there.";
    dns = list "DNS servers to hand out there.";
  } "Subnets behind DHCP relays.";
  reservations = tables {
    mac = must "MAC address.";
    ip = must "Its address.";
    hostname = str "Its host name.";
  } "Fixed addresses.";
  lease_time = str "How long a lease lasts, as \"1h\".";
  discovery = oneOf [ "once" "always" "off" ] "Who gets stage-0 unasked.";
  ipxe = def "" "Folder with the iPXE boot files.";
  stage0 = def "" "Folder with stage-0 images.";
  hive = str "Folder or git URL that the hive is cloned from; not set: the built-in template.";
  nix = str "nix command.";
  nix_args = list "Further arguments for every nix eval and build.";
  nixos_anywhere = str "nixos-anywhere command.";
  boot_addr = def ":8080" "Where boot files are served (plain HTTP).";
  web_addr = def ":8443" "Where the page and the API are (HTTPS).";
  web_tls = str "auto (default): own certificate; off; or CERT,KEY.";
  web_names = list "Further host names that the page is reached by.";
  router_adv = oneOf [ "auto" "off" ] "auto (default): end iPXE's wait for IPv6 where no router advertises.";
  kernel_args = str "Words added to stage-0's kernel command line.";
  ssh_keys = list "Further public SSH keys that may log in to stage-0 and to every installed host.";
  cache_key_file = str "File with the public key of this machine's binary cache; the hosts then use the cache.";
  cache_port = maybe types.port "TCP port of that cache.";
  user = str "Whom the process becomes when root starts it; this module's unit does not.";
  log_format = oneOf [ "text" "json" ] "Form of the log.";
  log_level = oneOf [ "debug" "info" "warn" "error" ] "How much is logged.";
}
