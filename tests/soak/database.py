"""A PostgreSQL with a standby that confirms each commit, and what an operator does when the primary is lost."""

import shutil
import signal
import sys
from pathlib import Path

import cluster

HERE = Path(__file__).resolve().parent


class Pair:
    """`url` stays the same: it is that of the address, behind which the primary is."""

    def __init__(self, running):
        self.running, self.number = running, 1
        self.primary, self.port = "postgres-1", cluster.port_of(cluster.start_postgres(running, "postgres-1"))
        self.file = running.folder / "primary"
        self.lead()
        running.start("address", [sys.executable, "-B", HERE / "address.py", self.file])
        where = running.wait_for("address", lambda: running.log("address").strip())
        self.url = cluster.url_at(cluster.port_of(where))
        self.add_standby()

    def add_standby(self):
        """Copies the primary, and lets no commit pass from then on that is not on the disk of both."""
        self.number += 1
        self.standby = f"postgres-{self.number}"
        copy = [cluster.postgres_program("pg_basebackup"), *cluster.at(self.port), "--checkpoint=fast", "--write-recovery-conf"]
        data = cluster.make_data_folder(self.running, self.standby, copy)
        self.standby_port = cluster.serve_postgres(self.running, self.standby, data)
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.ask("SELECT pg_reload_conf()")
        state = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        self.running.wait_for(self.standby, lambda: self.ask(state) == "1")

    def ask(self, text):
        return cluster.query(cluster.url_at(self.port), text).strip()

    def fail_over(self):
        """Ends the primary as a crash does, promotes the standby, and lets the address lead there."""
        self.running.end(self.primary, signal.SIGQUIT)
        shutil.rmtree(self.running.folder / self.primary)
        self.primary, self.port = self.standby, self.standby_port
        # Its own standby is yet to come: the setting was not copied, so it waits for none.
        if self.ask("SELECT pg_promote()") != "t":
            raise cluster.Failed(f"{self.primary} was not promoted:\n{self.running.log(self.primary)}")
        self.lead()

    def lead(self):
        """Lets the address lead to the primary; the file is never seen half written."""
        new = self.file.with_suffix(".new")
        new.write_text(str(self.port))
        new.rename(self.file)
