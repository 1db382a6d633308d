"""Measure the HTTP server under load, with and without batching.

    python benchmarks/server_load.py [--suite lite] [--seconds 60]

The server runs in its own process. Each request embeds one text of a few words. First one client per core measures the
capacity of the machine, then many clients send requests as fast as they get responses. Goodput counts the responses
within the deadline. A client that gets status 429 waits as long as Retry-After says.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass

import httpx
import numpy as np

from var_plugin.server.run import limit_encoder_threads

START_SECONDS = 600.0
COLORS = ("red", "green", "blue", "white", "yellow")
THINGS = ("car", "van", "coat", "bag", "door", "truck", "umbrella", "bicycle")
EVENTS = ("falls over", "drives off", "is left behind", "breaks", "burns", "comes closer")


@dataclass(frozen=True)
class Outcome:
    """The results of a number of clients."""

    batching: bool
    clients: int
    seconds: float
    answers: int
    good: int
    """Responses within the deadline."""
    refused: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def goodput(self) -> float:
        """Responses within the deadline per second."""
        return self.good / self.seconds


def run_server(suite: str, port: int, max_batch: int) -> None:
    """Serve until killed, as `var-plugin serve` does."""
    limit_encoder_threads()
    import uvicorn

    from var_plugin.encoders.registry import load_suite
    from var_plugin.server.application import build_app
    from var_plugin.server.options import ServerOptions

    app = build_app(load_suite(suite), options=ServerOptions(max_batch=max_batch))
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


@contextmanager
def served(suite: str, *, batching: bool) -> Iterator[str]:
    """Run a server in another process, wait until it is ready, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=run_server, args=(suite, port, 64 if batching else 1))
    process.start()
    address = f"http://127.0.0.1:{port}"
    try:
        started = time.perf_counter()
        while not is_ready(address):
            if not process.is_alive() or time.perf_counter() - started > START_SECONDS:
                raise SystemExit("the server did not become ready")
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.join()


def is_ready(address: str) -> bool:
    """Return whether the server is ready."""
    try:
        return httpx.get(f"{address}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


async def load(address: str, model: str, clients: int, seconds: float) -> tuple[Counter[int], list[float]]:
    """Send requests until the time is over.

    Returns:
        The number of responses by status (0: no response) and the seconds of those with status 200.
    """
    statuses: Counter[int] = Counter()
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def send(client: httpx.AsyncClient, rng: random.Random) -> None:
        while (start := time.perf_counter()) < end:
            text = f"a {rng.choice(COLORS)} {rng.choice(THINGS)} {rng.choice(EVENTS)}"
            try:
                response = await client.post("/v1/embeddings", json={"model": model, "input": text})
            except httpx.TransportError:
                statuses[0] += 1
                continue
            statuses[response.status_code] += 1
            if response.status_code == 200:
                times.append(time.perf_counter() - start)
            elif response.status_code == 429:
                await asyncio.sleep(float(response.headers["Retry-After"]))

    async with AsyncExitStack() as stack:
        # One connection pool per client; a shared one would cost more time than the server.
        context = ssl.create_default_context()
        own = [httpx.AsyncClient(base_url=address, timeout=60, verify=context) for _ in range(clients)]
        for client in own:
            await stack.enter_async_context(client)
        await asyncio.gather(*(send(client, random.Random(number)) for number, client in enumerate(own)))  # noqa: S311
    return statuses, times


def measure(address: str, model: str, clients: int, seconds: float, deadline: float, *, batching: bool) -> Outcome:
    """Put load on the server and return the results."""
    started = time.perf_counter()
    statuses, times = asyncio.run(load(address, model, clients, seconds))
    p50, p95, p99 = np.percentile(times, [50, 95, 99]) * 1000 if times else [float("nan")] * 3
    return Outcome(
        batching=batching,
        clients=clients,
        seconds=time.perf_counter() - started,
        answers=len(times),
        good=sum(duration <= deadline for duration in times),
        refused=statuses[429],
        errors=sum(statuses.values()) - statuses[200] - statuses[429],
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
    )


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="lite")
    parser.add_argument("--space", default="scene")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each of the four measurements")
    parser.add_argument("--deadline", type=float, default=1.0, help="maximum seconds of a response that counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    outcomes = []
    for batching in (False, True):
        with served(arguments.suite, batching=batching) as address:
            for clients in (cores, arguments.clients):
                model = f"{arguments.suite}/{arguments.space}"
                outcome = measure(address, model, clients, arguments.seconds, arguments.deadline, batching=batching)
                outcomes.append(outcome)
    if arguments.json:
        report = json.dumps([asdict(outcome) | {"goodput": outcome.goodput} for outcome in outcomes], indent=2)
    else:
        report = table(outcomes)
    sys.stdout.write(report + "\n")


def table(outcomes: list[Outcome]) -> str:
    """Return the results in Markdown; `share` is relative to the goodput of one client per core."""
    lines = [
        "| batching | clients | answers /s | goodput /s | share | p50 ms | p95 ms | p99 ms | refused | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    fewest = min(outcome.clients for outcome in outcomes)
    unloaded = {outcome.batching: outcome.goodput for outcome in outcomes if outcome.clients == fewest}
    for outcome in outcomes:
        share = f"{outcome.goodput / max(unloaded[outcome.batching], 1e-9):.0%}"
        batching = "yes" if outcome.batching else "no"
        rates = [f"{outcome.answers / outcome.seconds:.1f}", f"{outcome.goodput:.1f}", share]
        times = [f"{time:.1f}" for time in (outcome.p50_ms, outcome.p95_ms, outcome.p99_ms)]
        cells = [batching, outcome.clients, *rates, *times, outcome.refused, outcome.errors]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
