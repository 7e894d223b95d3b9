#!/bin/bash
# A run under Slurm: a Ray cluster of the job's nodes, that comes with the job and goes with it.
#   1. adapt the #SBATCH lines   2. sbatch slurm.sh -c mine.yaml [KEY=VALUE ...]
# `headrace` has to be on the PATH of every node, the store and the home folder under the same path on all of them. The
# run commits two minutes before its time is over, and is queued again; it then goes on from there, on as many nodes as
# the job has by then where engine.workers is a range. Other users of the machines are kept out by a token per job.
#SBATCH --job-name=headrace
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[ $# -gt 0 ] || { echo "say what to run: sbatch slurm.sh -c mine.yaml [KEY=VALUE ...]" >&2; exit 2; }

folder=$(mktemp -d "$HOME/.headrace-job-$SLURM_JOB_ID.XXXXXX")  # for its owner alone, as mktemp makes it
trap 'jobs -p | xargs -r kill 2> /dev/null; rm -rf "$folder"' EXIT
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/token" RAY_USAGE_STATS_ENABLED=0
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" NCCL_DEBUG="${NCCL_DEBUG:-WARN}"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}  # this script runs on it
ip=$(getent ahostsv4 "$head" | awk '$1 !~ /^127\./ {print $1; exit}')
port=$((20000 + SLURM_JOB_ID % 10000))
export RAY_ADDRESS="${ip:-127.0.0.1}:$port"
ray_on() {
    srun --overlap --nodes=1 --ntasks=1 --nodelist="$1" --output="$folder/ray-$1.log" \
        ray start --block --num-cpus="$SRUN_CPUS_PER_TASK" "${@:2}" &
}

ray_on "$head" --head --node-ip-address="${RAY_ADDRESS%:*}" --port="$port" --dashboard-host=127.0.0.1
for try in $(seq 60); do
    ray status --address="$RAY_ADDRESS" &> "$folder/status" && break
    [ "$try" -lt 60 ] || { cat "$folder/status" "$folder/ray-$head.log" >&2; exit 75; }
    sleep 2
done
for node in "${nodes[@]:1}"; do ray_on "$node" --address="$RAY_ADDRESS"; done

headrace run "$@" &
driver=$!
trap 'kill -TERM $driver' TERM  # the run finishes its step and commits
while code=0; wait "$driver" || code=$?; kill -0 "$driver" 2> /dev/null; do :; done  # the trap interrupts a wait
trap "" TERM  # which Slurm sends again when it takes the nodes back
case $code in
143 | 75) echo "queued again: it goes on from its last commit" && scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
