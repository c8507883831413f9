"""The pages of letters to authors: one is written, then kept in the history, and read there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.validators import validate_email
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from builds import lifecycle
from builds.desk.access import VIEW, WRITE, StaffRequest, desk_page
from builds.desk.letters.draft import draft, kind_of, reported
from builds.lib.text import one_line
from builds.lifecycle import HANDLE, ActionRefused, Letter
from builds.lifecycle.letters import KINDS
from builds.models import Build, Event, HandlingState, LetterKind, Submission

MAX_RECIPIENTS = 20
# Programs and browsers cut longer links.
MAX_MAIL_LINK = 8_000
# The letters that ask the author to do something.
ASKING = (LetterKind.FAILED, LetterKind.PROBLEMS)
LABELS = {
    LetterKind.FAILED: "It can't be built",
    LetterKind.PROBLEMS: "It was built, with problems",
    LetterKind.SOUND: "It was built",
    LetterKind.DELAYED: "It is delayed, and the author has nothing to do",
}


class LetterForm(forms.Form):
    recipients = forms.CharField(
        max_length=2000,
        required=False,
        label="To",
        help_text="Separate several addresses with commas.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    subject = forms.CharField(max_length=200, label="Subject", error_messages={"required": "Write a subject."})
    text = forms.CharField(
        max_length=50_000,
        strip=False,
        label="Letter",
        widget=forms.Textarea(attrs={"rows": 22}),
        error_messages={"required": "Write the letter."},
    )

    wait = forms.BooleanField(
        required=False, label="Wait for the author", help_text="Off the list “Needs me” until the author submits the node again."
    )

    def __init__(self, *args: Any, sends: bool = False, handles: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sends = sends
        if not handles:
            del self.fields["wait"]

    def clean_subject(self) -> str:
        """A line break in it would end the header of an e-mail."""
        return one_line(self.cleaned_data["subject"], 200)

    def clean_recipients(self) -> list[str]:
        given: str = self.cleaned_data["recipients"]
        addresses = list(dict.fromkeys(part.strip() for part in given.split(",") if part.strip()))
        for address in addresses:
            self._check(address)
        if len(addresses) > MAX_RECIPIENTS:
            raise forms.ValidationError(f"Write to at most {MAX_RECIPIENTS} addresses at once.")
        if self._sends and not addresses:
            raise forms.ValidationError("Name the recipient.")
        return addresses

    @staticmethod
    def _check(address: str) -> None:
        try:
            validate_email(address)
        except forms.ValidationError as error:
            raise forms.ValidationError(f"{address} is not an e-mail address.") from error

    @property
    def letter(self) -> Letter:
        """The text as it was written, with normalised line ends."""
        data = self.cleaned_data
        return Letter(data["recipients"], data["subject"], data["text"].replace("\r\n", "\n"))


@require_http_methods(["GET", "HEAD", "POST"])
@desk_page(WRITE)
def write_letter(request: StaffRequest, pk: int) -> HttpResponse:
    """Show the draft. Once it is posted, keep it, and send it if that was asked for."""
    build = reported(get_object_or_404(Submission, pk=pk))
    kind = _asked_kind(request) or kind_of(build) or LetterKind.SOUND
    handles = request.user.has_perm(HANDLE)
    if request.method != "POST":
        letter = draft(build, kind, _name(request))
        first = {"recipients": ", ".join(letter.recipients), "subject": letter.subject[:200], "text": letter.text}
        may_wait = handles and not lifecycle.away_refusal(build.submission.newest_build())
        form = LetterForm(initial={**first, "wait": kind in ASKING}, handles=may_wait)
        return _render(request, build.submission, form, kind)
    sends = "send" in request.POST and bool(settings.EMAIL_HOST)
    form = LetterForm(request.POST, sends=sends, handles=handles)
    if not form.is_valid():
        return _render(request, build.submission, form, kind)
    try:
        event = _keep(request, build, form, sends=sends)
    except ActionRefused as refusal:  # a new attempt was queued while the letter was written
        form.add_error("wait", str(refusal))
        return _render(request, build.submission, form, kind)
    if sends:
        messages.success(request, "The letter is on its way. It is kept in the history.")
        return redirect("desk:submission", pk=pk)
    messages.success(request, "The letter is kept in the history. Jobsite has not sent it.")
    return redirect("desk:letter", pk=pk, event=event)


@transaction.atomic
def _keep(request: StaffRequest, build: Build, form: LetterForm, *, sends: bool) -> int:
    """Keep the letter, and send it if it ``sends``. Wait for the author if that was asked for. Returns the id of the letter's event."""
    actor = request.user.get_username()
    if form.cleaned_data.get("wait"):
        lifecycle.put_away(build.submission, HandlingState.WAITING, actor=actor)
    if sends:
        return lifecycle.send_letter(build, form.letter, actor=actor, reply_to=request.user.email)
    return lifecycle.keep_letter(build, form.letter, actor=actor)


def _asked_kind(request: HttpRequest) -> LetterKind | None:
    asked = request.GET.get("kind", "")
    return LetterKind(asked) if asked in LetterKind.values else None


def _name(request: StaffRequest) -> str:
    return request.user.get_full_name() or request.user.get_username()


def _render(request: StaffRequest, submission: Submission, form: LetterForm, kind: LetterKind) -> HttpResponse:
    context = {
        "submission": submission,
        "form": form,
        "kinds": [(value, LABELS[value], value == kind) for value in LetterKind],
        "can_send": bool(settings.EMAIL_HOST),
        "reply_to": request.user.email,
    }
    return render(request, "desk/letter.html", context, status=400 if form.is_bound else 200)


@require_safe
@desk_page(VIEW)
def read_letter(request: HttpRequest, pk: int, event: int) -> HttpResponse:
    """A letter that the history keeps."""
    kept = get_object_or_404(Event.objects.select_related("submission"), pk=event, submission=pk)
    if kept.kind not in KINDS:
        raise Http404
    letter = Letter.parse(kept.reason)
    context = {"submission": kept.submission, "event": kept, "letter": letter, "mail_link": make_mail_link(letter)}
    return render(request, "desk/letter_kept.html", context)


def make_mail_link(letter: Letter) -> str:
    """A link that opens the reader's mail program with the letter. Without the text if that is too long for a link (RFC 6068)."""
    to = ",".join(quote(address, safe="@") for address in letter.recipients)
    # A line ends with CR and LF in such a link.
    whole = {"subject": letter.subject, "body": letter.text.replace("\n", "\r\n")}
    link = f"mailto:{to}?{urlencode(whole, quote_via=quote)}"
    return link if len(link) <= MAX_MAIL_LINK else f"mailto:{to}?{urlencode({'subject': letter.subject}, quote_via=quote)}"
