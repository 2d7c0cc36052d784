"""``costlab trace``: the span tree of a recent request, from what the services kept; no collector is needed."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from costlab.cli.options import AsJson, Misused, Target
from costlab.failure import Failure
from costlab.seeing import kept_trace, span_tree
from costlab.seeing.kept_trace import KeptTrace
from costlab.seeing.span_tree import Node, Span
from costlab.service import context
from costlab.stack import open_stack, require_up
from costlab.stack.control import Control, ControlError

_TEXT = 60
_FLAG = "costlab.flag."
# What stands in the head of a trace, or elsewhere in the line of its span.
_SAID = {"costlab.request_id", "http.response.status_code", "db.system.name"}
_WORDS = {
    "costlab.faults": "active faults",
    "costlab.fault": "fault",
    "costlab.cache.outcome": "cache",
    "costlab.hedge": "hedge",
    "http.request.resend_count": "retry",
    "db.query.text": "query",
}


class NotKept(Failure):
    """No service has a span of the request."""

    exit_code = 3


def register(app: typer.Typer) -> None:
    """Add this command to ``app``."""
    app.command("trace")(trace)


def trace(
    identity: Annotated[
        str,
        typer.Argument(metavar="ID", help="X-Request-Id of an answer, order-ID of a job, or a trace id."),
    ],
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for spans under way.")] = 8.0,
    target: Target = "local",
    as_json: AsJson = False,
) -> None:
    """The span tree of a recent request, from the gateway to the worker, out of what the services kept of it.

    Only requests that were sampled have spans: costlab flags set tracing.sample=1. Exit code 3: none was kept.
    """
    if not context.SAFE_ID.fullmatch(identity):
        raise Misused(f"{identity!r} is no id; one has 1 to 64 letters, digits, dots, dashes or underscores")
    stack = open_stack(target)
    require_up(stack)
    instances = list(stack.internal_urls())
    control = Control(stack.internal_urls(), stack.token())
    found = kept_trace.wait_for(lambda: kept_trace.collect(control, instances, identity), wait)
    if found.away:
        typer.echo(f"costlab: {', '.join(found.away)}: no answer, so what was kept there is missing", err=True)
    if not found.spans:
        raise NotKept(_why(identity, found, control))
    if as_json:
        typer.echo(json.dumps([asdict(span) | {"milliseconds": span.milliseconds} for span in found.spans], indent=2))
        return
    _show(found.spans, Console(highlight=False))


def _why(identity: str, found: KeptTrace, control: Control) -> str:
    try:
        sample = f"{control.flags()['tracing.sample']:g}"
    except ControlError:
        sample = "not known"
    age = "" if found.oldest is None else f" (at the gateway {max(0.0, time.time() - found.oldest):.0f} s)"
    return (
        f"no span of {identity} was kept: it was not sampled (tracing.sample is now {sample}; to sample everything: "
        f"costlab flags set tracing.sample=1), it is older than what is kept{age}, or there was no such request"
    )


def _show(spans: Iterable[Span], console: Console) -> None:
    by_trace = sorted(spans, key=lambda span: span.trace_id)
    for trace_id, own in groupby(by_trace, lambda span: span.trace_id):
        whole = list(own)
        begin = min(span.start for span in whole)
        tree = Tree(_head(trace_id, whole, begin))
        for node in span_tree.build(whole):
            _grow(tree, node, begin)
        console.print(tree)


def _head(trace_id: str, spans: Sequence[Span], begin: int) -> Text:
    requests = dict.fromkeys(id_ for span in spans if (id_ := span.attributes.get("costlab.request_id")))
    took = (max(span.end for span in spans) - begin) / 1e6
    services = len({span.service for span in spans})
    head = Text(f"trace {trace_id}", style="bold")
    head.append(f"  request {', '.join(requests)}" if requests else "")
    return head.append(f"  {len(spans)} spans, {services} services, {took:.1f} ms", style="dim")


def _grow(above: Tree, node: Node, begin: int) -> None:
    branch = above.add(_line(node, begin))
    for child in node.children:
        _grow(branch, child, begin)


def _line(node: Node, begin: int) -> Text:
    """Service, name, duration, when it began after the trace did, how it ended, what else is known."""
    span = node.span
    line = Text(style="red" if span.failed else "")
    line.append(span.instance, style="bold").append(f" {span.name}  ")
    line.append(f"{span.milliseconds:.1f} ms").append(f"  +{(span.start - begin) / 1e6:.1f}", style="dim")
    status = span.attributes.get("http.response.status_code")
    line.append("" if status is None else f"  {status}")
    line.append(f"  error {span.error}".rstrip() if span.failed else "")
    for name, value in span.attributes.items():
        if name not in _SAID and value != "":
            line.append(f"  {_said(name, value)}", style="dim" if name == "db.query.text" else "cyan")
    for trace_id, span_id in span.links:
        line.append(f"  link to {trace_id}/{span_id}", style="cyan")
    line.append(f"  orphan: its parent {span.parent_id} is not kept" if node.orphan else "", style="yellow")
    return line


def _said(name: str, value: object) -> str:
    if name.startswith(_FLAG):
        return f"{name.removeprefix(_FLAG)}={_short(value)}"
    return f"{_WORDS.get(name, name)} {_short(', '.join(value) if isinstance(value, list) else value)}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
