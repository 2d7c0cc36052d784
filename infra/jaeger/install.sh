#!/bin/sh
# Build Jaeger 2 with the Go on this machine (minutes, 3 GB of disk); nothing is built when this version is there already.
#
#   infra/jaeger/install.sh            into the folder of `go install` (usually ~/go/bin), where costlab looks
#   infra/jaeger/install.sh FOLDER     into FOLDER
#
# Its page is not in it: that is built with npm and no part of the Go module. The API is whole, and so is what Grafana
# shows of it. A binary of Jaeger's own releases has the page; put that one on PATH, or name it: JAEGER=/path/to/jaeger
set -eu

# One source, two tags: 1.76.0 is 2.13.0. The module's path lacks the /v2 under which Go would install the second, and
# `go install` refuses its replace directive, so it is built from within.
version=2.13.0
module=github.com/jaegertracing/jaeger
tag=v1.76.0

PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || { echo "infra/jaeger/install.sh: no go on PATH; Go 1.24.6 or later builds Jaeger" >&2; exit 3; }
folder=${1:-$(go env GOBIN)}
folder=${folder:-$(go env GOPATH)/bin}
program=$folder/jaeger

if [ -x "$program" ] && "$program" version 2>/dev/null | grep -q "\"v$version\""; then exit 0; fi

mkdir -p "$folder"
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
sources=$(cd "$draft" && go mod download -json "$module@$tag" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
(cd "$sources" && GOFLAGS=-buildvcs=false CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X $module/internal/version.latestVersion=v$version" -o "$draft/jaeger" ./cmd/jaeger)
mv "$draft/jaeger" "$program"
echo "jaeger $version: $program"
