"""Queues in the database: a row for each job, with its place."""

import sqlite3
from typing import Final

import msgspec

from polyhost.core.job import Job, Queue

_jobs: Final = msgspec.msgpack.Decoder(Job)


def load(connection: sqlite3.Connection) -> list[Queue]:
    """All of them, without the jobs that became runs: a server that ended between the two did not write that down."""
    return [
        Queue(
            name,
            printer,
            tuple(
                _jobs.decode(body)
                for (body,) in connection.execute(
                    "SELECT body FROM jobs WHERE queue = ? AND id NOT IN (SELECT job FROM runs WHERE job <> '')"
                    " ORDER BY place",
                    (name,),
                )
            ),
        )
        for name, printer in connection.execute("SELECT name, printer FROM queues ORDER BY name").fetchall()
    ]


def keep(connection: sqlite3.Connection, queue: Queue) -> None:
    """`queue` in the place of the one of its name."""
    connection.execute(
        "INSERT INTO queues VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET printer = excluded.printer",
        (queue.name, queue.printer),
    )
    connection.execute("DELETE FROM jobs WHERE queue = ?", (queue.name,))
    connection.executemany(
        "INSERT INTO jobs VALUES (?, ?, ?, ?)",
        ((job.id, queue.name, place, msgspec.msgpack.encode(job)) for place, job in enumerate(queue.jobs)),
    )
