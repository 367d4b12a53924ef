{ fork, o, t, ... }:
let
  network = {
    options = {
      matchConfig = o (t.attrsOf t.anything) { };
      linkConfig = o (t.attrsOf t.anything) { };
      networkConfig = o (t.attrsOf t.anything) { };
      address = o (t.listOf t.str) [ ];
      gateway = o (t.listOf t.str) [ ];
      dns = o (t.listOf t.str) [ ];
      routes = o (t.listOf (t.attrsOf t.anything)) [ ];
    };
  };
in
[
  {
    commit = "0192bb844360b5b42ebaf7f575f84d79910a5927";
    file = "nixos/modules/services/networking/firewall.nix";
    options.networking.firewall = {
      enable = o t.bool true;
      allowedTCPPorts = o (t.listOf t.port) [ ];
      allowedUDPPorts = o (t.listOf t.port) [ ];
    };
  }
  {
    repo = "nix-community/nixos-images";
    commit = "e17386d9193d6d5a90f1b4b6a8a5cd2620d34b56";
    file = "nix/networkd.nix";
    options.networking.useNetworkd = o t.bool false;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/networkd.nix";
    options.systemd.network.enable = o t.bool false;
    options.systemd.network.networks = o (t.attrsOf (t.submodule network)) { };
    options.systemd.network.wait-online.anyInterface = o t.bool false;
    options.systemd.network.config.networkConfig = o (t.attrsOf t.anything) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/tasks/network-interfaces.nix";
    options.networking.hostName = o (t.strMatching "^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$") "nixos";
    options.networking.domain = o (t.nullOr t.str) null;
    options.networking.useDHCP = o t.bool true;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/networking.nix";
    options.networking.hosts = o (t.attrsOf (t.listOf t.str)) { };
  }
]
