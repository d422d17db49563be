#!/usr/bin/env bash
# Builds fourd_humans/viewer/data/page.html, the page of '4dhumans view', from viewer_page/. Needs Node.js 20 or newer.
# Usage: bin/build_viewer_page.sh [OUTPUT]
set -euo pipefail
output=$(realpath -m "${1:-$(dirname "$0")/../fourd_humans/viewer/data/page.html}")
cd "$(dirname "$0")/../viewer_page"
npm ci --silent --ignore-scripts --no-audit --no-fund
node build.mjs "$output"
