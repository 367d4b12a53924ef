# From a blank machine's firmware to an installed host: PXE, stage-0, check-in, a role, the install, its own disk. Needs KVM and a
# substituter; not run where there is no internet (there: internal/lab/e2e, with a stand-in for stage-0 and for NixOS).
args@{ nixpkgs, system, ... }:
let
  lan = import ./lan.nix args;
in
lan.pkgs.testers.runNixOSTest {
  name = "hatchery-netboot";
  nodes.appliance = lan.appliance;
  testScript = lan.machine + ''
    appliance.start()
    appliance.wait_for_unit("hatchery.service")
    bare = bare_machine()
    bare.start()

    with subtest("stage-0 netboots and checks in"):
        state("ready")

    with subtest("a role installs it, and it boots its own disk"):
        install()
        assert "worker" in on_host("cat /var/lib/hatchery/host.json")
        assert "/data" in on_host("findmnt -rno TARGET /data")

    with subtest("another netboot gets its own disk, not the installer"):
        on_host("systemctl reboot --no-wall || true")
        appliance.wait_until_succeeds("hatchery hosts diary 52:54:00:12:34:56 | tail -5 | grep -q 'boots its own disk'", timeout=300)
  '';
}
