#!/usr/bin/env bash
# verify.sh — what `make verify` checks after generating and linting: the documents speak of the tree that is there, the
# configuration builds, and nothing that is generated was forgotten.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0
fail() { echo "verify: $*" >&2; failed=1; }

# Links between documents lead somewhere.
for doc in README.md CONTRIBUTING.md CHANGELOG.md docs/*.md docs/designs/*.md; do
  [ -e "$doc" ] || continue
  while read -r link; do
    [ -e "$(dirname "$doc")/$link" ] || fail "$doc links to $link, which does not exist"
  done < <(grep -o ']([^)#]*' "$doc" | sed 's/](//' | grep -v -e '^$' -e '://' || true)
done

# make runs a line that names $(MAKE) also when it is only to print (make -n): such a line has nothing else on it.
mixed=$(sed -e ':more' -e '/\\$/{N;s/\\\n[[:space:]]*//;b more' -e '}' Makefile hack/make/*.mk |
  grep -E '^[[:space:]].*[$][({]MAKE[)}]' | grep -vE '^[[:space:]]+[@-]*[$][({]MAKE[)}][^;&|]*$' |
  grep -vE "^[[:space:]]+[@-]*[$][({]MAKE[)}]([^';&|]|'[^']*')*$" || true)
[ -z "$mixed" ] || fail "make -n would run more than make in these lines: $mixed"

# Each kind has its page and its sample.
for kind in $(sed -n 's/^ *kind: \(Mini.*\)/\1/p' PROJECT | tr 'A-Z' 'a-z'); do
  [ -e "docs/$kind.md" ] || fail "docs/$kind.md is missing"
  [ -e "config/samples/$kind.yaml" ] || fail "config/samples/$kind.yaml is missing"
done

kubectl=$(hack/assets.sh kubectl)/kubectl
for dir in config/default config/uninstall; do
  "$kubectl" kustomize "$dir" >/dev/null || fail "$dir does not build"
done

helm=$(hack/assets.sh helm)/helm
"$helm" lint --strict --quiet charts/miniplane --namespace miniplane-system || fail "charts/miniplane does not lint"

for module in . test/differential; do
  (cd "$module" && go mod tidy -diff >/dev/null) || fail "go.mod in $module is not tidy: run go mod tidy there"
done
if [ -n "$(git status --porcelain)" ]; then
  git status --short >&2
  fail "the tree is not clean: commit what was generated"
fi
exit $failed
