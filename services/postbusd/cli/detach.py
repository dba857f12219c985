"""`postbus up --detach`: the supervisor in a session of its own, with its parent waiting until all is ready.

What the supervisor tells goes through a pipe as lines, `T` and text; `R` says ready. The supervisor keeps the caller's
standard error until then, so that a failure is told where people look; afterwards it holds nothing of the caller's.
"""

import contextlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_FAILED = 1

Serve = Callable[[Callable[[str], None], Callable[[], None]], int]
"""Runs the installation, given `tell` and `ready`; the exit code."""


def run_detached(serve: Serve) -> int:
    """Forks; 0 when the child has called `ready`, else the child's exit code."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writing)
        return _follow(child, reading)
    code = EXIT_FAILED
    try:
        os.close(reading)
        code = _serve_detached(serve, writing)
    except Exception:
        log.exception("cli.detached.failed")
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _follow(child: int, reading: int) -> int:
    """Prints what the child tells until it is ready or has ended."""
    with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        try:
            for line in lines:
                if line.startswith("R"):
                    return 0
                print(line[1:].rstrip("\n"), flush=True)
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) or EXIT_FAILED


def _serve_detached(serve: Serve, writing: int) -> int:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    pipe = os.fdopen(writing, "w", encoding="utf-8")

    def tell(text: str) -> None:
        if not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.writelines(f"T{line}\n" for line in text.splitlines() or [""])
                pipe.flush()

    def ready() -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe.write("R\n")
            pipe.close()
        os.dup2(null, 2)

    return serve(tell, ready)
