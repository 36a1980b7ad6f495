#!/bin/bash
# A study on a Slurm cluster, without Ray: a job array whose members share the work. Each takes the next unit that
# nobody has; one that is killed or lost is made up for by the others. The last one writes tables and report.
#
#   sbatch examples/slurm.sh my-study.yaml
#
# The folder `runs` must be on a file system that all nodes share. Submit it again after a time limit, a failure or a
# change of the study: what is done is kept.
#SBATCH --job-name=mossa
#SBATCH --array=1-16
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@60
#SBATCH --output=%x-%A-%a.log
set -euo pipefail

exec srun mossa run "$1" --runs runs --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
