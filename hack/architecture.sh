#!/usr/bin/env bash
# architecture.sh — write the table of packages at the end of docs/architecture.md from the packages' own comments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
doc=docs/architecture.md
marker='<!-- packages: written by hack/architecture.sh -->'
{
  awk -v marker="$marker" '{ print } $0 == marker { exit }' "$doc"
  # The first sentence of each package comment, without the words every package comment starts with.
  go list -f '{{.Dir}}|{{.Doc}}' ./... | sed "s#^$PWD/##" | while IFS='|' read -r dir text; do
    [ -n "$text" ] || { echo "architecture: package $dir has no comment" >&2; exit 1; }
    printf '| `%s` | %s |\n' "$dir" "$(sed -E 's/^(Package|Command) [a-z0-9]+ //; s/\|/\\|/g' <<<"$text")"
  done
} > "$doc.tmp"
mv "$doc.tmp" "$doc"
