# Stands for nixos-anywhere where a test only evaluates.
{ outputs = { self, ... }: { packages = { }; }; }
