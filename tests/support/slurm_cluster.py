"""A Slurm cluster of several hosts on one machine, for tests: slurmctld, one slurmd a host, and a munge of its own.

`enter()` moves the whole test into private namespaces (network, mounts, processes, host name), so that nothing
of the machine is touched, and everything ends with the test, however it ends. Inside, each host of the cluster
is a network namespace on a bridge, with its own host name, /etc/hosts and /dev/shm: MPI sees hosts that
share a file system and talk over TCP. The test itself sits on the bridge, where slurmctld runs too.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

SKIPPED = 77  # ctest's SKIP_RETURN_CODE
_NETWORK = "10.91.0."
_CONTROLLER = _NETWORK + "1"
_COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "munged", "ip", "unshare", "nsenter", "mount")

_CONF = """ClusterName=trireme
SlurmctldHost=controller({controller})
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=pmix
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=20
KillWait=5
InactiveLimit=0
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def skip(reason):
    print(f"SKIPPED: {reason}", flush=True)
    sys.exit(SKIPPED)


def enter():
    """Runs this program again inside private namespaces and exits with its code; returns where it is inside already.

    Skips the test, with the reason, where that cannot be done.
    """
    if os.environ.get("TRIREME_TEST_INSIDE") == "1":
        return
    missing = [command for command in _COMMANDS if not shutil.which(command, path=_path())]
    if missing:
        skip(f"not installed: {', '.join(missing)} (scripts/setup.sh installs them)")
    if os.geteuid() != 0:
        skip("a Slurm cluster of one's own needs root")
    unshare = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    probe = "mount -t tmpfs none /mnt && ip link add b0 type bridge && ip link add v0 type veth peer name v1"
    tried = subprocess.run(unshare + ["sh", "-c", probe], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        skip(f"no private namespaces with a bridge here: {tried.stderr.strip()}")
    environment = dict(os.environ, TRIREME_TEST_INSIDE="1", PATH=_path())
    sys.exit(subprocess.run(unshare + [sys.executable] + sys.orig_argv[1:], env=environment, check=False).returncode)


def _path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=30)


