#!/usr/bin/env bash
# Docker, Compose and stand-in base images on a Debian machine that reaches no image registry.
#
#   sudo infra/offline/build.sh        engine, Compose plugin and images; seconds when all of it is there already
#   set -a; . .costlab/offline/images.env; set +a
#   docker compose up --build gateway worker prometheus
#
# One Debian root is made by debootstrap and imported; the images are built on it from Debian packages:
# python (3.11), postgres (15), redis (7), prometheus; toxiproxy with the Go on this machine, where there is one.
# Grafana and Jaeger are not in Debian, so the stack goes without them (COSTLAB_WITHOUT in images.env). These images are for tests, not for publishing: they
# carry this machine's certificate bundle and Debian mirror.
#
# FRESH=1 builds everything anew, without any cache.
set -euo pipefail

suite=bookworm            # has exactly the versions the stack is pinned to: postgresql-15, redis 7, python 3.11
compose_suite=trixie      # the first Debian whose docker-compose is version 2
prefix=costlab-offline
here=$(cd "$(dirname "$0")" && pwd)
state=$(cd "$here/../.." && pwd)/.costlab/offline
log=$state/build.log
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%5ds  %s\n' "$SECONDS" "$*"; }

die() { printf 'infra/offline/build.sh: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output in the log; a failure shows the end of it.
quietly() {
    printf '\n$ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 || { tail -n 20 "$log" >&2; die "failed: $* (everything it said: $log)"; }
}

# The mirror this machine's own apt uses for a Debian archive: mirror_of main|security
mirror_of() {
    local wanted='^(bookworm|trixie|forky|stable|testing|sid)\|'
    [ "$1" = security ] && wanted='-security\|'
    apt-get indextargets --format '$(CODENAME)|$(ORIGIN)|$(COMPONENT)|$(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        grep -E "$wanted" | awk -F'|' '$2 == "Debian" && $3 == "main" { print $4; exit }'
}

install_packages() {
    local missing=()
    command -v dockerd >/dev/null || docker info >/dev/null 2>&1 || missing+=(docker.io)
    command -v debootstrap >/dev/null || missing+=(debootstrap)
    [ -e "$keyring" ] || missing+=(debian-archive-keyring)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    control_groups_mounted || missing+=(cgroupfs-mount)
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    quietly apt-get -qq update
    # Since Debian 13 the docker command is a package of its own.
    command -v docker >/dev/null || ! apt-cache show docker-cli >/dev/null 2>&1 || missing+=(docker-cli)
    DEBIAN_FRONTEND=noninteractive quietly apt-get -qq install -y --no-install-recommends "${missing[@]}"
}

control_groups_mounted() { [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -e /sys/fs/cgroup/memory ]; }

# Compose 2 needs nothing but libc, so the plugin of a later Debian runs here; apt checks its signature.
install_compose() {
    docker compose version >/dev/null 2>&1 && return
    local root=$state/apt plugins=/usr/local/lib/docker/cli-plugins
    say "fetching Compose 2 from Debian $compose_suite"
    mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$plugins"
    echo "deb [signed-by=$keyring] $mirror $compose_suite main" >"$root/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$root/lists" -o "Dir::Cache=$root/cache" -o APT::Sandbox::User=root)
    quietly "${apt[@]}" update
    (cd "$root" && quietly "${apt[@]}" download docker-compose)
    quietly dpkg-deb --extract "$root"/docker-compose_*.deb "$root/unpacked"
    install -m 0755 "$root/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$plugins/"
    rm -rf "$root"
    docker compose version >/dev/null || die "the Compose plugin in $plugins does not run"
}

start_engine() {
    docker info >/dev/null 2>&1 && return
    control_groups_mounted || quietly cgroupfs-mount
    say "starting dockerd (stop it with: kill \$(cat /var/run/docker.pid))"
    setsid dockerd >"$state/dockerd.log" 2>&1 </dev/null &
    local deadline=$((SECONDS + 60))
    until docker info >/dev/null 2>&1; do
        kill -0 $! 2>/dev/null || { tail -n 5 "$state/dockerd.log" >&2; die "dockerd stopped; see $state/dockerd.log"; }
        [ $SECONDS -lt $deadline ] || die "dockerd gave no answer for 60 s; see $state/dockerd.log"
        sleep 0.5
    done
}

have_image() { [ "${FRESH:-}" != 1 ] && docker image inspect "$1" >/dev/null 2>&1; }

# The root file system everything else is built on.
import_debian() {
    local image=$prefix/debian:$suite root=$state/root
    have_image "$image" && return
    say "debootstrap of Debian $suite (about a minute)"
    rm -rf "$root"
    quietly debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"
    if [ -n "$security" ]; then
        echo "deb $security $suite-security main" >>"$root/etc/apt/sources.list"
    fi
    # Behind a proxy that signs TLS anew, only this machine's bundle knows the signer.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    tar -C "$root" --numeric-owner -c . | quietly docker import --change 'CMD ["bash"]' - "$image"
    rm -rf "$root"
}

# Not in Debian: built from source by the Go on this machine. Without it there are no faults on the wire.
build_toxiproxy() {
    local context=$state/toxiproxy
    mkdir -p "$context"
    cp "$here/toxiproxy/Dockerfile" "$context/"
    if "$here/../toxiproxy/install.sh" "$context" >>"$log" 2>&1; then
        build_image toxiproxy 2 "$context"
        echo "TOXIPROXY_IMAGE=$prefix/toxiproxy:2" >>"$state/images.env"
    else
        say "toxiproxy is left out: $(tail -n 1 "$log")"
    fi
}

# The host's network: a build reaches whatever this machine reaches, with no bridge, NAT or MTU in between.
build_image() {
    local image=$prefix/$1:$2 context=${3:-$here/$1} cache=()
    [ "${FRESH:-}" = 1 ] && cache=(--no-cache)
    say "$image"
    DOCKER_BUILDKIT=0 quietly docker build --network host "${cache[@]}" --build-arg "DEBIAN_IMAGE=$prefix/debian:$suite" \
        --tag "$image" "$context"
}

write_environment() {
    cat >"$state/images.env" <<END
PYTHON_IMAGE=$prefix/python:3.11
POSTGRES_IMAGE=$prefix/postgres:15
REDIS_IMAGE=$prefix/redis:7
PROMETHEUS_IMAGE=$prefix/prometheus:2
COSTLAB_WITHOUT="grafana jaeger"
COSTLAB_OTLP_ENDPOINT=
DOCKER_BUILDKIT=0
END
}

[ -e /etc/debian_version ] || die "this script needs Debian (for apt-get and debootstrap); elsewhere use the real images"
[ "$(id -u)" -eq 0 ] || die "this script installs packages and starts dockerd: run it as root"
mkdir -p "$state"
: >"$log"
install_packages
mirror=$(mirror_of main)
[ -n "$mirror" ] || { quietly apt-get update; mirror=$(mirror_of main); }
[ -n "$mirror" ] || die "apt knows no Debian archive here: add one to its sources"
security=$(mirror_of security)
install_compose
start_engine
import_debian
build_image python 3.11
build_image postgres 15
build_image redis 7
build_image prometheus 2
write_environment
build_toxiproxy
say "done; not in Debian and therefore left out: grafana, jaeger"
echo "Use the images with:  set -a; . .costlab/offline/images.env; set +a"
