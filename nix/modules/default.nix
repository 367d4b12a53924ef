# All that an installed host needs (disko itself comes from the flake).
{
  imports = [
    ./partitioning
    ./k3s.nix
    ./static-hosts.nix
    ./host.nix
  ];
}
