#!/usr/bin/env bash
# Makes a fresh Debian machine able to run AION: system packages where missing, uv, and .venv from the lock.
# Does nothing while requirements.lock and pyproject.toml are unchanged. Run from anywhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'bootstrap: %s\n' "$*"; }
die() { printf 'bootstrap: %s\n' "$*" >&2; exit 1; }

stamp=.venv/.bootstrap
wanted=$(cat requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1)
if [[ -x .venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]] && command -v curl >/dev/null \
  && { [[ -n ${AION_KAFKA__BOOTSTRAP:-} ]] || { command -v java && command -v mvn; } >/dev/null; }; then
  exit 0
fi

# The distribution's interpreter first, wherever PATH points: it is built with profile-guided optimisation, and a task
# costs a quarter less CPU under it than under one that a version manager compiled without (docs/performance.md).
find_python() {
  local candidate
  for candidate in "${AION_PYTHON:-}" /usr/bin/python3 "$(command -v python3 || true)"; do
    if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
}

missing=()
python=$(find_python)
[[ -n $python ]] || missing+=(python3)
if ! command -v uv >/dev/null && [[ ! -x .venv-tools/bin/uv ]]; then
  "${python:-/usr/bin/python3}" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
fi
command -v curl >/dev/null || missing+=(curl) # the README's first client, and one of the interop suite
if [[ -z ${AION_KAFKA__BOOTSTRAP:-} ]]; then # with a broker of your own, no Java is needed
  command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || missing+=(maven)
fi

if ((${#missing[@]})); then
  if ! command -v apt-get >/dev/null; then
    die "please install: ${missing[*]} (or what your system calls them), then start again"
  fi
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "please install as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q=2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q=2 -y --no-install-recommends "${missing[@]}" >/dev/null
fi
python=$(find_python)
[[ -n $python ]] || die "python3 is $(python3 -V 2>&1); AION needs 3.11 or newer: name one in AION_PYTHON"

if ! uv=$(command -v uv); then
  uv=.venv-tools/bin/uv
  if [[ ! -x $uv ]]; then
    say "installing uv into .venv-tools"
    "$python" -m venv .venv-tools
    .venv-tools/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r deploy/local/uv.lock.txt
  fi
fi

if [[ ! -x .venv/bin/python ]]; then
  say "creating .venv"
  "$uv" venv -q --python "$python" .venv
fi
say "installing the locked packages into .venv"
"$uv" pip sync -q --python .venv/bin/python --require-hashes requirements.lock
"$uv" pip install -q --python .venv/bin/python --no-deps -e .
printf '%s\n' "$wanted" >"$stamp"
say "ready"
