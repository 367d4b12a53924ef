# Every key of services.hatchery.settings; settings.toml is what comes out.
{
  data = "/srv/hatchery";
  interfaces = [ "eno1" "eno2" ];
  dhcp = "server";
  dhcp_force = true;
  dhcp_range = "10.0.0.100-10.0.0.199";
  dhcp_router = "10.0.0.1";
  dhcp_dns = [ "10.0.0.1" "10.0.0.2" ];
  dhcp_domain = "home.arpa";
  dhcp_ntp = [ "10.0.0.1" ];
  dhcp_routes = [ "10.9.0.0/16 via 10.0.0.5" ];
  dhcp_relayed = [ { subnet = "10.1.0.0/24"; range = "10.1.0.100-10.1.0.199"; router = "10.1.0.1"; dns = [ "10.0.0.1" ]; } ];
  reservations = [ { mac = "52:54:00:aa:bb:01"; ip = "10.0.0.50"; hostname = "web-1"; } { mac = "52:54:00:aa:bb:02"; ip = "10.0.0.51"; } ];
  lease_time = "2h";
  discovery = "always";
  ipxe = "/srv/ipxe";
  stage0 = "/srv/stage0";
  hive = "https://git.example.org/hive \\ \"quoted\"";
  nix = "nix";
  nix_args = [ "--option" "connect-timeout" "5" ];
  nixos_anywhere = "/bin/nixos-anywhere";
  boot_addr = ":8081";
  web_addr = "10.0.0.2:8444";
  web_tls = "off";
  web_names = [ "hatchery.home.arpa" ];
  router_adv = "off";
  kernel_args = "quiet";
  ssh_keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0e4xWZfSCTTLHo1bmUuYmmsrGkMHDZy0yVGMuCbl+q you@laptop" ];
  cache_key_file = "/srv/cache/public";
  cache_port = 5001;
  log_format = "json";
  log_level = "debug";
  user = "root";
}
