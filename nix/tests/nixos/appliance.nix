# The appliance's module: the unit starts without root and with two capabilities, serves its page, opens its ports, and hands out its
# store. Needs KVM and a substituter; not run where there is no internet.
{ self, nixpkgs, system }:
nixpkgs.legacyPackages.${system}.testers.runNixOSTest {
  name = "hatchery-appliance";
  nodes.box = {
    imports = [ self.nixosModules.appliance ];
    services.hatchery = {
      enable = true;
      settings.interfaces = [ "eth1" ];
      settings.dhcp = "proxy";
    };
  };
  nodes.host = { };
  testScript = ''
    start_all()
    box.wait_for_unit("hatchery.service")
    box.wait_for_open_port(8443)

    with subtest("no root, two capabilities"):
        pid = box.succeed("systemctl show -P MainPID hatchery").strip()
        assert "hatchery" in box.succeed(f"ps -o user= -p {pid}")
        # CAP_NET_BIND_SERVICE (10) and CAP_NET_RAW (13)
        assert "0000000000002400" in box.succeed(f"grep CapBnd /proc/{pid}/status")

    with subtest("its ports are open to the LAN"):
        host.wait_for_unit("multi-user.target")
        host.succeed("curl -fsk https://box:8443/healthz")
        host.succeed("curl -fs 'http://box:8080/boot.ipxe?mac=52:54:00:00:00:01' | grep -q '#!ipxe'")
        for port in (67, 69, 4011):
            box.succeed(f"ss -lun | grep -q ':{port} '")
        host.succeed("curl -fs tftp://box/undionly.kpxe -o /dev/null")

    with subtest("its iPXE has our script inside"):
        host.succeed("curl -fs tftp://box/snponly.efi -o /tmp/snponly.efi")
        box.succeed("test -s $(sed -n 's/^ipxe = \"\\(.*\\)\"/\\1/p' $(systemctl cat hatchery | grep -o '/nix/store/[^ ]*hatchery.toml'))/snponly.efi")

    with subtest("hosts can download from it, signed"):
        box.wait_for_open_port(5000) # harmonia.service, or its socket
        host.succeed("curl -fs http://box:5000/nix-cache-info | grep -q 'Priority: 30'")
        path = box.succeed("readlink -f /run/current-system").strip()
        info = host.succeed(f"curl -fs http://box:5000/{path.split('/')[3].split('-')[0]}.narinfo")
        assert "Sig: box-hatchery-1:" in info

    with subtest("a daemon's client, not a trusted user"):
        box.succeed("su -s /bin/sh hatchery -c 'nix --extra-experimental-features nix-command store info'")
  '';
}
