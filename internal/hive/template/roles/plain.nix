{ ... }: { imports = [ ./os-disk.nix ]; }
