# The appliance in a container. It serves DHCP and TFTP to the LAN, so it needs the host's network:
#   docker build -t hatchery . && docker run --network host --cap-add NET_RAW -v hatchery:/var/lib/hatchery hatchery
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git golang-go ipxe && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY go.mod go.sum ./
# Debian's Go fetches the toolchain that go.mod names.
ENV GOTOOLCHAIN=auto CGO_ENABLED=0
RUN go mod download
COPY . .
ARG VERSION=container
RUN go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/hatchery ./cmd/hatchery \
 && go build -trimpath -ldflags '-s -w' -o /out/hatchery-agent ./cmd/hatchery-agent \
 && mkdir -p /out/ipxe && cd /usr/lib/ipxe && cp -L undionly.kpxe snponly.efi ipxe-amd64.efi ipxe-arm64.efi /out/ipxe/

FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates git nix-bin openssh-client && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/hatchery /out/hatchery-agent /usr/local/bin/
COPY --from=build /out/ipxe /usr/local/share/hatchery/ipxe
VOLUME /var/lib/hatchery
# DHCP 67 and 4011, TFTP 69, boot files 8080, pages 8443
EXPOSE 67/udp 69/udp 4011/udp 8080/tcp 8443/tcp
ENTRYPOINT ["hatchery", "serve", "--data", "/var/lib/hatchery", "--ipxe", "/usr/local/share/hatchery/ipxe"]
