# A reinstall makes the system disk anew and keeps what is on the persistent one. Needs KVM and a substituter; not run where there is no
# internet (there: nix/tests/cases.sh and internal/lab/e2e).
args@{ nixpkgs, system, ... }:
let
  lan = import ./lan.nix args;
in
lan.pkgs.testers.runNixOSTest {
  name = "hatchery-reinstall";
  nodes.appliance = lan.appliance;
  testScript = lan.machine + ''
    appliance.start()
    appliance.wait_for_unit("hatchery.service")
    bare = bare_machine()
    bare.start()
    state("ready")
    install()
    on_host("echo kept > /data/marker; echo gone > /root/marker; sync")
    key = on_host("cat /etc/ssh/ssh_host_ed25519_key.pub || ssh-keygen -yf /etc/ssh/ssh_host_ed25519_key")

    appliance.succeed("hatchery hosts reinstall 52:54:00:12:34:56")
    state("installing")
    state("installed", timeout=3600)
    assert "kept" in on_host("cat /data/marker")
    assert "none" in on_host("cat /root/marker 2>/dev/null || echo none")
    assert key == on_host("cat /etc/ssh/ssh_host_ed25519_key.pub || ssh-keygen -yf /etc/ssh/ssh_host_ed25519_key")
  '';
}
