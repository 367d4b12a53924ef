# Hatchery. Everything a person types is here: make run, make demo, make test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:

GO := scripts/go.sh
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
LDFLAGS := -s -w -X main.version=$(VERSION)

# make run DATA=DIR keeps the appliance's state elsewhere; make run ARGS="--dhcp-range 192.168.1.100-192.168.1.150" adds flags.
DATA ?= /var/lib/hatchery
ARGS ?=

.PHONY: FORCE help build dist dist-twice install run demo lab-images test test-full unit e2e chaos soak bench bench-all bench-boot bench-files bench-dhcp fuzz lint tidy browser-deps packages-% clean

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: build/hatchery build/hatchery-agent ## the two programs, in build/

# Go itself knows best what is up to date.
build/hatchery: FORCE
	@mkdir -p build
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/hatchery

# The agent carries no version of ours, so that a new commit alone does not make a new stage-0 image.
build/hatchery-agent: FORCE
	@mkdir -p build
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o $@ ./cmd/hatchery-agent

build/ipxe: scripts/ipxe.sh scripts/debs.sh
	scripts/ipxe.sh $@
	@touch $@

# Remade when the agent's bytes or the script change, not for every build.
build/stage0/x86_64/manifest.json: scripts/stage0.sh build/hatchery-agent.sum
	scripts/stage0.sh build/hatchery-agent build/stage0

# Goes with the image above, which is made anew as a whole.
build/stage0/stage0-x86_64.iso: scripts/iso.sh build/stage0/x86_64/manifest.json
	scripts/iso.sh build/stage0

build/parts/kernel/vmlinuz: scripts/parts.sh nix/tests/stub/nixpkgs/mkparts.sh
	scripts/parts.sh build/parts
	@touch $@

build/hatchery-agent.sum: build/hatchery-agent
	@sha256sum $< >$@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@

dist: build/bin/nfpm ## what is handed out, in build/dist: static programs, Debian packages, checksums
	@scripts/dist.sh build/dist '$(VERSION)' build/bin/nfpm
	@ls -l build/dist

dist-twice: build/bin/nfpm ## the same from two checkouts, byte for byte compared (about 8 minutes)
	@scripts/dist-twice.sh build/bin/nfpm

