"""The command line. One file a verb in ``flows/commands``; heavy libraries are imported inside the verbs only."""

import errno
import os
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from core.errors import ChangeoverError
from flows.commands import (
    adopt,
    audit,
    backup,
    bench,
    demo,
    doctor,
    history,
    init,
    inspect,
    lineage,
    promote,
    rebuild,
    recalibrate,
    request,
    roi,
    roll_back,
    run,
    serve,
    servers,
    settings,
    sign_off,
    teachers,
    users,
)
from flows.serving.child_environment import WAITING
from flows.terminal import log, write_anything

USER_ERROR, INTERRUPTED, BUG = 2, 130, 1


class OneLineErrors(TyperGroup):
    """A command group that ends every error in one line on stderr, and shows the traceback only with ``--debug``."""

    def main(self, args: Any = None, **options: Any) -> Any:  # type: ignore[override]  # passed on by name
        """Run the command line and exit: 0, 2 for what the user can correct, 1 for a bug of ours, 130 for Ctrl-C."""
        write_anything()
        for name, value in WAITING.items():  # before torch is loaded
            os.environ.setdefault(name, value)
        args = list(sys.argv[1:] if args is None else args)
        if "--debug" in args:  # wanted mostly after an error, when it is typed at the end of the line
            args = ["--debug", *(arg for arg in args if arg != "--debug")]
        try:
            code = super().main(args, **(options | {"standalone_mode": False}))
        except ChangeoverError as error:
            _end(str(error), USER_ERROR)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output left, as 'head' does
                sys.stdout = None
                sys.exit(BUG)
            _end(_system_error(error), USER_ERROR)
        except Exception as error:  # noqa: BLE001  # the last line of defence: whatever it is, it ends in one line
            if hasattr(error, "format_message"):  # the parser's own errors
                _end(_usage_error(error, args), USER_ERROR)
            _end(f"{type(error).__name__}: {error}; this is a fault in Changeover: run again with --debug and report it", BUG)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Turn Ctrl-C into a line; Typer's own handling ends without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _end("interrupted; run the same command again to go on from here", INTERRUPTED)


def _end(text: str, code: int) -> NoReturn:
    if os.environ.get("CHANGEOVER_DEBUG"):
        for line in traceback.format_exc().splitlines():
            log(line)
    log("error: " + " ".join(text.split()))
    sys.exit(code)


def _system_error(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{place}; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission{place}: {error.strerror}; give this user access, or choose another path"
    return f"{error.strerror or error}{place}; correct that and run the same command again"


def _usage_error(error: Any, args: list[str]) -> str:
    """What the parser says, with the value that was typed and where to read on."""
    text = error.format_message().rstrip(".")
    for option in getattr(getattr(error, "param", None), "opts", ()):
        if text.startswith("Invalid value") and option in args[:-1]:
            text += f" (it was {args[args.index(option) + 1][:40]!r})"
    context = getattr(error, "ctx", None)
    return f"{text}; see '{context.command_path if context else 'changeover'} --help'"


app = typer.Typer(
    name="changeover",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of good images to a signed inspection model, while the line changes over.",
    epilog="First steps: changeover init plant; cd plant; changeover up; changeover run --product P --batch B --images FOLDER",
)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options that go before every verb."""
    if debug:
        os.environ["CHANGEOVER_DEBUG"] = "1"
    # Set before anything imports them; the servers and stages get the same.
    from flows.serving.child_environment import ONLY_INSTALLED, TELEMETRY_OFF

    os.environ.update(TELEMETRY_OFF | ONLY_INSTALLED, MLFLOW_LOGGING_LEVEL="ERROR")


SETTING_UP, MODELS, SCHEDULE, AUDIT = "Setting up", "Models", "Schedule", "Audit"
app.command("init", rich_help_panel=SETTING_UP)(init.init)
app.command("up", rich_help_panel=SETTING_UP)(servers.up)
app.command("down", rich_help_panel=SETTING_UP)(servers.down)
app.command("status", rich_help_panel=SETTING_UP)(servers.status)
app.command("settings", rich_help_panel=SETTING_UP)(settings.settings)
app.command("roi", rich_help_panel=SETTING_UP)(roi.roi)
app.command("doctor", rich_help_panel=SETTING_UP)(doctor.doctor)
app.command("backup", rich_help_panel=SETTING_UP)(backup.backup)
app.command("restore", rich_help_panel=SETTING_UP)(backup.restore)
app.command("adopt", rich_help_panel=SETTING_UP)(adopt.adopt)
app.command("demo", rich_help_panel=SETTING_UP)(demo.demo)
app.add_typer(users.app, name="users", rich_help_panel=SETTING_UP)
app.command("run", rich_help_panel=MODELS)(run.run)
app.command("recalibrate", rich_help_panel=MODELS)(recalibrate.recalibrate)
app.command("sign-off", rich_help_panel=MODELS)(sign_off.sign_off)
app.command("promote", rich_help_panel=MODELS)(promote.promote)
app.command("roll-back", rich_help_panel=MODELS)(roll_back.roll_back)
app.command("confirm", rich_help_panel=MODELS)(roll_back.confirm)
app.command("inspect", rich_help_panel=MODELS)(inspect.inspect)
app.command("bench", rich_help_panel=MODELS)(bench.bench)
app.command("lineage", rich_help_panel=MODELS)(lineage.lineage)
app.command("rebuild", rich_help_panel=MODELS)(rebuild.rebuild)
app.command("history", rich_help_panel=MODELS)(history.history)
app.add_typer(teachers.app, name="teachers", rich_help_panel=MODELS)
app.command("serve", rich_help_panel=SCHEDULE)(serve.serve)
app.command("request", rich_help_panel=SCHEDULE)(request.request)
app.add_typer(audit.app, name="audit", rich_help_panel=AUDIT)

if __name__ == "__main__":
    app()
