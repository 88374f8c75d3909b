"""What a cluster is made of: starts PostgreSQL, NATS, nodes and nginx on this machine, and stops them. `run` beside it is
`just cluster`; suites that need several nodes import it."""

import glob
import os
import random
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent

# PostgreSQL does not run as root.
AS_POSTGRES = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}

# For suites that want users of their own.
SECRET = {"TITLECAST_JWT_SECRET": "as long as a secret has to be, and no secret",
          "TITLECAST_JWT_ISSUER": "https://issuer.example", "TITLECAST_JWT_AUDIENCE": "titlecast"}

# Longer than a node takes for its replies.
STOP_S = 35


class Failed(Exception):
    """What could not be started, and why."""


def program(name):
    """Where programs are, or where Debian has those that only administrators call."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join(places))


def needed(name, instead):
    found = program(name)
    if not found:
        raise Failed(f"there is no {name} here: install it, or {instead}")
    return found


def free_port():
    """A port that is free and stays so while its server restarts: below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Cluster:
    """What runs, in the order in which it was started."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def start(self, name, command, stop=signal.SIGTERM, **options):
        """Its output goes to NAME.log. A session of its own keeps the terminal's Ctrl-C from it: we stop it in turn."""
        log = open(self.folder / f"{name}.log", "wb")
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
        )
        self.running.append((name, process, stop))

    def wait_for(self, name, is_ready):
        """Asks again and again, as long as everything runs."""
        deadline = time.monotonic() + 30
        while not (answer := is_ready()):
            self.check()
            if time.monotonic() > deadline:
                raise Failed(f"{name} is not ready after 30 s:\n{self.log(name)}")
            time.sleep(0.05)
        return answer

    def check(self):
        for name, process, _ in self.running:
            if process.poll() is not None:
                raise Failed(f"{name} has ended with {process.returncode}:\n{self.log(name)}")

    def process(self, name):
        return next(process for known, process, _ in self.running if known == name)

    def end(self, name, how):
        """Stops one with this signal; its exit code. It is no longer expected to run."""
        place = next(place for place, (known, *_) in enumerate(self.running) if known == name)
        _, process, _ = self.running.pop(place)
        process.send_signal(how)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"{name} does not stop:\n{self.log(name)}") from None

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def stop(self):
        for name, process, stop in reversed(self.running):
            process.send_signal(stop)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                print(f"{name} does not stop: killed", file=sys.stderr)
                process.kill()
                process.wait()


def run(command, **options):
    """A command that has to succeed; shows what it said if not."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))}:\n{done.stdout}")


def listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def postgres_program(name):
    return needed(name, "name a server with --database-url")


def make_data_folder(cluster, name, command):
    """A folder that belongs to PostgreSQL, filled by a command of its own, such as initdb."""
    data = cluster.folder / name
    data.mkdir(mode=0o700)
    if AS_POSTGRES:
        shutil.chown(data, "postgres", "postgres")
        cluster.folder.chmod(0o711)  # the way to it
    run([*command, "--pgdata", data], cwd="/", **AS_POSTGRES)
    return data


def serve_postgres(cluster, name, data):
    """Serves this folder; its port."""
    port = free_port()
    cluster.start(
        name,
        [postgres_program("postgres"), "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1",
         "-c", "unix_socket_directories="],
        stop=signal.SIGINT, cwd="/", **AS_POSTGRES,
    )
    is_ready = [postgres_program("pg_isready"), "--quiet", *at(port)]
    cluster.wait_for(name, lambda: subprocess.run(is_ready).returncode == 0)
    return port


def at(port):
    return ["--host", "127.0.0.1", "--port", str(port), "--username", "titlecast"]


def port_of(url):
    return urlsplit(url).port


def url_at(port):
    return f"postgres://titlecast@127.0.0.1:{port}/titlecast"


def start_postgres(cluster, name="postgres"):
    initdb = [postgres_program("initdb"), "--username", "titlecast", "--auth", "trust", "--encoding", "UTF8"]
    port = serve_postgres(cluster, name, make_data_folder(cluster, name, initdb))
    run([postgres_program("createdb"), *at(port), "titlecast"])
    return url_at(port)


def query(url, text):
    """What psql prints: rows as lines, columns separated by bars."""
    command = [needed("psql", "install PostgreSQL's client"), url, "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{text}:\n{done.stderr}")
    return done.stdout


def start_nats(cluster):
    server, port = needed("nats-server", "name one with --nats-url"), free_port()
    cluster.start("nats", [server, "-a", "127.0.0.1", "-p", str(port)])
    cluster.wait_for("nats", lambda: listens(port))
    return f"nats://127.0.0.1:{port}"


def start_node(cluster, name, titlecast, settings):
    """The addresses it serves, and its metrics, on: host and port."""
    # Paths in settings are relative to where the command was typed, so the node runs there too.
    cluster.start(name, [titlecast, "serve"], env=settings)

    def addresses():
        if "listening" not in (log := cluster.log(name)):
            return None
        words = dict(word.split("=", 1) for word in log.split() if "=" in word)
        return words["address"], words["metrics_address"]

    return cluster.wait_for(name, addresses)


def token(titlecast, settings, user, scopes):
    """A token of this user's, under SECRET."""
    command = [titlecast, "token", "--tenant", "acme", "--user", user, "--scopes", scopes, "--expires", "3h"]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout.strip()


def start_nginx(cluster, nodes, port):
    nginx = program("nginx")
    if not nginx:
        return None
    folder, address = cluster.folder, f"127.0.0.1:{port or free_port()}"
    template = string.Template((HERE / "nginx.conf.template").read_text())
    site = template.safe_substitute(PROXY_LISTEN=address, NODE_A=nodes[0], NODE_B=nodes[1])
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    paths = "".join(f"{kind}_temp_path {folder}/nginx-{kind};\n" for kind in kinds)
    user = "user root;\n" if os.getuid() == 0 else ""  # the folder is ours alone
    config = folder / "nginx.conf"
    config.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{site}}}\n"
    )
    # Without -e it would first look for its log where Debian keeps it.
    command = [nginx, "-e", "stderr", "-c", config]
    run([*command, "-t"])
    cluster.start("nginx", command, stop=signal.SIGQUIT)
    cluster.wait_for("nginx", lambda: listens(int(address.split(":")[1])))
    return address


def stop_signal(*_):
    """Lets SIGTERM end a program as Ctrl-C does."""
    raise KeyboardInterrupt
