# The appliance in a container; docs/container.md says how to run it, with which network, volumes and capabilities.
#   docker build -t hatchery --build-arg VERSION="$(git describe --tags --always --dirty)" .
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git golang-go ipxe && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
# Debian's Go fetches the toolchain that go.mod names.
ENV GOTOOLCHAIN=auto CGO_ENABLED=0
RUN go mod download
COPY . .
ARG VERSION=container
RUN go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/hatchery ./cmd/hatchery \
 && go build -trimpath -buildvcs=false -ldflags '-s -w' -o /out/hatchery-agent ./cmd/hatchery-agent \
 && mkdir -p /out/ipxe && cd /usr/lib/ipxe && cp -L undionly.kpxe snponly.efi ipxe-amd64.efi ipxe-arm64.efi /out/ipxe/

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git nix-bin openssh-client && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/hatchery /out/hatchery-agent /usr/local/bin/
COPY --from=build /out/ipxe /usr/local/share/hatchery/ipxe
# Nix without a daemon: a container has neither build users nor the right to make a sandbox of its own. With the host's
# daemon (-v /nix:/nix -e NIX_REMOTE=daemon) the daemon's own settings hold: this file's are not sent to it.
RUN mkdir -p /etc/nix && printf '%s\n' 'build-users-group =' 'sandbox = false' 'experimental-features = nix-command flakes' >/etc/nix/nix.conf
# All state, and the store that hosts are built in: both outlive the container.
VOLUME /var/lib/hatchery /nix
# DHCP 67 and 4011, TFTP 69, boot files 8080, pages 8443. Only --network host hears a LAN's broadcasts.
EXPOSE 67/udp 69/udp 4011/udp 8080/tcp 8443/tcp
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["hatchery", "healthcheck"]
ENTRYPOINT ["hatchery", "serve", "--data", "/var/lib/hatchery", "--ipxe", "/usr/local/share/hatchery/ipxe"]
