# hatchery and hatchery-agent.
{ lib, buildGoModule, src, git, openssh, makeWrapper }:
buildGoModule {
  pname = "hatchery";
  version = "0-${src.shortRev or "dirty"}";
  src = lib.cleanSource src;
  # vendor-hash.sh --write after a change of go.mod
  vendorHash = "sha256-ZQGqkt1jageYASXCQ6tUXgwuG3ywXnv936pchnVdRxU=";
  subPackages = [ "cmd/hatchery" "cmd/hatchery-agent" ];
  env.CGO_ENABLED = "0";
  ldflags = [ "-s" "-w" ];
  nativeBuildInputs = [ makeWrapper ];
  # network, QEMU and nix tests need what a build sandbox has not; `make test` runs them
  doCheck = false;
  postInstall = ''
    wrapProgram $out/bin/hatchery --prefix PATH : ${lib.makeBinPath [ git openssh ]}
  '';
  meta = {
    description = "Netboots bare machines into NixOS";
    license = lib.licenses.asl20;
    mainProgram = "hatchery";
    platforms = lib.platforms.linux;
  };
}
