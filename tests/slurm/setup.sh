#!/bin/sh
# A Slurm of one node, this machine, from Debian's packages: `setup.sh start FOLDER`, then `export SLURM_CONF=FOLDER/slurm.conf`.
# For tests: as root, without systemd, cgroups or accounting. `setup.sh stop FOLDER` ends its daemons and nothing else;
# `controller FOLDER` restarts the controller alone.
set -eu

action=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF="$folder/slurm.conf"

end() {  # the daemon that wrote this pid file
    [ -s "$folder/$1.pid" ] || return 0
    pid=$(cat "$folder/$1.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    rm -f "$folder/$1.pid"
}

install() {
    for command in munged slurmctld slurmd sbatch; do
        command -v "$command" >/dev/null || missing=yes
    done
    [ -z "${missing-}" ] && return 0
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --no-install-recommends munge slurmctld slurmd slurm-client
}

configure() {
    node=$(hostname -s)
    cpus=$(nproc --all)  # and not fewer than two, so that two cells run at a time
    [ "$cpus" -gt 1 ] || cpus=2
    memory=$(awk '/^MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)  # MB
    mkdir -p "$folder/state" "$folder/spool"
    chmod 755 "$folder"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# A requeued job waits a second longer than credentials live: two minutes, if nothing is said.
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=60
KillWait=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    # This version cannot do without a cgroup plugin, though nothing here uses it.
    if [ -d /sys/fs/cgroup/freezer ]; then plugin=cgroup/v1; else plugin=cgroup/v2; fi
    printf 'CgroupPlugin=%s\nCgroupAutomount=no\nIgnoreSystemd=yes\n' "$plugin" >"$folder/cgroup.conf"
}

answers() {  # until the node is idle
    for _ in $(seq 300); do
        if sinfo --noheader --format=%T 2>/dev/null | grep -q -e idle -e mixed -e allocated; then return 0; fi
        sleep 0.2
    done
    echo "Slurm does not start; see $folder/slurmctld.log and slurmd.log" >&2
    return 1
}

case $action in
    start)
        install
        configure
        munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
            --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
        slurmctld -c
        slurmd
        answers
        ;;
    controller)
        end slurmctld
        [ "${3-}" ] && sleep "$3"
        slurmctld
        answers
        ;;
    stop)
        end slurmd
        end slurmctld
        end munged
        ;;
    *)
        echo "start, controller or stop?" >&2
        exit 2
        ;;
esac
