# Stands for nixpkgs' profile of that name.
{ }
