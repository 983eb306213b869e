"""The command line as a whole: the engine's commands, and those that know of the web."""

from __future__ import annotations

from collections.abc import Sequence

from workers.commands import line


def main(words: Sequence[str]) -> int:
    """Run a command; the exit code."""
    parser, commands = line.parser()
    web = commands.add_parser("web", help="serve the dashboard and the API")
    web.add_argument(
        "--socket", type=int, metavar="FD", help="listen on this open file descriptor instead of HOST and PORT"
    )
    web.add_argument("--supervised", action="store_true", help=line.SUPERVISED_HELP)
    web.set_defaults(handler="dashboard.serve:run", label="web")
    doctor = commands.add_parser("doctor", help="check every component and report failures")
    doctor.set_defaults(handler="dashboard.doctor:run", label="doctor")
    return line.run(parser, words)
