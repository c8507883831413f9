"""The texts of letters to authors, which admins change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from builds.admin.base import AnyModelAdmin
from builds.models import LetterKind, LetterTemplate
from builds.staff.letters import DEFAULTS, PLACEHOLDERS, find_mistake

if TYPE_CHECKING:
    AnyModelForm = forms.ModelForm[LetterTemplate]
else:
    AnyModelForm = forms.ModelForm


class LetterTemplateForm(AnyModelForm):
    class Meta:
        model = LetterTemplate
        fields = ("kind", "subject", "text")

    def clean(self) -> dict[str, Any]:
        for name in ("subject", "text"):
            if mistake := find_mistake(self.cleaned_data.get(name, "")):
                self.add_error(name, mistake)
        return self.cleaned_data


@admin.register(LetterTemplate)
class LetterTemplateAdmin(AnyModelAdmin):
    """The texts of letters to authors that admins have changed from those that Jobsite comes with."""

    form = LetterTemplateForm
    list_display = ("kind", "subject")

    def get_form(self, request: HttpRequest, obj: LetterTemplate | None = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.base_fields["text"].help_text = "; ".join(f"${name}: {meaning}" for name, meaning in PLACEHOLDERS.items())
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Start from the text that Jobsite comes with."""
        kind = LetterKind(request.GET["kind"]) if request.GET.get("kind") in LetterKind.values else LetterKind.FAILED
        subject, text = DEFAULTS[kind]
        return {"kind": kind, "subject": subject, "text": text}