class SlurmCluster:
    """`with SlurmCluster(folder, 2) as cluster:` after enter(). Hosts are called node1, node2, …"""

    def __init__(self, folder, hosts=2, cpus=2):
        self.folder = pathlib.Path(folder)
        self.hosts = [f"node{index + 1}" for index in range(hosts)]
        self._cpus = cpus
        self._daemons = []
        self.environment = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"),
                                OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        self.environment.pop("TRIREME_TEST_INSIDE")

    def address(self, host):
        return f"{_NETWORK}{11 + self.hosts.index(host)}"

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.print_logs()
            self.__exit__()
            if self._lacks_cgroups():
                skip("slurmd found no control groups that it could use; its log is above")
            raise
        return self

    def _lacks_cgroups(self):
        logs = "".join(log.read_text(errors="replace") for log in self.folder.glob("slurmd.*.log"))
        return any("fatal" in line or "error" in line for line in logs.splitlines() if "cgroup" in line)

    def __exit__(self, *_):
        # Nothing here outlives the test: jobs that still run end with the namespace of processes.
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()

    def _start(self):
        self.folder.chmod(0o755)
        self._start_network()
        self._start_munge()
        nodes = "\n".join(f"NodeName={host} NodeAddr={self.address(host)} CPUs={self._cpus} RealMemory=1000 State=UNKNOWN"
                          for host in self.hosts)
        (self.folder / "slurm.conf").write_text(_CONF.format(
            controller=_CONTROLLER, folder=self.folder, nodes=nodes, names=",".join(self.hosts)))
        (self.folder / "state").mkdir()
        self._daemon("slurmctld", "-D", "-c", "-f", self.folder / "slurm.conf")
        self._wait("slurmctld", lambda: self.run("scontrol", "ping", check=False).returncode == 0)
        for host in self.hosts:
            (self.folder / f"spool.{host}").mkdir()
            (self.folder / f"tmp.{host}").mkdir()
            # A host is this shell: its name, its /etc/hosts and its shared memory are seen by its children only.
            script = ('hostname "$1" && mount --bind "$2" /etc/hosts && mount -t tmpfs none /dev/shm && '
                      'exec slurmd -D -N "$1" -f "$3"')
            self._daemon("nsenter", f"--net=/run/netns/{host}", "unshare", "--uts", "--mount", "--ipc",
                         "sh", "-c", script, "sh", host, self.folder / "hosts", self.folder / "slurm.conf")
        self._wait("every slurmd", lambda: self.run("sinfo", "-h", "-N", "-o", "%t").stdout.split() == ["idle"] * len(self.hosts))

    def _start_network(self):
        hosts = ["127.0.0.1 localhost", f"{_CONTROLLER} controller"]
        hosts += [f"{self.address(host)} {host}" for host in self.hosts]
        (self.folder / "hosts").write_text("\n".join(hosts) + "\n")
        _run("hostname", "controller")
        _run("mount", "--bind", str(self.folder / "hosts"), "/etc/hosts")
        os.makedirs("/run/netns", exist_ok=True)
        _run("mount", "-t", "tmpfs", "none", "/run/netns")
        _run("ip", "link", "set", "lo", "up")
        _run("ip", "link", "add", "bridge0", "type", "bridge")
        _run("ip", "addr", "add", f"{_CONTROLLER}/24", "dev", "bridge0")
        _run("ip", "link", "set", "bridge0", "up")
        for index, host in enumerate(self.hosts):
            _run("ip", "netns", "add", host)
            _run("ip", "link", "add", f"port{index}", "type", "veth", "peer", "name", "eth0", "netns", host)
            _run("ip", "link", "set", f"port{index}", "master", "bridge0", "up")
            _run("ip", "-n", host, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _run("ip", "-n", host, "link", "set", "eth0", "up")
            _run("ip", "-n", host, "link", "set", "lo", "up")

    def _start_munge(self):
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        key = munge / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
                     f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed")
        self._wait("munged", lambda: (munge / "socket").exists())

    def _daemon(self, *command):
        output = open(self.folder / f"daemon{len(self._daemons)}.log", "wb")
        with output:
            self._daemons.append(subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                                  stdout=output, stderr=subprocess.STDOUT, env=self.environment))

    def _wait(self, what, ready, seconds=30):
        deadline = time.monotonic() + seconds
        while not ready():
            for daemon in self._daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{daemon.args[0]} ended with {daemon.returncode} while waiting for {what}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not ready after {seconds} s")
            time.sleep(0.1)

    def run(self, *command, check=True, timeout=60, **options):
        """Runs a command beside the controller; its output is in .stdout and .stderr."""
        return subprocess.run([str(word) for word in command], env=self.environment, capture_output=True, text=True,
                              check=check, timeout=timeout, stdin=subprocess.DEVNULL, **options)

    def submit(self, *arguments, cwd):
        """sbatch; returns the number of the job."""
        done = self.run("sbatch", "--parsable", *arguments, check=False, cwd=cwd)
        if done.returncode != 0:
            raise RuntimeError(f"sbatch: {done.stderr.strip()}")
        return done.stdout.strip().split(";")[0]

    def state(self, job):
        """(state, exit code) of a job: ("COMPLETED", "0:0")."""
        shown = self.run("scontrol", "-o", "show", "job", job).stdout
        fields = dict(field.split("=", 1) for field in shown.split() if "=" in field)
        return fields["JobState"], fields["ExitCode"]

    def wait_for(self, job, seconds):
        """The final state of a job."""
        deadline = time.monotonic() + seconds
        while True:
            state, code = self.state(job)
            if state not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED"):
                return state, code
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job} is {state} after {seconds} s")
            time.sleep(0.2)

    def print_logs(self):
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
