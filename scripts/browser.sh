#!/bin/sh
# See that there is a Chromium for the tests of the pages, and Chinese characters for their pictures. Idempotent.
set -eu

say() { printf '%s\n' "$*" >&2; }

browser() {
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1
}

browser && exit 0
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    say "Installing Chromium with apt-get, for the tests of the pages"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium fonts-wqy-zenhei; } >/dev/null 2>&1 || true
fi
browser || say "note: there is no Chromium, so the tests of the pages are skipped (on CI they fail).
      Debian: apt-get install chromium fonts-wqy-zenhei"
