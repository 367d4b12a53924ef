# For every host. The appliance's own SSH key is authorised by hatchery's host module already.
{ ... }:
{
  # Your own SSH keys:
  users.users.root.openssh.authorizedKeys.keys = [
    # "ssh-ed25519 AAAA… you@laptop"
  ];

  time.timeZone = "UTC";
  nix.settings.experimental-features = [ "nix-command" "flakes" ];

  # The NixOS release that a host was first installed with: leave it when you upgrade.
  system.stateVersion = "26.05";
}
