"""Processes that begin with everything imported: forked from a server that is forked by nobody and has no threads."""

import multiprocessing
from multiprocessing.context import ForkServerContext


def fork_server(*modules: str) -> ForkServerContext:
    """Start processes that have these modules in memory, left alone by the collector."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules, "tests.support.imports.frozen"])
    return context
