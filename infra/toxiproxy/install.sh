#!/bin/sh
# Build toxiproxy-server with the Go on this machine; nothing is built when this version is there already.
#
#   infra/toxiproxy/install.sh            into the folder of `go install` (usually ~/go/bin), where costlab looks
#   infra/toxiproxy/install.sh FOLDER     into FOLDER
set -eu

version=2.12.0
module=github.com/Shopify/toxiproxy/v2

PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || { echo "infra/toxiproxy/install.sh: no go on PATH; Go 1.23 or later builds toxiproxy" >&2; exit 3; }
folder=${1:-$(go env GOBIN)}
folder=${folder:-$(go env GOPATH)/bin}
program=$folder/toxiproxy-server

# What was installed by hand may say "git" for its version; Go itself knows better.
if [ -x "$program" ] && go version -m "$program" 2>/dev/null | grep -q "$module.*v$version"; then exit 0; fi

mkdir -p "$folder"
draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
# Static, so that the same program runs in any image.
GOBIN=$draft GOFLAGS=-buildvcs=false CGO_ENABLED=0 \
    go install -trimpath -ldflags "-s -w -X $module.Version=$version" "$module/cmd/server@v$version"
mv "$draft/server" "$program"
echo "toxiproxy-server $version: $program"
