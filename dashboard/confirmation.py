"""Questions before an action: 428 with the words for our own script, a page with a form for a browser without scripts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flask import Flask, Response, make_response, render_template, request
from flask_login import current_user

from dashboard.actions import came_from
from dashboard.problems import problem

STATUS = 428
# What the browser sends besides the fields of the action.
_OWN_FIELDS = frozenset({"csrf_token", "confirm", "confirmed"})


@dataclass(frozen=True, slots=True)
class Question:
    """What an action would do: `verb` is the label of the button that does it."""

    title: str
    detail: str
    verb: str
    is_danger: bool = True


class ConfirmationRequired(Exception):
    """The action was not done, because nobody has confirmed it."""

    def __init__(self, question: Question) -> None:
        super().__init__(question.title)
        self.question = question


def init(app: Flask) -> None:
    """Answer an action that is not confirmed with its question."""
    app.register_error_handler(ConfirmationRequired, _ask)


def confirm(title: str, detail: str, verb: str, *, is_danger: bool = True, always: bool = True) -> None:
    """Raise ConfirmationRequired unless the request carries the consent. Programs with a token are never asked.

    With `always=False` only a request that wants to be asked is asked: a key is pressed by mistake more easily than a
    button.
    """
    if current_user.actor.kind != "user" or request.form.get("confirmed") == "yes":
        return
    if always or request.form.get("confirm") == "ask":
        raise ConfirmationRequired(Question(title, detail, verb, is_danger))


def _ask(error: ConfirmationRequired) -> Response:
    question = error.question
    if request.headers.get("X-Requested-With") == "fetch":
        more = asdict(question)
        return problem(STATUS, more.pop("title"), more.pop("detail"), **more)
    fields = [(name, value) for name, value in request.form.items(multi=True) if name not in _OWN_FIELDS]
    page = render_template("confirm.html", question=question, fields=fields, back=came_from("/"))
    return make_response(page, STATUS)
