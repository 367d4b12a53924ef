# The appliance's module: the unit starts without root, serves its page and opens its ports. Not run where there is
# no internet.
{ self, nixpkgs, system }:
nixpkgs.legacyPackages.${system}.testers.runNixOSTest {
  name = "hatchery-appliance";
  nodes.machine = {
    imports = [ self.nixosModules.appliance ];
    services.hatchery = {
      enable = true;
      settings.interfaces = [ "eth1" ];
      settings.dhcp = "proxy";
    };
  };
  testScript = ''
    machine.wait_for_unit("hatchery.service")
    machine.wait_for_open_port(8443)
    machine.succeed("curl -fsk https://localhost:8443/healthz")
    machine.succeed("ss -lun | grep -q ':67 '")
    assert "hatchery" in machine.succeed("ps -o user= -C hatchery")
  '';
}