# DESTDIR is for trying it out.
install: ## put the appliance on this Debian machine with its systemd unit (root)
	$(call need_root,it writes to /usr/local and /etc)
	@scripts/packages.sh run
	@$(MAKE) --no-print-directory -s build/hatchery build/ipxe
	install -D -m 755 build/hatchery '$(DESTDIR)/usr/local/bin/hatchery'
	install -D -m 644 -t '$(DESTDIR)/usr/local/share/hatchery/ipxe' build/ipxe/*
	install -D -m 644 packaging/hatchery.sysusers '$(DESTDIR)/usr/lib/sysusers.d/hatchery.conf'
	[ -e '$(DESTDIR)/etc/hatchery/hatchery.toml' ] || install -D -m 644 packaging/hatchery.toml '$(DESTDIR)/etc/hatchery/hatchery.toml'
	sed 's,@bin@,/usr/local/bin,;s,@ipxe@,/usr/local/share/hatchery/ipxe,' packaging/hatchery.service.in | install -D -m 644 /dev/stdin '$(DESTDIR)/etc/systemd/system/hatchery.service'
	[ -n '$(DESTDIR)' ] || { systemd-sysusers && systemctl daemon-reload; }
	@echo "Start it with: systemctl enable --now hatchery   (settings: /etc/hatchery/hatchery.toml; the page's address: journalctl -u hatchery)"

build/hatchery-demo: FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./internal/lab/demo

lab-images: build/ipxe build/stage0/x86_64/manifest.json build/stage0/stage0-x86_64.iso build/parts/kernel/vmlinuz ## what the virtual LAN boots: iPXE, a stage-0 stand-in with its USB image, a system to install

packages-%:
	@scripts/packages.sh $*

define need_root
	@[ "$$(id -u)" = 0 ] || { echo "make $@ needs root ($(1)). Run: sudo make $@" >&2; exit 1; }
endef

run: ## install what is missing, build, and start the appliance on this machine (root)
	$(call need_root,it answers DHCP and TFTP on ports below 1024)
	@scripts/packages.sh run
	@getent passwd hatchery >/dev/null || ! command -v systemd-sysusers >/dev/null || systemd-sysusers '$(CURDIR)/packaging/hatchery.sysusers' || \
		echo 'The user hatchery could not be made: the appliance says below what that means.' >&2
	@$(MAKE) --no-print-directory -s build build/ipxe
	@exec build/hatchery serve --data '$(DATA)' --ipxe '$(CURDIR)/build/ipxe' $(ARGS)

demo: ## the whole journey on a virtual LAN with a blank virtual machine (root)
	$(call need_root,it makes network namespaces)
	@scripts/packages.sh demo
	@$(MAKE) --no-print-directory -s build build/hatchery-demo lab-images
	@exec build/hatchery-demo $(ARGS)

test: ## everything: lint, unit tests, then network, browser and boot tests (root)
	$(call need_root,it makes network namespaces and installs test tools)
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory build lab-images browser-deps
	@$(MAKE) --no-print-directory unit e2e

# Everything but the boots, with the race detector. HATCHERY_E2E=1 turns the tests with namespaces and browsers on too.
unit:
	HATCHERY_E2E=1 $(GO) test -race -timeout $(if $(HATCHERY_FULL),40m,15m) $$($(GO) list ./... | grep -v '/internal/lab/e2e$$')

e2e: ## the boots alone: real firmware against the real program (root, after make build lab-images)
	HATCHERY_E2E=1 $(GO) test -count=1 -timeout 40m -v ./internal/lab/e2e

test-full: export HATCHERY_FULL = 1
test-full: test ## test, with the crash points and firmware that take too long for every change

chaos: ## every fault of docs/faults.md: bad cables, dying routers, failing disks, little memory (root, about 12 minutes)
	$(call need_root,it makes network namespaces)
	@scripts/packages.sh test
	@$(MAKE) --no-print-directory build lab-images
	HATCHERY_E2E=1 $(GO) test -count=1 -timeout 15m -run '^Test(ClockJumps|KilledUnderLoad|DiskFull|LeasesOnAFullDisk|FailedFsyncIsNeverAcknowledged|SlowFsyncLosesNothing|AcknowledgedWritesSurviveSIGKILL|OpenRefusesASecondProcess|BootsWhileNothingCanBeWritten|StalledAndIdleClients)$$' \
	  ./dhcp/server ./inventory/boltdb ./httpboot
	HATCHERY_E2E=1 HATCHERY_CHAOS=1 $(GO) test -count=1 -timeout 1h -v -run '^Test(BadCable|RealMachineOnABadCable|RoutersDHCPDies|SecondAppliance|FrozenAppliance|KilledAppliance|FullDiskServes|DiskTurnsReadOnly|ReadOnlyDataFolder|SlowSync|FewFiles|LittleMemory)$$' \
	  ./internal/lab/e2e

# SOAK=5m is a shorter one.
SOAK ?= 30m
soak: ## half an hour of boots, API and open pages: memory, goroutines and open files stay flat (root)
	$(call need_root,it makes network namespaces)
	@scripts/packages.sh test
	HATCHERY_E2E=1 HATCHERY_SOAK=$(SOAK) $(GO) test -count=1 -timeout 3h -v -run '^TestSoak$$' ./internal/lab/e2e

bench: build ## benchmarks of the parts; HATCHERY_E2E=1 (root) adds the start of the whole program on 10,000 hosts
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-all: export HATCHERY_E2E = 1
bench-all: bench bench-dhcp bench-boot bench-files ## every benchmark there is (root, about an hour)

# DHCPBENCH="-only renewal -rounds 1" measures a part; `build/dhcpbench -h` lists what there is.
bench-dhcp: build/hatchery ## our DHCP server beside Kea and dnsmasq, in namespaces (root, about 8 minutes)
	$(call need_root,it makes network namespaces and installs Kea and dnsmasq)
	@scripts/packages.sh bench
	$(GO) build -o build/dhcpbench ./internal/lab/dhcpbench
	build/dhcpbench $(DHCPBENCH)

# BOOTBENCH="-firmware uefi -rounds 3" measures a part, BOOTBENCH=-own-disk the way to a machine's own disk.
bench-boot: build lab-images ## a machine's way to its script and its check-in, beside dnsmasq + nginx (root, about 12 minutes)
	$(call need_root,it makes network namespaces)
	@scripts/packages.sh demo
	@command -v nginx >/dev/null || { echo "bench-boot compares with nginx: install nginx-light" >&2; exit 1; }
	$(GO) build -o build/bootbench ./internal/lab/bootbench
	build/bootbench $(BOOTBENCH)

# BENCHFILES="-what http" measures a part. Debian's tftpd-hpa and atftpd cannot be installed together: what is not in PATH is left out.
bench-files: build build/ipxe ## TFTP with lost packets beside three servers, 64 downloads of 400 MB beside nginx (root, about 6 minutes)
	$(call need_root,it makes network namespaces)
	@scripts/packages.sh demo
	$(GO) build -o build/filebench ./internal/lab/filebench
	build/filebench $(BENCHFILES)

# Their seeds, from captures of real firmware, run with every `make unit`.
FUZZTIME ?= 2m
fuzz: ## every fuzz target for two minutes (FUZZTIME=10s: shorter)
	@for p in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$p/*_test.go | cut -d' ' -f2); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) ./$$p; done; done

lint: build/bin/staticcheck ## formatting, vet, staticcheck, tidiness
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: run gofmt -w on:"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) --exec build/bin/staticcheck ./...
	$(GO) mod tidy -diff
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; fi

build/bin/staticcheck: TOOL = honnef.co/go/tools/cmd/staticcheck
build/bin/nfpm: TOOL = github.com/goreleaser/nfpm/v2/cmd/nfpm
build/bin/staticcheck build/bin/nfpm: tools/go.mod tools/go.sum
	@mkdir -p build/bin
	$(GO) -C tools build -o ../$@ $(TOOL)
	@touch $@

# Browser tests bring their own package.json; Debian's chromium is the browser.
browser-deps:
	@for d in $$(git ls-files '*package-lock.json'); do d=$$(dirname "$$d"); \
	  [ "$$d/node_modules/.package-lock.json" -nt "$$d/package-lock.json" ] || npm ci --prefix "$$d" --no-audit --no-fund --ignore-scripts; done

clean: ## remove build/ (virtual LANs clean up after themselves)
	rm -rf build
